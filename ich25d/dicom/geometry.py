"""Where slices lie in space: normals, positions along them, tilt and gaps. Arrays only; no headers.

References:
    DICOM PS3.3, C.7.6.2.1.1 (Image Position and Orientation).
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SAME_POSITION_MM = 0.01
"""Closer than that is the same place: headers carry noise of 1e-4 mm, and no CT steps 10 um."""
SAME_ORIENTATION = 2e-3
"""Cosines closer than that are one orientation (about a milliradian)."""
AXIAL_COSINE = 0.7
"""Least z component of an axial normal: tilts and oblique planes up to 45 degrees."""
FOV_RATIO = 1.1
"""Fields of view further apart than that are different reconstructions."""
MIXED_RATIO = 1.2
"""Gaps further apart than that are called mixed."""
_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}


class Gaps(NamedTuple):
    """The distances of a series' slices."""

    median_mm: float | None
    """None below two positions."""
    is_regular: bool
    """All the same within a fifth, and no position twice."""
    smallest_mm: float
    largest_mm: float
    n_holes: int
    """Gaps that stand out from the gaps beside them."""
    n_doubles: int
    """Slices at a position that another slice has too."""


def canonical_normal(directions: Floats) -> Floats:
    """Return row x column, turned so that its largest component is positive.

    For axial slices that is from the feet to the head, whatever way the patient lay or the table went.

    Args:
        directions: Cosines of the row, then of the column; shape (6,).

    Returns:
        Unit vector, shape (3,).
    """
    a, b, c, d, e, f = directions.tolist()
    normal = np.array([b * f - c * e, c * d - a * f, a * e - b * d])
    normal /= np.linalg.norm(normal)
    return normal if normal[np.abs(normal).argmax()] > 0 else -normal


def patient_axes(directions: Sequence[float] | None) -> str:
    """Return where the rows and the columns of an image run in the patient, as `LP`: to the left, to the back.

    Letters are those of Patient Orientation (0020,0020): L, R, A(nterior), P(osterior), H(ead), F(oot). `LP` is the
    usual display of the axial plane: the patient's right is on the left.

    Args:
        directions: Cosines of the row, then of the column, length 6; None where unknown.

    Returns:
        Two letters; empty where unknown.
    """
    if directions is None:
        return ""
    axes = np.asarray(directions, dtype=np.float64).reshape(2, 3)
    main = np.abs(axes).argmax(axis=1)
    return "".join("RAF LPH"[axis + 4 * int(values[axis] > 0)] for axis, values in zip(main, axes, strict=True))


def sides_of(orientation: str) -> tuple[str, str] | None:
    """Return the patient's sides at the left and right of an image; None where the files don't say.

    Args:
        orientation: What `patient_axes` returned.
    """
    return (_OPPOSITE[orientation[0]], orientation[0]) if orientation[:1] in _OPPOSITE else None


class Display(NamedTuple):
    """How a slice as it is stored becomes one of the usual display, without resampling; in this order."""

    transpose: bool = False
    """Rows become columns."""
    flip_rows: bool = False
    """The last row comes first."""
    flip_columns: bool = False
    """The last column comes first."""

    @property
    def is_mirrored(self) -> bool:
        """The slice as it is stored shows the mirror image of the usual display, not a turned one."""
        return (self.transpose + self.flip_rows + self.flip_columns) % 2 == 1

    def turned(self, slice_: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a slice, shape (rows, columns), in the usual display: a view, shape (columns, rows) if transposed."""
        shown = slice_.T if self.transpose else slice_
        return shown[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def turned_spacing(self, pixel_spacing_mm: tuple[float, float]) -> tuple[float, float]:
        """Return the distance of rows, then of columns, of the turned slice."""
        return pixel_spacing_mm[::-1] if self.transpose else pixel_spacing_mm

    def turned_directions(self, directions: Sequence[float]) -> Floats:
        """Return the cosines of the row, then of the column, of the turned slice; shape (6,)."""
        row, column = np.asarray(directions, dtype=np.float64).reshape(2, 3)
        if self.transpose:
            row, column = column, row
        return np.concatenate((-row if self.flip_columns else row, -column if self.flip_rows else column))


def to_usual_display(directions: Sequence[float]) -> Display:
    """Find the transposition and flips that bring an axial slice to the usual display.

    There, rows run to the patient's left and columns to the back (`LP`). A slice turned by less than 45 degrees in its
    plane is left as it is. Where row x column points to the feet (a left-handed matrix with the slices' order from the
    feet to the head), the picture is stored mirrored; its directions still say where left is, so it comes out right.

    Args:
        directions: Cosines of the row, then of the column, in the patient's axes (x to the left, y to the back, z to
            the head), length 6.

    Returns:
        What to do; nothing for planes that aren't axial.
    """
    a, b, c, d, e, f = map(float, directions)  # a few numbers a series: NumPy's calls would take longer
    row, column = (a, b, c), (d, e, f)
    normal = b * f - c * e, c * d - a * f, a * e - b * d
    if abs(normal[2]) < AXIAL_COSINE * math.hypot(*normal):
        return Display()
    # Half-way between the two, noise of 1e-6 in the cosines mustn't decide.
    transpose = abs(row[1]) + abs(column[0]) > abs(row[0]) + abs(column[1]) + 1e-6
    if transpose:
        row, column = column, row
    return Display(transpose, flip_rows=column[1] < 0, flip_columns=row[0] < 0)


def main_directions(directions: Floats) -> Floats:
    """Return the most frequent row of orientations, the smallest one in case of a tie.

    One orientation projects all slices of a group: projecting each along its own would turn noise of 1e-3
    in the cosines into a quarter of a millimetre.

    Args:
        directions: Shape (n, 6).
    """
    if (directions == directions[0]).all():
        return np.asarray(directions[0])
    counts = Counter(map(tuple, directions.tolist()))
    most = max(counts.values())
    return np.array(min(row for row, count in counts.items() if count == most), dtype=np.float64)


def orientation_groups(directions: Floats) -> Ints:
    """Number the orientations of slices, alike within a milliradian or linked by others that are.

    Args:
        directions: Shape (n, 6).

    Returns:
        Group of each slice, shape (n,); the numbers don't depend on the slices' order.
    """
    if (directions == directions[0]).all():
        return np.zeros(len(directions), dtype=np.int64)
    rows, inverse = np.unique(np.round(directions, 4), axis=0, return_inverse=True)
    group = np.arange(len(rows))
    for row in range(1, len(rows)):
        near = np.abs(rows[:row] - rows[row]).max(axis=1) <= SAME_ORIENTATION
        if near.any():
            linked = np.unique(group[:row][near])
            group[np.isin(group, linked)] = linked[0]
            group[row] = linked[0]
    return np.asarray(group[inverse.reshape(-1)], dtype=np.int64)


def size_groups(fov_mm: Floats) -> Ints:
    """Number the fields of view; a new number where the next larger one is more than a tenth larger.

    Args:
        fov_mm: Longer side in mm, shape (n,); NaN where unknown goes with most of the others.
    """
    known = np.unique(fov_mm[np.isfinite(fov_mm)])
    if len(known) < 2:  # one size
        return np.zeros(len(fov_mm), dtype=np.int64)
    steps = np.concatenate(([0], np.cumsum(known[1:] > FOV_RATIO * known[:-1])))
    is_known = np.isfinite(fov_mm)
    numbers = np.empty(len(fov_mm), dtype=np.int64)
    numbers[is_known] = steps[np.searchsorted(known, fov_mm[is_known])]
    numbers[~is_known] = np.bincount(numbers[is_known]).argmax()
    return numbers


def place_numbers(position_mm: Floats) -> Ints:
    """Number the places along the normal: slices closer than 0.01 mm to the next one share a place.

    Args:
        position_mm: Shape (n,), in any order.

    Returns:
        Rank of each slice's place, shape (n,), 0 for the lowest.
    """
    order = np.argsort(position_mm, kind="stable")
    places = np.concatenate(([0], np.cumsum(np.diff(position_mm[order]) >= SAME_POSITION_MM)))
    numbers = np.empty(len(position_mm), dtype=np.int64)
    numbers[order] = places
    return numbers


def tilt_deg(origins: Floats, position_mm: Floats, normal: Floats) -> float | None:
    """Return the angle between the slices' normal and the way their origins go.

    The file's own gantry tag isn't used: its sign depends on the maker.

    Args:
        origins: Image Position (Patient), shape (n, 3), mm.
        position_mm: Their projection on the normal, shape (n,).
        normal: Unit vector, shape (3,).

    Returns:
        Degrees, not negative; None where all slices share one place.
    """
    centred = position_mm - position_mm.mean()
    spread = float(centred @ centred)
    if spread < SAME_POSITION_MM**2:
        return None
    # Least squares of origin over position: one slice that is off doesn't decide.
    way = centred @ (origins - origins.mean(axis=0)) / spread
    return float(np.degrees(np.arctan(np.linalg.norm(way - (way @ normal) * normal))))


def describe_gaps(position_mm: Floats) -> Gaps:
    """Describe the distances of slices.

    A gap is a hole when it is more than 1.6 times the gaps on both sides of it: where a scan changes from
    2.5 to 5 mm for good, one side is as large, and nothing is missing.

    Args:
        position_mm: Shape (n,), rising.
    """
    steps = np.diff(position_mm)
    gaps = steps[steps >= SAME_POSITION_MM]
    n_doubles = 0
    if len(gaps) < len(steps):
        places = place_numbers(position_mm)
        n_doubles = int((np.bincount(places)[places] > 1).sum())
    if not len(gaps):
        return Gaps(None, False, 0.0, 0.0, 0, n_doubles)
    smallest, largest, median = float(gaps.min()), float(gaps.max()), float(np.median(gaps))
    is_mixed = largest > MIXED_RATIO * smallest
    n_holes = 0
    if is_mixed and len(gaps) > 1:
        before = np.concatenate((gaps[1:2], gaps[:-1]))
        after = np.concatenate((gaps[1:], gaps[-2:-1]))
        n_holes = int((gaps > 1.6 * np.maximum(np.maximum(before, after), median)).sum())
    return Gaps(median, not is_mixed and n_doubles == 0, smallest, largest, n_holes, n_doubles)
