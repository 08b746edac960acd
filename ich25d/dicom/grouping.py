"""Which images belong together before any geometry: copies out, series by their UID, kinds that aren't volumes out."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from typing import NamedTuple

from ich25d.dicom.header import Header, Remark

MAX_SCOUTS = 3
"""A scan has more slices than that, a set of scouts hasn't."""
MAX_SLICES = 1000
"""More images than that in one axial series are time points."""


class Refusal(NamedTuple):
    """An image that belongs to no series, and why."""

    member: int
    """Index into the headers given."""
    code: str
    detail: str


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
            refusals += [
                Refusal(member, "DUP_UID_SAME", "another copy of an image that is used") for member in members[1:]
            ]
            copies.append(tuple(members))
        kept.append(members[0])
    return kept, refusals, copies


def group_by_series(
    headers: Sequence[Header], kept: Sequence[int], refusals: list[Refusal], accept: Collection[str]
) -> list[tuple[tuple[str, str], list[int], tuple[Remark, ...]]]:
    """Group images by study and series, localizers out, and join scans whose slices are a series each.

    Returns:
        ((study_id, series_id), members, remarks) of each group.
    """
    studies: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for member in kept:
        header = headers[member]
        if "LOCALIZER" in header.image_type and "LOCALIZER" not in accept:
            refusals.append(Refusal(member, "LOCALIZER", "ImageType says LOCALIZER"))
        else:
            studies[header.study_id][header.series_id].append(member)
    groups = []
    for study_id, by_series in sorted(studies.items()):
        joined = _join_singles(headers, by_series)
        for series_id, members in sorted(by_series.items()):
            if members:
                groups.append(((study_id, series_id), members, joined.get(series_id, ())))
    return groups


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


def refuse_kinds(
    headers: Sequence[Header], members: Sequence[int], refusals: list[Refusal], accept: Collection[str]
) -> tuple[Remark, ...] | None:
    """Refuse perfusion, angiography and contrast series by their headers.

    A contrast agent alone is a remark: its tag is often left by the protocol of the scan before.

    Returns:
        Remarks on the series, or None when it is refused.
    """
    flags = frozenset().union(*(headers[member].description_flags for member in members))
    has_agent = any(headers[member].contrast for member in members)
    found = []
    if "perfusion" in flags or any("PERFUSION" in headers[member].image_type for member in members):
        found.append(("PERFUSION", "the description or ImageType speaks of perfusion or a dynamic scan"))
    if len(members) > MAX_SLICES:
        found.append(("PERFUSION", f"a series must have at most {MAX_SLICES} slices (got {len(members)})"))
    if "localizer" in flags and len(members) <= MAX_SCOUTS:
        found.append(("LOCALIZER", "the description speaks of a localizer"))
    if "angio" in flags:
        found.append(("CONTRAST", "the description speaks of angiography"))
    elif has_agent and "contrast" in flags:
        found.append(("CONTRAST", "agent and description speak of contrast"))
    for code, detail in found:
        if code not in accept:
            refusals += [Refusal(member, code, detail) for member in members]
            return None
    remarks = tuple(Remark(code, detail) for code, detail in found)
    if has_agent and not found:
        remarks += (Remark("CONTRAST_TAG", "a contrast agent is named in the header"),)
    return remarks
