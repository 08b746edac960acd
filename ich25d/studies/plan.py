"""Which series there are, before a pixel is read: sources come in, plans of series in scan order go out."""

import dataclasses
import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ich25d.dicom.codes import check_accepted, is_refusal
from ich25d.studies.headers.notebook import Notebook
from ich25d.studies.headers.packed import Indexed, Known, Privacy
from ich25d.studies.headers.read_many import CHUNK, index_files
from ich25d.studies.nifti.series import plan_nifti, split_nifti
from ich25d.studies.pictures.series import PlannedImages, plan_images
from ich25d.studies.pool.local_pool import ONE_PROCESS
from ich25d.studies.pool.pool import Pool
from ich25d.studies.qc import NO_DICOM, QcRow
from ich25d.studies.series.of_dicom import plan_dicom
from ich25d.studies.series.own_series import free_name
from ich25d.studies.series.series_plan import SeriesPlan, without
from ich25d.studies.sources.listing import Entry, list_entries
from ich25d.studies.sources.opened import Sources

_DOUBLE = "the image is in an earlier source too; the earlier one is used"
_TAKEN = "a series of an earlier source has this name already"


@dataclass(slots=True)
class Plan:
    """All that the sources hold."""

    series: list[SeriesPlan]
    """Sorted by study and series."""
    qc: list[QcRow] = field(default_factory=list)
    """Refusals of files, and remarks on series."""
    n_seen: int = 0
    """Files, archive members and table rows looked at; a file of many frames counts once a frame."""
    n_refused: int = 0
    """Those refused before their pixels were read."""
    n_not_dicom: int = 0
    """Those that are no DICOM at all."""


def make_plan(
    sources: Sequence[Path],
    only: Sequence[str] = (),
    images: Sequence[Path] = (),
    *,
    masks: Sequence[str] = (),
    accept: Collection[str] = (),
    pool: Pool = ONE_PROCESS,
    notebook: Notebook | None = None,
) -> Plan:
    """Index all headers and order the series.

    Args:
        sources: Folders, files and zip archives.
        only: Globs; when given, only files and members that match one of them.
        images: Tables of images.
        masks: Masks of NIfTI scans, or on the grid of DICOM series, and the labels of their values, as `PATH=any`.
        accept: Reason codes that refuse no series (of `codes.ACCEPTABLE`).
        pool: Reads headers.
        notebook: What an earlier call learned; files that haven't changed since aren't opened.

    Raises:
        UsageError: A source isn't there, or can't be one; `masks` name none; or a code can't be accepted.
    """
    check_accepted(accept)
    entries, rows = list_entries(sources, only)
    opened = Sources(tuple(sources))
    nifti, entries = split_nifti(entries, opened)
    privacy = notebook.privacy if notebook else Privacy(secrets.token_bytes(16), 0.0)
    indexed: list[Indexed] = []
    n_doubles = sum(not is_refusal(row.code) for row in rows)  # second names of files that are listed
    plan = Plan([], list(rows), n_seen=len(rows) - n_doubles)
    shared: Known = {}
    for found in _index(entries, opened, privacy, pool, notebook):
        plan.n_seen += 1
        if isinstance(found, Indexed):
            indexed.append(found.sharing(shared))  # what comes from another process or the notebook is a copy
        else:
            plan.qc.append(found)
    plan.n_not_dicom = sum(row.code in NO_DICOM for row in plan.qc)
    plan.n_refused = len(plan.qc) - n_doubles - plan.n_not_dicom
    plan.series, plan.qc, n_refused = plan_dicom(indexed, opened, accept, refused=plan.qc)
    plan.n_refused += n_refused
    if nifti or masks:
        of_nifti, plan.series = plan_nifti(nifti, opened, privacy, masks, accept=accept, dicom=plan.series, pool=pool)
        _add_table(plan, of_nifti)
    for table in images:
        _add_table(plan, plan_images(table, privacy, accept))
    return plan


def _add_table(plan: Plan, planned: PlannedImages) -> None:
    """Add the series of a table of images, without the images that are there already."""
    plan.n_seen += planned.n_seen
    plan.n_refused += planned.n_refused
    taken = {series.series_id.partition("#")[0] for series in plan.series}
    known = {image_id for series in plan.series for image_id in series.image_ids}
    new = {base: free_name(base, taken) for base in {one.series_id.partition("#")[0] for one in planned.series}}
    names: dict[str, str] = {}
    for series in planned.series:
        doubles = {index for index, image_id in enumerate(series.image_ids) if image_id in known}
        if len(doubles) < len(series):
            base, mark, number = series.series_id.partition("#")
            name = names[series.series_id] = f"{new[base]}{mark}{number}"
            if name != series.series_id:  # tables made by hand number their series from 1
                plan.qc.append(QcRow("", "", name, "series", "DUP_SERIES_UID", _TAKEN))
            plan.series.append(dataclasses.replace(without(series, doubles) if doubles else series, series_id=name))
        plan.n_refused += len(doubles)
        known_as = names.get(series.series_id, series.series_id)
        plan.qc += [
            QcRow(series.images.source(index), series.image_ids[index], known_as, "slice", "DUP_UID_SAME", _DOUBLE)
            for index in sorted(doubles)
        ]
    dropped = {series.series_id for series in planned.series} - set(names)
    plan.qc += [
        dataclasses.replace(row, series_id=names.get(row.series_id, row.series_id))
        for row in planned.qc
        if row.level != "series" or row.series_id not in dropped
    ]


def _index(
    entries: Sequence[Entry], sources: Sources, privacy: Privacy, pool: Pool, notebook: Notebook | None
) -> Iterator[Indexed | QcRow]:
    """Yield what every image in every file is, from the notebook where the file hasn't changed."""
    fresh: list[Entry] = []
    for entry in entries:
        known = notebook.seen(entry) if notebook else None
        if known is None:
            fresh.append(entry)
        else:
            yield from known
    for count, (entry, found, is_final) in enumerate(index_files(fresh, sources, privacy, pool), start=1):
        if notebook and is_final:
            notebook.note_seen(entry, found)
        if notebook and count % CHUNK == 0:
            notebook.commit()
        yield from found
    if notebook:
        notebook.commit()
