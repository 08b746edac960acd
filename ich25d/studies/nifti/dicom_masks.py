"""Masks drawn on NIfTI that was made from DICOM: which DICOM series each lies on, told by geometry."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ich25d.errors import DicomError
from ich25d.studies.nifti.header import NiftiHeader
from ich25d.studies.nifti.images import forget_values, read_head, read_values
from ich25d.studies.nifti.masks import SAME_PLACE_MM, Mask, add_marks, labels_of
from ich25d.studies.qc import QcRow
from ich25d.studies.series.of_dicom import DicomImages
from ich25d.studies.series.series_plan import SeriesPlan, TurnedImages

_NEEDED = "a mask must keep the grid of its scan, as dcm2niix makes it without resampling (no _Tilt, no _Eq)"


def with_mask_labels(series: Sequence[SeriesPlan], masks: Sequence[Mask]) -> tuple[list[SeriesPlan], list[QcRow], int]:
    """Give DICOM series the labels of the masks that lie on their slices, pixel on voxel.

    Args:
        series: Plans of DICOM series.
        masks: Masks that are called as no NIfTI scan.

    Returns:
        The plans; rows of masks that can't be used; and how many masks have their scan. A series of which one mask
        can't be used has no labels.
    """
    grids = {index: grid for index, plan in enumerate(series) if (grid := _corners(plan)) is not None}
    rows: list[QcRow] = []
    of_series: defaultdict[int, list[tuple[Mask, NiftiHeader, list[int], int]]] = defaultdict(list)
    for mask in masks:
        try:
            header, _ = read_head(mask.entry, mask.sources)
        except DicomError as error:
            rows.append(QcRow(mask.source, "", "", "label", error.code, error.detail))
            continue
        fits = {index: fit for index, grid in grids.items() if (fit := _planes(grid, header)) is not None}
        most = max((len(planes) for planes, _ in fits.values()), default=0)
        fits = {
            index: fit for index, fit in fits.items() if len(fit[0]) == most
        }  # not a series that lies on a part of it
        if len(fits) == 1:
            ((index, (planes, axis)),) = fits.items()
            of_series[index].append((mask, header, planes, axis))
        elif fits:
            names = ", ".join(series[index].series_id for index in sorted(fits)[:3])
            detail = f"{len(fits)} series lie where this mask does ({names}): name one of them alone as source"
            rows.append(QcRow(mask.source, "", "", "label", "L_MASK_ALONE", detail))
        elif not series:
            rows.append(QcRow(mask.source, "", "", "label", "L_MASK_ALONE", "no scan is called as this mask"))
        else:
            detail = f"none of {len(series)} DICOM series lies where this mask does, to {SAME_PLACE_MM} mm; {_NEEDED}"
            rows.append(QcRow(mask.source, "", "", "label", "L_MASK_DIFFERS", detail))
    found = list(series)
    for index, own in sorted(of_series.items()):
        marks: list[set[str]] = [set() for _ in range(len(series[index]))]
        try:
            for mask, header, planes, axis in own:
                values = np.moveaxis(read_values(mask.sources, mask.entry, header), axis, 0)
                add_marks(marks, (values[plane] for plane in planes), header, mask.names)
        except DicomError as error:
            rows.append(QcRow(mask.source, "", "", "label", error.code, error.detail))
        else:
            found[index] = dataclasses.replace(series[index], labels=tuple(map(labels_of, marks)))
    forget_values()
    return found, rows, sum(map(len, of_series.values()))


def _corners(plan: SeriesPlan) -> npt.NDArray[np.float64] | None:
    """Return where the first pixel of each slice is, the last of its first row and the last of its first column.

    Returns:
        Shape (slices, 3, 3), mm, the last axis x, y, z of the patient; None where the files don't say.
    """
    images = plan.images.images if isinstance(plan.images, TurnedImages) else plan.images
    if not isinstance(images, DicomImages):
        return None
    corners = []
    for image in images.images:
        header = image.header()
        if header.origin_mm is None or header.directions is None or header.pixel_spacing_mm is None:
            return None
        along, down = np.reshape(header.directions, (2, 3))
        height, width = header.pixel_spacing_mm
        origin = np.array(header.origin_mm)
        ends = (along * width * (header.columns - 1), down * height * (header.rows - 1))
        corners.append((origin, origin + ends[0], origin + ends[1]))
    return np.array(corners)


def _planes(corners: npt.NDArray[np.float64], header: NiftiHeader) -> tuple[list[int], int] | None:
    """Return the plane of a volume that each slice is, and the axis that counts them; None where one is none."""
    axes = header.affine[:, :3]
    if abs(np.linalg.det(axes)) < 1e-6 or not header.says_where:
        return None
    exact = (corners - header.affine[:, 3]) @ np.linalg.inv(axes).T
    voxels = np.rint(exact)
    if np.abs((exact - voxels) @ axes.T).max() > SAME_PLACE_MM:
        return None
    spans = voxels.max(axis=1) - voxels.min(axis=1)  # of each slice, along each axis
    (flat,) = np.nonzero((spans == 0).all(axis=0))
    if len(flat) != 1:
        return None
    axis = int(flat[0])
    lowest = voxels.min(axis=1)
    is_whole = [(lowest[:, k] == 0).all() and (spans[:, k] == header.shape[k] - 1).all() for k in range(3) if k != axis]
    planes = voxels[:, 0, axis].astype(int).tolist()
    if not all(is_whole) or min(planes) < 0 or max(planes) >= header.shape[axis] or len(set(planes)) < len(planes):
        return None
    return planes, axis
