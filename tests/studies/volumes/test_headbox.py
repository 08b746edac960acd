"""The head box holds the head, and nothing else where it can."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.studies.volumes.headbox import MARGIN_MM, Box, find_head_box, full_field, tissue_grid

SHAPE = (240, 240)
SPACING = (1.0, 1.0)


def ellipse(center: tuple[float, float], radii: tuple[float, float], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """Return one slice: an ellipse of tissue in air, px."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = ((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2 <= 1
    return np.where(inside, 40, -1000).astype(np.int16)


def box_of(*slices: np.ndarray, spacing: tuple[float, float] | None = SPACING) -> Box | None:
    """Find the box of slices."""
    return find_head_box([tissue_grid(hu) for hu in slices], SHAPE, spacing)


@settings(max_examples=40, deadline=None)
@given(
    top=st.integers(80, 140), left=st.integers(75, 150), height=st.integers(45, 75), width=st.integers(40, 70),
)  # fmt: skip
def test_box_holds_the_head_with_its_margin_and_little_more(top, left, height, width):
    """The grid is coarse: a step or two of it is allowed."""
    box = box_of(ellipse((top, left), (height, width)))
    assert box is not None
    for low, high, center, radius, side in (
        (box.top, box.bottom, top, height, 240), (box.left, box.right, left, width, 240),
    ):  # fmt: skip
        assert max(0, center - radius - MARGIN_MM - 6) <= low <= max(0, center - radius)
        assert min(side, center + radius) <= high <= min(side, center + radius + MARGIN_MM + 7)


def test_box_is_that_of_all_slices():
    """Slices of one series must stay aligned."""
    low, high = ellipse((100, 100), (60, 50)), ellipse((120, 130), (60, 50))
    both = box_of(low, high)
    assert both is not None
    assert both.top <= 40
    assert both.left <= 50
    assert both.bottom >= 180
    assert both.right >= 180


def test_table_and_head_rest_are_left_out():
    """They are thinner than any part of a head that counts."""
    hu = ellipse((100, 120), (70, 55))
    hu[190:200] = 300
    y, x = np.mgrid[:240, :240]
    ring = np.abs(np.hypot(y - 100, x - 120) - 85) < 4
    hu[ring & (y > 120)] = 100
    plain = box_of(ellipse((100, 120), (70, 55)))
    assert box_of(hu) == plain


def test_a_thick_cushion_beside_the_head_is_left_out():
    """It is as thick as a head, but never lies on the head of a neighbour."""
    hu = ellipse((90, 120), (65, 55))
    cushion = ellipse((200, 120), (16, 50))
    with_cushion = np.maximum(hu, cushion)
    assert box_of(with_cushion, with_cushion) == box_of(hu)


def test_a_slice_without_air_says_nothing():
    """A brain window saved as an image is tissue up to its corners."""
    hu = ellipse((100, 120), (65, 55))
    grey = np.where(hu > 0, hu, -20).astype(np.int16)
    assert box_of(hu, grey, hu) == box_of(hu)


@pytest.mark.parametrize(
    "slices",
    [
        pytest.param([], id="no slice"),
        pytest.param([np.full(SHAPE, -1000, np.int16)], id="air"),
        pytest.param([np.full(SHAPE, 40, np.int16)], id="no air"),
        pytest.param([ellipse((100, 100), (20, 25))], id="too small"),
    ],
)
def test_no_box_where_nothing_has_the_size_of_a_head(slices):
    """The caller keeps the full field then."""
    assert box_of(*slices) is None


def test_spacing_decides_what_is_too_small():
    """Sizes are in mm, not px."""
    slices = [ellipse((100, 100), (20, 25))]
    assert box_of(*slices) is None
    assert box_of(*slices, spacing=(2.5, 2.5)) is not None


def test_box_stays_in_the_field():
    """The margin is cut off at the edge."""
    box = box_of(ellipse((60, 60), (90, 90)))
    assert box is not None
    assert (box.top, box.left) == (0, 0)
    assert box.bottom <= 240


def test_grid_is_the_same_for_every_matrix():
    """Slices of several matrices are compared on it."""
    small, large = ellipse((50, 60), (35, 30), (120, 120)), ellipse((200, 240), (140, 120), (480, 480))
    assert (tissue_grid(small) != tissue_grid(large)).mean() < 0.02


def test_full_field_holds_everything():
    """Half-open, as all boxes."""
    assert full_field((512, 400)) == Box(0, 0, 512, 400)
    assert (full_field((512, 400)).height, full_field((512, 400)).width) == (512, 400)
