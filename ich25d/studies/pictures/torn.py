"""JPEG files that were cut off, or lost their tail in copying: decoders fill in what is missing, and go on."""

import os
import re
import tempfile
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.errors import DicomError

_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Ends the scan's data, in which FF is followed by 00 or by a restart marker (ITU T.81, B.1.1)."""
_DAMAGE = re.compile(rb"Corrupt JPEG data: (?!\d extraneous)|Premature end of JPEG")
"""What libjpeg says of a torn file. A few bytes too many before a marker are some writers' habit."""
_BLOCK, _PERIOD = 8, 16  # px; colours at half the resolution repeat every two blocks
_MARGIN = 8  # grey steps from black and white
_lock = threading.Lock()


def check_whole(content: bytes) -> None:
    """Check that a JPEG's segments and scans go on to its end marker (EOI).

    Raises:
        DicomError: `BAD_STREAM`.
    """
    at = 2
    while at + 4 <= len(content):
        marker = content[at + 1]
        if marker == 0xD9:
            return
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == 0xDA:  # the data of a scan has no length
            found = _NEXT_MARKER.search(content, at)
            at = found.start() if found else len(content)
    if content[at : at + 2] != b"\xff\xd9":
        raise DicomError("BAD_STREAM", "the picture is torn: the end of the JPEG is missing")


def check_tail(channels: npt.NDArray[Any]) -> None:
    """Check that the last rows don't end in one block again and again: so decoders go on where data is missing.

    Args:
        channels: A decoded JPEG, shape (rows, columns) or (rows, columns, channels).

    Raises:
        DicomError: `BAD_STREAM`: they do, and are neither black nor white nor as grey as the first rows.
    """
    if len(channels) < 4 * _BLOCK or channels.shape[1] < 4 * _PERIOD:
        return
    tail = channels[-_BLOCK:, channels.shape[1] // 2 :]
    if (tail[:, _PERIOD:] != tail[:, :-_PERIOD]).any():
        return
    grey, top = tail.mean(axis=(0, 1)), channels[:_BLOCK].mean(axis=(0, 1))
    if ((grey > _MARGIN) & (grey < 255 - _MARGIN)).all() and np.abs(grey - top).max() > _MARGIN:
        raise DicomError("BAD_STREAM", "the picture is torn: its last rows are one grey block after the other")


def without_damage(decode: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever it returns
    """Decode, and refuse what libjpeg calls damaged: it goes on and says so on the process's standard error alone.

    Args:
        decode: Decodes a picture.

    Returns:
        What that returns.

    Raises:
        DicomError: `BAD_STREAM`.
    """
    with _lock:
        try:
            messages = _messages()
            kept = os.dup(2)
        except OSError:  # no standard error
            return decode()
        try:
            os.ftruncate(messages, 0)
            os.lseek(messages, 0, os.SEEK_SET)
            os.dup2(messages, 2)
            try:
                result = decode()
            finally:
                os.dup2(kept, 2)
        finally:
            os.close(kept)
        n_bytes = os.lseek(messages, 0, os.SEEK_END)
        if not n_bytes:
            return result
        os.lseek(messages, 0, os.SEEK_SET)
        said = os.read(messages, n_bytes)
    if _DAMAGE.search(said):
        raise DicomError("BAD_STREAM", "the picture is torn: data is missing inside the JPEG")
    return result


@lru_cache(maxsize=1)
def _messages() -> int:
    """Return the descriptor of a file for messages, one a process."""
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())
