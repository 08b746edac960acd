"""The headers of many files, read by many processes that one of the files may kill."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

from ich25d.progress import bar
from ich25d.studies.headers.packed import Indexed, Privacy, index_entries
from ich25d.studies.pool import map_series, n_workers, reason_of
from ich25d.studies.qc import QcRow
from ich25d.studies.sources.listing import Entry
from ich25d.studies.sources.opened import Sources

CHUNK = 256
"""Files a task."""

WORTH_STARTING = 8 * CHUNK
"""Below this many files, reading in this process is faster than starting others."""

_FILE_S = 60.0
"""Time limit of a file that is tried alone; the slowest header takes a tenth of it."""


def index_files(
    entries: Sequence[Entry], sources: Sources, privacy: Privacy, workers: int
) -> Iterator[tuple[Entry, list[Indexed | QcRow], bool]]:
    """Read the headers of files.

    Where reading a chunk of files fails as a whole (it kills its process twice, takes too long, or raises anything but
    a DicomError), they are tried one by one, each in a process that may die.

    Args:
        entries: The files.
        sources: Where they are.
        privacy: What hides their patients.
        workers: Processes; 0 is one a core.

    Yields:
        Each file, in the order of completion; its images, or the row of its refusal; and whether that is final: a
        crash, a timeout or an unforeseen error isn't, so that the next call tries again.
    """
    workers = n_workers(workers)
    read = partial(index_entries, sources=sources, privacy=privacy)
    in_process = workers == 1 or len(entries) < WORTH_STARTING
    with bar("headers", len(entries), "files") as advance:
        for chunk, result in map_series(read, _chunks(entries), workers, in_process=in_process):
            if isinstance(result, Exception):
                alone = [[entry] for entry in chunk]
                for (entry,), found in map_series(read, alone, workers, timeout_s=_FILE_S):
                    if isinstance(found, Exception):
                        yield entry, [QcRow(entry.source, "", "", "file", *reason_of(found))], False
                    else:
                        yield entry, found[0], True
            else:
                yield from ((entry, found, True) for entry, found in zip(chunk, result, strict=True))
            advance(len(chunk))


def _chunks(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    rest = iter(entries)
    while chunk := list(islice(rest, CHUNK)):
        yield chunk
