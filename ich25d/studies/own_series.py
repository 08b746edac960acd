"""One name a series: where several studies or patients use one SeriesInstanceUID, each gets a name of its own.

Standard identifiers are unique (DICOM PS3.5, section 9); what anonymisers, phantoms and hand-made tables write isn't.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

from ich25d.studies.index import Indexed, Scan
from ich25d.studies.qc import QcRow

_DETAIL = "{} scans of different studies or patients have this SeriesInstanceUID"


def own_series(images: Sequence[Indexed]) -> tuple[dict[Scan, str], list[QcRow]]:
    """Name the series of an index.

    Images without a patient belong to the only patient of their series and study, where there is one.

    Args:
        images: The index, in any order.

    Returns:
        The name of each scan whose SeriesInstanceUID isn't its own: the UID for the first by study and image id, and
        with `@2`, `@3` for the others; and a remark for each.
    """
    of_shared: dict[int, Scan] = {}
    for image in images:
        if id(image.shared) not in of_shared:  # one object for most of a series
            of_shared[id(image.shared)] = image.scan()
    by_series: defaultdict[str, set[Scan]] = defaultdict(set)
    for scan in of_shared.values():
        by_series[scan.series_id].add(scan)
    joined_of = {series_id: _joined(scans) for series_id, scans in by_series.items() if len(scans) > 1}
    shared = {series_id: joined for series_id, joined in joined_of.items() if len(set(joined.values())) > 1}
    if not shared:
        return {}, []
    first: dict[Scan, str] = {}
    for image in images:
        scan = of_shared[id(image.shared)]
        if scan.series_id in shared:
            scan, image_id = shared[scan.series_id][scan], image.identity()[0]
            first[scan] = min(first.get(scan, image_id), image_id)
    names: dict[Scan, str] = {}
    qc: list[QcRow] = []
    for series_id, joined in sorted(shared.items()):
        # Not by patient: the pseudonyms of two calls differ.
        ranked = sorted(set(joined.values()), key=lambda scan: (scan.study_id, first[scan]))
        of_scan = {scan: f"{series_id}@{number}" if number > 1 else series_id for number, scan in enumerate(ranked, 1)}
        names |= {scan: of_scan[kept] for scan, kept in joined.items()}
        detail = _DETAIL.format(len(ranked))
        qc += [QcRow("", "", name, "series", "DUP_SERIES_UID", detail) for name in of_scan.values()]
    return names, qc


def _joined(scans: Collection[Scan]) -> dict[Scan, Scan]:
    """Return the scan that each counts as: those without a patient as the only other one of their study."""
    named: defaultdict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        if scan.patient_id:
            named[scan.study_id].append(scan)
    joined = {}
    for scan in scans:
        others = named[scan.study_id]
        joined[scan] = others[0] if not scan.patient_id and len(others) == 1 else scan
    return joined


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name for a series that none of the others has: itself, or with `@2`, `@3`..."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}@{number}", number + 1
    return free
