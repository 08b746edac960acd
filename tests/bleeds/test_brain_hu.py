"""The HU of brain tissue: found in heads, moved by no bleed, absent where there is no brain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.bleeds.brain_hu import find_brain_hu

N, SIDE = 8, 128


def head(brain: float = 33.0, seed: int = 0) -> np.ndarray:
    """Return a skull with brain, ventricles and noise, int16 (8, 128, 128), 1.6 mm a px."""
    y, x = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) * 1.6
    radius = np.hypot(x / 66, y / 80)
    hu = np.full((N, SIDE, SIDE), -1000.0)
    hu[:, radius < 1.14] = 40
    hu[:, radius < 1.1] = 1100
    hu[:, radius < 1.0] = brain
    hu[:, np.hypot(x / 12, y / 25) < 1] = 6
    noise = np.random.default_rng(seed).normal(0, 4, hu.shape)
    return np.clip(hu + noise, -1024, 3071).round().astype(np.int16)


@settings(max_examples=25, deadline=None)
@given(brain=st.floats(20, 48), offset=st.integers(-6, 6))
def test_follows_the_scanner(brain: float, offset: int) -> None:
    """It is the brain's HU, and moves with all HU."""
    found, shifted = find_brain_hu(head(brain)), find_brain_hu(head(brain) + np.int16(offset))

    assert found == pytest.approx(brain, abs=0.5)
    assert shifted == pytest.approx(brain + offset, abs=0.6)


@settings(max_examples=25, deadline=None)
@given(radius=st.floats(5, 38), hu=st.sampled_from([10, 18, 60, 75, 300]), x=st.floats(-30, 30), y=st.floats(-40, 40))
def test_bleeds_and_infarcts_do_not_move_it(radius: float, hu: int, x: float, y: float) -> None:
    """A region up to a third of the brain, dark or bright."""
    volume = head()
    rows, columns = (np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) * 1.6
    inside = np.hypot(columns / 66, rows / 80) < 0.98
    volume[2:6, (np.hypot(columns - x, rows - y) < radius) & inside] = hu

    assert find_brain_hu(volume) == pytest.approx(33.0, abs=1.0)


def test_few_slices_are_enough() -> None:
    """One slice of the middle gives what the scan gives."""
    assert find_brain_hu(head()[3:4]) == pytest.approx(find_brain_hu(head()), abs=0.5)


@pytest.mark.parametrize("what", ["air", "water", "no slice", "soft tissue without bone"])
def test_no_brain(what: str) -> None:
    """Nothing inside bone: no number is made up."""
    volume = head()
    if what == "air":
        volume[:] = -1000
    elif what == "water":
        volume[:] = 0
    elif what == "no slice":
        volume = volume[:0]
    else:
        volume[volume > 200] = 40
    assert find_brain_hu(volume) is None
