"""The hand parser: file bytes in, the raw values of the few wanted elements and the place of the pixels out.

It reads little-endian data sets, explicit and implicit, in some 10 microseconds a header; what it doesn't know raises
`Unfamiliar`, and pydicom reads it (`foreign.py`).

References:
    DICOM PS3.5, chapter 7 (data elements), PS3.10, chapter 7 (file meta information).
"""

from dataclasses import dataclass, field
from struct import Struct
from typing import NamedTuple

from ich25d.dicom.header import WANTED, NeedMore
from ich25d.errors import DicomError

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
PHILIPS_EXPLICIT = "1.3.46.670589.33.1.4.1"
"""Philips' name for explicit little endian (`CT-private-ELE`)."""
BIG_ENDIAN = "1.2.840.10008.1.2.2"

NATIVE = frozenset({IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN})
"""Transfer syntaxes with uncompressed pixels."""

BARE_MARK = b"DICM\2\0"
"""What a file without its preamble begins with: the mark, and group 0002."""

UNDEFINED = 0xFFFFFFFF
MAX_ELEMENTS = 20_000
"""More elements than that before the pixels is damage: a CT header has 20 to 400."""
MAX_DEPTH = 32
"""Deeper nesting could overflow the stack."""

_TAG = Struct("<HH")
SLOTS: dict[bytes, int] = {_TAG.pack(tag >> 16, tag & 0xFFFF): slot for slot, tag in enumerate(WANTED.values())}
"""Where the value of an element goes in `Elements.values`, by the bytes of its tag."""

_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_EXPLICIT_START = Struct("<4s2sH").unpack_from
_IMPLICIT_START = Struct("<4sL").unpack_from
_U32 = Struct("<L").unpack_from

_PIXELS = b"\xe0\x7f\x10\x00"
_PIXEL_GROUP = b"\xe0\x7f"
_ITEM = b"\xfe\xff\x00\xe0"
_ITEM_END = b"\xfe\xff\x0d\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0"
_MEDIA_SOP_CLASS = b"\x02\x00\x02\x00"
_TRANSFER_SYNTAX = b"\x02\x00\x10\x00"


class Unfamiliar(Exception):  # noqa: N818  # a hand-over to pydicom, not an error
    """The bytes aren't what this parser reads; pydicom may know better."""


class Meta(NamedTuple):
    """The file meta information, or what stands for it where a file has none."""

    transfer_syntax: str
    sop_class: bytes
    start: int
    """Where the data set begins."""
    is_sniffed: bool
    """No transfer syntax was given: the one here is read off the bytes."""


@dataclass(slots=True)
class Elements:
    """Raw values of the wanted elements, little endian, and the place of the pixels."""

    values: list[bytes | None] = field(default_factory=lambda: [None] * len(SLOTS))
    """In the order of `header.WANTED`; None where absent."""
    pixel_offset: int = -1
    """Where the pixel data's value starts; -1 where there is none."""
    pixel_length: int = 0
    """Its length in bytes; -1 for encapsulated frames."""
    is_cut: bool = False
    """The bytes end inside an element."""
    is_float: bool = False
    """The pixels are Float or Double Float Pixel Data."""
    frame: int = 0
    """Number of the frame, from 1; 0 for the whole file."""


def read_meta(head: bytes, total_size: int) -> Meta:
    """Read the preamble and the file meta information, or find out that there is none.

    Raises:
        NeedMore: The bytes end inside it.
        DicomError: The file is empty (`EMPTY`) or no DICOM (`NOT_DICOM`).
    """
    if total_size == 0:
        raise DicomError("EMPTY", "a DICOM file must hold bytes (got 0)")
    if len(head) < min(total_size, 140):
        raise NeedMore(min(total_size, 4096))
    position = 132 if head[128:132] == b"DICM" else 4 if head[:6] == BARE_MARK else 0
    transfer_syntax = sop_class = b""
    start = position
    while head[position : position + 2] == b"\x02\x00":
        if position + 12 > len(head):
            break
        tag, vr, length = _EXPLICIT_START(head, position)
        position += 8
        if vr in _LONG_VRS:
            (length,) = _U32(head, position)
            position += 4
        elif vr not in _SHORT_VRS:
            (length,) = _U32(head, position - 4)
            if length >= 0x10000:  # pydicom reads what writers of implicit file meta information write, too
                raise DicomError("NOT_DICOM", "file meta information must be little endian, with elements below 64 KB")
        if tag == _TRANSFER_SYNTAX:
            transfer_syntax = head[position : position + length]
        elif tag == _MEDIA_SOP_CLASS:
            sop_class = head[position : position + length]
        position += length
    if position + 8 > len(head):
        if position + 8 > total_size:
            raise DicomError("TRUNCATED" if start else "NOT_DICOM", "the file ends before its data set begins")
        raise NeedMore(min(total_size, position + 4096))
    uid = transfer_syntax.rstrip(b"\0 ").decode("latin-1")
    uid = EXPLICIT if uid == PHILIPS_EXPLICIT else uid
    if uid in {EXPLICIT, IMPLICIT} or not uid:
        return Meta(_sniff(head, position, uid, has_preamble=start > 0), sop_class, position, not uid)
    return Meta(uid, sop_class, position, False)


def _sniff(head: bytes, position: int, uid: str, *, has_preamble: bool) -> str:
    """Tell explicit from implicit by the first element; some writers declare the one and write the other."""
    group = head[position] | head[position + 1] << 8
    if not has_preamble and (group != 8 or head[position + 3] > 1):  # group 0008 starts every CT
        raise DicomError("NOT_DICOM", "neither a preamble with DICM nor a first element of group 0002 or 0008")
    vr = head[position + 4 : position + 6]
    if vr in _SHORT_VRS or vr in _LONG_VRS:
        return EXPLICIT
    (length,) = _U32(head, position + 4)
    if length < 0x10000:  # a first element longer than 64 KB isn't one
        return IMPLICIT
    if uid:
        return uid
    raise DicomError("NOT_DICOM", "the first element has neither a known VR nor a plausible length")


def read_elements(  # noqa: PLR0912  # one loop, unrolled: it runs for every element of every file
    data: bytes, start: int, total_size: int, *, is_explicit: bool
) -> Elements:
    """Walk a little-endian data set up to its pixels.

    Args:
        data: The first bytes of the file, or all of them.
        start: Where the data set begins.
        total_size: Size of the whole file in bytes.
        is_explicit: Explicit VR, else implicit.

    Raises:
        NeedMore: The bytes end before the pixels do begin.
        Unfamiliar: An unknown VR, or nesting that isn't DICOM.
    """
    elements = Elements()
    values = elements.values
    slot_of = SLOTS.get
    position = start
    n = len(data)
    last = n - 8
    for _ in range(MAX_ELEMENTS):
        if position > last:
            if n < total_size:
                raise NeedMore(min(total_size, max(4 * n, position + 4096)))
            elements.is_cut = position != total_size
            return elements
        if is_explicit:
            tag, vr, length = _EXPLICIT_START(data, position)
            position += 8
            if vr not in _SHORT_VRS:
                if vr not in _LONG_VRS:
                    raise Unfamiliar
                if position + 4 > n:
                    if n < total_size:
                        raise NeedMore(min(total_size, max(4 * n, position + 4096)))
                    elements.is_cut = True
                    return elements
                (length,) = _U32(data, position)
                position += 4
        else:
            vr = b""
            tag, length = _IMPLICIT_START(data, position)
            position += 8
        slot = slot_of(tag)
        if slot is not None and length != UNDEFINED:
            values[slot] = data[position : position + length]
            position += length
        elif tag == _PIXELS:
            elements.pixel_offset = position
            elements.pixel_length = -1 if length == UNDEFINED else length
            return elements
        elif tag[:2] == _PIXEL_GROUP and tag[2:] in {b"\x08\x00", b"\x09\x00"}:
            elements.is_float = True
            return elements
        elif length == UNDEFINED:
            if slot is not None:
                values[slot] = b"\x01"
            # A UN of undefined length holds an implicit data set whatever stands around it (PS3.5, 6.2.2).
            position = _skip_sequence(data, position, total_size, is_explicit and vr != b"UN", 0)
        else:
            position += length
    raise Unfamiliar


def _skip_sequence(data: bytes, position: int, total_size: int, is_explicit: bool, depth: int) -> int:
    """Return the place behind a sequence of undefined length."""
    if depth > MAX_DEPTH:
        raise Unfamiliar
    while True:
        tag, length = _item_start(data, position, total_size)
        position += 8
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise Unfamiliar
        if length == UNDEFINED:
            position = _skip_item(data, position, total_size, is_explicit, depth)
        else:
            position += length


def _skip_item(data: bytes, position: int, total_size: int, is_explicit: bool, depth: int) -> int:
    while True:
        tag, length = _item_start(data, position, total_size)
        if tag == _ITEM_END:
            return position + 8
        vr = b""
        if is_explicit:
            tag, vr, length = _EXPLICIT_START(data, position)
            if vr in _LONG_VRS:
                _item_start(data, position + 4, total_size)
                (length,) = _U32(data, position + 8)
                position += 4
            elif vr not in _SHORT_VRS:
                raise Unfamiliar
        position += 8
        if length == UNDEFINED:
            position = _skip_sequence(data, position, total_size, is_explicit and vr != b"UN", depth + 1)
        else:
            position += length


def _item_start(data: bytes, position: int, total_size: int) -> tuple[bytes, int]:
    if position + 8 > len(data):
        if len(data) < total_size and position + 8 <= total_size:
            raise NeedMore(min(total_size, max(4 * len(data), position + 4096)))
        raise Unfamiliar
    tag, length = _IMPLICIT_START(data, position)
    return tag, length
