"""What an exported network is shown is what torch's is shown."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.config import SlabConfig, WindowConfig
from ich25d.engine.network_input import sized, slab_batches
from ich25d.slabs.dataset import series_batches
from ich25d.slabs.network_input import network_input
from ich25d.slabs.slab import sized as torch_sized


@given(
    n=st.integers(1, 7),
    side=st.sampled_from([16, 24, 37]),
    size=st.sampled_from([16, 24, 30]),
    windows=st.sampled_from(
        [("brain",), ("dicom", "subdural"), ("brain", "dicom", WindowConfig(level=10.0, width=33.0))]
    ),
    neighbour_mm=st.sampled_from([0.0, 5.0]),
    brain=st.sampled_from([0.0, 32.0]),
    known=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=20, deadline=None)
def test_is_the_same_in_numpy(
    n: int, side: int, size: int, windows: tuple, neighbour_mm: float, brain: float, known: bool, seed: int
) -> None:
    """For any slab: size, windows of files and of names, neighbours by number and by mm, unknown HU of brain."""
    rng = np.random.default_rng(seed)
    slab = SlabConfig(windows=windows, neighbour_mm=neighbour_mm, size=size, brain_hu=brain)
    hu = rng.integers(-1024, 3072, (n, side, side)).astype(np.int16)
    position = np.cumsum(rng.choice([2.5, 5.0, 40.0], n))
    window = np.where(rng.random((n, 1)) < 0.5, np.nan, [[40.0, 80.0]]).astype(np.float32)
    brain_hu = 27.5 if known else float("nan")

    ours = list(slab_batches(hu, position, window, slab, 3, brain_hu=brain_hu))
    theirs = [
        network_input(batch, slab, "cpu").numpy()
        for batch in series_batches(hu, position, window, slab, 3, brain_hu=brain_hu)
    ]

    assert [part.shape for part in ours] == [part.shape for part in theirs]
    assert np.concatenate(ours) == pytest.approx(np.concatenate(theirs), abs=3e-4)  # .01 HU in the narrowest window


def test_resizing_keeps_what_is_even() -> None:
    """A constant stays, a ramp stays a ramp in the middle, and torch gives the same."""
    ramp = np.tile(np.arange(0, 640, 10, dtype=np.int16), (64, 1))[None]

    out = sized(ramp, 48)

    assert np.abs(sized(np.full((1, 64, 64), -7, np.int16), 48) + 7).max() < 1e-5
    assert np.diff(out[0, 5, 3:-3]).mean() == pytest.approx(10 * 64 / 48, abs=0.05)
    assert out == pytest.approx(torch_sized(torch.from_numpy(ramp)[None], 48)[0].numpy(), abs=1e-3)
