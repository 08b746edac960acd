"""The index of headers: what the first bytes of every file said, packed so that a million fit in memory.

What the slices of a scan have in common is kept once; what differs is a short text a slice. Headers come
out of the packing as they went in, but for the patient, who is a pseudonym from here on.
"""

import dataclasses
import hmac
import json
import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ich25d.dicom.header import Header, NeedMore, Remark
from ich25d.dicom.reader import HEAD_BYTES, read_header
from ich25d.errors import DicomError
from ich25d.studies.qc import QcRow
from ich25d.studies.source import Entry, Sources

_RSNA_PATIENT = re.compile(r"ID_[0-9a-f]{8}")

_OWN = (
    "image_id", "origin_mm", "slice_location", "instance_number", "acquisition_time", "pixel_offset",
    "pixel_length", "window", "remarks",
)  # fmt: skip
_SHARED = tuple(field.name for field in dataclasses.fields(Header) if field.name not in _OWN)


class Privacy(NamedTuple):
    """What hides patients in one store: random, kept with the builder's notebook only."""

    key: bytes
    """Key of the patients' pseudonyms."""
    clock_offset_s: float
    """Added to acquisition times, which only tell passes of one scan apart."""


class Indexed(NamedTuple):
    """One image of the index, in about 500 bytes."""

    entry: Entry
    """Where it is."""
    shared: str
    """The part of its header that most slices of its series share; one string for all of them."""
    own: str
    """The rest."""

    def header(self) -> Header:
        """Unpack the header."""
        return unpack(self.shared, self.own)

    def identity(self) -> tuple[str, str]:
        """Return SOPInstanceUID and StudyInstanceUID."""
        return json.loads(self.own)[0], _unpack_shared(self.shared)["study_id"]


def pseudonym(patient_id: str, key: bytes) -> str:
    """Return an id for a patient that says nothing about who it is; RSNA's ids are such already."""
    if not patient_id or _RSNA_PATIENT.fullmatch(patient_id):
        return patient_id
    return "P" + hmac.new(key, patient_id.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:16]


def pack(header: Header, privacy: Privacy) -> tuple[str, str]:
    """Pack a header into its shared and its own text, without what could name the patient or the hour."""
    time_s = header.acquisition_time
    hidden = dataclasses.replace(
        header,
        patient_id=pseudonym(header.patient_id, privacy.key),
        acquisition_time=None if time_s is None else time_s + privacy.clock_offset_s,
    )
    shared = json.dumps([_plain(getattr(hidden, name)) for name in _SHARED], separators=(",", ":"))
    own = json.dumps([_plain(getattr(hidden, name)) for name in _OWN], separators=(",", ":"))
    return sys.intern(shared), own


def unpack(shared: str, own: str) -> Header:
    """Unpack what `pack` packed."""
    values = dict(_unpack_shared(shared))
    values.update(zip(_OWN, (_tuples(value) for value in json.loads(own)), strict=True))
    values["remarks"] = tuple(Remark(*remark) for remark in values["remarks"])
    return Header(**values)


@lru_cache(maxsize=64)
def _unpack_shared(shared: str) -> dict[str, Any]:
    values = dict(zip(_SHARED, (_tuples(value) for value in json.loads(shared)), strict=True))
    values["description_flags"] = frozenset(values["description_flags"])
    return values


def _plain(value: Any) -> Any:  # noqa: ANN401  # any field of a header
    return sorted(value) if isinstance(value, frozenset) else value


def _tuples(value: Any) -> Any:  # noqa: ANN401  # any field of a header
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def index_entries(entries: Sequence[Entry], sources: Sources, privacy: Privacy) -> list[Indexed | QcRow]:
    """Read the headers of files: for each either its place in the index or the row of its refusal.

    Only the first kilobytes of a file are read (of an archive member: inflated), and more only where the
    header is longer.
    """
    return [_index_entry(entry, sources, privacy) for entry in entries]


def _index_entry(entry: Entry, sources: Sources, privacy: Privacy) -> Indexed | QcRow:
    n_bytes = HEAD_BYTES
    try:
        while True:
            head = sources.head(entry, n_bytes)
            try:
                header = read_header(head, total_size=entry.size)
            except NeedMore as more:
                if len(head) >= entry.size or more.n_bytes <= n_bytes:
                    raise DicomError("TRUNCATED", "the file ends before its header does") from None
                n_bytes = min(more.n_bytes, entry.size)
            else:
                return Indexed(entry, *pack(header, privacy))
    except DicomError as error:
        return refusal(entry.source, error, level="file")
    except RecursionError:
        return refusal(entry.source, DicomError("UNREADABLE", "sequences are nested too deeply"), level="file")


def refusal(source: str, error: DicomError, *, level: str, image_id: str = "", series_id: str = "") -> QcRow:
    """Turn a refusal into its row."""
    return QcRow(
        source=source,
        image_id=getattr(error, "image_id", "") or image_id,
        series_id=getattr(error, "series_id", "") or series_id,
        level=level,
        code=error.code,
        detail=error.detail,
    )
