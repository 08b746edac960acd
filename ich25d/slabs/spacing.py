"""The distances between the voxels of a stored series, estimated where its files don't say."""

import numpy as np
import numpy.typing as npt

from ich25d.bleeds.skull import estimate_pixel_mm


def store_spacing_mm(
    hu: npt.NDArray[np.int16], slice_spacing_mm: float, pixel_spacing_mm: float, scale: float
) -> tuple[float, float, float]:
    """Return the distances between the voxels of a stored series.

    Args:
        hu: The series, shape (n, H, W), from which the pixel spacing is estimated where unknown.
        slice_spacing_mm: Median gap; NaN or 0 where unknown, then 5.
        pixel_spacing_mm: Of the source; NaN where unknown.
        scale: Source px per store px.

    Returns:
        Slice, row and column distance in mm.
    """
    gap_mm = float(slice_spacing_mm) if slice_spacing_mm > 0 else 5.0
    pixel_mm = float(pixel_spacing_mm * scale) if pixel_spacing_mm > 0 else estimate_pixel_mm(hu)
    return gap_mm, pixel_mm, pixel_mm
