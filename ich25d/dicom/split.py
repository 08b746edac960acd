"""Which images of one series belong to one pass over the head, and which to several.

What can't be one acquisition is not one series. Attributes and geometry decide together:

1. Another frame of reference is another scan, whatever the geometry: positions in two of them can't be compared. Where
   nearly every image has one of its own, it was made anew for each file and tells nothing. Where the series has no UID
   of its own, SeriesNumber counts in the same way.
2. Passes **interleave** where three or more images of one lie between neighbours of another, in gaps that are no holes.
   Images are grouped by one attribute after the other; groups that don't interleave are one pass (rotations of a
   step-and-shoot scan, a change of the gap or of kVp on the way up, contrast phases one above the other). Passes are
   believed when the gaps inside each are regular: mixed, they are irregular or halved. A single image that differs, or
   noise in a number, moves nothing. InstanceNumber and time alone are believed only if each pass covers the head
   without holes by its SliceThickness: some scanners take the odd slices first, and the even ones after.
3. Passes that **share positions** are split by the first attribute that leaves no position twice. A few repeated slices
   don't cut a scan in two: they stay beside their twins.

Every image ends in exactly one pass, and the passes don't depend on the order of the images.
"""

import operator
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ich25d.dicom.geometry import SAME_POSITION_MM, Floats, Ints
from ich25d.dicom.header import Header

MIN_INTERLEAVED = 3
"""Fewer images than that between those of another group are slices taken again."""
HOLE_RATIO = 1.5
"""A gap that much larger than the gaps beside it is a hole, and what lies in it fills it."""
ALIKE_RATIO = 1.25
"""Gaps within that ratio are alike."""
REGULAR_SHARE = 0.75
"""Share of the gaps of a pass that are like a gap beside them."""
COVERED_RATIO = 1.3
"""Slices up to that many thicknesses apart cover the head without holes."""
REPEATED_SHARE = 0.2
"""Up to that share of positions taken again, the scan stays one series unless one pass holds nearly all positions."""


class PassKey(NamedTuple):
    """An attribute that may tell passes apart."""

    code: str
    """Reason code of the split."""
    field: str
    """Field of `Header`."""
    tolerance: float = 0.0
    """Share by which numbers may differ and still be one value: it is noise."""


_ACQUISITION = PassKey("SPLIT_ACQUISITION", "acquisition_number")
_CONTRAST = PassKey("SPLIT_CONTRAST", "contrast")
_KERNEL = PassKey("SPLIT_KERNEL", "kernel")
_KVP = PassKey("SPLIT_KVP", "kvp", 0.05)
_IMAGE_TYPE = PassKey("SPLIT_IMAGETYPE", "image_type")
_TEMPORAL = PassKey("SPLIT_TEMPORAL", "temporal_position")
_TIME = PassKey("SPLIT_TIME", "acquisition_time")
_SERIES_NUMBER = PassKey("SPLIT_SERIES_NUMBER", "series_number")
_FRAME_OF_REFERENCE = PassKey("SPLIT_REFERENCE", "frame_of_reference")

SHARING_KEYS = (_ACQUISITION, _CONTRAST, _KERNEL, _KVP, _IMAGE_TYPE, _TIME, _TEMPORAL, _SERIES_NUMBER)
"""What may tell passes over the same positions apart, in the order in which it is tried."""

INTERLEAVING_KEYS = (
    _SERIES_NUMBER, _ACQUISITION, _CONTRAST, _KERNEL, _KVP, _IMAGE_TYPE, _TEMPORAL,
    PassKey("SPLIT_THICKNESS", "thickness_mm", 0.1),
    PassKey("SPLIT_SPACING", "pixel_spacing_mm", 0.02),
    PassKey("SPLIT_DESCRIPTION", "description_flags"),
)  # fmt: skip
"""What may tell interleaved passes apart, likewise."""

_LOOKED_AT = (_FRAME_OF_REFERENCE.field, *(key.field for key in INTERLEAVING_KEYS))
_what_tells = operator.itemgetter(*map(Header._fields.index, _LOOKED_AT))


class Passes(NamedTuple):
    """A series taken apart."""

    parts: list[list[int]]
    """Indices of the images of each pass."""
    codes: list[str]
    """Reason codes of the splits, in the order in which they were made; none where the series is one pass."""


def changing_fields(headers: Sequence[Header], members: Sequence[int]) -> frozenset[str]:
    """Return the attributes that could tell passes apart; nearly all series have none."""
    first = _what_tells(headers[members[0]])
    if all(_what_tells(headers[member]) == first for member in members):
        return frozenset()
    columns = zip(*(_what_tells(headers[member]) for member in members), strict=True)
    return frozenset(field for field, column in zip(_LOOKED_AT, columns, strict=True) if len(set(column)) > 1)


def split_scans(headers: Sequence[Header], members: list[int]) -> Passes:
    """Split a series by what two scans never share: rule 1."""
    keys = [_FRAME_OF_REFERENCE]
    if headers[members[0]].series_id == headers[members[0]].study_id:  # the study stands in for an absent series UID
        keys.append(_SERIES_NUMBER)
    parts = [members]
    codes: list[str] = []
    for key in keys:
        split = [few for part in parts for few in _by_scan(headers, part, key.field)]
        if len(split) > len(parts):
            parts, codes = split, [*codes, key.code]
    return Passes(parts, codes)


def _by_scan(headers: Sequence[Header], members: list[int], field: str) -> list[list[int]]:
    groups = _grouped(members, (getattr(headers[member], field) or None for member in members))
    unknown = groups.pop(None, [])
    if len(groups) < 2 or 2 * len(groups) > len(members):
        return [members]
    largest = max(sorted(groups), key=lambda value: len(groups[value]))
    groups[largest] += unknown
    return [groups[value] for value in sorted(groups)]


def split_interleaved(
    headers: Sequence[Header], members: list[int], position_mm: Floats, changing: frozenset[str]
) -> Passes:
    """Split images of several passes that lie between each other: rule 2.

    Args:
        headers: All headers.
        members: Indices of the series' images.
        position_mm: Their positions along the normal, shape (n,).
        changing: Attributes to look at, beside numbers and times (`changing_fields`).
    """
    if len(members) < 2 * MIN_INTERLEAVED:
        return Passes([members], [])
    order = np.argsort(position_mm, kind="stable")
    keys = [key for key in INTERLEAVING_KEYS if key.field in changing]
    found = _by_attribute(headers, members, position_mm, order, keys) if keys else None
    found = found or _by_number(headers, members, position_mm, order)
    if found is None:
        return Passes([members], [])
    parts: list[list[int]] = []
    codes = found[1]
    for part in found[0]:  # may be of several passes itself
        chosen = [members[k] for k in part.tolist()]
        again = split_interleaved(headers, chosen, position_mm[part], changing_fields(headers, chosen))
        parts += again.parts
        codes += again.codes
    return Passes(parts, list(dict.fromkeys(codes)))


def _by_attribute(
    headers: Sequence[Header], members: list[int], position_mm: Floats, order: Ints, keys: Sequence[PassKey]
) -> tuple[list[Ints], list[str]] | None:
    """Tell passes apart by the first attribute that does, or by all together that change to and fro along the scan."""
    alternating: list[Ints] = []
    codes = []
    for key in keys:
        values = [getattr(headers[member], key.field) for member in members]
        if key.field == "pixel_spacing_mm":
            values = [value and max(value) for value in values]
        labels = _labels(values, key.tolerance)
        if labels is not None and np.count_nonzero(np.diff(labels[order])) > labels.max():
            passes = _interleaved(labels, position_mm)
            if passes is not None:
                return passes, [key.code]
            alternating.append(labels)
            codes.append(key.code)
    if len(alternating) < 2:
        return None
    together = np.unique(np.stack(alternating), axis=1, return_inverse=True)[1].reshape(-1)
    passes = _interleaved(together, position_mm)
    return None if passes is None else (passes, codes)


def _labels(values: Sequence[Any], tolerance: float) -> Ints | None:
    """Number the values of an attribute in their order; None where there is only one. Unknown is a value too."""
    distinct = sorted(set(values) - {None})
    number: dict[Any, int] = {}
    last, label = None, -1
    for value in distinct:
        if last is None or (value != last and not (tolerance and value - last <= tolerance * abs(value))):
            label += 1
        number[value], last = label, value
    number[None] = label + 1
    labels = np.array([number[value] for value in values], dtype=np.int64)
    return labels if (labels != labels[0]).any() else None


def _interleaved(labels: Ints, position_mm: Floats) -> list[Ints] | None:
    """Join the groups that don't interleave into passes; None unless there are several, each with regular gaps."""
    passes: list[Ints] = []
    for label in np.unique(labels):
        group = np.flatnonzero(labels == label)
        for k, other in enumerate(passes):
            if _n_between(position_mm[group], position_mm[other]) < MIN_INTERLEAVED:
                passes[k] = np.concatenate((other, group))
                break
        else:
            passes.append(group)
    return passes if len(passes) > 1 and all(_is_regular(position_mm[part]) for part in passes) else None


def _n_between(one: Floats, other: Floats) -> int:
    """Count the places of either group that lie between neighbours of the other, in gaps that are no holes."""
    one, other = _places(one), _places(other)
    return max(_n_in_gaps(one, other), _n_in_gaps(other, one))


def _places(position_mm: Floats) -> Floats:
    """Return the distinct places, rising."""
    rising = np.sort(position_mm)
    return rising[np.concatenate(([True], np.diff(rising) >= SAME_POSITION_MM))]


def _n_in_gaps(inner: Floats, outer: Floats) -> int:
    if len(outer) < MIN_INTERLEAVED:
        return 0
    gaps = np.diff(outer)
    beside = np.maximum(np.concatenate(([0.0], gaps[:-1])), np.concatenate((gaps[1:], [0.0])))
    is_hole = gaps > HOLE_RATIO * beside
    after = np.searchsorted(outer, inner)
    inner, after = inner[(after > 0) & (after < len(outer))], after[(after > 0) & (after < len(outer))]
    is_apart = (inner - outer[after - 1] >= SAME_POSITION_MM) & (outer[after] - inner >= SAME_POSITION_MM)
    return int((is_apart & ~is_hole[after - 1]).sum())


def _is_regular(position_mm: Floats) -> bool:
    gaps = np.diff(_places(position_mm))
    if len(gaps) < 2:
        return True
    ratio = np.maximum(gaps[1:], gaps[:-1]) / np.minimum(gaps[1:], gaps[:-1]) <= ALIKE_RATIO
    is_alike = np.concatenate((ratio[:1], ratio[1:] | ratio[:-1], ratio[-1:]))
    return float(is_alike.mean()) >= REGULAR_SHARE


def _by_number(
    headers: Sequence[Header], members: list[int], position_mm: Floats, order: Ints
) -> tuple[list[Ints], list[str]] | None:
    """Tell passes apart by InstanceNumber, which starts anew or runs back, or by the time."""
    chosen = [headers[member] for member in members]
    numbers = [header.instance_number for header in chosen]
    if None not in numbers:
        column = np.array(numbers, dtype=np.int64)
        steps = np.diff(column[order])
        if (steps > 0).all() or (steps < 0).all():
            return None
        if len(np.unique(column)) < len(column):
            parts = _by_repeated_number(column, position_mm, order)
        else:
            parts = _by_run(np.argsort(column), position_mm, chosen)
        if parts is not None:
            return parts, ["SPLIT_INSTANCE"]
    times = [header.acquisition_time for header in chosen]
    if None not in times and len(set(times)) > len(times) // 2:
        parts = _by_run(np.lexsort((position_mm, np.array(times, dtype=np.float64))), position_mm, chosen)
        if parts is not None:
            return parts, ["SPLIT_TIME"]
    return None


def _by_repeated_number(numbers: Ints, position_mm: Floats, order: Ints) -> list[Ints] | None:
    """Deal images whose numbers occur equally often into passes that count up, or down, by themselves."""
    _, inverse, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    n_passes = int(np.median(counts))
    if n_passes < 2 or (counts != n_passes).mean() > REPEATED_SHARE:
        return None
    rank_of_number: Counter[int] = Counter()
    by_rank = np.empty(len(numbers), dtype=np.int64)
    for k in order.tolist():
        by_rank[k] = rank_of_number[int(inverse[k])]
        rank_of_number[int(inverse[k])] += 1
    in_turn = np.empty(len(numbers), dtype=np.int64)
    in_turn[order] = np.arange(len(numbers)) % n_passes
    for labels in (by_rank, in_turn):
        parts = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
        steps = [np.diff(numbers[part[np.argsort(position_mm[part], kind="stable")]]) for part in parts]
        if all((step > 0).all() or (step < 0).all() for step in steps):
            passes = _interleaved(labels, position_mm)
            if passes is not None:
                return passes
    return None


def _by_run(sequence: Ints, position_mm: Floats, chosen: Sequence[Header]) -> list[Ints] | None:
    """Cut a sequence of images where it turns back: each run is a pass over the head, if it covers it."""
    steps = np.diff(position_mm[sequence])
    is_rising = np.median(steps) > 0
    turns = np.flatnonzero(steps < 0 if is_rising else steps > 0)
    if not len(turns) or len(turns) > len(sequence) // MIN_INTERLEAVED:
        return None
    labels = np.empty(len(sequence), dtype=np.int64)
    labels[sequence] = np.searchsorted(turns, np.arange(len(sequence)), side="left")
    passes = _interleaved(labels, position_mm)
    if passes is None or not all(_covers(position_mm[part], [chosen[k] for k in part.tolist()]) for part in passes):
        return None
    return passes


def _covers(position_mm: Floats, headers: Iterable[Header]) -> bool:
    """Say whether slices are close enough for their thickness to leave no holes."""
    thickness = [header.thickness_mm for header in headers if header.thickness_mm]
    gaps = np.diff(_places(position_mm))
    return bool(thickness and len(gaps)) and float(np.median(gaps)) <= COVERED_RATIO * float(np.median(thickness))


def split_shared(headers: Sequence[Header], members: Sequence[int], places: Sequence[int]) -> Passes | None:
    """Split images that share positions into passes that don't: rule 3.

    A key works when no pass has a position twice and the passes are few: step-and-shoot scanners count
    AcquisitionNumber up with every slice, and splitting by it would leave nothing but single slices.

    Args:
        headers: All headers.
        members: Indices of the series' images.
        places: Number of the position of each member.

    Returns:
        The passes; None when no key works, or a few slices were taken again.
    """
    counts = Counter(places)
    for key in SHARING_KEYS:
        passes = _without_doubles(members, places, [getattr(headers[member], key.field) for member in members])
        if passes and 1 < len(passes) <= 2 * max(counts.values()) and _keeps_whole(passes, counts):
            return Passes(passes, [key.code])
    blocks = _instance_blocks(headers, members, places, counts)
    return None if blocks is None or not _keeps_whole(blocks, counts) else Passes(blocks, ["SPLIT_INSTANCE"])


def _without_doubles(
    members: Sequence[int], places: Sequence[int], values: Sequence[Hashable]
) -> list[list[int]] | None:
    """Group the members by value; None where a group has a position twice."""
    seen: set[tuple[Hashable, int]] = set()
    for value, place in zip(values, places, strict=True):
        if (value, place) in seen:
            return None
        seen.add((value, place))
    return list(_grouped(members, values).values())


def _keeps_whole(passes: Sequence[Sequence[int]], counts: Counter[int]) -> bool:
    """Say whether a split leaves the scan whole: where few positions are repeated, one pass must hold nearly all."""
    n_places = len(counts)
    n_repeated = counts.total() - n_places
    return n_repeated > max(1, REPEATED_SHARE * n_places) or max(map(len, passes)) >= 0.9 * n_places


def _instance_blocks(
    headers: Sequence[Header], members: Sequence[int], places: Sequence[int], counts: Counter[int]
) -> list[list[int]] | None:
    """Cut the images in the order of their InstanceNumber: pass after pass, or all passes of a position together."""
    numbered = []
    for member, place in zip(members, places, strict=True):
        number = headers[member].instance_number
        if number is None:
            return None
        numbered.append((number, member, place))
    if len({number for number, *_ in numbered}) < len(numbered):
        return None
    numbered.sort()
    blocks: list[list[int]] = [[]]
    seen: set[int] = set()
    for _, member, place in numbered:
        if place in seen:
            blocks.append([])
            seen.clear()
        seen.add(place)
        blocks[-1].append(member)
    if len(blocks) <= max(counts.values()):
        return blocks
    if len(set(counts.values())) > 1:
        return None
    passes: list[list[int]] = [[] for _ in range(max(counts.values()))]
    rank: Counter[int] = Counter()
    for _, member, place in numbered:
        passes[rank[place]].append(member)
        rank[place] += 1
    return passes


def _grouped(members: Sequence[int], values: Iterable[Hashable]) -> dict[Any, list[int]]:
    groups: defaultdict[Any, list[int]] = defaultdict(list)
    for member, value in zip(members, values, strict=True):
        groups[value].append(member)
    return dict(groups)
