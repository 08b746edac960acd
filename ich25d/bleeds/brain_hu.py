"""The HU of a scan's brain tissue: scanners and kernels differ in it by 10 and more over a whole brain."""

import cv2
import numpy as np
import numpy.typing as npt

CELL_PX = 64
"""Side of the grid that is looked at: a cell of about 4 mm averages the noise away."""

SKULL_HU = 200
"""Mean HU of a cell from which on it holds bone of the skull."""

WIDE_SLICES = 0.5
"""Slices whose enclosed area is less than this share of the largest one aren't looked at: base and vertex."""

RANGE_HU = (10.0, 60.0)
"""Brain tissue lies within; CSF lies below, most fresh blood above."""

LEAST_CELLS = 200
"""With fewer cells of tissue there is no brain to speak of."""

MOST_SLICES = 16
"""So many slices of a scan are looked at, evenly spread: all of them give the same to a fraction of one HU."""

_HALF_WIDTH_HU = 7.0
_SMOOTH_HU = 2.0
_BINS = 100


def find_brain_hu(hu: npt.NDArray[np.int16]) -> float | None:
    """Return the HU of a scan's brain tissue, grey and white matter together.

    It is the mean around the mode of coarse cells inside the skull, so that bleeds, CSF and calcifications don't move
    it, nor infarcts that are smaller than the rest of the brain.

    Args:
        hu: Shape (n, H, W), int16; any crop and resolution that shows whole heads.

    Returns:
        HU; None where no brain is found.
    """
    if not len(hu):
        return None
    hu = hu[:: -(-len(hu) // MOST_SLICES)]
    cells = np.stack([
        cv2.resize(np.clip(plane, -200, 1000).astype(np.float32), (CELL_PX, CELL_PX), interpolation=cv2.INTER_AREA)
        for plane in hu
    ])  # fmt: skip
    bone = cells > SKULL_HU
    kernel = np.ones((3, 3), np.uint8)
    near = np.stack([cv2.dilate(plane, kernel) for plane in bone.astype(np.uint8)]) > 0
    inside = _enclosed(bone) & ~near
    area = inside.sum(axis=(1, 2))
    inside[area < WIDE_SLICES * area.max()] = False
    return centre_hu(cells[inside])


def centre_hu(values: npt.NDArray[np.float32]) -> float | None:
    """Return the mean around the mode of smoothed HU; None where too few lie in the range of brain.

    Args:
        values: Of any shape.
    """
    tissue = values[(values > RANGE_HU[0]) & (values < RANGE_HU[1])]
    if len(tissue) < LEAST_CELLS:
        return None
    counts, edges = np.histogram(tissue, bins=_BINS, range=RANGE_HU)
    step = edges[1] - edges[0]
    reach = np.arange(-3 * _SMOOTH_HU, 3 * _SMOOTH_HU + step / 2, step)
    smooth = np.convolve(counts, np.exp(-((reach / _SMOOTH_HU) ** 2) / 2), mode="same")
    centre = float(edges[int(smooth.argmax())] + step / 2)
    for _ in range(5):  # the mode jumps between grey and white matter; the mean around it doesn't
        centre = float(tissue[np.abs(tissue - centre) < _HALF_WIDTH_HU].mean(dtype=np.float64))
    return centre


def _enclosed(bone: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the cells from which bone is met in all four directions of the plane, shape (n, h, w)."""
    result = ~bone
    for axis in (1, 2):
        n = bone.shape[axis]
        place = np.expand_dims(np.arange(n), 2 - axis)  # along the axis, of one plane
        first = bone.argmax(axis=axis, keepdims=True)
        last = n - 1 - np.flip(bone, axis).argmax(axis=axis, keepdims=True)
        result &= bone.any(axis=axis, keepdims=True) & (place > first) & (place < last)
    return result
