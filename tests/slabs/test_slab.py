"""Neighbours by rank and by distance, and the order of channels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ich25d.config import SlabConfig
from ich25d.slabs.neighbours import neighbour_indices
from ich25d.slabs.slab import make_slabs

BY_RANK = SlabConfig(windows=("brain",))
BY_5_MM = SlabConfig(windows=("brain",), neighbour_mm=5.0)
FIVE = SlabConfig(windows=("brain",), neighbours=(-2, -1, 0, 1, 2))
FIVE_IN_MM = SlabConfig(windows=("brain",), neighbours=(-2, -1, 0, 1, 2), neighbour_mm=5.0)


@pytest.mark.parametrize(
    ("position", "slab", "expected"),
    [
        pytest.param([0, 5, 10], BY_RANK, [[0, 0, 1], [0, 1, 2], [1, 2, 2]], id="ends repeat the slice itself"),
        pytest.param([0, 5, 20, 25], BY_RANK, [[0, 0, 1], [0, 1, 1], [2, 2, 3], [2, 3, 3]], id="a hole is an edge"),
        pytest.param([0, 5, np.nan], BY_RANK, [[0, 0, 1], [0, 1, 1], [2, 2, 2]], id="no position, no neighbour"),
        pytest.param([0, 0, 5, 5], BY_RANK, [[0, 0, 2], [1, 1, 2], [0, 2, 2], [0, 3, 3]], id="two passes"),
        pytest.param([7.5], BY_RANK, [[0, 0, 0]], id="a single slice"),
        pytest.param(
            [0, 2.5, 5, 7.5, 10], BY_5_MM, [[0, 0, 2], [0, 1, 3], [0, 2, 4], [1, 3, 4], [2, 4, 4]], id="every second"
        ),
        pytest.param([0, 7, 14], BY_5_MM, [[0, 0, 1], [0, 1, 2], [1, 2, 2]], id="thick slices take the next"),
        pytest.param([0, 5, 30, 35], BY_5_MM, [[0, 0, 1], [0, 1, 1], [2, 2, 3], [2, 3, 3]], id="a hole in mm"),
        pytest.param(
            [0, 5, 10, 25, 30, 35],
            FIVE,
            [[0, 0, 0, 1, 2], [1, 0, 1, 2, 1], [0, 1, 2, 2, 2], [3, 3, 3, 4, 5], [4, 3, 4, 5, 4], [3, 4, 5, 5, 5]],
            id="two beyond a hole are none",
        ),
        pytest.param(
            [0, 5, 16, 21],
            FIVE_IN_MM,
            [[0, 0, 0, 1, 0], [1, 0, 1, 1, 1], [2, 2, 2, 3, 2], [3, 2, 3, 3, 3]],
            id="two beyond a hole in mm",
        ),
        pytest.param(
            [0, 1, 2, 11, 12],
            SlabConfig(windows=("brain",), neighbours=(-2, 0, 2), neighbour_mm=5.0),
            [[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]],
            id="thin slices don't reach over 9 mm either",
        ),
        pytest.param([np.nan, np.nan], BY_5_MM, [[0, 0, 0], [1, 1, 1]], id="no positions in mm"),
    ],
)
def test_neighbours_by_hand(position: list[float], slab: SlabConfig, expected: list[list[int]]) -> None:
    """Hand-worked series."""
    assert neighbour_indices(np.array(position, float), slab).tolist() == expected


def test_thin_and_thick_scans_look_alike_in_mm() -> None:
    """At 0.625 mm the neighbours at 5 mm are eight slices away."""
    position = np.arange(100) * 0.625

    assert neighbour_indices(position, BY_5_MM)[50].tolist() == [42, 50, 58]


@given(st.lists(st.floats(0.1, 30), min_size=1, max_size=30), st.sampled_from([BY_RANK, BY_5_MM]))
def test_turning_a_scan_over_turns_its_neighbours_over(gaps: list[float], slab: SlabConfig) -> None:
    """By rank, the scan from below is the mirror of the scan from above; offset 0 is the slice itself."""
    position = np.cumsum([0.0, *gaps])
    found = neighbour_indices(position, slab)

    assert (found[:, 1] == np.arange(len(position))).all()
    assert (found[:, 0] <= found[:, 1]).all()
    assert (found[:, 1] <= found[:, 2]).all()
    if slab is BY_RANK:
        turned = neighbour_indices(-position[::-1], slab)
        assert (len(position) - 1 - turned[::-1, ::-1] == found).all()


@given(st.lists(st.floats(0.1, 30), min_size=1, max_size=30), st.sampled_from([FIVE, FIVE_IN_MM]))
def test_no_slab_reaches_beyond_a_hole(gaps: list[float], slab: SlabConfig) -> None:
    """However far a neighbour is, none of the gaps on the way to it is a hole."""
    median = float(np.median(gaps))
    in_mm = max(5 + max(2.5, 0.75 * median), 1.25 * median)
    limit_mm = (in_mm if slab is FIVE_IN_MM else 2 * median) + 1e-5
    found = neighbour_indices(np.cumsum([0.0, *gaps]), slab)

    for own, neighbours in enumerate(found.tolist()):
        for other in neighbours:
            assert max(gaps[min(own, other) : max(own, other)], default=0.0) <= limit_mm


def test_steps_much_finer_than_a_scan_still_reach_its_slices() -> None:
    """Eleven neighbours at 1 mm, of a scan at 5 mm: the usual gap is no hole, whatever the headers' rounding."""
    slab = SlabConfig(windows=("brain",), neighbours=(-5, -1, 0, 1, 5), neighbour_mm=1.0)
    position = 5.0 * np.arange(5) + np.array([0, 0.02, -0.02, 0.01, 0.03])

    expected = [[0, 0, 1, 2, 3], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, 2, 3, 4, 4]]
    assert neighbour_indices(position, slab).T.tolist() == expected


def test_channels_are_all_windows_of_the_first_slice_then_of_the_next() -> None:
    """Two slices of 0 and 80 HU in brain (0 to 80) and subdural (-20 to 180) windows."""
    slab = SlabConfig(windows=("brain", "subdural"))
    hu = torch.tensor([0.0, 80.0]).reshape(1, 2, 1, 1)

    assert make_slabs(hu, slab).flatten().tolist() == pytest.approx([0.0, 0.1, 1.0, 0.5])


def test_the_files_own_window_falls_back_to_brain() -> None:
    """An image without a window, or with a width of 0, is shown in the brain window."""
    slab = SlabConfig(windows=("dicom",))
    hu = torch.full((3, 1, 1, 1), 40.0)
    own = torch.tensor([[100.0, 200.0], [torch.nan, torch.nan], [40.0, 0.0]])

    assert make_slabs(hu, slab, own_window=own).flatten().tolist() == pytest.approx([0.2, 0.5, 0.5])


def test_jitter_moves_level_and_width() -> None:
    """Level 40 + 8 and width 80 x 2: 40 HU is at (40 - (48 - 80)) / 160."""
    hu = torch.full((1, 1, 1, 1), 40.0)
    grey = make_slabs(hu, BY_RANK, level_shift=torch.tensor([8.0]), width_factor=torch.tensor([2.0]))

    assert grey.item() == pytest.approx(0.45)
