"""One name a series: where several studies or patients use one SeriesInstanceUID, each gets a name of its own.

Standard identifiers are unique (DICOM PS3.5, section 9); what anonymisers, phantoms and hand-made tables write isn't.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from ich25d.studies.headers.packed import Indexed, RefusedImage, Scan
from ich25d.studies.linked import Linked
from ich25d.studies.qc import QcRow


def own_series(images: Sequence[Indexed]) -> tuple[dict[Scan, str], list[QcRow]]:
    """Name the series of an index.

    Images without a patient belong to the only patient of their series and study, where there is one.

    Args:
        images: The index, in any order.

    Returns:
        The name of each scan whose SeriesInstanceUID isn't its own: the UID for the first by study and image id, and
        with `@2`, `@3` for the others; and a remark for each.
    """
    by_series: defaultdict[str, set[Scan]] = defaultdict(set)
    for image in images:
        scan = image.scan()
        by_series[scan.series_id].add(scan)
    doubtful = {series_id: _counted_as(scans) for series_id, scans in by_series.items() if len(scans) > 1}
    if not doubtful:
        return {}, []
    ids: defaultdict[Scan, set[str]] = defaultdict(set)
    for image in images:
        scan = image.scan()
        if scan.series_id in doubtful:
            ids[doubtful[scan.series_id][scan]].add(image.identity()[0])
    names: dict[Scan, str] = {}
    qc: list[QcRow] = []
    for series_id, counted_as in sorted(doubtful.items()):
        groups = _without_copies({scan: ids[scan] for scan in set(counted_as.values())})
        if len(groups) == 1:
            continue
        of_scan: dict[Scan, str] = {}
        for number, group in enumerate(groups, 1):
            name = f"{series_id}@{number}" if number > 1 else series_id
            of_scan |= dict.fromkeys(group, name)
            detail = f"{len(groups)} scans of different studies or patients have this SeriesInstanceUID"
            qc.append(QcRow("", "", name, "series", "DUP_SERIES_UID", detail))
        names |= {scan: of_scan[other] for scan, other in counted_as.items()}
    return names, qc


def charged(rows: Sequence[QcRow], scans: Mapping[Scan, Scan], names: Mapping[Scan, str]) -> list[QcRow]:
    """Charge images that were refused by their headers to the series that they are of, by the name that it has.

    Args:
        rows: Rows of refusals; those of no image are left as they are.
        scans: What each scan of the index counts as, which is another study where its files had one each.
        names: As `own_series` gives them.

    Returns:
        The rows. Images of scans that aren't in the index, and have the UID of one that is, get a name of their own.
    """
    refused = [row for row in rows if isinstance(row, RefusedImage) and row.series_id]
    known: defaultdict[str, dict[Scan, str]] = defaultdict(dict)
    wanted = {row.series_id for row in refused}
    for of, now in scans.items() if wanted else ():
        if now.series_id in wanted:
            known[now.series_id][of] = known[now.series_id][now] = names.get(now, now.series_id)
    n_given = {series_id: len(set(of.values())) for series_id, of in known.items()}
    for row in sorted(refused, key=lambda row: (row.series_id, row.study_id, row.image_id, row.source)):
        scan, of_series = Scan(row.series_id, row.study_id, row.patient_id), known[row.series_id]
        if scan not in of_series and not (found := _names_of(scan, of_series, scans)):
            number = n_given[row.series_id] = n_given.get(row.series_id, 0) + 1
            of_series[scan] = f"{row.series_id}@{number}" if number > 1 else row.series_id
        elif scan not in of_series:
            of_series[scan] = min(found)
    return [
        row.charged_to(known[row.series_id][Scan(row.series_id, row.study_id, row.patient_id)] if row.series_id else "")
        if isinstance(row, RefusedImage)
        else row
        for row in rows
    ]


def _names_of(scan: Scan, of_series: Mapping[Scan, str], scans: Mapping[Scan, Scan]) -> set[str]:
    """Return the names of the scans that an image may be of: whose patient it hasn't otherwise, and whose study."""
    return {
        name
        for other, name in of_series.items()
        if (scan.patient_id == other.patient_id or not (scan.patient_id and other.patient_id))
        and (scan.study_id in {other.study_id, ""} or scans.get(other, other) != other)
    }


def _counted_as(scans: Collection[Scan]) -> dict[Scan, Scan]:
    """Return what each scan counts as: one without a patient as the only one with a patient of its study, if any."""
    named: defaultdict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        if scan.patient_id:
            named[scan.study_id].append(scan)
    return {
        scan: named[scan.study_id][0] if not scan.patient_id and len(named[scan.study_id]) == 1 else scan
        for scan in scans
    }


def _without_copies(ids: Mapping[Scan, set[str]]) -> list[list[Scan]]:
    """Group the scans of one study that share images: an original and its copy under another patient's name.

    Returns:
        The groups by study and smallest image id: not by patient, as the pseudonyms of two calls differ.
    """
    linked: Linked[Scan] = Linked()
    first: dict[tuple[str, str], Scan] = {}
    for scan, image_ids in ids.items():
        for image_id in image_ids:
            linked.link(first.setdefault((scan.study_id, image_id), scan), scan)
    groups: defaultdict[Scan, list[Scan]] = defaultdict(list)
    for scan in ids:
        groups[linked.first(scan)].append(scan)
    return sorted(groups.values(), key=lambda group: (group[0].study_id, min(min(ids[scan]) for scan in group)))


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name for a series that none of the others has: itself, or with `@2`, `@3`..."""
    number, free = 2, name
    while free in taken:
        free, number = f"{name}@{number}", number + 1
    return free
