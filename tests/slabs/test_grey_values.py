"""Windows are linear, monotonic and end at 0 and 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich25d.config import SlabConfig, WindowConfig
from ich25d.slabs.grey_values import grey, resolve_windows, window_hu


@pytest.mark.parametrize(
    ("hu", "expected"),
    [(-1024, 0.0), (0, 0.0), (20, 0.25), (40, 0.5), (80, 1.0), (3071, 1.0)],
)
def test_brain_window_by_hand(hu: int, expected: float) -> None:
    """Level 40, width 80: 0 HU is black, 40 is the middle, 80 is white."""
    assert window_hu(np.array([hu], np.float32), level=40, width=80)[0] == pytest.approx(expected)


def test_a_picture_goes_from_0_to_255() -> None:
    """Rounded to the nearest grey value: 10 HU are 31.875 in the brain window."""
    assert grey(np.array([[-5, 10], [40, 99]], np.int16), (40, 80)).tolist() == [[0, 32], [128, 255]]


@given(
    st.lists(st.floats(-1024, 3071, width=32), min_size=2, max_size=20),
    st.floats(-500, 1000),
    st.floats(1, 4000),
)
def test_is_monotonic_from_0_to_1(hu: list[float], level: float, width: float) -> None:
    """A higher HU is never darker."""
    grey = window_hu(np.sort(np.array(hu, np.float32)), level=level, width=width)

    assert (np.diff(grey) >= 0).all()
    assert grey.min() >= 0
    assert grey.max() <= 1


def test_refuses_a_width_of_zero() -> None:
    """A window without width would divide by zero."""
    with pytest.raises(ValueError, match="width must be above 0 HU"):
        window_hu(np.zeros(1, np.float32), level=40, width=0)


def test_resolves_names_numbers_and_the_files_own() -> None:
    """`dicom` stays open until a file is there."""
    slab = SlabConfig(windows=("subdural", WindowConfig(level=35, width=100), "dicom"))

    assert resolve_windows(slab) == ((80, 200), (35.0, 100.0), None)


def test_an_unknown_window_name_is_refused() -> None:
    """With the names that there are."""
    with pytest.raises(ValueError, match=r"a window must be brain, subdural, .*dicom or {level, width} \(got brainy\)"):
        SlabConfig(windows=("brainy",))
