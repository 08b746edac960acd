"""From heat and HU to a finding: the voxels drawn as a bleed, then its side, reach, extent and volume as estimates.

Drawn is where heat and density are both high. Neither is enough alone: the heat's cells are larger than many bleeds,
and not all that is dense inside the skull is blood (falx, tentorium, calcified plexus, the rim beside the bone).
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

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


class Drawing(NamedTuple):
    """How one kind of heat is drawn, and how far its volumes stray; fitted to bleeds painted into held-out scans."""

    levels: tuple[float, float, float]
    """Shares of a slice's highest score from which on a voxel is drawn: generously, as reported, strictly."""
    faint_slice: float
    """A slice's highest score counts as no less than this share of the series' highest."""
    power: float
    """Of heat in the score, heat times density."""
    volume_factor: float
    """A drawn volume is multiplied by it."""
    spread: tuple[float, float]
    """The interval goes from the strict drawing's volume times the first to the generous one's times the second."""


LAYER_CAM = Drawing((0.1, 0.2, 0.35), 0.3, 0.5, 1.1, (0.35, 2.0))
"""Fitted to the first twenty bleeds painted by `scripts/benchmark_explain.py`, which measures how it does on others."""

PIXEL_HEAD = Drawing((0.05, 0.1, 0.2), 1.0, 1.0, 1.0, (0.5, 2.2))
"""Fitted to 44 such bleeds."""

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


def find_lesion(heat: npt.NDArray[np.floating], dense: Float, anatomy: Anatomy, drawing: Drawing = LAYER_CAM) -> Lesion:
    """Draw one label's bleed.

    Args:
        heat: Shape (n, h, w), 0 to 1.
        dense: What `density` returned, the same shape.
        anatomy: Of the scan.
        drawing: How this kind of heat is drawn.
    """
    score = heat.astype(np.float32) ** np.float32(drawing.power) * dense
    if float(score.max(initial=0.0)) < FAINT_SCORE:
        score = heat.astype(np.float32) * (anatomy.depth > 0)
    peak = score.max(axis=(1, 2), initial=0.0)
    if not peak.any():
        nothing = np.zeros(heat.shape, bool)
        return Lesion(nothing, nothing, nothing)
    scale = np.maximum(peak, drawing.faint_slice * peak.max())[:, None, None]
    least_px = LEAST_MM2 / (anatomy.spacing_mm[1] * anatomy.spacing_mm[2])
    generous, mask, strict = (
        main_parts(without_spots(score >= level * scale, least_px), score) for level in drawing.levels
    )
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


Side = Literal["left", "right", "both", "midline", "unknown"]
"""Of the patient."""

SIDES: dict[str, str] = {
    "left": "left", "right": "right", "both": "both sides", "midline": "midline", "unknown": "side unknown",
}  # fmt: skip
"""A side in the words of a page."""

Box = tuple[int, int, int, int]
"""top, left, bottom, right in px of the slice as the model sees it, half open."""

MIDDLE_MM = 8.0
"""A voxel this near to the plane between the hemispheres belongs to neither."""

MIDDLE_SHARE = 0.6
"""A bleed with at least this share of it there lies in the midline."""

OTHER_SHARE = 0.2
"""A bleed with at least this share of the rest on the smaller side is on both."""


SURE = 0.5
"""Heat below which no slice reaches the threshold that heat is scaled to, though the series may reach a more sensitive
operating point: there may be no bleed, and the interval begins at 0."""

ASSUMED_PIXEL = 1.15
"""A further factor either way where the px was estimated from the head's width: heads differ by 7 % in width."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A label that a series shows, and where: an estimate from heat map and HU, no segmentation by a reader."""

    label: str
    probability: float
    """Of the whole series, calibrated."""
    side: Side
    """Of the patient; `unknown` where no skull was found."""
    first_mm: float
    """Lowest slice that shows it, position in mm along the slices' normal (0 is the lowest slice where unknown)."""
    last_mm: float
    """Highest slice that shows it."""
    first_slice: int
    last_slice: int
    peak_slice: int
    """Slice index that shows most of it."""
    extent_mm: tuple[float, float, float]
    """Across (left to right), front to back, and along the slices' normal."""
    volume_ml: float
    volume_low_ml: float
    """With `volume_high_ml`: an interval meant to hold the volume in 80 of 100 cases."""
    volume_high_ml: float
    box: Box
    """Of the bleed on the peak slice."""
    assumed: tuple[str, ...] = ()
    """What the files didn't say and was assumed: `pixel size`, `slice positions`, `orientation`."""
    is_estimate: Literal[True] = field(default=True, init=False)


def describe(
    label: str,
    probability: float,
    lesion: Lesion,
    anatomy: Anatomy,
    *,
    left_is_right: bool,
    is_sure: bool = True,
    assumed: tuple[str, ...] = (),
    drawing: Drawing = LAYER_CAM,
) -> Finding:
    """Measure a bleed.

    Args:
        label: Its label.
        probability: Of the series.
        lesion: Its drawings; the reported one isn't empty.
        anatomy: The head.
        left_is_right: The image's left is the patient's right.
        is_sure: A slice reaches the threshold that the heat is scaled to.
        assumed: What the files didn't say, as in `Finding`.
        drawing: How the lesion was drawn.
    """
    mask = lesion.mask
    thickness = slice_thickness_mm(anatomy.slice_position_mm)
    voxel_ml = thickness * anatomy.spacing_mm[1] * anatomy.spacing_mm[2] / 1000.0
    areas = mask.sum(axis=(1, 2))
    slices = np.flatnonzero(areas)
    peak = int(areas.argmax())
    volumes = [float((part.sum(axis=(1, 2)) * voxel_ml).sum()) for part in (lesion.strict, mask, lesion.generous)]
    extra = ASSUMED_PIXEL if "pixel size" in assumed else 1.0
    volume = volumes[1] * drawing.volume_factor
    return Finding(
        label=label, probability=probability,
        side=side_of(mask, anatomy, left_is_right=left_is_right, weight=thickness),
        first_mm=float(anatomy.slice_position_mm[slices[0]]), last_mm=float(anatomy.slice_position_mm[slices[-1]]),
        first_slice=int(slices[0]), last_slice=int(slices[-1]), peak_slice=peak,
        extent_mm=extent_of(mask, anatomy, thickness), volume_ml=volume,
        volume_low_ml=min(volume, volumes[0] * drawing.spread[0] / extra) if is_sure else 0.0,
        volume_high_ml=max(volume, volumes[2] * drawing.spread[1] * extra), box=box_of(mask[peak]), assumed=assumed,
    )  # fmt: skip


def side_of(
    mask: npt.NDArray[np.bool_],
    anatomy: Anatomy,
    *,
    left_is_right: bool,
    weight: npt.NDArray[np.floating] | None = None,
) -> Side:
    """Return the patient's side on which a region lies.

    Args:
        mask: Shape (n, h, w).
        anatomy: The head, with the plane between its hemispheres.
        left_is_right: The image's left is the patient's right, as usual.
        weight: What each slice counts, shape (n,): its thickness; by default all the same.
    """
    if not anatomy.usable or not mask.any():
        return "unknown"
    index, across_mm, _ = _voxels(mask, anatomy)
    count = np.ones(len(index)) if weight is None else weight[index]
    is_middle = np.abs(across_mm) < MIDDLE_MM * anatomy.scale
    if count[is_middle].sum() >= MIDDLE_SHARE * count.sum():
        return "midline"
    to_image_right = count[~is_middle & (across_mm > 0)].sum()
    to_image_left = count[~is_middle & (across_mm < 0)].sum()
    smaller, larger = sorted((to_image_left, to_image_right))
    if smaller >= OTHER_SHARE * (smaller + larger):
        return "both"
    return "left" if (to_image_right > to_image_left) == left_is_right else "right"


def usual_gap_mm(slice_position_mm: npt.NDArray[np.float64]) -> float:
    """Return the median distance of slices that lie apart, mm; 5 where none do."""
    gaps = np.diff(slice_position_mm)
    return float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 5.0


def slice_thickness_mm(slice_position_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how much of the normal each slice stands for: half the way to either neighbour.

    Doubles share their place. The first and last slice count for what the gap beside them is; a hole of more than
    twice the median gap isn't filled.

    Args:
        slice_position_mm: Shape (n,), mm, never falling.
    """
    n = len(slice_position_mm)
    usual = usual_gap_mm(slice_position_mm)
    gaps = np.minimum(np.diff(slice_position_mm), 2 * usual)
    if n == 1:
        return np.array([usual])
    before = np.concatenate(([gaps[0] if gaps[0] > 0 else usual], gaps))
    after = np.concatenate((gaps, [gaps[-1] if gaps[-1] > 0 else usual]))
    thickness: npt.NDArray[np.float64] = (before + after) / 2
    return thickness


def box_of(plane: npt.NDArray[np.bool_]) -> Box:
    """Return the box around what is true in a plane (h, w); empty where nothing is."""
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0)
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def extent_of(
    mask: npt.NDArray[np.bool_], anatomy: Anatomy, thickness_mm: npt.NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return how far a region reaches across, front to back, and along the normal, in mm.

    Args:
        mask: Shape (n, h, w), not empty.
        anatomy: The head: across and front to back are its own, not the image's.
        thickness_mm: Of each slice, shape (n,).
    """
    index, across_mm, along_mm = _voxels(mask, anatomy)
    pixel, position = anatomy.spacing_mm[2], anatomy.slice_position_mm
    half = (thickness_mm[index[0]] + thickness_mm[index[-1]]) / 2
    return (
        float(np.ptp(across_mm)) + pixel,
        float(np.ptp(along_mm)) + pixel,
        float(position[index[-1]] - position[index[0]] + half),
    )


def _voxels(
    mask: npt.NDArray[np.bool_], anatomy: Anatomy
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Return slice index, and mm across and along the head, of each voxel of a mask that isn't empty."""
    index, across, along = [], [], []
    for number in np.flatnonzero(mask.any(axis=(1, 2))):
        lateral, front = anatomy.coordinates(int(number), (0, 0, mask.shape[1], mask.shape[2]))
        index.append(np.full(int(mask[number].sum()), number))
        across.append(lateral[mask[number]])
        along.append(front[mask[number]])
    return np.concatenate(index), np.concatenate(across), np.concatenate(along)
