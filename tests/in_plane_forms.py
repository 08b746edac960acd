"""One slice in all eight in-plane forms that scanners and converters store it in, each with its own geometry."""

import numpy as np

from ich25d.dicom.geometry import Display

FORMS = [Display(*map(bool, (form & 1, form & 2, form & 4))) for form in range(8)]


def stored_in(
    form: Display, hu: np.ndarray, origin_mm: np.ndarray, directions: np.ndarray, spacing_mm: tuple[float, float]
) -> tuple[np.ndarray, dict[str, tuple[float, ...]]]:
    """Store a slice another way; the anatomy stays where it is in space.

    Args:
        form: What is done to it.
        hu: Shape (rows, columns).
        origin_mm: Place of its first pixel.
        directions: Cosines of its row and column.
        spacing_mm: Distance of its rows and columns.

    Returns:
        The other slice, and its origin, directions and spacing by the names that `dicom_bytes` gives them.
    """
    row, column = np.asarray(directions, dtype=float).reshape(2, 3)
    origin, (height, width), (row_mm, column_mm) = np.array(origin_mm, dtype=float), hu.shape, spacing_mm
    if form.transpose:
        row, column, height, width, row_mm, column_mm = column, row, width, height, column_mm, row_mm
    if form.flip_rows:
        origin, column = origin + column * row_mm * (height - 1), -column
    if form.flip_columns:
        origin, row = origin + row * column_mm * (width - 1), -row
    geometry = {
        "origin_mm": tuple(origin), "directions": (*row, *column), "pixel_spacing_mm": (row_mm, column_mm),
    }  # fmt: skip
    return np.ascontiguousarray(form.turned(hu)), geometry
