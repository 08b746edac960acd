"""Scans whose every file has a StudyInstanceUID of its own, or none: de-identified file by file. They are joined again.

Images that are alone in their study belong together when their patient, SeriesNumber and size are the same, they lie
in one stack (`dicom.grouping.is_stack`), and either share a frame of reference or a series UID, or each have a number
of their own. Images without all that stay alone: a patient may well have several studies of which one slice is there.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from ich25d.dicom.grouping import is_stack
from ich25d.dicom.header import Header
from ich25d.studies.headers.packed import Indexed, Known
from ich25d.studies.qc import QcRow

MIN_IMAGES = 3
"""Fewer make no stack."""


def rejoined(images: Sequence[Indexed]) -> tuple[Sequence[Indexed], list[QcRow]]:
    """Give the images of a scan one study.

    Args:
        images: The index, in any order.

    Returns:
        The index, the images of a rejoined scan in the first of their studies by name; and a remark for each series
        whose images were so far apart only by their studies (where each has a series too, ordering it remarks).
    """
    counts = Counter(image.study_id for image in images)
    alone = {study_id for study_id, count in counts.items() if count == 1}
    if len(alone) < MIN_IMAGES:
        return images, []
    by_patient: defaultdict[str, list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        if image.study_id in alone:
            by_patient[image.scan().patient_id].append(index)
    joined = list(images)
    known: Known = {}
    qc: list[QcRow] = []
    for members in by_patient.values():
        headers = {member: images[member].header() for member in members} if len(members) >= MIN_IMAGES else {}
        groups = _groups(headers)
        studies: dict[str, str] = {}
        for group in groups:
            reference = headers[group[0]].frame_of_reference
            first = min(headers[member].study_id for member in group)
            studies[reference] = min(first, studies.get(reference, first))
        for group in groups:
            of_group = [headers[member] for member in group]
            is_shared = of_group[0].frame_of_reference == of_group[1].frame_of_reference != ""
            first = min(header.study_id for header in of_group)
            study_id = studies[of_group[0].frame_of_reference] if is_shared else first
            for member in group:
                joined[member] = images[member].in_study(study_id).sharing(known)
            for series_id, count in sorted(Counter(header.series_id for header in of_group).items()):
                if count > 1:
                    detail = f"{count} images of this series have a StudyInstanceUID each; they were joined"
                    qc.append(QcRow("", "", series_id, "series", "REGROUPED", detail))
    return joined, qc


def _groups(headers: dict[int, Header]) -> list[list[int]]:
    """Gather the images of each scan of one patient."""
    references = Counter(header.frame_of_reference for header in headers.values())
    series = Counter(header.series_id for header in headers.values())
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for member, header in headers.items():
        if header.directions is None or header.origin_mm is None or "LOCALIZER" in header.image_type:
            continue
        plane = tuple(round(cosine, 1) for cosine in header.directions)
        reference = header.frame_of_reference if references[header.frame_of_reference] >= MIN_IMAGES else ""
        series_id = header.series_id if series[header.series_id] >= MIN_IMAGES else ""
        groups[reference, series_id, header.series_number, header.rows, header.columns, plane].append(member)
    return [
        sorted(group, key=lambda member: headers[member].image_id)
        for group in groups.values()
        if len(group) >= MIN_IMAGES and is_stack([headers[member] for member in group])
    ]
