"""From a drawn bleed to the numbers of a finding."""

import numpy as np

from ich25d.bleeds.anatomy import Anatomy
from ich25d.explain.finding import Finding, box_of, extent_of, side_of, slice_thickness_mm
from ich25d.explain.lesion import Lesion

VOLUME_FACTOR = 1.1
"""What a drawn volume is multiplied with."""

SPREAD: tuple[float, float] = (0.35, 2.0)
"""The interval goes from the strict drawing's volume times the first to the generous one's times the second. These
numbers were fitted to the first twenty bleeds painted by `scripts/benchmark_explain.py`; it says how often the interval
holds the volume of others."""

SURE = 0.5
"""Heat below which no slice reaches the balanced threshold (`api.HEAT_RULE`), though the series may reach a more
sensitive operating point: there may be no bleed, and the interval begins at 0."""

ASSUMED_PIXEL = 1.15
"""A further factor either way where the px was estimated from the head's width: heads differ by 7 % in width."""


def describe(
    label: str,
    probability: float,
    lesion: Lesion,
    anatomy: Anatomy,
    *,
    left_is_right: bool,
    is_sure: bool = True,
    assumed: tuple[str, ...] = (),
) -> Finding:
    """Measure a bleed.

    Args:
        label: Its label.
        probability: Of the series.
        lesion: Its drawings; the reported one isn't empty.
        anatomy: The head.
        left_is_right: The image's left is the patient's right.
        is_sure: A slice reaches the threshold that the heat is scaled to.
        assumed: What the files didn't say.
    """
    mask = lesion.mask
    thickness = slice_thickness_mm(anatomy.slice_position_mm)
    voxel_ml = thickness * anatomy.spacing_mm[1] * anatomy.spacing_mm[2] / 1000.0
    areas = mask.sum(axis=(1, 2))
    slices = np.flatnonzero(areas)
    peak = int(areas.argmax())
    volumes = [float((part.sum(axis=(1, 2)) * voxel_ml).sum()) for part in (lesion.strict, mask, lesion.generous)]
    extra = ASSUMED_PIXEL if "pixel size" in assumed else 1.0
    volume = volumes[1] * VOLUME_FACTOR
    return Finding(
        label=label,
        probability=probability,
        side=side_of(mask, anatomy, left_is_right=left_is_right, weight=thickness),
        first_mm=float(anatomy.slice_position_mm[slices[0]]),
        last_mm=float(anatomy.slice_position_mm[slices[-1]]),
        first_slice=int(slices[0]),
        last_slice=int(slices[-1]),
        peak_slice=peak,
        extent_mm=extent_of(mask, anatomy, thickness),
        volume_ml=volume,
        volume_low_ml=min(volume, volumes[0] * SPREAD[0] / extra) if is_sure else 0.0,
        volume_high_ml=max(volume, volumes[2] * SPREAD[1] * extra),
        box=box_of(mask[peak]),
        assumed=assumed,
    )
