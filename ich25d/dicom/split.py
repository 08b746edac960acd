"""Several passes in one series: find the attribute that tells them apart, so that none is dropped."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

from ich25d.dicom.header import Header

KEYS: tuple[tuple[str, Callable[[Header], Hashable]], ...] = (
    ("SPLIT_ACQUISITION", lambda header: header.acquisition_number),
    ("SPLIT_CONTRAST", lambda header: header.contrast),
    ("SPLIT_KERNEL", lambda header: header.kernel),
    ("SPLIT_KVP", lambda header: header.kvp),
    ("SPLIT_IMAGETYPE", lambda header: header.image_type),
    ("SPLIT_TIME", lambda header: header.acquisition_time),
    ("SPLIT_TEMPORAL", lambda header: header.temporal_position),
)
"""Reason code and attribute, in the order in which they are tried."""


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
    counts: defaultdict[int, int] = defaultdict(int)
    for place in places:
        counts[place] += 1
    most = 2 * max(counts.values())
    for code, key in KEYS:
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
    return _instance_blocks(headers, members, places, counts, most)


def _instance_blocks(
    headers: Sequence[Header], members: Sequence[int], places: Sequence[int], counts: dict[int, int], most: int
) -> tuple[list[list[int]], str] | None:
    """Cut the images in the order of their InstanceNumber: pass after pass, or all passes of a position together."""
    numbered = []
    for member, place in zip(members, places, strict=True):
        number = headers[member].instance_number
        if number is None:
            return None
        numbered.append((number, headers[member].image_id, member, place))
    if len({number for number, *_ in numbered}) < len(numbered):
        return None
    numbered.sort()
    blocks: list[list[int]] = [[]]
    seen: set[int] = set()
    for _, _, member, place in numbered:
        if place in seen:
            blocks.append([])
            seen.clear()
        seen.add(place)
        blocks[-1].append(member)
    if len(blocks) <= most // 2:
        return blocks, "SPLIT_INSTANCE"
    if len(set(counts.values())) > 1:
        return None
    passes: defaultdict[int, list[int]] = defaultdict(list)
    rank: defaultdict[int, int] = defaultdict(int)
    for _, _, member, place in numbered:
        passes[rank[place]].append(member)
        rank[place] += 1
    return list(passes.values()), "SPLIT_INSTANCE"
