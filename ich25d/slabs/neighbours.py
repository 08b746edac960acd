"""Which slices stand beside a slice: the neighbours of every slice of a series."""

import numpy as np
import numpy.typing as npt

from ich25d.config import SlabConfig
from ich25d.dicom.geometry import SAME_POSITION_MM

HOLE_FACTOR = 2.0
"""A gap of more than this many median gaps is a hole: no slab reaches beyond it. Where neighbours are counted in mm,
it is a gap that the next neighbour can't reach over, and wider than usual."""
USUAL_FACTOR = 1.25
"""A gap of up to this many median gaps is usual."""


def neighbour_indices(slice_position_mm: npt.NDArray[np.float64], slab: SlabConfig) -> npt.NDArray[np.int64]:
    """Find the neighbours of every slice of a series.

    At the ends of the scan, across holes and where no position is known, the slice itself repeats:
    padding by zeros would show the network an edge that no scan has.

    Args:
        slice_position_mm: Positions in scan order, shape (n,), mm, rising; NaN where unknown.
        slab: Offsets in slices, or in steps of `neighbour_mm`.

    Returns:
        Indices into the series, shape (n, S), int64; the column of offset 0 is 0 .. n - 1.
    """
    position = np.asarray(slice_position_mm, dtype=np.float64)
    own = np.arange(len(position))
    if len(position) < 2:  # a single slice has no neighbour
        return np.repeat(own[:, None], len(slab.neighbours), axis=1)
    gaps = np.diff(position)
    known = gaps[np.isfinite(gaps) & (gaps > 0)]
    median_gap = float(np.median(known)) if len(known) else 0.0
    # In mm: half a step away is still the better half; thick slices may be as far off as their own gaps make them.
    tolerance_mm = max(slab.neighbour_mm / 2, 0.75 * median_gap) + 1e-6
    if slab.neighbour_mm > 0:
        # A step of less than a quarter of the gaps reaches no slice; those of several steps do.
        widest = max(slab.neighbour_mm + tolerance_mm, USUAL_FACTOR * median_gap)
    else:
        widest = HOLE_FACTOR * median_gap + 1e-6
    stretch = np.concatenate([[0], np.cumsum(~(gaps <= widest))])  # an unknown gap is a hole too
    columns = []
    for offset in slab.neighbours:
        if slab.neighbour_mm > 0:
            other = _by_distance(position, offset * slab.neighbour_mm, tolerance_mm)
        else:
            other = _by_rank(position, offset)
        columns.append(np.where((stretch[other] == stretch) & (offset != 0), other, own))
    return np.stack(columns, axis=1)


def _by_rank(position: npt.NDArray[np.float64], offset: int) -> npt.NDArray[np.int64]:
    """Count in places, not in slices: a second pass at the same place is no neighbour."""
    place = np.concatenate([[0], np.cumsum(~(np.diff(position) < SAME_POSITION_MM))])
    first = np.searchsorted(place, np.arange(place[-1] + 1))
    other = place + offset
    is_inside = (other >= 0) & (other <= place[-1])
    return np.where(is_inside, first[np.clip(other, 0, place[-1])], np.arange(len(position)))


def _by_distance(position: npt.NDArray[np.float64], offset_mm: float, tolerance_mm: float) -> npt.NDArray[np.int64]:
    own = np.arange(len(position))
    if not np.isfinite(position).all():
        return own
    target = position + offset_mm
    right = np.clip(np.searchsorted(position, target), 0, len(position) - 1)
    left = np.clip(right - 1, 0, len(position) - 1)
    nearest = np.where(np.abs(position[left] - target) <= np.abs(position[right] - target), left, right)
    return np.where(np.abs(position[nearest] - target) <= tolerance_mm, nearest, own)
