"""Headers in, series in scan order out: every image ends in exactly one series or one refusal.

The order is that of the image positions projected on the slices' normal, from the feet to the head. It
depends on the images alone, not on the order in which they come.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.dicom import geometry
from ich25d.dicom.grouping import Refusal, contrast_remark, group_by_series, reason_of_kind, remove_copies
from ich25d.dicom.header import Header, Remark
from ich25d.dicom.places import OrderKey, Places, find_places
from ich25d.dicom.split import changing_fields, split_interleaved, split_scans, split_shared
from ich25d.progress import many

THIN_MM = 1.5
DYNAMIC = 8
"""So many images a position are time points of a perfusion or bolus series, not passes."""


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


def order_series(headers: Sequence[Header], accept: Collection[str] = ()) -> Ordering:
    """Group images into series and put each in scan order.

    Args:
        headers: Headers of one study, or of many; in any order.
        accept: Reason codes that refuse nothing here (of `codes.ACCEPTABLE`): a remark says what would have.

    Returns:
        The series, and the images that belong to none with the reason.
    """
    kept, refusals, copies = remove_copies(headers)
    groups, localizers = group_by_series(headers, kept, accept)
    refusals += localizers
    series: list[OrderedSeries] = []
    for group in groups:
        volumes: list[_Volume] = []
        changing = changing_fields(headers, group.members)
        for part, remarks in _scans(headers, group.members, refusals, changing, accept):
            reason = reason_of_kind([headers[member] for member in part])
            if reason is not None and reason[0] != "CONTRAST":  # some of its passes may be without
                if _are_refused(part, reason, refusals, remarks, accept):
                    continue
                reason = None
            maps = [member for member in part if "PERFUSION" in headers[member].image_type] if changing else []
            if maps and "PERFUSION" not in accept:  # a few among the slices of a scan
                refusals += [Refusal(member, "PERFUSION", "ImageType says PERFUSION") for member in maps]
                part = sorted(set(part) - set(maps))  # noqa: PLW2901
            for volume in _volumes(headers, part, [*group.remarks, *remarks], refusals, changing, accept):
                of_pass = [headers[member] for member in volume.members]
                of_kind = reason_of_kind(of_pass) if reason is not None else None
                if of_kind is not None and _are_refused(volume.members, of_kind, refusals, volume.remarks, accept):
                    continue
                if (of_contrast := contrast_remark(of_pass)) is not None:
                    volume.remarks.append(of_contrast)
                volumes.append(volume)
        volumes.sort(key=lambda volume: (-len(volume.members), headers[volume.members[0]].image_id))
        for number, volume in enumerate(volumes, 1):
            name = group.series_id if number == 1 else f"{group.series_id}#{number}"
            series.append(_finish(headers, volume, name, group.study_id))
    series.sort(key=lambda one: (one.study_id, one.series_id))
    refusals.sort()
    return Ordering(series, refusals, copies)


def _are_refused(
    members: Sequence[int],
    reason: tuple[str, str],
    refusals: list[Refusal],
    remarks: list[Remark],
    accept: Collection[str],
) -> bool:
    """Refuse images, or remark on what would have refused them."""
    code, detail = reason
    if code in accept:
        remarks.append(Remark("ACCEPTED", f"would be refused as {code}: {detail}"))
        return False
    refusals += [Refusal(member, code, detail) for member in members]
    return True


def _scans(
    headers: Sequence[Header],
    members: list[int],
    refusals: list[Refusal],
    changing: frozenset[str],
    accept: Collection[str],
) -> list[tuple[list[int], list[Remark]]]:
    """Split a series by frame of reference, orientation and field of view, and refuse planes that aren't axial."""
    if not changing & {"frame_of_reference", "series_number"}:
        return _parts(headers, members, refusals, accept)
    scans, codes = split_scans(headers, members)
    detail = f"images of {len(scans)} scans in one series; each is a series of its own"
    return [
        (part, [*(Remark(code, detail) for code in codes), *remarks])
        for scan in scans
        for part, remarks in _parts(headers, scan, refusals, accept)
    ]


def _parts(
    headers: Sequence[Header], members: list[int], refusals: list[Refusal], accept: Collection[str]
) -> list[tuple[list[int], list[Remark]]]:
    """Split a series by orientation, then by field of view, and refuse planes that aren't axial."""
    oriented = [member for member in members if headers[member].directions is not None]
    if not oriented:
        return _split_sizes(headers, members, [])
    # Images without an orientation go with most of the others, unless those are few: then they lie as slices do.
    without = [member for member in members if headers[member].directions is None]
    by_group = _by_number(oriented, geometry.orientation_groups(_directions(headers, oriented)))
    ranked = sorted(by_group, key=lambda part: (-len(part), min(headers[member].image_id for member in part)))
    if len(without) > len(oriented) and not _is_axial(headers, ranked[0]):
        ranked.insert(0, without)
    else:
        ranked[0] += without
    remarks = [Remark("SPLIT_ORIENTATION", f"{len(ranked)} orientations in one series")] if len(ranked) > 1 else []
    parts: list[tuple[list[int], list[Remark]]] = []
    for part in ranked:
        if _is_axial(headers, part):
            parts += _split_sizes(headers, part, remarks)
            continue
        is_scout = len(part) <= 2 and len(ranked) > 1  # a scout or two before the scan
        z = _normal(headers, part)[2]
        detail = f"the normal must be within 45 degrees of the body's axis (its z component is {z:.2f})"
        reason = ("LOCALIZER" if is_scout else "NOT_AXIAL", detail)
        of_part = list(remarks)
        if not _are_refused(part, reason, refusals, of_part, accept):
            parts += _split_sizes(headers, part, of_part)
    return parts


def _normal(headers: Sequence[Header], members: Sequence[int]) -> npt.NDArray[np.float64]:
    return geometry.canonical_normal(geometry.main_directions(_directions(headers, members)))


def _is_axial(headers: Sequence[Header], members: Sequence[int]) -> bool:
    if all(headers[member].directions is None for member in members):
        return True
    normal = _normal(headers, members)
    return bool(normal.argmax() == 2 and normal[2] >= geometry.AXIAL_COSINE)  # z


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
    headers: Sequence[Header],
    members: list[int],
    remarks: list[Remark],
    refusals: list[Refusal],
    changing: frozenset[str],
    accept: Collection[str],
) -> list[_Volume]:
    """Find positions, and split what interleaves or shares them."""
    found = find_places(headers, members)
    remarks += found.remarks
    alone = [_Volume([member], np.zeros(1), "none", None, list(remarks)) for member in found.alone]
    if not found.members:
        return alone
    n, places = len(found.members), geometry.place_numbers(found.position_mm)
    n_places = int(places.max()) + 1
    if n >= DYNAMIC * n_places:
        detail = f"{n} images at {many(n_places, 'position')}: perfusion, 4D or bolus monitoring"
        if _are_refused(found.members, ("PERFUSION", detail), refusals, remarks, accept):
            return alone
    parts, codes = split_interleaved(headers, found.members, found.position_mm, changing)
    if len(parts) == 1 and n_places == n:
        return [_volume(headers, found.members, found.position_mm, places, found, remarks), *alone]
    detail = f"{n} images of {len(parts)} passes whose slices lie between each other; each pass is a series of its own"
    remarks += [Remark(code, detail) for code in codes]
    position_of = dict(zip(found.members, found.position_mm.tolist(), strict=True))
    passes = []
    for part in parts:
        passes += _without_doubles(headers, part, np.array([position_of[member] for member in part]), remarks)
    volumes = []
    for part in passes:
        along = np.array([position_of[member] for member in part])
        volumes.append(_volume(headers, part, along, geometry.place_numbers(along), found, list(remarks)))
    return volumes + alone


def _without_doubles(
    headers: Sequence[Header], members: list[int], position_mm: npt.NDArray[np.float64], remarks: list[Remark]
) -> list[list[int]]:
    """Split images that share positions, where something tells them apart."""
    places = geometry.place_numbers(position_mm).tolist()
    n_places = max(places) + 1
    if n_places == len(members):
        return [members]
    split = split_shared(headers, members, places)
    if split is None:
        shared = many(sum(count > 1 for count in Counter(places).values()), "position")
        remarks.append(
            Remark("DUP_POSITION", f"{shared} taken more than once, nothing tells the images apart; all are kept")
        )
        return [members]
    detail = f"{len(members)} images at {many(n_places, 'position')}; split into {len(split.parts)} passes"
    remarks += [Remark(code, detail) for code in split.codes]
    return split.parts


def _volume(
    headers: Sequence[Header],
    members: list[int],
    position_mm: npt.NDArray[np.float64],
    places: npt.NDArray[np.int64],
    found: Places,
    remarks: list[Remark],
) -> _Volume:
    """Put the images of a pass in order."""
    ranks = places.tolist()
    order = sorted(range(len(members)), key=lambda k: (ranks[k], headers[members[k]].image_id))
    # Noise of less than 0.01 mm mustn't make positions fall where the UID decides.
    rising = np.maximum.accumulate(position_mm[order])
    return _Volume([members[k] for k in order], rising, found.order_key, found.tilt_deg, remarks)


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
    steps = np.diff(column)
    if (steps >= 0).all() or (steps <= 0).all():
        return 0
    falling = int(np.count_nonzero(np.triu(column[:, None] > column[None, :], 1)))
    rising = int(np.count_nonzero(np.triu(column[:, None] < column[None, :], 1)))
    return min(falling, rising)
