"""Members of zip archives read in place: by offset, from any thread or process, nothing unpacked to disk.

    file descriptor + Member -> read_member_head | read_member -> bytes or bytearray

No more is inflated than the directory announced, but for small members, whose excess is bounded by what deflate can
do. References: PKWARE APPNOTE 6.3.10.
"""

import os
import struct
import threading
import zlib
from typing import Any, NamedTuple

from ich25d.dicom.header import Content
from ich25d.errors import DicomError
from ich25d.studies.sources import inflaters

STORED, DEFLATED = 0, 8
"""Compression methods that are read."""

LOCAL = struct.Struct("<IHHHHHIIIHH")
"""Local header of a member, before its name and extra field."""
_LOCAL_SIGNATURE = b"PK\x03\x04"
_EXTRA_GUESS = 64  # the local header's extra field is seldom longer, so that one read gets header and data


ONE_GO_BYTES = 384 * 2**10
"""Members packed smaller are inflated in one go, a third faster than up to a limit. Deflate swells at most
1032-fold, so that a member which lies about its size takes 400 MB for a moment, and is refused. With libdeflate all
are: it stops where the buffer ends."""


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    """Its path in the archive."""
    size: int
    """Bytes when inflated, as the directory says."""
    offset: int
    """Where its local header starts in the archive."""
    packed_size: int
    """Bytes in the archive."""
    method: int
    """`STORED` or `DEFLATED`."""
    crc: int
    """CRC-32 of its content."""
    code: str = ""
    """Reason code when it can't be read; else empty."""
    detail: str = ""
    """The reason in words."""


def damaged(what: str) -> DicomError:
    """Return the error of an archive, or member of one, that isn't as it must be."""
    return DicomError("ZIP_DAMAGED", what)


def _seek_and_read(handle: int, n_bytes: int, offset: int) -> bytes:
    """Do as `os.pread` where there is none: on Windows."""
    with _SEEKING:  # a descriptor has one position for all threads
        os.lseek(handle, offset, os.SEEK_SET)
        return os.read(handle, n_bytes)


_SEEKING = threading.Lock()
_read_once = getattr(os, "pread", _seek_and_read)


def read_at(handle: int, offset: int, n_bytes: int) -> bytes:
    """Read so many bytes from an offset; fewer only at the end of the file. Any thread may."""
    content = _read_once(handle, n_bytes, offset)
    if len(content) == n_bytes:
        return content
    parts = [content]
    missing = n_bytes - len(content)
    while content and missing:
        offset += len(content)
        content = _read_once(handle, missing, offset)
        parts.append(content)
        missing -= len(content)
    return b"".join(parts)


def decode_name(raw_name: bytes) -> str:
    """Decode a member's name: UTF-8, else the code page of old zips, which loses none. Backslashes are slashes.

    PowerShell's Compress-Archive and .NET before 4.6.1 write them.
    """
    try:
        name = raw_name.decode("utf-8")
    except UnicodeDecodeError:
        name = raw_name.decode("cp437")
    return name.replace("\\", "/")


def _data_start(local: bytes, offset: int, name: str) -> int:
    """Return where a member's data start, and check that its local header is the one the directory meant."""
    if len(local) < LOCAL.size or local[:4] != _LOCAL_SIGNATURE:
        raise damaged("a member's local header isn't where the directory says")
    numbers: tuple[int, ...] = LOCAL.unpack_from(local)
    n_name, n_extra = numbers[-2:]
    raw_name = local[LOCAL.size : LOCAL.size + n_name]
    if decode_name(raw_name) != name:
        raise damaged("a member's local header names another file than the directory")
    return offset + LOCAL.size + n_name + n_extra


def is_at(handle: int, offset: int, name: str) -> bool:
    """Say whether the local header of the member of this name starts there."""
    try:
        _data_start(read_at(handle, offset, LOCAL.size + len(name.encode("utf-8", "surrogatepass"))), offset, name)
    except DicomError:
        return False
    return True


def _read_packed(handle: int, offset: int, name: str, n_bytes: int) -> memoryview:
    """Read the first so many packed bytes of a member, in one go where the local header is as usual."""
    n_front = LOCAL.size + len(name.encode("utf-8", "surrogatepass")) + _EXTRA_GUESS
    block = read_at(handle, offset, n_front + n_bytes)
    start = _data_start(block, offset, name) - offset
    packed = memoryview(block)[start : start + n_bytes]
    if len(packed) < n_bytes:
        packed = memoryview(read_at(handle, offset + start, n_bytes))
    if len(packed) < n_bytes:
        raise damaged(f"the archive ends inside the member (after {len(packed)} of {n_bytes} packed bytes)")
    return packed


def read_member_head(handle: int, member: Member, n_bytes: int) -> bytes:
    """Inflate the first bytes of a member; its CRC stays unchecked.

    Args:
        handle: File descriptor of the archive.
        member: As listed; without a refusal.
        n_bytes: How many; fewer come back only where the member is shorter.

    Raises:
        DicomError: `ZIP_DAMAGED`.
    """
    wanted = min(n_bytes, member.size)
    if member.method == STORED:
        return bytes(_read_packed(handle, member.offset, member.name, wanted))
    # Deflate never makes data longer by more than 5 bytes in 16 kB, so this holds `wanted` bytes but for
    # encoders that flush too often; for those the whole member is read.
    for n_packed in (min(member.packed_size, wanted + wanted // 1024 + 64), member.packed_size):
        packed = _read_packed(handle, member.offset, member.name, n_packed)
        head = _inflate(packed, wanted)[0]
        if len(head) == wanted:
            return head
    raise damaged(f"the member must inflate to {member.size} bytes, as the directory says (got fewer)")


def read_member(handle: int, member: Member) -> Content:
    """Inflate a member and check its length and CRC.

    Args:
        handle: File descriptor of the archive.
        member: As listed; without a refusal.

    Raises:
        DicomError: `ZIP_DAMAGED`.
    """
    packed = _read_packed(handle, member.offset, member.name, member.packed_size)
    content: Content
    if member.method == STORED:
        content, is_whole = bytes(packed), True
    elif member.packed_size <= ONE_GO_BYTES or inflaters.whole is not None:
        content, is_whole = _inflate_in_one_go(packed, member.size + 1), True
    else:
        content, is_whole = _inflate(packed, member.size + 1)
    if len(content) != member.size or not is_whole:
        got = len(content) if len(content) <= member.size else "more"
        raise damaged(f"the member must inflate to {member.size} bytes, as the directory says (got {got})")
    if int((inflaters.whole or inflaters.by_parts).crc32(content)) != member.crc:
        raise damaged("the member fails its checksum")
    return content


def _inflate_in_one_go(packed: memoryview, expected: int) -> Content:
    """Inflate raw deflate data into a buffer of the expected size; an end that is missing is an error."""
    if inflaters.whole is not None:
        try:
            inflated: Content = inflaters.whole.deflate_decompress(packed, expected)
        except inflaters.whole.DeflateError as error:
            raise damaged("the member's compressed data are damaged, or longer than the directory says") from error
        return inflated
    try:
        return bytes(inflaters.by_parts.decompress(packed, wbits=-15, bufsize=expected))
    except (zlib.error, inflaters.by_parts.error) as error:
        raise damaged("the member's compressed data are damaged") from error


def _inflate(packed: memoryview, limit: int) -> tuple[bytes, bool]:
    """Inflate raw deflate data up to a limit; also say whether they came to their end."""
    stream: Any = inflaters.by_parts.decompressobj(wbits=-15)
    try:
        content: bytes = stream.decompress(packed, max_length=limit)
    except (zlib.error, inflaters.by_parts.error) as error:
        raise damaged("the member's compressed data are damaged") from error
    return content, bool(stream.eof)
