"""Blend and calibration follow many slices, and change little on few."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from ich25d.config import CalibrationConfig
from ich25d.errors import ModelError, UsageError
from ich25d.sequence.aggregate import AGGREGATES, candidates, fit_rule
from ich25d.sequence.blend import (
    LabelBlend,
    LabelledSlices,
    cross_entropy,
    fit_blend,
    fit_slope,
    loss_of,
    towards_prevalence,
)
from ich25d.sequence.refinement import HeldOutSeries, Refinement, at_least_subtypes, fit_refinement
from ich25d.training.smoothing import smooth


def some_slices(
    n: int = 3000, *, seed: int = 0, slope: float = 1.0, bias: float = 0.0, good: str = "encoder"
) -> LabelledSlices:
    """Slices whose true log odds are slope * (one of the logits) + bias."""
    rng = np.random.default_rng(seed)
    logits = {name: rng.normal(-1, 2, n) for name in ("encoder", "sequence", "smoothed")}
    truth = (rng.random(n) < expit(slope * logits[good] + bias)).astype(float)
    return LabelledSlices(logits["encoder"], logits["sequence"], truth, {5.0: (logits["smoothed"], logits["sequence"])})


def test_finds_the_calibration() -> None:
    """Many slices: temperature and bias are what made the labels."""
    slices = some_slices(60_000, slope=0.5, bias=0.7)
    blend = fit_blend(slices, fit_slope([slices.encoder], [slices.truth]))

    assert blend.slope == pytest.approx(0.5, abs=0.05)
    assert blend.bias == pytest.approx(0.7, abs=0.05)
    assert blend.sequence == pytest.approx(0, abs=0.03)
    assert blend.smoothed == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize(("good", "sequence", "smoothed"), [("sequence", 1, None), ("smoothed", 0, 1)])
def test_finds_the_logit_that_tells(good: str, sequence: float, smoothed: float | None) -> None:
    """The share goes to where the labels are from."""
    blend = fit_blend(some_slices(40_000, good=good), 0.0)

    assert blend.sequence == pytest.approx(sequence, abs=0.06)
    if smoothed is not None:
        assert (blend.smoothed, blend.sigma_mm) == (pytest.approx(smoothed, abs=0.06), 5.0)


def test_few_slices_change_little() -> None:
    """Without data the shares are the usual ones, and the calibration is the identity."""
    few = fit_blend(some_slices(12, good="sequence"), 0.0)
    none = fit_blend(some_slices(0), 0.0)

    assert 0.3 <= few.sequence < 0.5
    assert abs(few.bias) < 0.5
    assert (none.slope, none.bias, none.sigma_mm) == (pytest.approx(1), pytest.approx(0), 5.0)
    assert (none.smoothed, none.sequence) == (pytest.approx(0.7, abs=1e-3), pytest.approx(0.4, abs=1e-3))


def test_a_label_without_positives_stays_finite() -> None:
    """All negative: the bias falls, but not without end."""
    slices = some_slices(400)
    slices.truth[:] = 0
    blend = fit_blend(slices, 0.0)

    assert -4 < blend.bias < 0
    assert np.isfinite(blend.slope)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 300), st.integers(0, 10_000), st.sampled_from(["encoder", "sequence", "smoothed"]), st.floats(0.2, 2)
)
def test_never_worse_than_the_encoder_alone(n: int, seed: int, good: str, slope: float) -> None:
    """On the slices of the fit, allowing more is never a loss."""
    slices = some_slices(n, seed=seed, good=good, slope=slope)
    alone = fit_blend(slices, 0.0, smoothing=False, sequence=False)
    smoothed = fit_blend(slices, 0.0, sequence=False)
    full = fit_blend(slices, 0.0)

    assert loss_of(smoothed, slices) <= loss_of(alone, slices)
    assert loss_of(full, slices) <= loss_of(alone, slices)
    assert 0 <= full.smoothed <= 1
    assert 0 <= full.sequence <= 1


def test_shift_to_another_prevalence() -> None:
    """An unbounded weight gives the shift of log odds, none gives nothing, as many slices as the fit the mean share."""
    slices = some_slices(5000)
    blend = LabelBlend(slope=1.0, bias=0.0, sigma_mm=0.0, smoothed=0.0, sequence=0.0)
    now = expit(slices.encoder).mean()
    odds = np.log(0.01 / 0.99) - np.log(now / (1 - now))
    mean = (now + 0.01) / 2

    assert towards_prevalence(blend, slices, 0.01, 1e12).bias == pytest.approx(odds, abs=1e-6)
    assert towards_prevalence(blend, slices, 0.01, 0) == blend
    assert towards_prevalence(blend, slices, 0.01, 5000).bias == pytest.approx(
        np.log(mean / (1 - mean)) - np.log(now / (1 - now)), abs=1e-6
    )


def test_smoothing_by_hand() -> None:
    """Two slices one sigma apart: weights 1 and exp(-1/2)."""
    near = np.exp(-0.5)
    expected = np.array([near, 1.0]) / (1 + near)

    assert smooth(np.array([0.0, 1.0]), np.array([0.0, 5.0]), 5.0) == pytest.approx(expected)
    assert smooth(np.array([0.0, 1.0]), np.full(2, np.nan), 5.0) == pytest.approx(expected)
    assert smooth(np.array([3.0, 1.0]), np.array([0.0, 5.0]), 0.0).tolist() == [3, 1]
    assert smooth(np.full((4, 6), 2.0), np.arange(4.0), 7.0) == pytest.approx(np.full((4, 6), 2.0))


def test_aggregates_by_hand() -> None:
    """Largest, means of the largest, and the odds that any slice is positive."""
    logit = np.tile(np.array([0.0, -2.0, 2.0, 1.0])[:, None], (1, 6))
    found = candidates(logit, np.full(6, 9.0))
    none = np.prod(1 - expit(logit[:, 0]))

    assert found["max"][0] == 2
    assert found["top2"][0] == 1.5
    assert found["top5"][0] == 0.25
    assert found["noisy_or"][0] == pytest.approx(np.log((1 - none) / none))
    assert found["head"][0] == 9
    assert np.isfinite(AGGREGATES["noisy_or"](np.full((3, 6), -800.0))).all()
    assert np.isfinite(AGGREGATES["noisy_or"](np.full((3, 6), 800.0))).all()


def test_chooses_the_source_that_tells() -> None:
    """The head where it is better, the first aggregate where nothing can be told."""
    rng = np.random.default_rng(0)
    truth = (rng.random(80) < 0.5).astype(float)
    noise = {name: rng.normal(size=80) for name in AGGREGATES}

    assert fit_rule({**noise, "head": 4 * truth - 2}, truth).source == "head"
    assert fit_rule({**dict.fromkeys(AGGREGATES, truth), "head": truth}, truth).source == "top3"


def some_series(n_series: int = 12, seed: int = 0, prefix: str = "ID_") -> list[HeldOutSeries]:
    """Held-out series with a bleed in half of them, and some unknown labels."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n_series):
        target = np.zeros((10, 6), np.float32)
        if number % 2:
            target[3:6, [number % 5, 5]] = 1
        target[0, 2] = np.nan
        known = np.nan_to_num(target)
        found.append(
            HeldOutSeries(
                series_id=f"{prefix}{number}",
                patient_id=f"p{number}",
                fold=(number // 2) % 3,
                slice_position_mm=np.arange(10) * 5.0,
                encoder_logit=-2 + 2 * known + rng.normal(0, 1, (10, 6)),
                sequence_logit=-3 + 5 * known + rng.normal(0, 1, (10, 6)),
                head_logit=-2 + 4 * known.max(axis=0) + rng.normal(0, 1, 6),
                target=target,
            )
        )
    return found


def test_a_refinement_keeps_through_json() -> None:
    """What is written is what is read; `any` is at least the largest subtype."""
    series = some_series()
    refinement = fit_refinement(series, CalibrationConfig())
    again = Refinement.from_dict(json.loads(json.dumps(refinement.to_dict())), "here")
    item = series[0]
    logit = again.slice_logit(item.encoder_logit, item.sequence_logit, item.slice_position_mm)

    assert again == refinement
    assert (logit[:, 5] >= logit[:, :5].max(axis=1)).all()
    assert again.series_logit(logit, item.head_logit).shape == (6,)


def test_fits_on_the_named_series_alone() -> None:
    """Others change nothing; none is refused."""
    own, other = some_series(), some_series(seed=5, prefix="X")
    calibration = CalibrationConfig(fit_on=("ID_*",))

    assert fit_refinement([*own, *other], calibration) == fit_refinement(own, calibration)
    with pytest.raises(UsageError, match=r"calibration.fit_on must name labelled series .*match none of 12"):
        fit_refinement(other, calibration)


def test_unknown_labels_have_no_say() -> None:
    """The logits of a slice whose label is unknown change no fit."""
    series = some_series()
    before = fit_refinement(series, CalibrationConfig())
    for item in series:
        item.encoder_logit[0, 2] = item.sequence_logit[0, 2] = 0.0
    free = fit_refinement(series, CalibrationConfig(), smoothing=False)
    for item in series:
        item.encoder_logit[0, 2] = item.sequence_logit[0, 2] = 50.0

    assert fit_refinement(series, CalibrationConfig(), smoothing=False).blends == free.blends
    assert before.blends[2] != LabelBlend(1, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("epidural", "blend", "slope"), -1),
        (("any", "blend", "sequence"), 2),
        (("any", "blend", "bias"), None),
        (("any", "series", "source"), "exec"),
        (("any", "series", "slope"), "1"),
        (("subdural",), None),
    ],
)
def test_refuses_a_strange_refinement(path: tuple[str, ...], value: object) -> None:
    """A number out of range or missing is refused."""
    content = fit_refinement(some_series(), CalibrationConfig()).to_dict()
    place = content
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value

    with pytest.raises(ModelError, match="refinement must be"):
        Refinement.from_dict(content, "model.json")


def test_cross_entropy_and_any() -> None:
    """The loss is log 2 at log odds 0; `any` is raised, never lowered, and nothing else is changed."""
    assert cross_entropy(np.zeros(2), np.array([0.0, 1.0])) == pytest.approx(np.log(2))
    logit = np.array([[1.0, 2, 3, 0, 0, -1], [1, 2, 3, 0, 0, 4]])
    assert at_least_subtypes(logit).tolist() == [[1, 2, 3, 0, 0, 3], [1, 2, 3, 0, 0, 4]]
    assert logit[0, 5] == -1
