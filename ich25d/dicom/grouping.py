"""Which images make one volume: copies out, series by their UID, kinds that aren't volumes out, passes apart."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

from ich25d.dicom.header import Header, Remark

MAX_SCOUTS = 3
"""A scan has more slices than that, a set of scouts hasn't."""
MAX_SLICES = 1000
"""More images than that in one axial series are time points."""

PASS_KEYS: tuple[tuple[str, Callable[[Header], Hashable]], ...] = (
    ("SPLIT_ACQUISITION", lambda header: header.acquisition_number),
    ("SPLIT_CONTRAST", lambda header: header.contrast),
    ("SPLIT_KERNEL", lambda header: header.kernel),
    ("SPLIT_KVP", lambda header: header.kvp),
    ("SPLIT_IMAGETYPE", lambda header: header.image_type),
    ("SPLIT_TIME", lambda header: header.acquisition_time),
    ("SPLIT_TEMPORAL", lambda header: header.temporal_position),
)
"""What may tell passes apart: reason code and attribute, in the order in which they are tried."""


class Refusal(NamedTuple):
    """An image that belongs to no series, and why."""

    member: int
    """Index into the headers given."""
    code: str
    detail: str


class Group(NamedTuple):
    """The images of one series."""

    study_id: str
    series_id: str
    members: list[int]
    """Indices into the headers given."""
    remarks: tuple[Remark, ...]


def remove_copies(headers: Sequence[Header]) -> tuple[list[int], list[Refusal], list[tuple[int, ...]]]:
    """Keep one image of each SOPInstanceUID.

    Returns:
        The indices kept, ordered by UID; the refusals; and the groups of equal-looking copies, the kept one first.
        Images of one UID that lie in different places or have different sizes are all refused.
    """
    by_id: defaultdict[str, list[int]] = defaultdict(list)
    for index, header in enumerate(headers):
        by_id[header.image_id].append(index)
    kept: list[int] = []
    refusals: list[Refusal] = []
    copies: list[tuple[int, ...]] = []
    for _, members in sorted(by_id.items()):
        if len(members) > 1:
            looks = {(one.origin_mm, one.directions, one.rows, one.columns) for one in (headers[k] for k in members)}
            if len(looks) > 1:
                detail = f"{len(members)} different images have one SOPInstanceUID; none can be the right one"
                refusals += [Refusal(member, "DUP_UID_DIFF", detail) for member in members]
                continue
            members.sort(key=lambda member: (headers[member].study_id, headers[member].series_id, member))
            detail = "another copy of an image that is used"
            refusals += [Refusal(member, "DUP_UID_SAME", detail) for member in members[1:]]
            copies.append(tuple(members))
        kept.append(members[0])
    return kept, refusals, copies


def group_by_series(headers: Sequence[Header], kept: Sequence[int]) -> tuple[list[Group], list[Refusal]]:
    """Group images by study and series, and join scans whose slices are a series each.

    Args:
        headers: All headers.
        kept: Indices of the images to group.

    Returns:
        The groups by study and series, and the localizers.
    """
    refusals = []
    studies: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for member in kept:
        header = headers[member]
        if "LOCALIZER" in header.image_type:
            refusals.append(Refusal(member, "LOCALIZER", "ImageType says LOCALIZER"))
        else:
            studies[header.study_id][header.series_id].append(member)
    groups = []
    for study_id, by_series in sorted(studies.items()):
        remarks = _join_singles(headers, by_series)
        for series_id, members in sorted(by_series.items()):
            if members:
                groups.append(Group(study_id, series_id, members, remarks.get(series_id, ())))
    return groups, refusals


def _join_singles(headers: Sequence[Header], by_series: dict[str, list[int]]) -> dict[str, tuple[Remark, ...]]:
    """Move slices that came as a series each into the first of their series; the others are left empty.

    Some scanners and archives give every image a SeriesInstanceUID of its own. That is assumed only when most
    series of the study have one image, and three or more of them share number, frame of reference and size.
    """
    singles = [series_id for series_id, members in by_series.items() if len(members) == 1]
    if len(singles) < 3 or 2 * len(singles) <= len(by_series):
        return {}
    alike: defaultdict[Hashable, list[str]] = defaultdict(list)
    for series_id in singles:
        header = headers[by_series[series_id][0]]
        if header.series_number is not None or header.frame_of_reference:
            alike[header.series_number, header.frame_of_reference, header.rows, header.columns].append(series_id)
    remarks: dict[str, tuple[Remark, ...]] = {}
    for names in alike.values():
        if len(names) >= 3:
            first, *others = sorted(names)
            for other in others:
                by_series[first] += by_series[other]
                by_series[other] = []
            remarks[first] = (Remark("REGROUPED", f"{len(names)} series of one image each were joined"),)
    return remarks


def reason_of_kind(headers: Sequence[Header]) -> tuple[str, str] | None:
    """Return reason code and detail where a series is a perfusion, an angiography, with contrast or scouts, else None.

    A contrast agent alone is no reason: its tag is often left by the protocol of the scan before. Nor is a description
    that also denies contrast (`CTA NON CON`): it may name the protocol's other scan.

    Args:
        headers: The series' headers.
    """
    flags = {flag for header in headers for flag in header.description_flags}
    is_plain = "plain" in flags
    if any("PERFUSION" in header.image_type for header in headers) or ("perfusion" in flags and not is_plain):
        return "PERFUSION", "the description or ImageType speaks of perfusion or a dynamic scan"
    if len(headers) > MAX_SLICES:
        return "PERFUSION", f"a series must have at most {MAX_SLICES} slices (got {len(headers)})"
    if "localizer" in flags and len(headers) <= MAX_SCOUTS:
        return "LOCALIZER", "the description speaks of a localizer"
    if "angio" in flags and (not is_plain or "contrast" in flags):
        return "CONTRAST", "the description speaks of angiography"
    if "contrast" in flags and not is_plain and any(header.contrast for header in headers):
        return "CONTRAST", "agent and description speak of contrast"
    return None


def contrast_remark(headers: Sequence[Header]) -> Remark | None:
    """Return the remark on contrast of a series that is used, where its agent or description speaks of some."""
    flags = {flag for header in headers for flag in header.description_flags}
    spoken = sorted(flags & {"angio", "contrast", "perfusion"})
    if spoken and "plain" in flags:
        return Remark("CONTRAST?", f"the description speaks of {' and '.join(spoken)} and denies contrast")
    if spoken:
        return Remark("CONTRAST?", "the description speaks of contrast, the header names no agent")
    if any(header.contrast for header in headers):
        denied = ", which the description denies" if "plain" in flags else ""
        return Remark("CONTRAST_TAG", f"a contrast agent is named in the header{denied}")
    return None


def split_passes(
    headers: Sequence[Header], members: Sequence[int], places: Sequence[int]
) -> tuple[list[list[int]], str] | None:
    """Split images that share positions into passes that don't.

    A key works when no pass has a position twice and the passes are few: step-and-shoot scanners count
    AcquisitionNumber up with every slice, and splitting by it would leave nothing but single slices.

    Args:
        headers: All headers.
        members: Indices of the series' images.
        places: Number of the position of each member.

    Returns:
        The passes as lists of indices, and the reason code of the key; None when no key works.
    """
    counts = Counter(places)
    most = 2 * max(counts.values())
    for code, key in PASS_KEYS:
        passes: defaultdict[Hashable, list[int]] = defaultdict(list)
        seen: set[tuple[Hashable, int]] = set()
        for member, place in zip(members, places, strict=True):
            value = key(headers[member])
            if (value, place) in seen:
                break
            seen.add((value, place))
            passes[value].append(member)
        else:
            if 1 < len(passes) <= most:
                return list(passes.values()), code
    blocks = _instance_blocks(headers, members, places, counts)
    return None if blocks is None else (blocks, "SPLIT_INSTANCE")


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
