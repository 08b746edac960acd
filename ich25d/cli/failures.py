"""What a disk or a path refuses, in one sentence with its cure."""

import errno
import os
from pathlib import Path

_AGAIN = "run the same command again"
_ROOM = ("the disk must have room", f"make room, then {_AGAIN}")
_ACCESS = (
    "files must be readable and folders writable",
    f"change the permissions or choose another path, then {_AGAIN}",
)
_FOLDER = ("folders must lead to a path", "move the file that stands in the way, or choose another path")
_DISK = ("the disk must answer", f"check the disk, then {_AGAIN}")
_PRESENT = ("files must be there", "check the path, and that nothing removes files in between")

_RULES: dict[int, tuple[str, str]] = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EROFS: _ACCESS,
    errno.ENOTDIR: _FOLDER,
    errno.EEXIST: _FOLDER,
    errno.EISDIR: ("a file's path must not be a folder's", "choose another path"),
    errno.ENAMETOOLONG: ("paths must be as short as the disk wants them", "choose a shorter path"),
    errno.EIO: _DISK,
    errno.ESTALE: _DISK,
    errno.ENOENT: _PRESENT,
    errno.EMFILE: (
        "the process must be allowed enough open files",
        "raise the limit, as ulimit -n 4096, or use fewer workers",
    ),
}
"""By errno: the rule, and the cure."""


def sentence_for(error: OSError, command: str = "") -> str | None:
    """Say what the machine refused, where, and what to do.

    Args:
        error: What was raised.
        command: The command that ran, as `train-cnn`.

    Returns:
        One line; None where no user or disk is at fault: a connection, a child process, a file of this package.
    """
    rule = _RULES.get(error.errno or 0)
    if rule is None:
        return None
    where = "" if error.filename is None else os.fsdecode(error.filename)
    if where and Path(where).is_relative_to(Path(__file__).parents[1]):
        return None
    place = f" in {where}" if where else ""
    cure = rule[1] + (" (with --resume, where it had begun)" if command == "train-cnn" and _AGAIN in rule[1] else "")
    return f"{rule[0]} (got {os.strerror(error.errno or 0)!r}){place}; {cure}"
