"""The space inside the skull and the distance to its inner table, from the HU of a head."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float32]

BONE_HU = 150
"""Above every bleed (at most ~100 HU) and below cortical bone."""

TISSUE_HU = (-22, 125)
"""Range of smoothed HU of brain, CSF and blood, without fat and without bone."""

N_DIRECTIONS = 24
ENCLOSED = 0.80
"""Share of directions of the slice plane in which bone must be met: 1 in the vault, ~0.7 in an orbit."""

ENCLOSED_VAULT = 0.62
"""The same over the widest slice, where sutures of infants may be open."""

HEAD_WIDTH_MM = 150.0
"""Outer width of an adult's head."""


def disc(radius_px: float) -> npt.NDArray[np.uint8]:
    """Return a round structuring element, uint8 (2r+1, 2r+1)."""
    r = max(1, round(radius_px))
    y, x = np.ogrid[-r : r + 1, -r : r + 1]
    return np.asarray((x * x + y * y <= radius_px * radius_px + 0.5).astype(np.uint8))


def smooth_hu(hu: npt.NDArray[np.int16], sigma_px: float) -> Float:
    """Return the slices blurred in their plane, float32 (n, H, W); air and dense bone are clipped first."""
    clipped = np.clip(hu, -200, 400).astype(np.float32)
    return np.stack([cv2.GaussianBlur(plane, (0, 0), sigma_px) for plane in clipped])


def _enclosure(bone: Bool, pixel_mm: float) -> Float:
    """Return for each pixel the share of directions of the plane in which a ray meets bone, float32 (n, H, W).

    This also works at fractures, craniotomies and the openings of the base, where filling a bone mask fails.
    """
    n, height, width = bone.shape
    step = max(1, round(2.2 / pixel_mm))
    rows, columns = -(-height // step), -(-width // step)
    coarse = np.zeros((n, rows * step, columns * step), bool)
    coarse[:, :height, :width] = bone
    side = int(np.ceil(np.hypot(rows, columns))) + 2
    grid = np.arange(side, dtype=np.float32) - (side - 1) / 2
    y_out, x_out = np.mgrid[:rows, :columns].astype(np.float32)
    y_out -= (rows - 1) / 2
    x_out -= (columns - 1) / 2
    blocks: Bool = np.any(coarse.reshape(n, rows, step, columns, step), axis=(2, 4))
    padded = np.pad(blocks, ((0, 0), (1, 1), (1, 1)))
    met = np.zeros((n, rows, columns), np.float32)
    for k in range(N_DIRECTIONS // 2):
        angle = np.pi * k / (N_DIRECTIONS // 2)
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        x = cos * grid[None, :] - sin * grid[:, None] + (columns - 1) / 2
        y = sin * grid[None, :] + cos * grid[:, None] + (rows - 1) / 2
        turned = padded[
            :, np.clip(np.rint(y) + 1, 0, rows + 1).astype(int), np.clip(np.rint(x) + 1, 0, columns + 1).astype(int)
        ]
        forward = np.logical_or.accumulate(turned, axis=2)
        backward = np.logical_or.accumulate(turned[:, :, ::-1], axis=2)[:, :, ::-1]
        column = np.rint(cos * x_out + sin * y_out + (side - 1) / 2).astype(int)
        row = np.rint(-sin * x_out + cos * y_out + (side - 1) / 2).astype(int)
        met += forward[:, row, column].astype(np.float32) + backward[:, row, column]
    met /= N_DIRECTIONS
    return np.stack([cv2.resize(plane, (columns * step, rows * step))[:height, :width] for plane in met])


def _largest_part(mask: Bool) -> Bool:
    """Return the largest part of a 3-D mask; parts touch through faces."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()))


def intracranial(hu: npt.NDArray[np.int16], pixel_mm: float) -> Bool:
    """Find the space inside the skull.

    It must not leak into orbits, sinuses or the neck: fat and air end it, rays must meet bone all around, narrow
    passages are cut by an opening, and from the vault downwards a slice only holds what lies under the slice above.

    Args:
        hu: int16 (n, H, W), caudal to cranial.
        pixel_mm: Size of a pixel in mm.

    Returns:
        bool (n, H, W); all False where no skull is found.
    """
    soft = smooth_hu(hu, 0.7)
    bone = soft > BONE_HU
    enclosed = _enclosure(bone, pixel_mm)
    near_air = disc(1.6 / pixel_mm)
    # Between air cells and bone some pixels look like tissue: partial volume.
    airy = np.stack([cv2.dilate((plane < -250).astype(np.uint8), near_air) for plane in hu]) > 0
    inner = (soft > TISSUE_HU[0]) & (soft < TISSUE_HU[1]) & (hu < BONE_HU + 20) & ~airy
    opener = disc(3.2 / pixel_mm)
    core = _opened(inner & (enclosed >= ENCLOSED), opener)
    core = _largest_part(core)
    area = core.sum(axis=(1, 2)) * pixel_mm**2
    if area.max(initial=0.0) < 2500:
        return np.zeros(hu.shape, bool)
    widest = int(area.argmax())
    # Over the widest slice there is only brain: the limit is lower, for open fontanelles.
    vault = inner[widest:] & (enclosed[widest:] >= ENCLOSED_VAULT)
    core[widest:] = _largest_part(core[widest:] | _opened(vault, opener))
    brain_hu = float(np.median(soft[widest][core[widest]]))
    grow = disc(7.0 / pixel_mm)
    regrow = disc(4.5 / pixel_mm)
    finisher, base_finisher = disc(1.3 / pixel_mm), disc(2.4 / pixel_mm)
    result = np.zeros(hu.shape, bool)
    for index in [*range(widest, len(hu)), *range(widest - 1, -1, -1)]:
        plane = core[index].astype(np.uint8)
        below = index < widest
        if below:
            above = cv2.dilate(result[index + 1].astype(np.uint8), grow)
            plane = cv2.morphologyEx(plane & above, cv2.MORPH_OPEN, opener)
        # Grown back to the inner table, where the opening has cut the corners.
        limit = ENCLOSED - 0.1 if below else ENCLOSED_VAULT - 0.1
        regrown = cv2.dilate(plane, regrow) & inner[index].astype(np.uint8) & (enclosed[index] >= limit)
        regrown = cv2.morphologyEx(regrown, cv2.MORPH_OPEN, finisher if not below else base_finisher)
        if below:
            regrown = _brain_parts(regrown, bone[index], soft[index], brain_hu, pixel_mm)
        result[index] = _without_islands(regrown, 220.0 if below else 60.0, pixel_mm)
    area = result.sum(axis=(1, 2)) * pixel_mm**2
    low = [i for i in range(widest) if area[i] < 700]
    if low:
        result[: low[-1] + 1] = False
    return result


def _opened(mask: Bool, opener: npt.NDArray[np.uint8]) -> Bool:
    """Return a mask (n, H, W) opened slice by slice."""
    if len(mask) == 0:
        return mask
    return np.stack([cv2.morphologyEx(plane.astype(np.uint8), cv2.MORPH_OPEN, opener) for plane in mask]) > 0


def _brain_parts(
    plane: npt.NDArray[Any], bone: Bool, soft: Float, brain_hu: float, pixel_mm: float
) -> npt.NDArray[np.uint8]:
    """Keep the parts of a slice of the base that are brain: bone around, no fat near, and the HU of brain.

    Muscle and eyeballs are surrounded by fat and air.
    """
    count, labels = cv2.connectedComponents(plane.astype(np.uint8), connectivity=4)
    result = np.zeros(plane.shape, np.uint8)
    wall = cv2.dilate(bone.astype(np.uint8), disc(1.5 / pixel_mm)) > 0
    fat = (soft < -25) & (soft > -150)
    for label in range(1, count):
        part = (labels == label).astype(np.uint8)
        closed = cv2.morphologyEx(part, cv2.MORPH_CLOSE, disc(4.0 / pixel_mm))
        ring = (cv2.dilate(part, np.ones((3, 3), np.uint8)) > 0) & (part == 0)
        near = cv2.dilate(closed, disc(2.0 / pixel_mm)) > 0
        middle = float(np.median(soft[part > 0]))
        greasy = (near & fat).sum() > 0.05 * part.sum()
        if wall[ring].mean() >= 0.62 and not greasy and abs(middle - brain_hu) < 12:
            result |= part
    return result


def _without_islands(plane: npt.NDArray[Any], least_mm2: float, pixel_mm: float) -> Bool:
    """Fill holes up to 150 mm2 (calcifications, air bubbles) and drop parts under `least_mm2`."""
    filled = plane.astype(np.uint8)
    for value, limit in ((0, 150.0), (1, least_mm2)):
        count, labels, stats, _ = cv2.connectedComponentsWithStats((filled == value).astype(np.uint8), connectivity=4)
        small = np.zeros(count, bool)
        small[1:] = stats[1:, cv2.CC_STAT_AREA] * pixel_mm**2 < limit
        filled[small[labels]] = 1 - value
    return filled > 0


def distance_to_table(inside: Bool, position_mm: npt.NDArray[np.float64], pixel_mm: float) -> Float:
    """Return the distance in mm of each inner voxel to the nearest voxel outside, in 3-D.

    What lies below and above the scan doesn't count as outside: a head that is cut off has no bone there.

    Args:
        inside: (n, H, W).
        position_mm: Slice positions (n,) in mm.
        pixel_mm: Size of a pixel in mm.

    Returns:
        float32 (n, H, W); 0 outside.
    """
    flat = np.stack([cv2.distanceTransform(plane.astype(np.uint8), cv2.DIST_L2, 5) for plane in inside])
    flat = np.maximum(flat - 0.5, 0) * pixel_mm
    square = flat * flat
    out = square.copy()
    n = len(inside)
    reach = 45.0
    for shift in range(1, n):
        moved = False
        for low in range(n - shift):
            step = abs(position_mm[low + shift] - position_mm[low])
            if step > reach:
                continue
            moved = True
            np.minimum(out[low], square[low + shift] + step * step, out=out[low])
            np.minimum(out[low + shift], square[low] + step * step, out=out[low + shift])
        if not moved:
            break
    return np.asarray(np.sqrt(out))


def estimate_pixel_mm(hu: npt.NDArray[np.int16]) -> float:
    """Estimate the size of a pixel in mm from the width of an adult's head, for scans whose spacing is unknown.

    Args:
        hu: int16 (n, H, W).

    Returns:
        mm; 0.8 where no head is seen.
    """
    widths = []
    for plane in hu:
        body = cv2.morphologyEx((plane > -200).astype(np.uint8), cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))
        count, _, stats, _ = cv2.connectedComponentsWithStats(body)
        if count > 1:
            best = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
            widths.append(min(stats[best, cv2.CC_STAT_WIDTH], stats[best, cv2.CC_STAT_HEIGHT]))
    return HEAD_WIDTH_MM / float(np.percentile(widths, 95)) if widths else 0.8
