"""The files of the sources that the user gave: folders are walked, zip archives listed in place.

paths -> list_entries -> [Entry], and the rows of what isn't read
Sources(paths).head(entry) | .content(entry) -> bytes or bytearray, in any process or thread
"""

import os
import re
import stat
import unicodedata
from collections.abc import Sequence
from fnmatch import translate
from pathlib import Path
from typing import NamedTuple

from ich25d.errors import DicomError, UsageError
from ich25d.studies.qc import QcRow
from ich25d.studies.sources.gunzip import GZIP
from ich25d.studies.sources.other_formats import is_part
from ich25d.studies.sources.zip_directory import list_members
from ich25d.studies.sources.zip_member import Member

MEMBER_MARK = "::"
"""Stands between an archive and its member in `Entry.source`."""

GZIPPED = 1
"""`Entry.method` of a loose file that gzip packed; a NIfTI's isn't marked so."""

_NIFTI = re.compile(r".*\.(?:nii|hdr|img)\.gz", re.IGNORECASE | re.DOTALL).fullmatch
_JUNK_NAMES = {".ds_store", "thumbs.db", "desktop.ini", ".directory"}
_LONGEST_JUNK = 12


class Entry(NamedTuple):
    """One file, loose or in an archive, in about 400 bytes."""

    root: int
    """Position of its source in the list that the user gave."""
    source: str
    """Path relative to that source, or `archive.zip::member`; bytes that are no UTF-8 as surrogate escapes."""
    size: int
    """Bytes of its content."""
    stamp: str
    """Changes when the content does: a loose file's time of change in ns, a member's CRC-32."""
    offset: int = -1
    """Where the member's local header starts in its archive; -1 for loose files."""
    packed_size: int = 0
    """Bytes of the member in its archive."""
    method: int = 0
    """How the member is compressed; `GZIPPED` for a loose file that is packed by itself."""


def list_entries(sources: Sequence[Path], only: Sequence[str] = ()) -> tuple[list[Entry], list[QcRow]]:
    """List every file of the sources, without opening any but the archives' directories.

    Folders are walked to any depth; links to files are followed, links to folders aren't. Archives are
    those named `*.zip`, and any file that the user gave and that starts as a zip does. Files with the same
    device and inode count once. The list doesn't depend on the order in which the system names files.

    Args:
        sources: Folders, files and archives.
        only: Patterns as the shell has them, `*` also over `/`. A file is taken when one matches its path
            in the source (in the archive, for an archive), from the start or from any folder on. Files that
            no pattern takes count as not given.

    Returns:
        The entries, sorted by root and source, and a row for each file that was seen and isn't among them.

    Raises:
        UsageError: A source doesn't exist, or a pattern matches nothing.
    """
    listing = _Listing(only)
    for root, path in enumerate(sources):
        listing.add_source(root, Path(path))
    unmatched = [pattern for pattern, count in zip(only, listing.n_matched, strict=True) if not count]
    if unmatched:
        example = f", as {listing.example!r}" if listing.example else ""
        raise UsageError(
            f"every --only pattern must match a file (got {unmatched}); "
            f"the sources hold {listing.n_seen} files{example}"
        )
    return listing.sorted_entries(), listing.rows


class _Listing:
    """One call of `list_entries`: what it has found so far."""

    def __init__(self, only: Sequence[str]) -> None:
        self.entries: list[Entry] = []
        self.rows: list[QcRow] = []
        self.patterns = [
            (re.compile(rf"(?s:.*/)?{translate(_composed(text.replace(os.sep, '/')))}"), MEMBER_MARK in text)
            for text in only
        ]
        self.n_matched = [0] * len(self.patterns)
        self.n_seen = 0
        self.example = ""
        self.identities: set[int] = set()
        self.sizes: dict[int, int] = {}

    def refuse(self, source: str, code: str, detail: str) -> None:
        self.rows.append(QcRow(source, "", "", "file", code, detail))

    def takes(self, source: str, inner: str) -> bool:
        """Say whether the patterns take a file; `inner` is its path in the root that the user gave."""
        self.n_seen += 1
        if not self.example:
            self.example = source
        is_taken = not self.patterns
        for index, (pattern, has_mark) in enumerate(self.patterns):
            if pattern.match(_composed(source if has_mark else inner)):
                self.n_matched[index] += 1
                is_taken = True
        return is_taken

    def add_source(self, root: int, path: Path) -> None:
        try:
            status = path.stat()
        except OSError as error:
            raise UsageError(f"sources must be folders, files or archives that exist (got {str(path)!r})") from error
        if stat.S_ISDIR(status.st_mode):
            self.walk(root, path)
        elif not stat.S_ISREG(status.st_mode):
            self.refuse(path.name, "NOT_FILE", "only folders and regular files are read")
        elif _is_archive(path):
            self.add_archive(root, path, path.name, is_root=True)
        elif self.takes(path.name, path.name):
            self.add_taken(root, str(path), path.name, status)

    def walk(self, root: int, top: Path) -> None:
        """Walk a folder. Names are sorted in each, so that of two links to one file the same one stays."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            found = self.read_folder(top / folder, folder)
            below = []
            for name, item in found:
                source = f"{folder}{name}"
                try:
                    if item.is_dir(follow_symlinks=False):
                        below.append(f"{source}/")
                        continue
                    status = item.stat()
                except OSError:
                    if self.takes(source, source):
                        self.refuse(source, "NOT_FILE" if item.is_symlink() else "NO_ACCESS", "the file can't be read")
                    continue
                if stat.S_ISREG(status.st_mode) and name.lower().endswith(".zip"):
                    if self.is_new(item.path, source, status):
                        self.add_archive(root, top / source, source)
                elif self.takes(source, source):
                    self.add_taken(root, item.path, source, status)
            waiting.extend(reversed(below))

    def read_folder(self, path: Path, source: str) -> list[tuple[str, os.DirEntry[str]]]:
        try:
            with os.scandir(path) as scan:
                return sorted((item.name, item) for item in scan)
        except OSError:
            self.refuse(source, "NO_ACCESS", "the folder can't be read")
            return []

    def add_taken(self, root: int, path: str, source: str, status: os.stat_result) -> None:
        if stat.S_ISDIR(status.st_mode):
            self.refuse(source, "NOT_FILE", "a link to a folder isn't followed; give the folder as a source")
        elif not stat.S_ISREG(status.st_mode):
            self.refuse(source, "NOT_FILE", "only regular files are read")
        elif _is_junk(source):
            self.refuse(source, "NOT_DICOM", "a system's own file")
        elif status.st_size == 0:
            self.refuse(source, "EMPTY", "the file holds no bytes")
        elif self.is_new(path, source, status):
            n_bytes, stamp = status.st_size, str(status.st_mtime_ns)
            if source[-3:].lower() == ".gz" and not _NIFTI(source) and (n_inflated := inflated_size(Path(path))):
                self.entries.append(Entry(root, source, n_inflated, stamp, packed_size=n_bytes, method=GZIPPED))
            else:
                self.entries.append(Entry(root, source, n_bytes, stamp))

    def is_new(self, path: str, source: str, status: os.stat_result) -> bool:
        """Note a file's identity; one met before, under another name or source, gets a row and no entry."""
        if not status.st_ino:  # Windows leaves it out of what a folder's list says
            status = Path(path).stat()
        identity = status.st_ino << 64 | status.st_dev
        if status.st_ino and identity in self.identities:
            self.refuse(source, "SAME_FILE", "another name of a file that is listed already")
            return False
        self.identities.add(identity)
        return True

    def add_archive(self, root: int, path: Path, name: str, *, is_root: bool = False) -> None:
        try:
            members = _members_of(path)
        except DicomError as error:
            if self.takes(name, name):
                self.refuse(name, error.code, error.detail)
            return
        members.reverse()
        while members:
            member = members.pop()  # so that not all members and all entries are held at once
            source = f"{name}{MEMBER_MARK}{member.name}"
            if not self.takes(source, member.name if is_root else source):
                continue
            if member.code:
                self.refuse(source, member.code, member.detail)
            elif _is_junk(member.name):
                self.refuse(source, "NOT_DICOM", "a system's own file")
            else:
                # Images of one kind have one size: one number for all of them.
                size = self.sizes.setdefault(member.size, member.size)
                stamp = f"{member.crc:08x}"
                self.entries.append(Entry(root, source, size, stamp, member.offset, member.packed_size, member.method))

    def sorted_entries(self) -> list[Entry]:
        """Sort the entries; of several members of one name the one written last stays, as it does when unpacked."""
        self.entries.sort()
        kept: list[Entry] = []
        for entry in self.entries:
            if kept and kept[-1].source == entry.source and kept[-1].root == entry.root:
                self.refuse(entry.source, "ZIP_DUPLICATE", "a later member has the same name")
                if entry.offset > kept[-1].offset:
                    kept[-1] = entry
            else:
                kept.append(entry)
        return kept


def _is_junk(source: str) -> bool:
    """Say whether a file is one that systems leave behind: Finder's, Explorer's, AppleDouble halves."""
    name = source[source.rfind("/") + 1 :]
    if name[:2] == "._" or (len(name) < _LONGEST_JUNK and name.lower() in _JUNK_NAMES):
        return True
    return "__MACOSX/" in source and "__MACOSX" in source.split("/")


def _composed(name: str) -> str:
    """Return a name with its accents composed, whichever way the file system or archive keeps them."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def inflated_size(path: Path) -> int:
    """Return the size that a gzip file says its content has; 0 where it is none."""
    try:
        with path.open("rb") as file:
            if file.read(2) != GZIP:
                return 0
            file.seek(-4, os.SEEK_END)
            return int.from_bytes(file.read(4), "little")
    except OSError:
        return 0


def _is_archive(path: Path) -> bool:
    """Say whether a file that the user gave is a zip: by name, or by its first bytes."""
    if path.suffix.lower() == ".zip":
        return True
    if is_part(path.name):
        return False
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    # A DICOM's preamble may hold anything, also the start of a zip.
    return head[:4] in (b"PK\3\4", b"PK\5\6") and head[128:] != b"DICM"


def _members_of(path: Path) -> list[Member]:
    try:
        handle = open_file(path)
        try:
            return list_members(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise DicomError("NO_ACCESS", "the archive can't be read") from error


_FLAGS = os.O_RDONLY
for _name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
    # Without O_NONBLOCK a pipe that has taken the file's place would wait for a writer for ever; without O_BINARY
    # Windows would read text. No system has all three.
    _FLAGS |= getattr(os, _name, 0)


def open_file(path: Path | str) -> int:
    """Open a file for reading; return its descriptor."""
    return os.open(path, _FLAGS)
