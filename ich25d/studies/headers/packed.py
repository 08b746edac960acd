"""The index of headers: what the first bytes of every file said, packed so that a million fit in memory.

What the slices of a scan have in common is kept once; what differs is a short text a slice. Headers come
out of the packing as they went in, but for the patient, who is a pseudonym from here on.
"""

import hmac
import json
import marshal
import operator
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ich25d.dicom.header import Header, NeedMore, Remark
from ich25d.dicom.reader import HEAD_BYTES, read_headers
from ich25d.errors import DicomError
from ich25d.studies.qc import QcRow
from ich25d.studies.sources.opened import Entry, Sources

_RSNA_PATIENT = re.compile(r"ID_[0-9a-f]{8}")

_OWN = (
    "image_id", "origin_mm", "slice_location", "instance_number", "acquisition_time", "pixel_offset",
    "pixel_length", "window", "remarks", "frame",
)  # fmt: skip
_FIELDS = Header._fields
_SHARED = tuple(name for name in _FIELDS if name not in _OWN)
_take_own, _take_shared = (operator.itemgetter(*map(_FIELDS.index, names)) for names in (_OWN, _SHARED))
_in_order = operator.itemgetter(*((_SHARED + _OWN).index(name) for name in _FIELDS))
_PATIENT, _STUDY, _SERIES, _FLAGS, _SYNTAX = (
    _SHARED.index(name) for name in ("patient_id", "study_id", "series_id", "description_flags", "transfer_syntax")
)
_TIME, _REMARKS, _FRAME = (_OWN.index(name) for name in ("acquisition_time", "remarks", "frame"))

_to_json = json.JSONEncoder(separators=(",", ":")).encode
"""Made once: with options, `json.dumps` makes an encoder a call."""

_known_shared: dict[tuple[Any, ...], tuple[Any, ...]] = {}


class Privacy(NamedTuple):
    """What hides patients in one store: random, kept with the builder's notebook only."""

    key: bytes
    """Key of the patients' pseudonyms."""
    clock_offset_s: float
    """Added to acquisition times, which only tell passes of one scan apart."""


class Scan(NamedTuple):
    """What tells a series apart: an identifier alone may be in two studies, and in two patients, after anonymising."""

    series_id: str
    study_id: str
    patient_id: str
    """Empty where the file names none."""


class Indexed(NamedTuple):
    """One image of the index, in about 500 bytes."""

    entry: Entry
    """Where it is."""
    shared: tuple[Any, ...]
    """The part of its header that most slices of its series share; one object for all of them."""
    own: bytes
    """The rest, marshalled: shorter than objects, and quicker than any text."""

    def header(self) -> Header:
        """Unpack the header."""
        own = marshal.loads(self.own)
        if own[_REMARKS]:
            own = (*own[:_REMARKS], tuple(Remark(*remark) for remark in own[_REMARKS]), *own[_REMARKS + 1 :])
        return Header._make(_in_order((*self.shared, *own)))

    def identity(self) -> tuple[str, str]:
        """Return SOPInstanceUID and StudyInstanceUID."""
        return marshal.loads(self.own)[0], self.shared[_STUDY]

    def scan(self) -> Scan:
        """Return what a series is told apart by."""
        return Scan(self.shared[_SERIES], self.shared[_STUDY], self.shared[_PATIENT])

    @property
    def frame(self) -> int:
        """Number of the frame in its file, from 1; 0 where the file is one image."""
        return int(marshal.loads(self.own)[_FRAME])

    @property
    def source(self) -> str:
        """Where it is, in words: the path, and `#` and the number of a frame."""
        return frame_source(self.entry.source, self.frame)

    @property
    def transfer_syntax(self) -> str:
        """How its pixels are kept."""
        return str(self.shared[_SYNTAX])

    def shared_text(self) -> str:
        """Return the shared part as JSON, for the notebook."""
        shared = list(self.shared)
        shared[_FLAGS] = sorted(shared[_FLAGS])
        return _to_json(shared)

    def own_text(self) -> str:
        """Return the rest as JSON."""
        return _to_json(marshal.loads(self.own))

    @classmethod
    def from_texts(cls, entry: Entry, shared: str, own: str) -> "Indexed":
        """Make an image of the index from its two texts."""
        return cls(entry, _parse_shared(shared), marshal.dumps(_tuples(json.loads(own))))


def frame_source(source: str, frame: int) -> str:
    """Return the name of an image's source: the file's, and `#` and the frame's number where the file has many."""
    return f"{source}#{frame}" if frame else source


def shared_attributes(shared: tuple[Any, ...] | str) -> dict[str, Any]:
    """Return the shared part of a header by name, from an `Indexed` or from its text.

    Raises:
        ValueError: The text was written by a version that knew other attributes.
    """
    return dict(zip(_SHARED, _parse_shared(shared) if isinstance(shared, str) else shared, strict=True))


def pseudonym(patient_id: str, key: bytes) -> str:
    """Return an id for a patient that says nothing about who it is; RSNA's ids are such already."""
    if not patient_id or _RSNA_PATIENT.fullmatch(patient_id):
        return patient_id
    return "P" + hmac.new(key, patient_id.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:16]


def pack(entry: Entry, header: Header, privacy: Privacy) -> Indexed:
    """Pack a header, without what could name the patient or the hour."""
    shared = _take_shared(header)
    hidden = pseudonym(header.patient_id, privacy.key)
    if hidden != header.patient_id:
        shared = (*shared[:_PATIENT], hidden, *shared[_PATIENT + 1 :])
    own = list(_take_own(header))
    if own[_TIME] is not None:
        own[_TIME] += privacy.clock_offset_s
    own[_REMARKS] = tuple(map(tuple, own[_REMARKS]))
    return Indexed(entry, _one_of_all(shared), marshal.dumps(tuple(own)))


def _one_of_all(shared: tuple[Any, ...]) -> tuple[Any, ...]:
    return _known_shared.setdefault(shared, shared)


@lru_cache(maxsize=256)
def _parse_shared(text: str) -> tuple[Any, ...]:
    shared = list(_tuples(json.loads(text)))
    shared[_FLAGS] = frozenset(shared[_FLAGS])
    return _one_of_all(tuple(shared))


def _tuples(value: Any) -> Any:  # noqa: ANN401  # any field of a header
    return tuple([_tuples(item) for item in value]) if isinstance(value, list) else value


def index_entries(entries: Sequence[Entry], sources: Sources, privacy: Privacy) -> list[list[Indexed | QcRow]]:
    """Read the headers of files: for each image in each either its place in the index or the row of its refusal.

    Only the first kilobytes of a file are read (of an archive member: inflated), and more only where the
    header is longer.
    """
    return [_index_entry(entry, sources, privacy) for entry in entries]


def _index_entry(entry: Entry, sources: Sources, privacy: Privacy) -> list[Indexed | QcRow]:
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
                return [_placed(entry, header, frame, privacy) for frame, header in enumerate(headers, start=1)]
    except DicomError as error:
        return [refusal(entry.source, error, level="file")]
    except RecursionError:
        return [refusal(entry.source, DicomError("UNREADABLE", "sequences are nested too deeply"), level="file")]


def _placed(entry: Entry, header: Header | DicomError, frame: int, privacy: Privacy) -> Indexed | QcRow:
    if isinstance(header, DicomError):
        return refusal(frame_source(entry.source, frame), header, level="slice")
    return pack(entry, header, privacy)


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
