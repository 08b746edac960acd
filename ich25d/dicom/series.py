"""Headers in, series in scan order out: every image ends in exactly one series or one refusal.

The order is that of the image positions projected on the slices' normal, from the feet to the head. It
depends on the images alone, not on the order in which they come.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.dicom import geometry
from ich25d.dicom.grouping import Refusal, contrast_remark, group_by_series, reason_of_kind, remove_copies, split_passes
from ich25d.dicom.header import Header, Remark
from ich25d.progress import many

OrderKey = Literal["position", "slice_location", "instance", "none"]

THIN_MM = 1.5
DYNAMIC = 8
"""So many images a position are time points of a perfusion or bolus series, not passes."""
NOMINAL_MM = 5.0
"""Stands for the distance of slices where only their numbers are known."""


@dataclass(frozen=True, slots=True, eq=False)
class OrderedSeries:
    """One series, or one part of a series that had to be split, in scan order."""

    series_id: str
    """SeriesInstanceUID; parts of a split series after the largest get `#2`, `#3`..."""
    study_id: str
    patient_id: str
    members: tuple[int, ...]
    """Indices into the headers given, from the feet to the head."""
    slice_position_mm: npt.NDArray[np.float64]
    """Position along the normal, shape (n,), mm, rising; nominal where `order_key` is `instance`."""
    tilt_deg: float | None
    """Gantry tilt: angle between the slices' normal and the line of their origins; None where unknown."""
    slice_spacing_mm: float | None
    """Median distance of neighbours; None where unknown."""
    spacing_is_regular: bool
    order_key: OrderKey
    """The attribute that gave the order."""
    remarks: tuple[Remark, ...]
    """Rows of `qc.csv` on the whole series."""


class Ordering(NamedTuple):
    """All images of a call, sorted out."""

    series: list[OrderedSeries]
    """By study, then series."""
    refusals: list[Refusal]
    """By index into the headers."""
    copies: list[tuple[int, ...]]
    """Indices of images with one SOPInstanceUID and equal headers: the one that is in a series first, then the
    refused ones. Only their pixels can tell whether they are the same: else it is `DUP_UID_DIFF` for all."""


class _Volume(NamedTuple):
    """A part of a series on its way to an OrderedSeries."""

    members: list[int]
    position_mm: npt.NDArray[np.float64]
    order_key: OrderKey
    tilt_deg: float | None
    remarks: list[Remark]


def order_series(headers: Sequence[Header]) -> Ordering:
    """Group images into series and put each in scan order.

    Args:
        headers: Headers of one study, or of many; in any order.

    Returns:
        The series, and the images that belong to none with the reason.
    """
    kept, refusals, copies = remove_copies(headers)
    groups, localizers = group_by_series(headers, kept)
    refusals += localizers
    series: list[OrderedSeries] = []
    for group in groups:
        volumes: list[_Volume] = []
        for part, remarks in _parts(headers, group.members, refusals):
            of_part = [headers[member] for member in part]
            if (reason := reason_of_kind(of_part)) is not None:
                refusals += [Refusal(member, *reason) for member in part]
                continue
            if (of_contrast := contrast_remark(of_part)) is not None:
                remarks.append(of_contrast)
            volumes += _volumes(headers, part, [*group.remarks, *remarks], refusals)
        volumes.sort(key=lambda volume: (-len(volume.members), headers[volume.members[0]].image_id))
        for number, volume in enumerate(volumes, 1):
            name = group.series_id if number == 1 else f"{group.series_id}#{number}"
            series.append(_finish(headers, volume, name, group.study_id))
    series.sort(key=lambda one: (one.study_id, one.series_id))
    refusals.sort()
    return Ordering(series, refusals, copies)


def _parts(
    headers: Sequence[Header], members: list[int], refusals: list[Refusal]
) -> list[tuple[list[int], list[Remark]]]:
    """Split a series by orientation, then by field of view, and refuse planes that aren't axial."""
    oriented = [member for member in members if headers[member].directions is not None]
    if not oriented:
        return _split_sizes(headers, members, [])
    by_group = _by_number(oriented, geometry.orientation_groups(_directions(headers, oriented)))
    ranked = sorted(by_group, key=lambda part: (-len(part), min(headers[member].image_id for member in part)))
    # Images without an orientation go with most of the others.
    ranked[0] += [member for member in members if headers[member].directions is None]
    remarks = [Remark("SPLIT_ORIENTATION", f"{len(ranked)} orientations in one series")] if len(ranked) > 1 else []
    parts: list[tuple[list[int], list[Remark]]] = []
    for part in ranked:
        normal = geometry.canonical_normal(geometry.main_directions(_directions(headers, part)))
        if normal.argmax() == 2 and normal[2] >= geometry.AXIAL_COSINE:  # z
            parts += _split_sizes(headers, part, remarks)
            continue
        is_scout = len(part) <= 2 and len(ranked) > 1  # a scout or two before the scan
        detail = f"the normal must be within 45 degrees of the body's axis (its z component is {normal[2]:.2f})"
        refusals += [Refusal(member, "LOCALIZER" if is_scout else "NOT_AXIAL", detail) for member in part]
    return parts


def _directions(headers: Sequence[Header], members: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return the orientations that are known, shape (n, 6)."""
    return np.array([headers[member].directions for member in members if headers[member].directions is not None])


def _by_number(members: Sequence[int], numbers: npt.NDArray[np.int64]) -> list[list[int]]:
    """Gather the members of each group, in the order of the groups' numbers."""
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for member, number in zip(members, numbers.tolist(), strict=True):
        groups[number].append(member)
    return [groups[number] for number in sorted(groups)]


def _split_sizes(
    headers: Sequence[Header], members: list[int], remarks: list[Remark]
) -> list[tuple[list[int], list[Remark]]]:
    def fov_mm(header: Header) -> float:
        spacing = header.pixel_spacing_mm
        return max(header.rows * spacing[0], header.columns * spacing[1]) if spacing else float("nan")

    parts = _by_number(members, geometry.size_groups(np.array([fov_mm(headers[member]) for member in members])))
    if len(parts) > 1:
        remarks = [*remarks, Remark("SPLIT_SIZE", f"{len(parts)} fields of view in one series")]
    elif len({(headers[member].rows, headers[member].columns) for member in members}) > 1:
        remarks = [*remarks, Remark("SIZE_MIXED", "Rows and Columns change within the series")]
    return [(part, list(remarks)) for part in parts]


def _volumes(
    headers: Sequence[Header], members: list[int], remarks: list[Remark], refusals: list[Refusal]
) -> list[_Volume]:
    """Find positions, and split what shares them."""
    position_mm, order_key, tilt, of_order = _positions(headers, members)
    if of_order is not None:
        remarks.append(of_order)
    if order_key == "none":
        return [_Volume([member], np.zeros(1), "none", None, remarks) for member in members]
    places = geometry.place_numbers(position_mm).tolist()
    n_places = max(places) + 1
    if len(members) >= DYNAMIC * n_places:
        detail = f"{len(members)} images at {n_places} positions: perfusion, 4D or bolus monitoring"
        refusals += [Refusal(member, "PERFUSION", detail) for member in members]
        return []
    passes = [members]
    if n_places < len(members):
        split = split_passes(headers, members, places)
        if split is None:
            shared = many(sum(count > 1 for count in Counter(places).values()), "position")
            detail = f"{shared} taken more than once, nothing tells the images apart; all are kept"
            remarks.append(Remark("DUP_POSITION", detail))
        else:
            passes, code = split
            detail = f"{len(members)} images at {many(n_places, 'position')}; split into {len(passes)} passes"
            remarks.append(Remark(code, detail))
    of_member = dict(zip(members, position_mm.tolist(), strict=True))
    volumes = []
    for part in passes:
        along = np.array([of_member[member] for member in part])
        ranks = geometry.place_numbers(along).tolist()
        order = sorted(range(len(part)), key=lambda k: (ranks[k], headers[part[k]].image_id))
        # Noise of less than 0.01 mm mustn't make positions fall where the UID decides.
        rising = np.maximum.accumulate(along[order])
        volumes.append(_Volume([part[k] for k in order], rising, order_key, tilt, remarks))
    return volumes


def _positions(
    headers: Sequence[Header], members: list[int]
) -> tuple[npt.NDArray[np.float64], OrderKey, float | None, Remark | None]:
    """Find a position for every image by the best attribute that all of them have."""
    chosen = [headers[member] for member in members]
    n = len(chosen)
    origins = [header.origin_mm for header in chosen if header.origin_mm is not None]
    directions = [header.directions for header in chosen if header.directions is not None]
    normal = np.array([0.0, 0.0, 1.0])
    if directions:
        normal = geometry.canonical_normal(geometry.main_directions(np.array(directions)))
    if len(origins) == n:
        at = np.array(origins)
        remark = None
        if len(directions) < n:
            taken = "that of the others is taken" if directions else "z is taken"
            remark = Remark("ORDER_BY_Z", f"{n - len(directions)} of {n} images have no orientation; {taken}")
        position_mm = at @ normal
        return position_mm, "position", geometry.tilt_deg(at, position_mm, normal) if directions else None, remark
    missing = f"{n - len(origins)} of {n} images have no position"
    locations = np.array([np.nan if header.slice_location is None else header.slice_location for header in chosen])
    if np.isfinite(locations).all() and 2 * len(np.unique(np.round(locations, 2))) > n:
        locations = locations * _direction(locations, chosen, normal)
        return locations, "slice_location", None, Remark("ORDER_BY_SLICELOC", f"{missing}; ordered by SliceLocation")
    numbers = [header.instance_number for header in chosen]
    if n > 1 and None not in numbers and len(set(numbers)) == n:
        step_mm = chosen[0].thickness_mm or NOMINAL_MM
        rank = np.argsort(np.argsort(np.array(numbers, dtype=np.int64))).astype(np.float64)
        rank *= _direction(rank, chosen, normal)
        return rank * step_mm, "instance", None, Remark("ORDER_BY_INSTANCE", f"{missing}; ordered by InstanceNumber")
    return np.zeros(n), "none", None, Remark("NO_ORDER", f"{missing}, and nothing orders them; each stands alone")


def _direction(values: npt.NDArray[np.float64], chosen: list[Header], normal: npt.NDArray[np.float64]) -> float:
    """Return -1 where the values fall along the normal by the positions that some of the images do have."""
    known = [(value, header.origin_mm) for value, header in zip(values, chosen, strict=True) if header.origin_mm]
    pairs = [(value, float(np.dot(origin, normal))) for value, origin in known]
    if len(pairs) < 2:  # one place has no direction
        return 1.0
    value, place = np.array(pairs).T
    return -1.0 if float((value - value.mean()) @ (place - place.mean())) < 0 else 1.0


def _finish(headers: Sequence[Header], volume: _Volume, series_id: str, study_id: str) -> OrderedSeries:
    """Describe an ordered volume."""
    position_mm, n = volume.position_mm, len(volume.members)
    remarks = list(volume.remarks)
    gaps = geometry.describe_gaps(position_mm)
    spacing = None if volume.order_key in {"instance", "none"} else gaps.median_mm
    if n == 1:
        remarks.append(Remark("ONE_SLICE", "a series of one slice; its neighbours are itself"))
    if volume.tilt_deg is not None and volume.tilt_deg > 0.5:
        remarks.append(Remark("TILT", f"gantry tilt {volume.tilt_deg:.1f} degrees"))
    if spacing is not None and gaps.largest_mm > geometry.MIXED_RATIO * gaps.smallest_mm:
        remarks.append(Remark("GAP_MIXED", f"gaps of {gaps.smallest_mm:.2f} to {gaps.largest_mm:.2f} mm"))
    if spacing is not None and gaps.n_holes:
        remarks.append(
            Remark("GAP_HOLE", f"{gaps.n_holes} holes, of up to {gaps.largest_mm:.2f} mm (median {spacing:.2f})")
        )
    if spacing is not None and spacing < THIN_MM:
        remarks.append(Remark("THIN", f"median gap {spacing:.2f} mm"))
    if volume.order_key in {"position", "slice_location"}:
        numbers = [headers[member].instance_number for member in volume.members]
        n_inversions = _inversions([number for number in numbers if number is not None])
        if n_inversions:
            remarks.append(Remark("INSTANCE_ORDER", f"{n_inversions} pairs are numbered against their positions"))
    # Images without a patient, the tag lost, sort last.
    patients = sorted({headers[member].patient_id for member in volume.members}, key=lambda name: (not name, name))
    return OrderedSeries(
        series_id, study_id, patients[0], tuple(volume.members), position_mm, volume.tilt_deg if n > 1 else None,
        spacing, gaps.is_regular and spacing is not None, volume.order_key, tuple(dict.fromkeys(remarks)),
    )  # fmt: skip


def _inversions(numbers: list[int]) -> int:
    """Count pairs out of order, in the direction in which there are fewer."""
    if len(numbers) < 2:
        return 0
    column = np.array(numbers)
    falling = int(np.count_nonzero(np.triu(column[:, None] > column[None, :], 1)))
    rising = int(np.count_nonzero(np.triu(column[:, None] < column[None, :], 1)))
    return min(falling, rising)
