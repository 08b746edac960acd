"""From a heat map and the HU under it to the voxels that are drawn as a bleed: those where both are high.

Neither is enough alone: the heat's cells are larger than many bleeds, and not all that is dense inside the skull is
blood (falx, tentorium, calcified plexus, the rim beside the bone).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.skull import smooth_hu

Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float32]

DENSE_HU = (6.0, 26.0)
"""HU above the slice's brain at which a voxel's density begins to count, and at which it counts fully."""

BONE_HU = 110.0
"""Smoothed bone lies above it, blood below."""

RIM_MM = 1.5
"""As near to the inner table a px is partly bone."""

LEVELS: tuple[float, float, float] = (0.1, 0.2, 0.35)
"""Shares of a slice's highest score from which on a voxel is drawn: generously, as reported, strictly."""

FAINT_SLICE = 0.3
"""A slice's highest score counts as no less than this share of the series' highest."""

LEAST_MM2 = 15.0
"""Smaller spots on a slice are noise."""

PART_SHARE = 0.1
"""A connected part whose score is less than this share of the largest one's isn't drawn."""

FAINT_SCORE = 0.1
"""Below this highest score heat and density meet nowhere, as in an old bleed no denser than brain: heat alone draws."""


@dataclass(frozen=True, slots=True)
class Lesion:
    """Three drawings of one label's bleed, each inside the one before; bool (n, h, w)."""

    generous: Bool
    mask: Bool
    strict: Bool


def density(hu: npt.NDArray[np.int16], anatomy: Anatomy) -> Float:
    """Return how much each voxel inside the skull looks like fresh blood, 0 to 1.

    Args:
        hu: Shape (n, h, w).
        anatomy: Of the same scan.
    """
    soft = smooth_hu(hu, 0.9 / anatomy.spacing_mm[2])
    above = soft - anatomy.tissue_hu.astype(np.float32)[:, None, None]
    share = np.clip((above - DENSE_HU[0]) / (DENSE_HU[1] - DENSE_HU[0]), 0, 1)
    share[(anatomy.depth <= RIM_MM) | (soft > BONE_HU)] = 0
    return np.asarray(share, dtype=np.float32)


def find_lesion(heat: npt.NDArray[np.floating], dense: Float, anatomy: Anatomy) -> Lesion:
    """Draw one label's bleed.

    Args:
        heat: Shape (n, h, w), 0 to 1.
        dense: What `density` returned, the same shape.
        anatomy: Of the scan.
    """
    warm = np.sqrt(heat.astype(np.float32))
    score = warm * dense
    if float(score.max(initial=0.0)) < FAINT_SCORE:
        score = heat.astype(np.float32) * (anatomy.depth > 0)
    peak = score.max(axis=(1, 2), initial=0.0)
    if not peak.any():
        nothing = np.zeros(heat.shape, bool)
        return Lesion(nothing, nothing, nothing)
    scale = np.maximum(peak, FAINT_SLICE * peak.max())[:, None, None]
    least_px = LEAST_MM2 / (anatomy.spacing_mm[1] * anatomy.spacing_mm[2])
    generous, mask, strict = (main_parts(without_spots(score >= level * scale, least_px), score) for level in LEVELS)
    return Lesion(generous | mask | strict, mask | strict, strict)


def main_parts(mask: Bool, score: Float) -> Bool:
    """Keep the connected parts of a drawing whose score is at least `PART_SHARE` of the largest one's.

    Args:
        mask: Shape (n, h, w).
        score: The same shape.
    """
    label, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count < 2:
        return mask
    weight = np.bincount(label.ravel(), score.ravel())
    weight[0] = 0
    kept: Bool = (weight >= PART_SHARE * weight.max())[label] & mask
    return kept


def without_spots(mask: Bool, least_px: float) -> Bool:
    """Leave out spots smaller than an area on their slice, unless there is nothing else.

    Args:
        mask: Shape (n, h, w).
        least_px: Area from which on a spot stays, px.
    """
    kept = np.zeros_like(mask)
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        count, label, stats, _ = cv2.connectedComponentsWithStats(mask[index].astype(np.uint8), connectivity=8)
        stays = np.zeros(count, bool)
        stays[1:] = stats[1:, cv2.CC_STAT_AREA] >= least_px
        kept[index] = stays[label]
    return kept if kept.any() else mask
