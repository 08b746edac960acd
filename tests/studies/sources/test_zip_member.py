"""Archives read in place: the same bytes as unpacked, and nothing that an archive should not do."""

import io
import os
import random
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich25d.errors import DicomError
from ich25d.studies.sources import inflaters, zip_directory
from ich25d.studies.sources import zip_member as zip_module
from ich25d.studies.sources.listing import list_entries
from ich25d.studies.sources.opened import Sources
from ich25d.studies.sources.zip_directory import list_members
from ich25d.studies.sources.zip_member import read_member, read_member_head


@contextmanager
def opened(content: bytes) -> Iterator[int]:
    """Give a descriptor of a file that holds the content."""
    handle = os.memfd_create("archive")
    try:
        os.write(handle, content)
        yield handle
    finally:
        os.close(handle)


def archive_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Pack files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def noise(n_bytes: int, seed: int = 0) -> bytes:
    """Make bytes that hardly deflate."""
    return random.Random(seed).randbytes(n_bytes)


def codes_of(content: bytes) -> dict[str, str]:
    """List an archive; return the code of each member."""
    with opened(content) as handle:
        return {member.name: member.code for member in list_members(handle)}


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\:\0"), min_size=1, max_size=12),
        st.binary(min_size=1, max_size=3000),
        max_size=5,
    ),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    st.integers(1, 4000),
)
def test_reads_what_zipfile_reads(files: dict[str, bytes], method: int, n_bytes: int) -> None:
    """For any names and contents, stored or deflated, whole or in part."""
    files = {f"d/{name}.dcm": content for name, content in files.items()}
    with opened(archive_of(files, method)) as handle:
        members = list_members(handle)

        assert {member.name: member.code for member in members} == dict.fromkeys(files, "")
        for member in members:
            assert read_member(handle, member) == files[member.name]
            assert read_member_head(handle, member, n_bytes) == files[member.name][:n_bytes]


def test_inflates_alike_with_and_without_the_fast_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libdeflate, isal and zlib give the same bytes."""
    content = noise(200_000) + bytes(300_000)
    with opened(archive_of({"a": content})) as handle:
        (member,) = list_members(handle)
        assert read_member(handle, member) == content
        monkeypatch.setattr(inflaters, "whole", None)
        assert read_member(handle, member) == content
        monkeypatch.setattr(inflaters, "by_parts", zlib)
        assert read_member(handle, member) == content
        assert read_member_head(handle, member, 4096) == content[:4096]


def test_reads_zip64_streamed_members_comments_and_archives_behind_other_bytes() -> None:
    """All that writers do to archives without breaking them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("large.dcm", "w", force_zip64=True) as file:
            file.write(noise(5000))
        archive.comment = b"PK\5\6 in a comment"
    content = b"#!/bin/sh\n" * 40 + buffer.getvalue()
    with opened(content) as handle:
        (member,) = list_members(handle)
        assert read_member(handle, member) == noise(5000)


def of_64(content: bytes, *, offset: int | None = None, n_disks: int = 1, signature: bytes = b"PK\6\6") -> bytes:
    """Give an archive the zip64 records that archives of many members have."""
    end = content.rindex(b"PK\5\6")
    n_members, size, start = struct.unpack_from("<HII", content, end + 10)
    record = signature + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, n_members, n_members, size, start)
    locator = struct.pack("<IIQI", 0x07064B50, 0, end if offset is None else offset, n_disks)
    marked = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:end] + record + locator + marked


def test_the_record_of_a_large_archive_is_found_or_missed() -> None:
    """Before its locator or where that says; absent, in parts or elsewhere, the archive is refused."""
    plain = archive_of({"a.dcm": noise(3000)})
    end = plain.rindex(b"PK\5\6")
    assert codes_of(of_64(plain)) == {"a.dcm": ""}
    between = of_64(plain)
    between = between[: end + 56] + bytes(60) + between[end + 56 :]  # the record isn't right before its locator
    assert codes_of(between) == {"a.dcm": ""}
    for content, code in (
        (of_64(plain, offset=10**9, signature=b"XXXX"), "ZIP_DAMAGED"),
        (of_64(plain, n_disks=2), "ARCHIVE"),
        (plain[:end] + of_64(plain)[-22:], "ZIP_DAMAGED"),
        (plain[: end + 4] + b"\1\0" + plain[end + 6 :], "ARCHIVE"),
    ):
        with pytest.raises(DicomError) as caught:
            codes_of(content)
        assert caught.value.code == code


def test_reads_offsets_beyond_4_gb(tmp_path: Path) -> None:
    """The members of the competition's archive lie up to 180 GB in; a file with a hole stands in."""
    packed = zlib.compress(noise(900), wbits=-15)
    start, name = 5 * 2**32, b"far.dcm"
    local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 45, 0, 8, 0, 0, 0, 0, 0, len(name), 0) + name + packed
    extra = struct.pack("<HHQ", 1, 8, start)
    central = (
        struct.pack(
            "<IHHHHHHIIIHHHHHII", 0x02014B50, 45, 45, 0, 8, 0, 0, zlib.crc32(noise(900)), len(packed), 900,
            len(name), len(extra), 0, 0, 0, 0, 0xFFFFFFFF,
        )
        + name + extra
    )  # fmt: skip
    at = start + len(local)
    end64 = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 1, 1, len(central), at)
    locator = struct.pack("<IIQI", 0x07064B50, 0, at + len(central), 1)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path = tmp_path / "huge.zip"
    with path.open("wb") as file:
        file.seek(start)
        file.write(local + central + end64 + locator + end)

    (entry,), rows = list_entries([path])

    assert rows == []
    assert entry.offset == start
    with closing(Sources([path])) as sources:
        assert sources.content(entry) == noise(900)


def wrapped_archive(path: Path, names: list[str], holes: dict[int, int]) -> None:
    """Write members with holes before some, and offsets modulo 4 GB without zip64, as Finder and ditto do."""
    central = b""
    with path.open("wb") as file:
        for index, text in enumerate(names):
            file.seek(holes.get(index, 0), os.SEEK_CUR)
            name, content = text.encode(), noise(900, index)
            packed, at = zlib.compress(content, wbits=-15), file.tell()
            sizes = struct.pack("<IIIHH", zlib.crc32(content), len(packed), len(content), len(name), 0)
            file.write(struct.pack("<IHHHHH", 0x04034B50, 20, 0, 8, 0, 0) + sizes + name + packed)
            entry = struct.pack("<IHHHHHH", 0x02014B50, 20, 20, 0, 8, 0, 0)
            central += entry + sizes + struct.pack("<HHHII", 0, 0, 0, 0, at % 2**32) + name
        at, n = file.tell(), len(names)
        file.write(central + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, n, n, len(central), at % 2**32, 0))


@pytest.mark.parametrize(
    "holes", [{2: 2**32}, {1: 2**32 - 500}, {1: 3 * 2**32 + 7, 4: 2**32}, {1: 2**31, 2: 2**31, 4: 2**31}]
)
def test_reads_archives_whose_offsets_begin_anew_every_4_gb(tmp_path: Path, holes: dict[int, int]) -> None:
    """Each member is found at its own local header, wherever between the members the 4 GB were passed."""
    names = [f"CT/{k}.dcm" for k in range(6)]
    path = tmp_path / "finder.zip"
    wrapped_archive(path, names, holes)

    entries, rows = list_entries([path])

    assert rows == []
    with closing(Sources([path])) as sources:
        assert [bytes(sources.content(entry)) for entry in entries] == [noise(900, k) for k in range(6)]


def test_names_with_backslashes_are_paths(tmp_path: Path) -> None:
    """PowerShell's Compress-Archive writes them, its folders too."""
    path = tmp_path / "x.zip"
    path.write_bytes(archive_of({"CT\\HEAD\\1.dcm": b"one", "CT\\HEAD\\": b"", "CT\\NECK\\2.dcm": b"two"}))

    entries, rows = list_entries([path], ["HEAD/*"])

    assert [entry.source for entry in entries] == ["x.zip::CT/HEAD/1.dcm"]
    assert rows == []
    with closing(Sources([path])) as sources:
        assert sources.content(entries[0]) == b"one"


def test_bytes_behind_an_archive_do_no_harm() -> None:
    """Drives and uploads pad."""
    assert codes_of(archive_of({"1.dcm": b"one"}) + bytes(70_000)) == {"1.dcm": ""}


def test_reads_only_the_start_for_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header costs kilobytes, whatever the member's size."""
    asked: list[int] = []
    read_at = zip_module.read_at
    monkeypatch.setattr(
        zip_module, "read_at", lambda handle, offset, n: (asked.append(n), read_at(handle, offset, n))[1]
    )
    with opened(archive_of({"a": noise(500_000)})) as handle:
        (member,) = list_members(handle)
        assert read_member_head(handle, member, 4096) == noise(500_000)[:4096]

    assert sum(asked) < 4500


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "C:/x", "\\\\host\\x", "a\\..\\..\\x", ".."])
def test_refuses_names_that_lead_out(name: str) -> None:
    """Absolute names, drives and .. in either slash."""
    assert codes_of(archive_of({name: b"x"})) == {name.replace("\\", "/"): "ZIP_NAME"}


@pytest.mark.parametrize("name", ["a..b/c", "..a", "a...", "...", "deep/er/x.dcm", "scan at 10:30"])
def test_takes_names_that_only_look_so(name: str) -> None:
    """Dots alone are no way out."""
    assert codes_of(archive_of({name: b"x"})) == {name: ""}


def test_refuses_links_devices_nested_archives_and_empty_members() -> None:
    """Every kind of member that is no plain file has its code; folders are none."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, mode in (("link", 0o120777), ("pipe", 0o010644), ("file", 0o100644)):
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, b"target")
        archive.writestr("inner.ZIP", b"PK")
        archive.writestr("nothing", b"")
        archive.writestr("folder/", b"")

    assert codes_of(buffer.getvalue()) == {
        "link": "ZIP_LINK", "pipe": "NOT_FILE", "file": "", "inner.ZIP": "ZIP_NESTED", "nothing": "EMPTY",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("at", "value", "code"),
    [(8, 0x0001, "ZIP_ENCRYPTED"), (8, 0x2000, "ZIP_ENCRYPTED"), (10, 12, "ZIP_METHOD"), (10, 93, "ZIP_METHOD")],
)
def test_refuses_what_is_encrypted_or_packed_otherwise(at: int, value: int, code: str) -> None:
    """Flags and methods are known from the directory."""
    content = bytearray(archive_of({"a": noise(100)}))
    entry = content.rindex(b"PK\1\2")
    struct.pack_into("<H", content, entry + at, value)

    assert codes_of(bytes(content)) == {"a": code}


def test_refuses_bombs_by_the_directory_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes and ratios are checked before anything is inflated."""
    assert codes_of(archive_of({"bomb": bytes(3_000_000)})) == {"bomb": "ZIP_RATIO"}
    # A constant slice deflates as well, and is no danger.
    assert codes_of(archive_of({"blank": bytes(524_288)})) == {"blank": ""}
    monkeypatch.setattr(zip_directory, "MAX_MEMBER_BYTES", 1000)
    assert codes_of(archive_of({"big": noise(1001), "small": noise(1000)})) == {"big": "ZIP_BIG", "small": ""}
    monkeypatch.setattr(zip_directory, "MAX_DIRECTORY_BYTES", 40)
    with pytest.raises(DicomError, match="ZIP_BIG: an archive's directory must be at most 40 bytes"):
        codes_of(archive_of({"a": b"x"}))


def test_never_inflates_more_than_announced() -> None:
    """A member whose directory entry lies about its size costs no more memory than that size."""
    content = bytearray(archive_of({"a": bytes(2_000_000)}))
    entry = content.rindex(b"PK\1\2")
    struct.pack_into("<I", content, entry + 24, 1000)
    with opened(bytes(content)) as handle:
        (member,) = list_members(handle)
        assert member.size == 1000
        with pytest.raises(DicomError, match=r"ZIP_DAMAGED: .*(longer than|isn't the one) the directory says"):
            read_member(handle, member)


def test_refuses_members_that_share_bytes() -> None:
    """Overlapping members are how a bomb of 10 MB becomes 281 TB."""
    content = bytearray(archive_of({"a": noise(1000), "b": noise(1000, 1), "c": noise(1000, 2)}))
    second = [at for at in range(len(content)) if content[at : at + 4] == b"PK\1\2"][1]
    struct.pack_into("<I", content, second + 42, 0)

    assert codes_of(bytes(content)) == {"a": "", "b": "ZIP_DAMAGED", "c": ""}


def test_finds_any_flipped_byte_of_the_data() -> None:
    """The CRC is checked."""
    content = archive_of({"a": noise(300)})
    for at in range(40, 300, 17):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        with opened(bytes(damaged)) as handle:
            (member,) = list_members(handle)
            with pytest.raises(DicomError, match="ZIP_DAMAGED"):
                read_member(handle, member)


@pytest.mark.parametrize(("at", "match"), [(0, "local header isn't where"), (30, "names another file")])
def test_holds_the_local_header_against_the_directory(at: int, match: str) -> None:
    """Two headers of a member that disagree are how readers are fooled."""
    content = bytearray(archive_of({"a": noise(300)}))
    content[at] ^= 0x01
    with opened(bytes(content)) as handle:
        (member,) = list_members(handle)
        with pytest.raises(DicomError, match=match):
            read_member_head(handle, member, 10)


def test_an_archive_cut_anywhere_is_refused() -> None:
    """A download that broke off is told, not half read."""
    content = archive_of({"a": noise(200), "b": noise(200, 1)})
    for n_bytes in range(0, len(content), 7):
        with opened(content[:n_bytes]) as handle, pytest.raises(DicomError, match="ZIP_DAMAGED"):
            list_members(handle)


@given(st.data())
def test_mutated_archives_end_in_a_refusal_or_the_truth(data: st.DataObject) -> None:
    """Any damage either is found or did no harm; no other error comes out."""
    content = bytearray(archive_of({"a": b"x" * 90 + noise(60), "b": noise(80, 1)}))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with opened(bytes(content)) as handle:
        try:
            for member in list_members(handle):
                if not member.code:
                    read_member_head(handle, member, 40)
                    assert zlib.crc32(read_member(handle, member)) == member.crc
        except DicomError as error:
            code = error.code
        else:
            code = "ZIP_"
    assert code.startswith("ZIP_") or code == "ARCHIVE"  # another number of disks is that of a split archive


def test_names_of_old_archives_are_read_byte_by_byte() -> None:
    """Names that are no UTF-8 come in the code page of old zips: two of them never become one."""
    content = archive_of({"aé": b"1", "aè": b"2"})
    content = content.replace("aé".encode(), b"a\xff\xfe").replace("aè".encode(), b"a\xff\xfd")

    assert codes_of(content) == {"a\xa0■": "", "a\xa0²": ""}


def test_threads_share_an_archive(tmp_path: Path) -> None:
    """Reads by offset don't disturb each other."""
    files = {f"{index}.dcm": noise(20_000, index) for index in range(20)}
    path = tmp_path / "many.zip"
    path.write_bytes(archive_of(files))
    entries, _ = list_entries([path])
    wrong: list[str] = []

    with closing(Sources([path])) as sources:

        def read(first: int) -> None:
            for entry in entries[first:] + entries[:first]:
                if sources.content(entry) != files[entry.source.split("::")[1]]:
                    wrong.append(entry.source)

        threads = [threading.Thread(target=read, args=(5 * index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert wrong == []
