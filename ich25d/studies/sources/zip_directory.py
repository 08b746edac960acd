"""The directory of a zip archive: read once, checked, and every member listed with its offset or its refusal.

References: PKWARE APPNOTE 6.3.10, sections 4.3.12 to 4.3.16 and 4.5.3.
"""

import os
import stat
import struct
from collections.abc import Iterator, Sequence

import numpy as np

from ich25d.errors import DicomError
from ich25d.studies.sources.zip_member import DEFLATED, LOCAL, STORED, Member, damaged, decode_name, is_at, read_at

MAX_MEMBER_BYTES = 256 * 2**20
"""A single CT image is at most 8 MB; what is larger than this is no CT image."""
MAX_RATIO = 200
"""Members that inflate more than so many times are refused; CT images reach 10, nearly blank ones 100."""
_HARMLESS_BYTES = 2**20
"""Members up to this size may inflate as they like: a constant image does, and does no harm."""
MAX_DIRECTORY_BYTES = 2**30
"""Eight million members; the competition's archive has 0.1 GB."""

_TRAILING_BYTES = 2**20
"""So many bytes may follow the archive, as of drives and uploads that pad."""

_END = struct.Struct("<IHHHHIIH")
_END_SIGNATURE = 0x06054B50
_LOCATOR = struct.Struct("<IIQI")
_LOCATOR_SIGNATURE = 0x07064B50
_END64 = struct.Struct("<IQHHIIQQQQ")
_END64_SIGNATURE = 0x06064B50
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_CENTRAL_SIGNATURE = 0x02014B50
_EXTRA = struct.Struct("<HH")
_MARK16, _MARK32 = 0xFFFF, 0xFFFFFFFF
_WRAP = 2**32
"""Finder and ditto write no zip64: offsets beyond 4 GB begin at 0 again."""

_IN_PARTS = "an archive in several parts isn't read; unpack all of them (7z x) and name the folder"
_ENCRYPTED_FLAGS = 0x0001 | 0x0040 | 0x2000


def list_members(handle: int) -> list[Member]:
    """Read an archive's directory.

    Every file of the directory is in the list once, readable or with the code of its refusal; folders
    aren't. Nothing is inflated.

    Args:
        handle: File descriptor of the archive; its position isn't used.

    Raises:
        DicomError: `ZIP_DAMAGED`, `ZIP_BIG` or `ARCHIVE`: the directory can't be read.
    """
    n_bytes = os.fstat(handle).st_size
    start, end, shift = _find_directory(handle, n_bytes)
    if end - start > MAX_DIRECTORY_BYTES:
        raise DicomError(
            "ZIP_BIG", f"an archive's directory must be at most {MAX_DIRECTORY_BYTES} bytes (got {end - start})"
        )
    directory = read_at(handle, start, end - start)
    members = list(_parse_directory(directory, shift))
    if shift and shift % _WRAP == 0:
        members = _unwrapped(handle, members, shift)
    return _without_overlaps(members, start)


def _find_directory(handle: int, n_bytes: int) -> tuple[int, int, int]:
    """Return start and end of the central directory, and by how much all offsets are shifted."""
    for behind in (0xFFFF, _TRAILING_BYTES):
        tail_start = max(0, n_bytes - _END.size - behind)
        tail = read_at(handle, tail_start, n_bytes - tail_start)
        at = tail.rfind(_END_SIGNATURE.to_bytes(4, "little"), 0, len(tail) - _END.size + 4)
        if at >= 0:
            break
    if at < 0:
        raise damaged(f"an archive must end with its directory; this one, of {n_bytes} bytes, is cut off or no zip")
    _, disk, disk_of_start, _, n_members, size, offset, _ = _END.unpack_from(tail, at)
    directory_end = tail_start + at
    is_64 = _MARK16 in (disk, disk_of_start, n_members) or _MARK32 in (size, offset)
    locator_at = directory_end - _LOCATOR.size
    if locator_at >= 0:
        signature, _, end64_offset, n_disks = _LOCATOR.unpack(read_at(handle, locator_at, _LOCATOR.size))
        if signature == _LOCATOR_SIGNATURE:
            # The record stands right before its locator; where the archive has bytes in front, not at its offset.
            end64_at = locator_at - _END64.size
            record = read_at(handle, end64_at, _END64.size) if end64_at >= 0 else b""
            if record[:4] != _END64_SIGNATURE.to_bytes(4, "little"):
                record = read_at(handle, end64_offset, _END64.size) if end64_offset < n_bytes else b""
                end64_at = end64_offset
            if len(record) < _END64.size or record[:4] != _END64_SIGNATURE.to_bytes(4, "little"):
                raise damaged("the archive's zip64 directory record isn't where it must be")
            _, _, _, _, disk, disk_of_start, _, _, size, offset = _END64.unpack(record)
            directory_end = end64_at
            if n_disks > 1:
                raise DicomError("ARCHIVE", _IN_PARTS)
        elif is_64 and _MARK32 in (size, offset):
            raise damaged("the archive's zip64 directory record is absent")
    if disk not in (0, _MARK16) or disk_of_start != disk:
        raise DicomError("ARCHIVE", _IN_PARTS)
    start = directory_end - size
    if start < 0 or start < offset:
        raise damaged(
            f"the archive's directory must begin at byte {offset} or later (got {start} of {n_bytes}); it is cut off"
        )
    return start, directory_end, start - offset


def _parse_directory(directory: bytes, shift: int) -> Iterator[Member]:
    at, end = 0, len(directory)
    while at < end:
        if at + _CENTRAL.size > end:
            raise damaged("the archive's directory is cut off")
        (
            signature, _, _, flags, method, _, _, crc, packed_size, size,
            n_name, n_extra, n_comment, _, _, mode, offset,
        ) = _CENTRAL.unpack_from(directory, at)  # fmt: skip
        if signature != _CENTRAL_SIGNATURE:
            raise damaged("the archive's directory is damaged")
        at += _CENTRAL.size
        raw_name = directory[at : at + n_name]
        at += n_name
        if _MARK32 in (size, packed_size, offset):
            extra = directory[at : at + n_extra]
            size, packed_size, offset = _large_numbers(extra, size, packed_size, offset)
        at += n_extra + n_comment
        if at > end:
            raise damaged("the archive's directory is cut off")
        name = decode_name(raw_name)
        if name.endswith("/") and size == 0:
            continue
        member = Member(name, size, offset + shift, packed_size, method, crc)
        code, detail = _refusal(member, flags, mode)
        yield member._replace(code=code, detail=detail) if code else member


def _unwrapped(handle: int, members: Sequence[Member], shift: int) -> list[Member]:
    """Find the members of an archive whose offsets have lost their multiples of 4 GB.

    Members are written in the order of the directory, so that the multiples never fall; each is the least with the
    member's own local header.

    Args:
        handle: File descriptor of the archive.
        members: Its members, all shifted by `shift`.
        shift: By how much the directory lies behind the offset that is said of it.
    """
    if members and is_at(handle, members[0].offset, members[0].name):
        return list(members)  # bytes in front of the archive, of just this length
    found = []
    end = turns = 0
    for member in members:
        lost = member.offset - shift
        turns = max(turns, -((lost - end) // _WRAP))  # the least that doesn't lie before the last one's end
        at = [lost + k * _WRAP for k in range(turns, shift // _WRAP + 1)]
        offset = next((one for one in at if is_at(handle, one, member.name)), lost + turns * _WRAP)
        turns = offset // _WRAP
        end = offset + LOCAL.size + member.packed_size
        found.append(member._replace(offset=offset))
    return found


def _large_numbers(extra: bytes, size: int, packed_size: int, offset: int) -> tuple[int, int, int]:
    """Read the zip64 extra field: it holds, in this order, the numbers that didn't fit."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = _EXTRA.unpack_from(extra, at)
        at += 4
        if kind == 0x0001:
            field = extra[at : at + length]
            at = 0
            numbers = [size, packed_size, offset]
            for index, number in enumerate(numbers):
                if number == _MARK32:
                    if at + 8 > len(field):
                        raise damaged("a zip64 field of the archive's directory is too short")
                    numbers[index] = int.from_bytes(field[at : at + 8], "little")
                    at += 8
            return numbers[0], numbers[1], numbers[2]
        at += length
    return size, packed_size, offset


def _refusal(member: Member, flags: int, mode: int) -> tuple[str, str]:  # noqa: PLR0911  # one a reason
    """Return code and reason when a member can't be read; else two empty texts."""
    name = member.name
    kind = mode >> 16 & 0o170000
    if kind not in (0, stat.S_IFREG):
        if kind == stat.S_IFLNK:
            return "ZIP_LINK", "a link in an archive isn't followed"
        return "NOT_FILE", "only regular files are read from an archive"
    if _leaves(name):
        return "ZIP_NAME", "a member's name must be relative and stay inside the archive"
    if flags & _ENCRYPTED_FLAGS:
        return "ZIP_ENCRYPTED", "an encrypted member isn't read; unpack the archive and give the folder"
    if member.size == 0:
        return "EMPTY", "the member holds no bytes"
    if name[-4:].lower() == ".zip":
        return "ZIP_NESTED", "an archive inside an archive isn't opened; unpack the outer one"
    if member.method not in (STORED, DEFLATED):
        return "ZIP_METHOD", f"members must be stored or deflated (got method {member.method})"
    if member.size > MAX_MEMBER_BYTES:
        return "ZIP_BIG", f"a member must be at most {MAX_MEMBER_BYTES} bytes (got {member.size})"
    if member.size > _HARMLESS_BYTES and member.size > MAX_RATIO * member.packed_size:
        return (
            "ZIP_RATIO",
            f"a member must inflate at most {MAX_RATIO}-fold (got {member.packed_size} to {member.size} bytes)",
        )
    if member.method == STORED and member.size != member.packed_size:
        return "ZIP_DAMAGED", f"a stored member's two sizes must be one (got {member.size} and {member.packed_size})"
    return "", ""


def _leaves(name: str) -> bool:
    """Say whether a name, unpacked by whatever system, might lie outside: absolute, with a drive, or over `..`."""
    if not name or name[0] in "/\\" or name[1:2] == ":" or "\0" in name:
        return True
    return ".." in name and ".." in name.replace("\\", "/").split("/")


def _without_overlaps(members: list[Member], directory_start: int) -> list[Member]:
    """Refuse members that share bytes with another (that is how bombs beat the ratio) or run past the end."""
    if not members:
        return members
    starts = np.fromiter((member.offset for member in members), dtype=np.float64, count=len(members))
    least = LOCAL.size + 1
    ends = starts + np.fromiter((member.packed_size + least for member in members), np.float64, count=len(members))
    order = np.argsort(starts, kind="stable")
    is_bad = ends > directory_start
    is_bad[order[1:]] |= starts[order[1:]] < np.maximum.accumulate(ends[order])[:-1]
    for index in np.flatnonzero(is_bad):
        if not members[index].code:
            members[index] = members[index]._replace(
                code="ZIP_DAMAGED", detail="a member must lie inside the archive and share no byte with another"
            )
    return members
