"""NIfTI files for tests: a scan in the usual display, written in any orientation."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

SIDE = 128
SPACING_MM = (5.0, 0.81, 0.8)
"""Of slices, rows and columns."""


def marked_hu(n: int) -> np.ndarray:
    """Return n slices in the usual display, int16 HU (n, 128, 128): skull, noisy brain, air, and a mark.

    The mark is in front on the patient's right, brighter from slice to slice: no turned volume equals another.
    """
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    radius = np.hypot(x / 0.28, (y + 0.03) / 0.36)
    head = np.where(radius < 0.9, 35, np.where(radius < 1, 1000, -1000)) + np.linspace(0, 9, SIDE).astype(int)
    hu = head + np.random.default_rng(1).integers(-4, 5, (n, SIDE, SIDE))
    hu[:, :20, :10] = np.arange(n)[:, None, None] * 10 + 100
    return hu.astype(np.int16)


def usual_affine(spacing_mm: tuple[float, ...] = SPACING_MM, tilt_deg: float = 0.0) -> np.ndarray:
    """Return RAS mm of voxels [column, row, slice] of the usual display; a tilt shears the way of the slices."""
    slice_mm, row_mm, column_mm = spacing_mm
    affine = np.diag([-column_mm, -row_mm, slice_mm, 1.0])
    affine[1, 2] = np.tan(np.radians(tilt_deg)) * slice_mm
    affine[:3, 3] = (100, 90, -50)
    return affine


def nifti_image(
    hu: np.ndarray, codes: str = "LPS", *, affine: np.ndarray | None = None, dtype: Any = np.int16
) -> nibabel.Nifti1Image:
    """Make an image of a volume.

    Args:
        hu: Slices from the feet to the head in the usual display, shape (n, rows, columns).
        codes: Where the file's three axes run, as nibabel has it: `LPS` is to the left, the back, the head.
        affine: Of `LPS` voxels; else the usual one.
        dtype: Of the file.
    """
    affine = usual_affine() if affine is None else affine
    volume = hu.transpose(2, 1, 0)
    turn = ornt_transform(axcodes2ornt("LPS"), axcodes2ornt(codes))
    turned = nibabel.orientations.apply_orientation(volume, turn)
    image = nibabel.Nifti1Image(turned.astype(dtype), affine @ inv_ornt_aff(turn, volume.shape))
    image.header.set_slope_inter(1, 0)
    return image


def write_nifti(path: Path, hu: np.ndarray, codes: str = "LPS", **options: Any) -> Path:
    """Write a volume as `.nii` or `.nii.gz`; see `nifti_image`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nifti_image(hu, codes, **options), path)
    return path
