"""What is said of a bleed: where it is, how far it reaches, how large it may be. All of it is estimated."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import Anatomy

Side = Literal["left", "right", "both", "midline", "unknown"]
"""Of the patient."""

SIDES: dict[str, str] = {
    "left": "left", "right": "right", "both": "both sides", "midline": "midline", "unknown": "side unknown",
}  # fmt: skip
"""How a side is said on a page."""

Box = tuple[int, int, int, int]
"""top, left, bottom, right in px of the slice as the model sees it, half open."""

MIDDLE_MM = 8.0
"""As near to the plane between the hemispheres a voxel belongs to neither."""

MIDDLE_SHARE = 0.6
"""A bleed with so much of it there lies in the midline."""

OTHER_SHARE = 0.2
"""One with at least so much of the rest on the smaller side is on both."""


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


def side_of(
    mask: npt.NDArray[np.bool_],
    anatomy: Anatomy,
    *,
    left_is_right: bool,
    weight: npt.NDArray[np.floating] | None = None,
) -> Side:
    """Say on which side of the patient a region lies.

    Args:
        mask: Shape (n, h, w).
        anatomy: The head, with the plane between its hemispheres.
        left_is_right: The image's left is the patient's right, as usual.
        weight: What each slice counts, shape (n,): its thickness; by default all the same.
    """
    if not anatomy.usable or not mask.any():
        return "unknown"
    lateral, counts = [], []
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        across, _ = anatomy.coordinates(int(index), (0, 0, mask.shape[1], mask.shape[2]))
        values = across[mask[index]]
        lateral.append(values)
        counts.append(np.full(len(values), 1.0 if weight is None else float(weight[index])))
    across_mm, count = np.concatenate(lateral), np.concatenate(counts)
    middle = np.abs(across_mm) < MIDDLE_MM * anatomy.scale
    if count[middle].sum() >= MIDDLE_SHARE * count.sum():
        return "midline"
    to_image_right = count[~middle & (across_mm > 0)].sum()
    to_image_left = count[~middle & (across_mm < 0)].sum()
    smaller, larger = sorted((to_image_left, to_image_right))
    if smaller >= OTHER_SHARE * (smaller + larger):
        return "both"
    return "left" if (to_image_right > to_image_left) == left_is_right else "right"


def slice_thickness_mm(slice_position_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return how much of the normal each slice stands for: half the way to either neighbour.

    Doubles share their place. The first and last slice count for what the gap beside them is; a hole of more than
    twice the median gap isn't filled.

    Args:
        slice_position_mm: Shape (n,), mm, never falling.
    """
    n = len(slice_position_mm)
    gaps = np.diff(slice_position_mm)
    positive = gaps[gaps > 0]
    usual = float(np.median(positive)) if len(positive) else 5.0
    gaps = np.minimum(gaps, 2 * usual)
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
    slices = np.flatnonzero(mask.any(axis=(1, 2)))
    across, along = [], []
    for index in slices:
        lateral, front = anatomy.coordinates(int(index), (0, 0, mask.shape[1], mask.shape[2]))
        across.append(lateral[mask[index]])
        along.append(front[mask[index]])
    wide, deep = np.concatenate(across), np.concatenate(along)
    pixel = anatomy.spacing_mm[2]
    position = anatomy.slice_position_mm
    half = (thickness_mm[slices[0]] + thickness_mm[slices[-1]]) / 2
    return (
        float(wide.max() - wide.min()) + pixel,
        float(deep.max() - deep.min()) + pixel,
        float(position[slices[-1]] - position[slices[0]] + half),
    )
