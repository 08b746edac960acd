"""Slices brought to rows that run to the patient's left and columns that run to the back."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ich25d.dicom.geometry import Display, canonical_normal, patient_axes, to_usual_display

HEAD = np.array([["right front", "left front"], ["right back", "left back"]])
"""The usual display: the patient's right is on the left, the front on top."""


@pytest.mark.parametrize(
    ("directions", "stored", "expected"),
    [
        ((1, 0, 0, 0, 1, 0), HEAD, Display()),
        ((-1, 0, 0, 0, -1, 0), HEAD[::-1, ::-1], Display(False, True, True)),
        ((1, 0, 0, 0, -1, 0), HEAD[::-1], Display(False, True, False)),
        ((-1, 0, 0, 0, 1, 0), HEAD[:, ::-1], Display(False, False, True)),
        ((0, 1, 0, 1, 0, 0), HEAD.T, Display(True, False, False)),
        ((0, -1, 0, 1, 0, 0), HEAD.T[:, ::-1], Display(True, True, False)),
        ((0, 1, 0, -1, 0, 0), HEAD.T[::-1], Display(True, False, True)),
        ((0.966, 0.259, 0, -0.259, 0.966, 0), HEAD, Display()),
        ((1, 0, 0, 0, 0.94, -0.34), HEAD, Display()),
    ],
    ids=[
        "usual",
        "prone",
        "upside down",
        "mirrored",
        "transposed",
        "on the side",
        "on the other side",
        "15 deg",
        "tilt",
    ],
)
def test_a_head_comes_out_the_same_however_it_was_stored(directions, stored, expected):
    """Hand-worked: the second column of `stored` lies where the row direction points, the second row likewise."""
    display = to_usual_display(directions)

    assert display == expected
    assert (display.turned(stored) == HEAD).all()
    assert patient_axes(display.turned_directions(directions)) == "LP"


def test_other_planes_stay_as_they_are():
    """A sagittal slice has no left to bring its rows to."""
    assert to_usual_display((0, 1, 0, 0, 0, -1)) == Display()


def test_spacing_follows_the_transposition():
    """Rows 0.5 mm apart are columns 0.5 mm apart afterwards."""
    assert Display(transpose=True).turned_spacing((0.5, 0.4)) == (0.4, 0.5)
    assert Display(flip_rows=True).turned_spacing((0.5, 0.4)) == (0.5, 0.4)


angles = st.floats(-np.pi, np.pi)


@settings(deadline=None)
@given(angles, st.floats(-0.7, 0.7), st.floats(-0.7, 0.7), st.booleans())
def test_every_axial_plane_ends_within_45_degrees_of_the_usual_one(spin, pitch, roll, is_mirrored):
    """Turned in its plane by any angle, tilted and mirrored: afterwards nothing is left to do, and left is right."""
    cos, sin = np.cos, np.sin
    about_z = np.array([[cos(spin), -sin(spin), 0], [sin(spin), cos(spin), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cos(pitch), -sin(pitch)], [0, sin(pitch), cos(pitch)]])
    about_y = np.array([[cos(roll), 0, sin(roll)], [0, 1, 0], [-sin(roll), 0, cos(roll)]])
    row, column = (about_y @ about_x @ about_z)[:, :2].T
    if is_mirrored:
        column = -column
    directions = np.concatenate((row, column))
    assume(canonical_normal(directions)[2] > 0.75)
    assume(abs(abs(row[1]) + abs(column[0]) - abs(row[0]) - abs(column[1])) > 1e-3)

    display = to_usual_display(directions)

    after = display.turned_directions(directions)
    assert to_usual_display(after) == Display()
    assert np.cross(after[:3], after[3:])[2] > 0.7
    assert display.is_mirrored == (np.cross(row, column)[2] < 0)
    # Where each px lies in the patient doesn't change.
    place = np.array([[c * row + r * column for c in range(3)] for r in range(2)])
    turned = np.stack([display.turned(place[..., axis]) for axis in range(3)], axis=-1)
    assert np.allclose(np.diff(turned, axis=1), after[:3], atol=1e-9)
    assert np.allclose(np.diff(turned, axis=0), after[3:], atol=1e-9)
