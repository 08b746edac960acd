"""The headers of all images, packed so that a million fit in memory.

What the slices of a scan have in common is one tuple for all of them; the rest takes about 100 bytes a slice. Headers
come out as they went in, but for the patient, who is a pseudonym from here on.
"""

import hmac
import marshal
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ich25d.dicom.header import OF_SLICE, Header, Remark
from ich25d.errors import DicomError
from ich25d.studies.qc import QcRow
from ich25d.studies.sources.listing import Entry

_RSNA_PATIENT = re.compile(r"ID_[0-9a-f]{8}")

_FIELDS = Header._fields
_SHARED = tuple(name for name in _FIELDS if name not in OF_SLICE)
_take_own, _take_shared = (operator.itemgetter(*map(_FIELDS.index, names)) for names in (OF_SLICE, _SHARED))
_in_order = operator.itemgetter(*((_SHARED + OF_SLICE).index(name) for name in _FIELDS))
_PATIENT, _STUDY, _SERIES, _SYNTAX = map(_SHARED.index, ("patient_id", "study_id", "series_id", "transfer_syntax"))
_IMAGE, _TIME, _REMARKS, _FRAME = map(OF_SLICE.index, ("image_id", "acquisition_time", "remarks", "frame"))

Known = dict[tuple[Any, ...], tuple[Any, ...]]
"""Shared parts of headers, each under itself."""


class Privacy(NamedTuple):
    """What hides patients in one store: random, kept with the builder's notebook only."""

    key: bytes
    """Key of the patients' pseudonyms."""
    clock_offset_s: float
    """Added to acquisition times, which only tell passes of one scan apart."""


class Scan(NamedTuple):
    """What identifies a series: after anonymising, one SeriesInstanceUID may stand in two studies, or two patients."""

    series_id: str
    study_id: str
    patient_id: str
    """Empty where the file names none."""


class Indexed(NamedTuple):
    """One image with its packed header, in about 500 bytes."""

    entry: Entry
    """The file."""
    shared: tuple[Any, ...]
    """The part of the header that most slices of the series have in common."""
    packed: bytes
    """The rest, marshalled: smaller than objects, and faster than any text. Never read from a file."""

    def own(self) -> tuple[Any, ...]:
        """Return the slice's own part of the header, in the order of `OF_SLICE`, of plain types."""
        own: tuple[Any, ...] = marshal.loads(self.packed)
        return own

    def header(self) -> Header:
        """Unpack the header."""
        own = self.own()
        if own[_REMARKS]:
            own = (*own[:_REMARKS], tuple(Remark(*remark) for remark in own[_REMARKS]), *own[_REMARKS + 1 :])
        return Header._make(_in_order((*self.shared, *own)))

    def identity(self) -> tuple[str, str]:
        """Return SOPInstanceUID and StudyInstanceUID."""
        return self.own()[_IMAGE], self.shared[_STUDY]

    def scan(self) -> Scan:
        """Return the ids of its series, study and patient."""
        return Scan(self.shared[_SERIES], self.shared[_STUDY], self.shared[_PATIENT])

    @property
    def study_id(self) -> str:
        """StudyInstanceUID."""
        return str(self.shared[_STUDY])

    def in_study(self, study_id: str) -> "Indexed":
        """Return it with another study."""
        return self._replace(shared=(*self.shared[:_STUDY], study_id, *self.shared[_STUDY + 1 :]))

    @property
    def source(self) -> str:
        """The file's name, and `#` and the number of the frame where the file has many."""
        return frame_source(self.entry.source, self.own()[_FRAME])

    @property
    def transfer_syntax(self) -> str:
        """Transfer syntax UID."""
        return str(self.shared[_SYNTAX])

    def sharing(self, known: Known) -> "Indexed":
        """Return it with the one of the known shared parts that equals its own; a new one becomes known."""
        return Indexed(self.entry, known.setdefault(self.shared, self.shared), self.packed)


@dataclass(frozen=True, slots=True)
class RefusedImage(QcRow):
    """The row of an image that was refused by its header, with what tells which series it is of."""

    study_id: str
    patient_id: str
    """The pseudonym."""

    def charged_to(self, series_id: str) -> QcRow:
        """Return the row alone, of a series by the name that it has."""
        return QcRow(self.source, self.image_id, series_id, self.level, self.code, self.detail)


def refused_image(source: str, error: DicomError, privacy: Privacy, *, level: str) -> RefusedImage:
    """Return the row of an image that was refused by its header.

    Args:
        source: The file's name.
        error: What was wrong with it.
        privacy: Hides the patient.
        level: `file` or `slice`.
    """
    patient_id = pseudonym(error.patient_id, privacy.key)
    return RefusedImage(
        source, error.image_id, error.series_id, level, error.code, error.detail, error.study_id, patient_id
    )


def indexed(entry: Entry, shared: tuple[Any, ...], own: tuple[Any, ...]) -> Indexed:
    """Pack a header in its two parts.

    Args:
        entry: The file.
        shared: As `Indexed.shared`.
        own: As `Indexed.own` gives it.
    """
    return Indexed(entry, shared, marshal.dumps(own))


def frame_source(source: str, frame: int) -> str:
    """Return the name of an image's source: the file's, and `#` and the frame's number where the file has many."""
    return f"{source}#{frame}" if frame else source


def shared_attributes(shared: Sequence[Any]) -> dict[str, Any]:
    """Return the shared part of a header by name."""
    return dict(zip(_SHARED, shared, strict=True))


def pseudonym(patient_id: str, key: bytes) -> str:
    """Return an id for a patient that doesn't identify them; RSNA's ids are pseudonyms already."""
    if not patient_id or _RSNA_PATIENT.fullmatch(patient_id):
        return patient_id
    return "P" + hmac.new(key, patient_id.encode("utf-8", "surrogatepass"), "sha256").hexdigest()[:16]


def pack(entry: Entry, header: Header, privacy: Privacy) -> Indexed:
    """Pack a header, without what could name the patient or the hour.

    Args:
        entry: The image's file.
        header: Its header.
        privacy: Key of the pseudonym and offset of the clock.
    """
    shared = _take_shared(header)
    hidden = pseudonym(header.patient_id, privacy.key)
    if hidden != header.patient_id:
        shared = (*shared[:_PATIENT], hidden, *shared[_PATIENT + 1 :])
    own = list(_take_own(header))
    if own[_TIME] is not None:
        own[_TIME] += privacy.clock_offset_s
    own[_REMARKS] = tuple(map(tuple, own[_REMARKS]))
    return indexed(entry, shared, tuple(own))
