"""Reads the listed files, from folders and, in place, from archives; in any process or thread.

Sources(paths).head(entry) | .content(entry) -> bytes or bytearray
"""

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ich25d.dicom.header import Content
from ich25d.errors import DicomError
from ich25d.studies.sources.gunzip import gunzip, gunzip_first
from ich25d.studies.sources.listing import GZIPPED, MEMBER_MARK, Entry, open_file
from ich25d.studies.sources.zip_member import Member, read_at, read_member, read_member_head

MAX_HELD_ARCHIVES = 64
"""Archives a process keeps open; beyond them, each read opens its own."""
MAX_KEPT_BYTES = 2**30
"""Contents that a process holds while it reads them frame by frame; the newest is held whatever its size."""


class Sources:
    """Reads the files that `list_entries` listed.

    Pickles by its paths; every process opens the archives for itself, when first needed. Threads may share it.

    Args:
        paths: The sources, as given to `list_entries`.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(Path(path).absolute() for path in paths)
        self._archives: dict[str, int] = {}
        self._prefixes: dict[int, str] = {}
        self._lock = threading.Lock()
        self._kept: OrderedDict[Entry, bytes] = OrderedDict()

    def __reduce__(self) -> tuple[object, ...]:
        return (Sources, (self.paths,))

    def close(self) -> None:
        """Close the archives and drop the contents held; the next read opens them again. No read may be running."""
        with self._lock:
            handles = list(self._archives.values())
            self._archives.clear()
            self._kept.clear()
        for handle in handles:
            os.close(handle)

    def head(self, entry: Entry, n_bytes: int) -> bytes:
        """Return the first bytes of a file; fewer only when it's shorter. A member's CRC stays unchecked.

        Raises:
            DicomError: `NO_ACCESS`, `CHANGED`, `NOT_FILE` or `ZIP_DAMAGED`.
        """
        return bytes(self._read(entry, min(n_bytes, entry.size)))

    def content(self, entry: Entry, *, keep: bool = False) -> Content:
        """Return a file's content; a member's CRC is checked.

        Args:
            entry: The file.
            keep: Hold the content for the next calls, which read the file's other frames: until a file is read
                without it, or `MAX_KEPT_BYTES` are reached.

        Raises:
            DicomError: `NO_ACCESS`, `CHANGED`, `NOT_FILE` or `ZIP_DAMAGED`.
        """
        if not keep:
            if self._kept:
                with self._lock:
                    self._kept.clear()
            return self._read(entry, None)
        with self._lock:
            kept = self._kept.get(entry)
            if kept is not None:
                self._kept.move_to_end(entry)
                return kept
            room = MAX_KEPT_BYTES - entry.size
            while self._kept and sum(other.size for other in self._kept) > room:
                self._kept.popitem(last=False)
        content = bytes(self._read(entry, None))  # a decoder would copy anything else at every frame
        with self._lock:
            self._kept[entry] = content
        return content

    def _read(self, entry: Entry, n_bytes: int | None) -> Content:
        read = self._read_file if entry.offset < 0 else self._read_member
        try:
            try:
                return read(entry, n_bytes, is_again=False)
            except OSError:
                # A network drive may fail once.
                return read(entry, n_bytes, is_again=True)
        except OSError as error:
            raise DicomError("NO_ACCESS", "the file can't be read") from error

    def _read_file(self, entry: Entry, n_bytes: int | None, *, is_again: bool) -> Content:
        del is_again  # every read opens the file anew
        prefix = self._prefix(entry.root)
        handle = open_file(prefix + entry.source if prefix else self.paths[entry.root])
        try:
            _check_unchanged(os.fstat(handle), entry)
            if entry.method == GZIPPED:
                content = _unpacked(handle, entry, n_bytes)
            else:
                content = read_at(handle, 0, entry.size if n_bytes is None else n_bytes)
            if n_bytes is None:
                _check_unchanged(os.fstat(handle), entry)
            return content
        finally:
            os.close(handle)

    def _read_member(self, entry: Entry, n_bytes: int | None, *, is_again: bool) -> Content:
        archive, name = self._split(entry)
        member = Member(name, entry.size, entry.offset, entry.packed_size, entry.method, int(entry.stamp, 16))
        with self._opened(archive, is_again=is_again) as handle:
            return read_member(handle, member) if n_bytes is None else read_member_head(handle, member, n_bytes)

    def _prefix(self, root: int) -> str:
        """Return what goes before the names in a folder; nothing for a source that is a file."""
        if root not in self._prefixes:
            path = self.paths[root]
            self._prefixes[root] = os.path.join(path, "") if path.is_dir() else ""  # noqa: PTH118  # ends in a slash
        return self._prefixes[root]

    def _split(self, entry: Entry) -> tuple[str, str]:
        """Return the path of an entry's archive and the member's name in it."""
        root = self.paths[entry.root]
        if not self._prefix(entry.root):
            return str(root), entry.source[len(root.name) + len(MEMBER_MARK) :]
        # Folders and members may have the mark in their names: the archive is the first that is a file.
        at = entry.source.find(MEMBER_MARK)
        while at >= 0:
            path = os.path.join(root, entry.source[:at])  # noqa: PTH118  # keeps odd bytes and is fast
            if path in self._archives or os.path.isfile(path):  # noqa: PTH113
                return path, entry.source[at + len(MEMBER_MARK) :]
            at = entry.source.find(MEMBER_MARK, at + 1)
        raise DicomError("NO_ACCESS", "the archive is gone")

    @contextmanager
    def _opened(self, path: str, *, is_again: bool) -> Iterator[int]:
        """Give the archive's descriptor: one that is kept, or beyond `MAX_HELD_ARCHIVES` one for this read."""
        with self._lock:
            handle = None if is_again else self._archives.get(path)
            if handle is None and not is_again and len(self._archives) < MAX_HELD_ARCHIVES:
                handle = self._archives[path] = open_file(path)
        if handle is not None:
            yield handle
            return
        own = open_file(path)
        try:
            yield own
        finally:
            os.close(own)


def _unpacked(handle: int, entry: Entry, n_bytes: int | None) -> Content:
    """Inflate a gzip file, or its first bytes, of which the checksum stays unchecked."""
    if n_bytes is None:
        return gunzip(read_at(handle, 0, entry.packed_size), entry.size)
    # Deflate hardly ever makes data longer; where it did, the whole file is read.
    for n_packed in (min(entry.packed_size, n_bytes + n_bytes // 1024 + 1024), entry.packed_size):
        head = gunzip_first(read_at(handle, 0, n_packed), n_bytes)
        if len(head) == n_bytes:
            break
    return head


def _check_unchanged(status: os.stat_result, entry: Entry) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DicomError("NOT_FILE", "only regular files are read")
    n_bytes = entry.packed_size if entry.method == GZIPPED else entry.size
    if (status.st_size, str(status.st_mtime_ns)) != (n_bytes, entry.stamp):
        raise DicomError("CHANGED", "the file changed after it was listed; run again")
