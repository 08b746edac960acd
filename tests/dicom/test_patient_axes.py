"""Where the rows and the columns of a slice run in the patient."""

import pytest

from ich25d.dicom.geometry import patient_axes


@pytest.mark.parametrize(
    ("directions", "letters"),
    [
        ((1, 0, 0, 0, 1, 0), "LP"),
        ((-1, 0, 0, 0, -1, 0), "RA"),
        ((1, 0, 0, 0, 0.94, -0.34), "LP"),
        ((0, 1, 0, 0, 0, -1), "PF"),
        ((0.1, 0.2, 0.97, 0.98, -0.2, 0), "HL"),
        (None, ""),
    ],
    ids=["usual", "turned by half", "tilted", "sagittal", "oblique", "unknown"],
)
def test_letters_are_those_of_patient_orientation(directions: tuple[float, ...] | None, letters: str) -> None:
    """X grows to the left, y to the back, z to the head (PS3.3, C.7.6.2.1.1)."""
    assert patient_axes(directions) == letters
