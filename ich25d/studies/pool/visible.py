"""What every node of a cluster must share with the process that asked: the files, and the versions."""

import os
import platform
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import ich25d
from ich25d.errors import ClusterError

MOST_LOOKED_AT = 64
"""Of a command line with more files, that many are looked at."""

_CURE = "put it on a file system that all nodes share, or start the cluster on nodes that do"


@dataclass(frozen=True, slots=True)
class Shared:
    """What a node is asked for; small, and pickles."""

    folder: str
    """Working folder of the process that asked: relative paths are relative to it."""
    reads: tuple[tuple[str, int], ...]
    """Paths to read, of a folder also something in it, and the size in bytes of files; -1 for folders."""
    mark: str
    """A file beside the output that only a node on the same file system sees; empty where nothing is written."""
    versions: tuple[str, str] = ("", "")
    """Of this package and of Python."""

    def check(self, node: str) -> None:
        """Check that this process sees all, and work in the same folder from now on.

        Args:
            node: What to call the machine.

        Raises:
            ClusterError: It has other versions, or sees other files.
        """
        if (ours := _versions()) != self.versions:
            raise ClusterError(
                f"every node must have ich25d {self.versions[0]} and Python {self.versions[1]}, as here (got ich25d "
                f"{ours[0]} and Python {ours[1]}) on node {node}; install the same there"
            )
        if Path(self.folder).is_dir():  # absolute paths don't need it
            os.chdir(self.folder)
        for path, n_bytes in self.reads:
            if (there := _size(path)) != n_bytes:
                got = "nothing" if there is None else "another one"
                raise ClusterError(f"every node must see {path} under that path (got {got}) on node {node}; {_CURE}")
        if self.mark and not os.path.exists(self.mark):  # noqa: PTH110
            where = os.path.dirname(self.mark) or self.folder  # noqa: PTH120
            raise ClusterError(
                f"every node must see the output's folder {where}, and the same one (got none, or another one of that "
                f"name) on node {node}; {_CURE}"
            )


def _size(path: str) -> int | None:
    """Return the bytes of a file, -1 for a folder, None where nothing is."""
    try:
        status = os.stat(path)  # noqa: PTH116  # keeps odd bytes
    except OSError:
        return None
    return -1 if stat.S_ISDIR(status.st_mode) else status.st_size


def _with_first(path: str) -> list[str]:
    """Return a path, and for a folder one in it: where a disk isn't mounted its folder is there, and empty."""
    if not os.path.isdir(path):  # noqa: PTH112
        return [path]
    with os.scandir(path) as entries:
        return [path, *(entry.path for entry in islice(entries, 1))]


def _versions() -> tuple[str, str]:
    return ich25d.__version__, ".".join(platform.python_version_tuple()[:2])


@contextmanager
def shared(reads: Sequence[Path], out: Path | None) -> Iterator[Shared]:
    """Note what every node must see; while the block runs, an empty hidden file marks the output's folder.

    Args:
        reads: Files and folders to read.
        out: A file or folder to write, which needn't be there: the next folder above it that is there is marked.

    Raises:
        OSError: The mark can't be written.
    """
    step = max(1, len(reads) // MOST_LOOKED_AT)
    paths = [one for path in reads[::step] for one in _with_first(os.fspath(path))]
    seen = tuple((path, size) for path in paths if (size := _size(path)) is not None)  # the command names what isn't
    mark = None
    if out is not None:
        folder = next(path for path in (out.absolute(), *out.absolute().parents) if path.is_dir())
        mark = folder / f".ich25d-{os.urandom(8).hex()}.mark"
        mark.touch()
    try:
        yield Shared(os.fspath(Path.cwd()), seen, os.fspath(mark or ""), _versions())
    finally:
        if mark is not None:
            mark.unlink(missing_ok=True)
