"""An image as it came over the network: which study it is of, and the bytes of the file that it becomes."""

import hashlib
from dataclasses import dataclass
from struct import pack

from ich25d.dicom.header import NeedMore
from ich25d.dicom.reader import read_headers
from ich25d.errors import DicomError
from ich25d.files import file_key

_IMPLEMENTATION = "2.25.209513302110347218903364275340617341"
"""Implementation Class UID of the files that a node writes."""


@dataclass(frozen=True, slots=True, eq=False)
class Arrived:
    """One image, whole."""

    study: str
    """Key of its study; a file name."""
    name: str
    """Of its file. It follows from the content: the same image that comes twice is one file, another one under the same
    UID a second one."""
    content: bytes
    """Of the file: preamble and file meta information, then the data set as it came."""


def arrived(data_set: bytes | memoryview, *, sop_class: str, sop_instance: str, transfer_syntax: str) -> Arrived:
    """Find the study of a data set.

    Images that can't be used go in too, where they say of which study they are: prediction refuses them by name.

    Args:
        data_set: As it came, without file meta information.
        sop_class: UID, as the sender names it.
        sop_instance: Likewise.
        transfer_syntax: UID of the presentation context.

    Raises:
        DicomError: It can't be parsed so far as to say of which study it is.
    """
    return arrived_file(b"".join((file_meta(sop_class, sop_instance, transfer_syntax), data_set)), sop_instance)


def arrived_file(content: bytes, sop_instance: str) -> Arrived:
    """Find the study of a DICOM file.

    Args:
        content: The file.
        sop_instance: Its UID, as it was announced.

    Raises:
        DicomError: It can't be parsed so far as to say of which study it is.
    """
    name = f"{hashlib.sha256(content).hexdigest()[:40]}.dcm"
    return Arrived(file_key(_study(content, sop_instance)), name, content)


def _study(content: bytes, sop_instance: str) -> str:
    try:
        (first, *_) = read_headers(content, total_size=len(content))
    except NeedMore:
        raise DicomError("TRUNCATED", "the data set ends before its image does", image_id=sop_instance) from None
    except DicomError as error:
        first = error
    if found := first.study_id or first.series_id or first.image_id:
        return found
    assert isinstance(first, DicomError), "a header has its ids"
    raise DicomError(first.code, first.detail, image_id=sop_instance)


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Return preamble and file meta information (PS3.10, 7.1)."""
    elements = pack("<HH2sHI", 2, 1, b"OB", 0, 2) + b"\0\1"
    for number, uid in ((2, sop_class), (3, sop_instance), (16, transfer_syntax), (18, _IMPLEMENTATION)):
        value = uid.encode("ascii", "replace")
        value += b"\0" * (len(value) % 2)
        elements += pack("<HH2sH", 2, number, b"UI", len(value)) + value
    return bytes(128) + b"DICM" + pack("<HH2sHI", 2, 0, b"UL", 4, len(elements)) + elements
