"""What a scan's numbers say: noise, an open skull, contrast, other modalities; and what leaves them alone."""

import numpy as np
import pytest

from ich25d.bleeds.scan_measures import MEASURES, measure_scan

N, SIDE = 10, 128
POSITION = np.arange(N) * 5.0


def _head(noise_hu: float = 3.0) -> np.ndarray:
    """Return int16 HU: a round skull with a brain of some structure, in air."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius = np.hypot(x, y)
    brain = 34 + 5 * np.sin(x / 7) * np.cos(y / 9)
    hu = np.where(radius < 46, brain, np.where(radius < 54, 1000.0, np.where(radius < 58, 20.0, -1000.0)))
    return np.rint(hu + rng.normal(0, noise_hu, (N, SIDE, SIDE))).astype(np.int16)


def _of(hu: np.ndarray, position: np.ndarray = POSITION) -> dict[str, float]:
    return dict(zip(MEASURES, measure_scan(hu, position).tolist(), strict=True))


def test_a_mirrored_head_looks_the_same() -> None:
    """No number knows left from right."""
    assert _of(_head()) == pytest.approx(_of(_head()[:, :, ::-1]), rel=1e-3, abs=1e-6)


def test_noise_is_measured_beside_structure() -> None:
    """Twice the noise is some twice the grain; the same brain has the same structure."""
    calm, loud = _of(_head(2.0)), _of(_head(4.0))
    assert loud["grain_hu"] / calm["grain_hu"] == pytest.approx(2.0, rel=0.15)
    assert loud["grain_share"] > 1.6 * calm["grain_share"]
    assert calm["open_skull"] == 0
    assert calm["reach_mm"] == 45
    assert np.isnan(_of(_head(), np.full(N, np.nan))["reach_mm"])


def test_an_open_skull_and_contrast_are_seen() -> None:
    """A gap opens the strip of brain beside it, 40 of 92 rows and .54 of the disc; bright vessels count as bright."""
    hu = _head()
    gap = hu.copy()
    gap[:, 44:84, 64:][gap[:, 44:84, 64:] > 500] = 30
    vessels = hu.copy()
    vessels[:, 60:64, 50:80] = 150
    assert _of(gap)["open_skull"] == pytest.approx(0.54, abs=0.05)
    assert _of(hu)["bright"] == 0
    assert 0.01 < _of(vessels)["bright"] < 0.1


@pytest.mark.parametrize("change", [lambda hu: np.clip(hu, 0, 80), lambda hu: np.where(hu > 500, 30, hu)])
def test_without_bone_there_is_no_brain_to_measure(change) -> None:
    """A brain window alone, and tissue without a skull."""
    found = _of(change(_head()).astype(np.int16))
    assert np.isnan(found["grain_hu"])
    assert np.isnan(found["open_skull"])
    assert np.isfinite(found["air"])


def test_one_slice_and_a_blank_one_are_measured() -> None:
    """Nothing divides by the number of slices that show a brain."""
    assert _of(_head()[:1], POSITION[:1])["reach_mm"] == 0
    assert _of(np.full((2, 32, 32), -1000, np.int16), POSITION[:2])["air"] == 1
