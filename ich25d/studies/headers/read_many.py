"""The headers of many files, read by many processes that one of the files may kill."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

from ich25d.dicom.header import Header, NeedMore, Remark
from ich25d.dicom.reader import HEAD_BYTES, read_headers
from ich25d.errors import DicomError
from ich25d.progress import bar
from ich25d.studies.headers.packed import Indexed, Known, Privacy, frame_source, pack, refused_image
from ich25d.studies.pool.pool import Pool, reason_of
from ich25d.studies.qc import QcRow
from ich25d.studies.sources.listing import Entry
from ich25d.studies.sources.opened import Sources
from ich25d.studies.sources.other_formats import FORM_BYTES, other_format

CHUNK = 256
"""Files a task."""

WORTH_STARTING = 8 * CHUNK
"""Below this many files, reading in this process is faster than starting others."""

_FILE_S = 60.0
"""Time limit of a file that is tried alone; the slowest header takes a tenth of it."""
_RSNA_FILE = re.compile(r"ID_[0-9a-f]{9}\.dcm")


def index_files(
    entries: Sequence[Entry], sources: Sources, privacy: Privacy, pool: Pool
) -> Iterator[tuple[Entry, list[Indexed | QcRow], bool]]:
    """Read the headers of files.

    Where reading a chunk of files fails as a whole (it kills its process twice, takes too long, or raises anything but
    a DicomError), they are tried one by one, each in a process that may die.

    Args:
        entries: The files.
        sources: Where they are.
        privacy: What hides their patients.
        pool: Reads them.

    Yields:
        Each file, in the order of completion; its images, or the row of its refusal; and whether that is final: a
        crash, a timeout or an unforeseen error isn't, so that the next call tries again.
    """
    read = partial(index_entries, sources=sources, privacy=privacy)
    in_process = pool.is_single or len(entries) < WORTH_STARTING
    with bar("headers", len(entries), "files") as advance:
        for chunk, result in pool.map(read, _chunks(entries), in_process=in_process):
            if isinstance(result, Exception):
                alone = [[entry] for entry in chunk]
                for (entry,), found in pool.map(read, alone, timeout_s=_FILE_S):
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


def index_entries(entries: Sequence[Entry], sources: Sources, privacy: Privacy) -> list[list[Indexed | QcRow]]:
    """Read the headers of files.

    Only the first kilobytes of a file are read (of an archive member: inflated), and more only where the
    header is longer.

    Args:
        entries: The files.
        sources: Where they are.
        privacy: What hides their patients.

    Returns:
        For each file its images: the packed header of each, or the row of its refusal.
    """
    known: Known = {}
    return [_index_entry(entry, sources, privacy, known) for entry in entries]


def _index_entry(entry: Entry, sources: Sources, privacy: Privacy, known: Known) -> list[Indexed | QcRow]:
    n_bytes = HEAD_BYTES
    try:
        while True:
            head = sources.head(entry, n_bytes)
            try:
                headers = read_headers(head, total_size=entry.size)
            except NeedMore as more:
                if len(head) >= entry.size or more.n_bytes <= n_bytes:
                    raise DicomError("TRUNCATED", "the file ends before its header does") from None
                n_bytes = min(more.n_bytes, entry.size)
            else:
                return [
                    refused_image(frame_source(entry.source, number), header, privacy, level="slice")
                    if isinstance(header, DicomError)
                    else pack(entry, _with_name_checked(header, entry.source), privacy).sharing(known)
                    for number, header in enumerate(headers, start=1)
                ]
    except DicomError as error:
        return [refused_image(entry.source, _named(error, entry, sources), privacy, level="file")]
    except RecursionError:
        return [QcRow(entry.source, "", "", "file", "UNREADABLE", "sequences are nested too deeply")]


def _named(error: DicomError, entry: Entry, sources: Sources) -> DicomError:
    """Return the error, or for a file that is no DICOM one that names its form, where it is known."""
    if error.code not in {"NOT_DICOM", "EMPTY", "TRUNCATED"}:
        return error
    try:
        return other_format(entry.source, sources.head(entry, FORM_BYTES), error)
    except DicomError:
        return error


def _with_name_checked(header: Header, source: str) -> Header:
    """Add a remark where a file is named, in RSNA's form, by another image's id; other names are no ids."""
    if header.frame or source.endswith(f"{header.image_id}.dcm"):
        return header
    if not _RSNA_FILE.fullmatch(source[max(source.rfind("/"), source.rfind(":")) + 1 :]):
        return header
    remark = Remark("NAME_ID", "the file is named as another image; its SOPInstanceUID is the id")
    return header._replace(remarks=(*header.remarks, remark))
