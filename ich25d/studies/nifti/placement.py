"""Where the axial slices of a volume lie: shape and affine come in, their order, places and turns go out."""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.dicom.geometry import (
    AXIAL_COSINE,
    Display,
    Floats,
    canonical_normal,
    patient_axes,
    tilt_deg,
    to_usual_display,
)
from ich25d.dicom.header import Remark
from ich25d.dicom.interpret import MAX_SIDE
from ich25d.dicom.places import NOMINAL_MM
from ich25d.dicom.series import THIN_MM
from ich25d.errors import DicomError
from ich25d.studies.nifti.header import NiftiHeader

MIN_SIDE = 32
"""No axial slice of a head has fewer rows or columns; a sagittal slice seen from above has."""
MOST_ANISO = 2.0
"""Pixels longer than that many times their width are those of slices of another plane, seen from the side."""
_ANISO, _SKEW, _SAME_SIZE, _TILT_DEG = 0.02, 0.01, 0.01, 0.5


class Placement(NamedTuple):
    """The axial slices of one volume, from the feet to the head, each in the usual display."""

    axes: tuple[int, int, int]
    """The volume's axes that count slices, rows and columns, before the display is made."""
    display: Display
    is_reversed: bool
    """The file's last slice is the lowest."""
    slice_position_mm: tuple[float, ...]
    """Along the slices' normal, rising; nominal where the affine doesn't say."""
    slice_spacing_mm: float | None
    tilt_deg: float | None
    pixel_spacing_mm: tuple[float, float] | None
    """Distance of rows, then of columns, as displayed; None where absurd."""
    orientation: str
    """Where rows and columns run as displayed: `LP`."""
    source_orientation: str
    """Where they run in the file."""
    order_key: str
    remarks: tuple[Remark, ...]

    def file_index(self, rank: int) -> int:
        """Return the index in the file, from 0, of a slice in scan order."""
        return len(self.slice_position_mm) - 1 - rank if self.is_reversed else rank

    def slice_of(self, volume: npt.NDArray[Any], rank: int) -> npt.NDArray[Any]:
        """Return a view of one slice, shape (rows, columns), of the volume as the file has it."""
        return self.display.turned(volume.transpose(self.axes)[self.file_index(rank)])


def place_slices(header: NiftiHeader, accept: Collection[str] = ()) -> Placement:
    """Find the axial slices of a volume.

    They are counted by the axis whose plane is nearest to the axial one; the volume isn't resampled.

    Args:
        header: The file's header.
        accept: Reason codes that refuse nothing: with `NOT_AXIAL` slices of another plane are taken as they are.

    Raises:
        DicomError: The slices lie in another plane (`NOT_AXIAL`), or are too large (`SHAPE`).
    """
    lengths = np.linalg.norm(header.affine[:, :3], axis=0)
    units: Floats = header.affine[:, :3] / np.where(lengths > 0, lengths, 1.0)
    slice_axis = _slice_axis(units)
    accepted: tuple[Remark, ...] = ()
    if why := _why_not_axial(header, units, lengths, slice_axis):
        if "NOT_AXIAL" not in accept:
            raise DicomError("NOT_AXIAL", why)
        accepted = (Remark("ACCEPTED", f"would be refused as NOT_AXIAL: {why}"),)
        slice_axis = max(range(3), key=lambda axis: (round(lengths[axis], 2), -header.shape[axis]))
    column_axis, row_axis = (axis for axis in range(3) if axis != slice_axis)
    rows, columns, n = header.shape[row_axis], header.shape[column_axis], header.shape[slice_axis]
    if max(rows, columns) > MAX_SIDE:
        raise DicomError("SHAPE", f"rows and columns must be at most {MAX_SIDE} (got {rows} x {columns})")
    directions = np.concatenate((units[:, column_axis], units[:, row_axis])).tolist()
    normal = canonical_normal(np.array(directions))
    sizes, agree = _sizes(header, lengths, (row_axis, column_axis))
    spacing = (sizes[row_axis], sizes[column_axis])
    display = to_usual_display(directions)
    spacing = display.turned_spacing(spacing)
    origins: Floats = header.affine[:, 3] + np.arange(n)[:, None] * header.affine[:, slice_axis]
    has_places = lengths[slice_axis] > 0
    step_mm = (
        float(header.affine[:, slice_axis] @ normal)
        if agree
        else sizes[slice_axis] * (1.0 if units[:, slice_axis] @ normal >= 0 else -1.0)
    )
    position_mm = float(origins[0] @ normal) + np.arange(n) * (step_mm if has_places else NOMINAL_MM)
    tilt = tilt_deg(origins, origins @ normal, normal) if n > 1 and has_places and header.says_where else None
    return Placement(
        axes=(slice_axis, row_axis, column_axis),
        display=display,
        is_reversed=bool(position_mm[-1] < position_mm[0]),
        slice_position_mm=tuple(np.sort(position_mm).tolist()),
        slice_spacing_mm=abs(step_mm) if n > 1 and has_places else None,
        tilt_deg=tilt,
        pixel_spacing_mm=spacing if all(0.1 <= side <= 2 for side in spacing) else None,
        orientation=patient_axes(display.turned_directions(directions).tolist()),
        source_orientation=patient_axes(directions),
        order_key="position" if header.says_where and has_places else "instance",
        remarks=(
            *accepted,
            *header.remarks,
            *_remarks(spacing, directions, n, abs(step_mm) if has_places else 0.0, tilt, agree=agree),
        ),
    )


def _sizes(header: NiftiHeader, lengths: Floats, in_plane: tuple[int, int]) -> tuple[list[float], bool]:
    """Return the voxel's sizes along its axes, and whether the affine has the same.

    They are those of pixdim, unless it holds none or says 1 for all. Where the affine has others in the slice's plane,
    it isn't rigid: dcm2niix writes such for a tilted gantry, and registration to an atlas does.
    """
    if min(header.pixdim_mm) <= 0 or set(header.pixdim_mm) == {1.0}:
        return [round(length, 6) for length in lengths.tolist()], True
    agree = all(abs(lengths[axis] - header.pixdim_mm[axis]) <= _SAME_SIZE * lengths[axis] for axis in in_plane)
    return list(header.pixdim_mm), agree


def _slice_axis(units: Floats) -> int:
    """Return the axis that counts the axial slices: the one without a length, else that of the most axial plane."""
    for axis in range(3):
        if not units[:, axis].any():
            return axis
    normals = np.cross(units[:, [1, 2, 0]], units[:, [2, 0, 1]], axis=0)
    return int(np.argmax(np.abs(normals[2]) / np.linalg.norm(normals, axis=0)))


def _why_not_axial(header: NiftiHeader, units: Floats, lengths: Floats, slice_axis: int) -> str:
    """Say why the slices that an axis counts are no axial ones; nothing where they are."""
    columns, rows = (axis for axis in range(3) if axis != slice_axis)
    z = canonical_normal(np.concatenate((units[:, columns], units[:, rows])))[2]
    if z < AXIAL_COSINE:
        return f"the normal must be within 45 degrees of the body's axis (its z component is {z:.2f})"
    sizes, _ = _sizes(header, lengths, (rows, columns))
    spacing, shape = (sizes[rows], sizes[columns]), (header.shape[rows], header.shape[columns])
    if max(spacing) > MOST_ANISO * min(spacing) or min(shape) < MIN_SIDE:
        size = f"{shape[0]} x {shape[1]} px of {spacing[0]:.3g} x {spacing[1]:.3g} mm"
        return f"the volume's slices lie in another plane: axial ones would have {size}"
    return ""


def _remarks(
    spacing: tuple[float, float], directions: list[float], n: int, step_mm: float, tilt: float | None, *, agree: bool
) -> list[Remark]:
    found = []
    if n == 1:
        found.append(Remark("ONE_SLICE", "a series of one slice; its neighbours are itself"))
    elif step_mm == 0:
        found.append(Remark("ORDER_BY_INSTANCE", "the affine gives the slices one position; the file's order is taken"))
    elif step_mm < THIN_MM:
        found.append(Remark("THIN", f"median gap {step_mm:.2f} mm"))
    if tilt is not None and tilt > _TILT_DEG:
        found.append(Remark("TILT", f"the affine is sheared by a gantry tilt of {tilt:.1f} degrees"))
    if not agree:
        found.append(Remark("BAD_GEOMETRY", "the affine's voxels are larger or smaller than pixdim's; pixdim is taken"))
    if abs(float(np.dot(directions[:3], directions[3:]))) > _SKEW:
        found.append(
            Remark("BAD_GEOMETRY", "the affine's rows and columns aren't perpendicular; shown as if they were")
        )
    if not all(0.1 <= side <= 2 for side in spacing):
        found.append(Remark("NO_SPACING", f"pixels must be 0.1 to 2 mm wide (got {spacing[0]:.4g} x {spacing[1]:.4g})"))
    elif abs(spacing[0] - spacing[1]) > _ANISO * max(spacing):
        found.append(Remark("ANISO", f"pixels aren't square ({spacing[0]:.4g} x {spacing[1]:.4g} mm)"))
    return found
