"""Which images make one volume: copies out, series by their UID, kinds that aren't volumes out."""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from ich25d.dicom import geometry
from ich25d.dicom.header import Header, Remark

MAX_SCOUTS = 3
"""A scan has more slices than that, a set of scouts hasn't."""
MAX_STEP_MM = 12.0
"""Slices of a head scan are closer than that."""
ON_LINE_MM = 1.0
"""How far the corners of a scan's slices lie off their line at most."""


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


def group_by_series(
    headers: Sequence[Header], kept: Sequence[int], accept: Collection[str] = ()
) -> tuple[list[Group], list[Refusal]]:
    """Group images by study and series, and join scans whose slices are a series each.

    Args:
        headers: All headers.
        kept: Indices of the images to group.
        accept: Reason codes that refuse nothing here.

    Returns:
        The groups by study and series, and the localizers.
    """
    refusals = []
    studies: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for member in kept:
        header = headers[member]
        if "LOCALIZER" in header.image_type and "LOCALIZER" not in accept:
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
    of_single = {series_id: headers[by_series[series_id][0]] for series_id in singles}
    # One frame of reference a file was made anew with the series' UID, and tells nothing.
    references = Counter(header.frame_of_reference for header in of_single.values())
    is_told = 2 * len(references) <= len(singles)
    alike: defaultdict[Hashable, list[str]] = defaultdict(list)
    for series_id, header in of_single.items():
        reference = header.frame_of_reference if is_told else ""
        alike[header.series_number, reference, header.rows, header.columns].append(series_id)
    remarks: dict[str, tuple[Remark, ...]] = {}
    for names in alike.values():
        header = of_single[names[0]]
        is_named = header.series_number is not None or (is_told and header.frame_of_reference)
        if len(names) >= 3 and (is_named or is_stack([of_single[name] for name in names])):
            first, *others = sorted(names)
            for other in others:
                by_series[first] += by_series[other]
                by_series[other] = []
            remarks[first] = (Remark("REGROUPED", f"{len(names)} series of one image each were joined"),)
    return remarks


def is_stack(headers: Sequence[Header]) -> bool:
    """Say whether images lie above each other as the slices of one scan: parallel, on one line, in steps of a scan.

    Where they share neither a frame of reference nor a series, each must have a place and an InstanceNumber of its own.

    Args:
        headers: Headers of three images or more.
    """
    if any(header.origin_mm is None or header.directions is None for header in headers):
        return False
    at = np.array([header.origin_mm for header in headers], dtype=np.float64)
    directions = np.array([header.directions for header in headers], dtype=np.float64)
    if geometry.orientation_groups(directions).any():
        return False
    position_mm = at @ geometry.canonical_normal(geometry.main_directions(directions))
    centred = position_mm - position_mm.mean()
    gaps = np.diff(np.sort(position_mm))
    if np.median(gaps) > MAX_STEP_MM or not centred.any():
        return False
    way = centred @ at / float(centred @ centred)
    if np.abs(at - at.mean(axis=0) - centred[:, None] * way).max() > ON_LINE_MM:
        return False
    numbers = {header.instance_number for header in headers} - {None}
    is_shared = len({header.frame_of_reference for header in headers}) == 1 and headers[0].frame_of_reference != ""
    is_shared |= len({header.series_id for header in headers}) == 1
    return is_shared or (len(numbers) == len(headers) and float(gaps.min()) >= geometry.SAME_POSITION_MM)


def reason_of_kind(headers: Sequence[Header]) -> tuple[str, str] | None:
    """Return reason code and detail where a series is a perfusion, an angiography, with contrast or scouts, else None.

    A contrast agent alone is no reason: its tag is often left by the protocol of the scan before. Nor is a description
    that also denies contrast (`CTA NON CON`): it may name the protocol's other scan.

    Args:
        headers: The series' headers.
    """
    flags = _main_flags(headers)
    is_plain = "plain" in flags
    n_perfusion = sum("PERFUSION" in header.image_type for header in headers)
    if 2 * n_perfusion >= len(headers) or ("perfusion" in flags and not is_plain):
        return "PERFUSION", "the description or ImageType speaks of perfusion or a dynamic scan"
    if "localizer" in flags and len(headers) <= MAX_SCOUTS:
        return "LOCALIZER", "the description speaks of a localizer"
    if "angio" in flags and (not is_plain or "contrast" in flags):
        return "CONTRAST", "the description speaks of angiography"
    if "contrast" in flags and not is_plain and any(header.contrast for header in headers):
        return "CONTRAST", "agent and description speak of contrast"
    return None


def _main_flags(headers: Sequence[Header]) -> set[str]:
    """Return what the descriptions of most images say: one odd image doesn't decide for all."""
    counts: Counter[str] = Counter()
    for flags, count in Counter(header.description_flags for header in headers).items():
        counts.update(dict.fromkeys(flags, count))
    return {flag for flag, count in counts.items() if 2 * count >= len(headers)}


def contrast_remark(headers: Sequence[Header]) -> Remark | None:
    """Return the remark on contrast of a series that is used, where its agent or description speaks of some."""
    flags = _main_flags(headers)
    spoken = sorted(flags & {"angio", "contrast", "perfusion"})
    if spoken and "plain" in flags:
        return Remark("CONTRAST?", f"the description speaks of {' and '.join(spoken)} and denies contrast")
    if spoken:
        return Remark("CONTRAST?", "the description speaks of contrast, the header names no agent")
    if any(header.contrast for header in headers):
        denied = ", which the description denies" if "plain" in flags else ""
        return Remark("CONTRAST_TAG", f"a contrast agent is named in the header{denied}")
    return None
