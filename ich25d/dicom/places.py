"""Where each image of a series lies along the normal, by the best attribute that nearly all images have.

An outlier doesn't decide for all: the few images without that attribute are set aside, and stand alone.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from ich25d.dicom import geometry
from ich25d.dicom.geometry import Floats
from ich25d.dicom.header import Header, Remark

OrderKey = Literal["position", "slice_location", "instance", "none"]

NOMINAL_MM = 5.0
"""Stands for the distance of slices where only their numbers are known."""
NEARLY_ALL = 0.8
"""Share of images that must have an attribute to be ordered by it; by a worse one only if more than half have it."""
SAME_LEVEL_MM = 5.0
"""A SliceLocation as near as that to the position agrees with it."""
MIN_SCAN = 8
"""With fewer images of one position and no SliceLocation, they may well be images of one slice."""
NOWHERE = (0.0, 0.0, 0.0)
"""What anonymisers write in place of a position; no corner of a picture lies in the scanner's centre."""


class Places(NamedTuple):
    """The positions of a series' images."""

    members: list[int]
    """Indices of the images that have one."""
    position_mm: Floats
    """Along the normal, shape (n,)."""
    order_key: OrderKey
    tilt_deg: float | None
    alone: list[int]
    """Indices of the images set aside."""
    remarks: list[Remark]


def find_places(headers: Sequence[Header], members: list[int]) -> Places:
    """Find a position for nearly every image.

    Positions that are all alike, or nearly so, are none where SliceLocation tells images apart; without it, where
    InstanceNumber does. Images that are taken at one place again and again (a bolus on its way) have one SliceLocation.

    Args:
        headers: All headers.
        members: Indices of the series' images.
    """
    chosen = [headers[member] for member in members]
    directions = [header.directions for header in chosen if header.directions is not None]
    normal = np.array([0.0, 0.0, 1.0])
    if directions:
        normal = geometry.canonical_normal(geometry.main_directions(np.array(directions)))
    origins = [header.origin_mm for header in chosen]
    if None not in origins:
        at = np.array(origins, dtype=np.float64)
        position_mm = at @ normal
        if len(members) < 3 or not _are_suspicious(position_mm):  # two images at one place say nothing
            return _by_position(members, chosen, at, normal, position_mm, [], [])
    return _by_best_key(members, chosen, normal)


def _are_suspicious(position_mm: Floats) -> bool:
    """Say whether half of the images or more are in one place, or all in two."""
    if (np.diff(np.sort(position_mm)) >= geometry.SAME_POSITION_MM).all():
        return False
    counts = np.bincount(geometry.place_numbers(position_mm))
    return 2 * int(counts.max()) >= len(position_mm) or len(counts) <= 2


def _by_position(
    members: list[int], chosen: list[Header], at: Floats, normal: Floats, position_mm: Floats, alone: list[int],
    remarks: list[Remark],
) -> Places:  # fmt: skip
    n, n_without = len(chosen), sum(header.directions is None for header in chosen)
    if n_without:
        taken = "that of the others is taken" if n_without < n else "z is taken"
        remarks = [*remarks, Remark("ORDER_BY_Z", f"{n_without} of {n} images have no orientation; {taken}")]
    tilt = geometry.tilt_deg(at, position_mm, normal) if n_without < n else None
    return Places(members, position_mm, "position", tilt, alone, remarks)


def _by_best_key(members: list[int], chosen: list[Header], normal: Floats) -> Places:
    n = len(members)
    origins, missing = _believed_origins(chosen, normal)
    locations = np.array([np.nan if header.slice_location is None else header.slice_location for header in chosen])
    counts = Counter(header.instance_number for header in chosen)
    all_numbers = [header.instance_number for header in chosen]
    numbers = np.array([np.nan if number is None or counts[number] > 1 else number for number in all_numbers])
    has: dict[OrderKey, np.ndarray] = {
        "position": np.array([origin is not None for origin in origins]),
        "slice_location": np.isfinite(locations),
        "instance": np.isfinite(numbers),
    }
    known = locations[has["slice_location"]]
    if 2 * len(np.unique(np.round(known, 2))) <= len(known):
        has["slice_location"][:] = False  # one place, or passes that nothing else tells apart
    if n == 1:
        has["instance"][:] = False  # one number orders nothing
    shares = {key: float(mask.mean()) for key, mask in has.items()}
    best: OrderKey = next((key for key, share in shares.items() if share >= NEARLY_ALL), "none")
    if best == "none":
        best = max(shares, key=lambda key: shares[key])
        if shares[best] <= 0.5:  # half
            detail = f"{missing}, and nothing orders them; each stands alone"
            return Places([], np.empty(0), "none", None, members, [Remark("NO_ORDER", detail)])
    mask = has[best]
    placed = np.flatnonzero(mask).tolist()
    alone = [members[k] for k in np.flatnonzero(~mask).tolist()]
    named = {"position": "position", "slice_location": "SliceLocation", "instance": "InstanceNumber of its own"}[best]
    remarks = []
    if alone:
        detail = f"{len(alone)} of {n} images have no {named}; each stands alone, the others are ordered"
        remarks.append(Remark("SET_ASIDE", detail))
    few, images = [members[k] for k in placed], [chosen[k] for k in placed]
    if best == "position":
        at = np.array([origins[k] for k in placed], dtype=np.float64)
        return _by_position(few, images, at, normal, at @ normal, alone, remarks)
    values = (locations if best == "slice_location" else numbers)[mask]
    if best == "instance":
        values = np.argsort(np.argsort(values)).astype(np.float64)
    sign = _direction(values, [origins[k] for k in placed], normal)
    if best == "slice_location":
        remarks.append(Remark("ORDER_BY_SLICELOC", f"{missing}; ordered by SliceLocation"))
        return Places(few, values * sign, best, None, alone, remarks)
    remarks.append(Remark("ORDER_BY_INSTANCE", f"{missing}; ordered by InstanceNumber"))
    return Places(few, values * sign * (images[0].thickness_mm or NOMINAL_MM), best, None, alone, remarks)


def _believed_origins(chosen: list[Header], normal: Floats) -> tuple[list[tuple[float, float, float] | None], str]:
    """Return the positions without those that are none, and what is wrong with them in words."""
    n = len(chosen)
    origins = [header.origin_mm for header in chosen]
    in_plane = {origin[:2] for origin in origins if origin is not None}
    if origins.count(NOWHERE) > 1 and (len(in_plane) > 1 or len(set(origins) - {None}) == 1):
        origins = [None if origin == NOWHERE else origin for origin in origins]
    given = [header for header, origin in zip(chosen, origins, strict=True) if origin is not None]
    missing = f"{n - len(given)} of {n} images have no position"
    if len(given) < 3:
        return origins, missing
    position_mm = np.array([header.origin_mm for header in given], dtype=np.float64) @ normal
    if not _are_suspicious(position_mm):
        return origins, missing
    places = geometry.place_numbers(position_mm)
    common = int(np.bincount(places).argmax())
    n_alike, n_places = int((places == common).sum()), int(places.max()) + 1
    if _tells_more(given, float(position_mm[places == common][0]), n_alike, n_places):
        return [None] * n, f"{n_alike} of {n} images have one and the same position, which is none"
    return origins, missing


def _tells_more(given: list[Header], level_mm: float, n_alike: int, n_places: int) -> bool:
    """Say whether SliceLocation, or InstanceNumber in its absence, tells images apart whose positions are alike."""
    n = len(given)
    locations = [header.slice_location for header in given if header.slice_location is not None]
    if len(locations) > n // 2:
        if len({round(location, 2) for location in locations}) >= NEARLY_ALL * n:
            return True
        if abs(abs(float(np.median(locations))) - abs(level_mm)) <= SAME_LEVEL_MM:
            return False  # taken at one level, again and again
    if n < MIN_SCAN or (n_alike < NEARLY_ALL * n and n_places > 2):
        return False
    numbers = {header.instance_number for header in given} - {None}
    times = {header.temporal_position for header in given}
    return len(numbers) >= NEARLY_ALL * n and len(times) == 1


def _direction(values: Floats, origins: Sequence[tuple[float, float, float] | None], normal: Floats) -> float:
    """Return -1 where the values fall along the normal by the positions that some of the images do have."""
    known = [(value, float(np.dot(at, normal))) for value, at in zip(values, origins, strict=True) if at is not None]
    if len(known) < 2:  # one place has no direction
        return 1.0
    value, place = np.array(known).T
    return -1.0 if float((value - value.mean()) @ (place - place.mean())) < 0 else 1.0
