"""Which series there are, before a pixel is read: sources come in, plans of series in scan order go out."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from ich25d.progress import bar
from ich25d.studies.dicom_images import plan_dicom
from ich25d.studies.index import Indexed, Privacy, index_entries
from ich25d.studies.notebook import Notebook
from ich25d.studies.pool import map_series, n_workers
from ich25d.studies.qc import QcRow
from ich25d.studies.series_plan import SeriesPlan
from ich25d.studies.source import Entry, Sources, list_entries

CHUNK = 256
"""Files a task of indexing."""

WORTH_STARTING = 8 * CHUNK
"""Below this many files, headers are read sooner than processes start."""

NO_DICOM = frozenset({"NOT_DICOM", "EMPTY"})
"""Codes of files that are no DICOM at all: they aren't refused, they were never meant."""


@dataclass(slots=True)
class Plan:
    """All that the sources hold."""

    series: list[SeriesPlan]
    """Sorted by study and series."""
    qc: list[QcRow] = field(default_factory=list)
    """Refusals of files, and remarks on series."""
    n_seen: int = 0
    """Files, archive members and table rows looked at."""
    n_refused: int = 0
    """Those refused before their pixels were read."""
    n_not_dicom: int = 0
    """Those that are no DICOM at all."""


def make_plan(
    sources: Sequence[Path],
    only: Sequence[str] = (),
    images: Sequence[Path] = (),
    *,
    workers: int = 1,
    notebook: Notebook | None = None,
) -> Plan:
    """Index all headers and order the series.

    Args:
        sources: Folders, files and zip archives.
        only: Globs; when given, only files and members that match one of them.
        images: Tables of images.
        workers: Processes that read headers; 0 is one a core.
        notebook: What an earlier call learned; files that haven't changed since aren't opened.

    Raises:
        UsageError: A source isn't there, or can't be one.
    """
    entries, rows = list_entries(sources, only)
    opened = Sources(tuple(sources))
    privacy = notebook.privacy if notebook else Privacy(secrets.token_bytes(16), 0.0)
    indexed: list[Indexed] = []
    plan = Plan([], list(rows), n_seen=len(entries) + len(rows))
    for found in _index(entries, opened, privacy, workers, notebook):
        if isinstance(found, Indexed):
            indexed.append(found)
        else:
            plan.qc.append(found)
    plan.n_not_dicom = sum(row.code in NO_DICOM for row in plan.qc)
    plan.n_refused = len(plan.qc) - plan.n_not_dicom
    plan.series, more, n_refused = plan_dicom(indexed, opened)
    plan.qc += more
    plan.n_refused += n_refused
    return plan


def _index(
    entries: Sequence[Entry], sources: Sources, privacy: Privacy, workers: int, notebook: Notebook | None
) -> Iterator[Indexed | QcRow]:
    """Yield what every file is, from the notebook where it hasn't changed."""
    fresh: list[Entry] = []
    for entry in entries:
        known = notebook.seen(entry) if notebook else None
        if known is None:
            fresh.append(entry)
        else:
            yield known
    workers = n_workers(workers)
    in_process = workers == 1 or len(fresh) < WORTH_STARTING
    read = partial(index_entries, sources=sources, privacy=privacy)
    with bar("headers", len(fresh), "files") as advance:
        for chunk, result in map_series(read, _chunks(fresh), workers, in_process=in_process):
            if isinstance(result, Exception):
                raise result
            for entry, found in zip(chunk, result, strict=True):
                if notebook:
                    notebook.note_seen(entry, found)
                yield found
            if notebook:
                notebook.commit()
            advance(len(chunk))


def _chunks(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    rest = iter(entries)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
