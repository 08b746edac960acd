"""Files written whole or not at all, hashed, and kept inside their folder."""

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ich25d.errors import Ich25dError, TableError, UsageError, cause_of
from ich25d.progress import remark

if TYPE_CHECKING:
    import pandas as pd

try:
    import fcntl

    _HAS_FLOCK = True
except ImportError:  # Windows
    _HAS_FLOCK = False

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_HELD = (errno.EAGAIN, errno.EACCES)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
_MANY_ROWS = 10**6
_OWNER = ".ich25d"
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,79}")


_TWICE = "one process at a time {} (got a second one); wait for the first"
_UNLOCKED = "{} is on a file system without locks: make sure that no other process {}"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; put it in `target`'s place when the block ends well.

    The file is flushed to the disk before the rename, and the folder after it: a rename alone isn't
    durable over a power cut. When the block raises, the temporary file goes and `target` stays as it was.

    Raises:
        OSError: The disk is full or fails; of a full one, with `target` as its file name. Libraries that have errors
            of their own for it (safetensors, torch) give their bytes to `write_bytes`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, part = _part_of(target)
    is_done = False
    try:
        yield part
        # The part is private until now; what replaces `target` gets the mode that open() would have given.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
        is_done = True  # from here on a part of this name is another process's
        sync_folder(target.parent)
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(error.errno, os.strerror(error.errno), str(target)) from error
        raise
    finally:
        if not is_done:
            part.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def _part_of(target: Path) -> tuple[int | None, Path]:
    """Open the temporary file of a target, empty: one that a killed process left is used again, one in use isn't.

    Returns:
        The descriptor whose lock tells others that it is in use, None where there are no locks; and the path.
    """
    if _HAS_FLOCK:
        part = target.with_name(f".{target.name[:60]}.part")
        handle = os.open(part, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if _is_ours(handle, part):
            try:
                os.ftruncate(handle, 0)
            except OSError:
                os.close(handle)
                raise
            return handle, part
        os.close(handle)
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:60]}.", suffix=".part", dir=target.parent)
    os.close(handle)
    return None, Path(name)


def _is_ours(handle: int, part: Path) -> bool:
    """Say whether the lock of an open file could be had, and the file is still the one of that name."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(handle).st_ino == part.stat().st_ino
    except OSError:
        return False


def sync_folder(folder: Path) -> None:
    """Make the renames inside a folder durable, where the system lets a folder be opened and flushed."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(handle)


def write_bytes(target: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all."""
    with replacing(target) as part:
        part.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Write a UTF-8 text file whole or not at all; names of files in it are spelt as by `shown_name`."""
    write_bytes(target, shown_name(content).encode("utf-8"))


def write_json(target: Path, content: Any) -> None:  # noqa: ANN401  # JSON takes whatever it takes
    """Write a JSON file, indented, whole or not at all. NaN and infinity are refused."""
    write_text(target, json.dumps(content, indent=2, allow_nan=False) + "\n")


def shown_name(name: str) -> str:
    r"""Return a file's name as valid UTF-8: bytes that are none as `\xNN`, in tables, pages and messages alike."""
    return name if name.isascii() else _SURROGATE.sub(escaped, name)


def escaped(match: re.Match[str]) -> str:
    r"""Return a matched character as `\xNN` or `\uNNNN`: of an undecodable byte, the byte."""
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape marks an undecodable byte NN as U+DCNN
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_key(identifier: str) -> str:
    """Return a file name for an identifier out of a file: itself when plain, else a hash of it.

    A UID comes from a stranger and may hold `../`: it never becomes a path as it is.
    """
    if _PLAIN_ID.fullmatch(identifier) and ".." not in identifier:
        return identifier
    return "h" + hashlib.sha256(identifier.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def inside(root: Path, relative: str) -> Path:
    """Join a path read from a file to its root, and refuse one that leaves it.

    Raises:
        Ich25dError: The path is absolute or leads out of `root`.
    """
    joined = (root / relative).resolve()
    if Path(relative).is_absolute() or not joined.is_relative_to(root.resolve()):
        raise Ich25dError(f"paths inside a folder must stay in it (got {relative!r} in {root})")
    return joined


def check_rows(path: Path) -> None:
    """Check that a parquet file doesn't swell: some kilobytes may hold fifty million rows of one text.

    Raises:
        ValueError: It holds more rows than bytes, and more than a million.
    """
    import pyarrow.parquet

    n_rows, n_bytes = pyarrow.parquet.read_metadata(path).num_rows, path.stat().st_size
    if n_rows > max(_MANY_ROWS, n_bytes):
        raise ValueError(f"{n_rows} rows in {n_bytes} bytes: no table of ids is packed so small")


def read_parquet(path: Path, columns: list[str] | None = None) -> "pd.DataFrame":
    """Read a parquet table.

    Raises:
        TableError: It is damaged: a flipped bit has pandas and Arrow raise a dozen classes of exception.
        OSError: The disk fails, or the file isn't there.
    """
    import pandas as pd

    try:
        check_rows(path)
        return pd.read_parquet(path, columns=columns)
    except FileNotFoundError as error:  # pandas leaves its number out
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    except Exception as error:  # see above
        if isinstance(error, OSError) and error.errno:
            raise
        cause = cause_of(error)
        raise TableError(f"a table must be readable parquet (got {cause}) in {path}; make it again") from error


@contextmanager
def locked(path: Path, does: str, error: type[Ich25dError] | None = None) -> Iterator[None]:
    """Hold a lock on a file while the block runs; a process that is killed lets go of it.

    Where the file system has no locks, as some network drives, the block runs without one, and a remark says so.

    Args:
        path: The lock file; it is made where it isn't there.
        does: What one process at a time does, as `builds a store in studies`.
        error: What to raise where another process holds the lock; None waits for it.

    Raises:
        Ich25dError: `error`: another process holds the lock.
        OSError: The file can't be opened, or the disk fails.
    """
    if not _HAS_FLOCK:
        with _locked_beside(path, does, error):
            yield
        return
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if error is None else fcntl.LOCK_NB))
        except OSError as refused:
            if error is not None and refused.errno in _HELD:
                raise error(_TWICE.format(does)) from None
            if refused.errno not in _NO_LOCKS:
                raise
            remark(_UNLOCKED.format(path.parent, does))
        yield


def has_locks(folder: Path) -> bool:
    """Say whether a folder's file system has locks, by taking one on a file that is removed again.

    Raises:
        OSError: The folder can't be written.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        if not _HAS_FLOCK:
            return True  # filelock needs no more than files that can be made
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as refused:
            if refused.errno not in _NO_LOCKS:
                raise
            return False
    return True


@contextmanager
def _locked_beside(path: Path, does: str, error: type[Ich25dError] | None) -> Iterator[None]:
    """Do as `locked` where the system has no `flock`: hold a lock of filelock on a file beside."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{path}.held", timeout=-1 if error is None else 0)
    try:
        lock.acquire()
    except Timeout:
        raise (error or Ich25dError)(_TWICE.format(does)) from None
    except NotImplementedError:  # by filelock, where the file system has no locks
        remark(_UNLOCKED.format(path.parent, does))
    try:
        yield
    finally:
        lock.release()


def check_no_file(out: Path, *, option: str = "--out") -> None:
    """Check that a folder to fill isn't a file.

    Args:
        out: The folder; it needn't be there.
        option: How the user named it.

    Raises:
        UsageError: It is one.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{option} must be a folder (got the file {out})")


def check_folder(out: Path, command: str, names: Sequence[str], *, option: str = "--out") -> None:
    """Check that a command may fill a folder: nothing that it would replace is another's.

    Args:
        out: The folder; it needn't be there.
        command: The command that fills it, as `report`.
        names: Files that the command replaces.
        option: How the user named the folder.

    Raises:
        UsageError: It's a file, a study store or a model directory, or such a file stands in it that this command
            hasn't written.
    """
    check_no_file(out, option=option)
    for name in ("store.json", "build.sqlite", "model.json"):
        if (out / name).exists():
            kind = "model directory" if name == "model.json" else "study store"
            raise UsageError(f"{option} must be a folder of its own (got the {kind} {out}); name another")
    mark = out / _OWNER
    if mark.is_file() and mark.read_text(encoding="utf-8", errors="replace").strip() == command:
        return
    there = [name for name in names if (out / name).exists()]
    if there:
        raise UsageError(
            f"{option} must hold nothing that {command} would replace, but what it wrote itself "
            f"(got {', '.join(there)} in {out}); name another folder"
        )


def claim_folder(out: Path, command: str) -> None:
    """Make a folder and note in it which command fills it, for `check_folder`."""
    write_text(out / _OWNER, command + "\n")


def check_there(
    *,
    sources: Sequence[Path] = (),
    images: Sequence[Path] = (),
    labels: Path | None = None,
    sample: Path | None = None,
) -> None:
    """Check that what is to be read is there, and name what isn't by its part.

    Args:
        sources: Folders, files, archives and study stores.
        images: Tables of images.
        labels: A label table.
        sample: A sample submission.

    Raises:
        UsageError: A path doesn't exist.
    """
    named: list[tuple[str, Sequence[Path | None]]] = [("a source", sources), ("a table of images (--images)", images)]
    named += [("a label table (--labels)", (labels,)), ("a sample submission (--sample)", (sample,))]
    for what, paths in named:
        for path in paths:
            if path is not None and not path.exists():
                raise UsageError(f"{what} must exist (got {path})")
