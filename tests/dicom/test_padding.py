"""Declared padding becomes air where it looks like padding, and stays HU where tissue has the same value."""

from collections.abc import Callable

import numpy as np
import pytest

from ich25d.dicom.header import Header
from ich25d.dicom.hounsfield import to_hu

SIDE = 128
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2


def head() -> np.ndarray:
    """HU of a noisy head in air, with some pixels of exactly 0 in it."""
    hu = np.full((SIDE, SIDE), -1000, dtype=np.int16)
    brain = np.hypot(ROWS, COLUMNS) < 40
    hu[brain] = np.random.default_rng(0).integers(-10, 50, int(brain.sum()))
    return hu


@pytest.mark.parametrize("padding", [0, 40])
def test_a_padding_value_that_tissue_has_is_left_inside(make_header: Callable[..., Header], padding: int) -> None:
    """Writers of HU declare 0, or what they copied: 0 HU of the brain must not become air."""
    hu = head()
    found, remarks = to_hu(hu, make_header(intercept=0.0, padding=padding))

    assert np.array_equal(found, hu)
    assert [remark.code for remark in remarks] == ["PAD_IN_HEAD"]
    assert str(int((hu == padding).sum())) in remarks[0].detail


@pytest.mark.parametrize("margin", [0, 3])
def test_outside_the_circle_it_is_air_though_tissue_has_it_too(make_header: Callable[..., Header], margin: int) -> None:
    """Corners of 0, also behind a frame of another value: air there, HU in the head."""
    hu = head()
    field = np.hypot(ROWS, COLUMNS) <= SIDE / 2
    stored = np.where(field, hu, 0).astype(np.int16)
    if margin:
        for edge in (stored[:margin], stored[-margin:], stored[:, :margin], stored[:, -margin:]):
            edge[:] = -1001
    found, remarks = to_hu(stored, make_header(intercept=0.0, padding=0))

    assert (found[~field] <= -1001).all()
    assert np.array_equal(found[field & (hu > -1000)], hu[field & (hu > -1000)])
    assert [remark.code for remark in remarks] == ["PAD_IN_HEAD"]


def test_metal_of_the_padding_value_stays_metal(make_header: Callable[..., Header]) -> None:
    """4095 outside the circle, and 4095 in a clip."""
    stored = (head().astype(np.int32) + 1024).astype(np.uint16)
    stored[np.hypot(ROWS, COLUMNS) > SIDE / 2] = 4095
    stored[60:64, 60:64] = 4095
    found, _ = to_hu(stored, make_header(is_signed=False, bits_stored=12, high_bit=11, padding=4095))

    assert found[0, 0] == -1024
    assert (found[60:64, 60:64] == 3071).all()


def test_tissue_at_the_border_is_no_padding(make_header: Callable[..., Header]) -> None:
    """A field inside the head: single pixels of the border have the value by chance."""
    hu = np.random.default_rng(1).integers(-10, 50, (SIDE, SIDE)).astype(np.int16)
    found, remarks = to_hu(hu, make_header(intercept=0.0, padding=0))

    assert np.array_equal(found, hu)
    assert "PAD_IN_HEAD" in [remark.code for remark in remarks]
