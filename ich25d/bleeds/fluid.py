"""CSF in the HU of a head: its share of each voxel, and which of it is in ventricles."""

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ich25d.bleeds.midline import Midline
from ich25d.bleeds.skull import Bool, Float, disc


def find_fluid(
    soft: Float, inside: Bool, depth: Float, brain_hu: float, pixel_mm: float
) -> tuple[npt.NDArray[np.uint8], float]:
    """Return the share of CSF of each voxel and the HU of CSF.

    Wide spaces are found by their HU; sulci too narrow to reach the HU of CSF as dark lines between two gyri.

    Args:
        soft: Smoothed HU, float32 (n, H, W).
        inside: Intracranial mask.
        depth: Distance to the inner table in mm.
        brain_hu: Typical HU of this brain.
        pixel_mm: Size of a pixel in mm.

    Returns:
        uint8 (n, H, W), 255 = CSF alone; and HU of CSF.
    """
    low = soft[inside & (soft > -8) & (soft < brain_hu - 14)]
    fluid_hu = float(np.clip(np.percentile(low, 20), 0, brain_hu - 22)) if len(low) > 300 else brain_hu - 26
    fluid_hu = float(np.clip(fluid_hu, 0, 14))
    full = fluid_hu + 3
    none = fluid_hu + 0.62 * (brain_hu - fluid_hu)
    share = np.clip((none - soft) / (none - full), 0, 1)
    closer = disc(3.0 / pixel_mm)
    result = np.zeros(soft.shape, np.uint8)
    for index in range(len(soft)):
        if not inside[index].any():
            continue
        plane = np.where(inside[index], soft[index], brain_hu)
        valley = cv2.morphologyEx(np.clip(plane, 0, brain_hu + 6), cv2.MORPH_CLOSE, closer) - plane
        deep = (depth[index] > 14) & (share[index] < 0.1)
        usual = float(np.percentile(valley[deep][::3], 85)) if deep.sum() > 400 else 4.0
        narrow = np.clip((valley - max(3.0, usual)) / 9.0, 0, 1) * (plane < brain_hu - 1) * (depth[index] < 32)
        both = np.maximum(share[index], narrow) * inside[index]
        # A single dark pixel is noise, not a sulcus.
        support = cv2.blur((both > 0.25).astype(np.float32), (5, 5))
        both *= np.clip((support - 0.1) / 0.12, 0, 1)
        # Bone brightens the first millimetres: there the share of a pixel further in is taken.
        for _ in range(2):
            spread = cv2.dilate(both, np.ones((3, 3), np.uint8))
            both = np.where(inside[index] & (depth[index] < 2.2), np.maximum(both, 0.9 * spread), both)
        result[index] = np.rint(both * 255)
    return result, fluid_hu


def find_ventricles(
    midline: Midline,
    grid_mm: tuple[Float, Float],
    level_mm: npt.NDArray[np.float64],
    scale: float,
    fluid: npt.NDArray[np.uint8],
    depth: Float,
    pixel_mm: float,
) -> npt.NDArray[np.uint8]:
    """Return the part of the CSF that is in the ventricles.

    They lie deep and near the midline, at known levels below the vertex; sulci and fissures that
    reach the inner table are cut off by an opening and by depth.

    Args:
        midline: Plane between the hemispheres.
        grid_mm: x (W,) and y (H,) of the pixels, from the middle of the image.
        level_mm: Distance below the vertex of each slice, in an adult's scale, (n,).
        scale: Size of the head relative to an adult's.
        fluid: Share of CSF, uint8 (n, H, W).
        depth: Distance to the inner table in mm.
        pixel_mm: Size of a pixel in mm.

    Returns:
        uint8 (n, H, W).
    """
    seed = np.zeros(fluid.shape, bool)
    opener = disc(1.2 / pixel_mm)
    for index, level in enumerate(level_mm):
        if not 25 < level < 135 or not fluid[index].any():
            continue
        lateral, along = midline.coordinates(index, *grid_mm)
        side = np.abs(lateral) / scale
        back = along / midline.half_length_mm
        deep = depth[index] / scale
        if level < 80:
            # Bodies, horns and atria: a box that widens to the back, without the insula.
            limit = np.clip(21 + 26 * back, 21, 36)
            zone = (side < limit) & (back > -0.55) & (back < 0.72) & (deep > 17)
            # Fissure between the hemispheres: a line in front of and behind the ventricles.
            zone &= ~((side < 3.0) & ((back < -0.28) | (back > 0.30)))
            # Cisterns behind the third ventricle.
            zone &= ~((side < 9.0) & (back > 0.12) & (level > 58))
            if level < 50:
                zone &= (side > 2.0) & (back > -0.45) & (back < 0.5)
        elif level < 97:
            third = (side < 4) & (back > -0.12) & (back < 0.1) & (level < 82)
            temporal = (side > 20) & (side < 38) & (back > -0.2) & (back < 0.35) & (deep > 15)
            zone = third | temporal
        else:
            zone = (side < 12) & (back > 0.18) & (back < 0.62) & (deep > 14)
        part = (fluid[index] > 115) & zone
        seed[index] = cv2.morphologyEx(part.astype(np.uint8), cv2.MORPH_OPEN, opener) > 0
    labels, count = ndimage.label(seed)
    if count == 0:
        return np.zeros_like(fluid)
    volume = np.bincount(labels.ravel()) * pixel_mm**2
    volume[0] = 0
    kept = (volume > 25 * scale**2)[labels]
    result = np.zeros_like(fluid)
    step = disc(1.2 / pixel_mm)
    for index in (int(value) for value in np.flatnonzero(kept.any(axis=(1, 2)))):
        # Grown through CSF to the wall: the zones above are where it starts, not where it ends.
        grown = kept[index].astype(np.uint8)
        wet = ((fluid[index] > 60) & (depth[index] > 10 * scale)).astype(np.uint8)
        for _ in range(4):
            grown = cv2.dilate(grown, step) & wet
        if level_mm[index] > 74:
            grown = _narrow_parts(grown, 130 * scale**2, pixel_mm)
        near = cv2.GaussianBlur(cv2.dilate(grown, step).astype(np.float32), (0, 0), 1.0)
        result[index] = np.rint(fluid[index] * np.clip(1.4 * near, 0, 1))
    return result


def _narrow_parts(plane: npt.NDArray[np.uint8], most_mm2: float, pixel_mm: float) -> npt.NDArray[np.uint8]:
    """Drop parts larger than `most_mm2`: at this level they are cisterns."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(plane, connectivity=4)
    kept = stats[:, cv2.CC_STAT_AREA] * pixel_mm**2 <= most_mm2
    kept[0] = False
    return kept[labels].astype(np.uint8) if count > 1 else plane
