"""Files packed by gzip, inflated up to a limit: what is announced comes out, or a refusal."""

import zlib
from typing import Any

from ich25d.dicom.header import Content
from ich25d.errors import DicomError
from ich25d.studies.sources import inflaters

GZIP = b"\x1f\x8b"
"""What a packed file begins with."""
TRAILING_BYTES = 2**16
"""So much may follow what was announced: some writers pad."""


def gunzip_first(packed: Content, n_bytes: int) -> bytes:
    """Inflate the first bytes; fewer only where the content is shorter. The checksum stays unchecked.

    Raises:
        DicomError: `GZIP_DAMAGED`.
    """
    return _inflated(packed, n_bytes)[0]


def gunzip(packed: Content, n_bytes: int) -> Content:
    """Inflate a whole file and check its checksum.

    Args:
        packed: The file's bytes.
        n_bytes: Length that its content has by its own header; a little more may follow.

    Raises:
        DicomError: `GZIP_DAMAGED`, `GZIP_BIG` where it inflates to more, `TRUNCATED` where to less.
    """
    limit = n_bytes + TRAILING_BYTES
    if inflaters.whole is not None:
        try:
            content: Content = inflaters.whole.gzip_decompress(packed, limit)
            if len(content) >= n_bytes:
                return content
        except inflaters.whole.DeflateError:
            pass  # the other way tells why, and reads files of several members
    content, is_whole = _inflated(packed, limit)
    if len(content) >= limit:
        raise DicomError("GZIP_BIG", f"the content must be {n_bytes} bytes long, as its header says (it is longer)")
    if not is_whole:
        raise DicomError("GZIP_DAMAGED", "the file ends before its compressed data do")
    if len(content) < n_bytes:
        raise DicomError("TRUNCATED", f"the content must be {n_bytes} bytes long (got {len(content)})")
    return content


def _inflated(packed: Content, limit: int) -> tuple[bytes, bool]:
    """Inflate all gzip members up to a limit; also say whether the last came to its end."""
    parts: list[bytes] = []
    rest: Any = packed
    n_bytes = 0
    while n_bytes < limit:
        stream: Any = inflaters.by_parts.decompressobj(wbits=31)  # with gzip's header and checksum
        try:
            parts.append(stream.decompress(rest, max_length=limit - n_bytes))
        except (zlib.error, inflaters.by_parts.error) as error:
            raise DicomError("GZIP_DAMAGED", "the compressed data are damaged or fail their checksum") from error
        n_bytes += len(parts[-1])
        if not stream.eof:
            return b"".join(parts), False
        rest = stream.unused_data
        if rest[:2] != GZIP:  # what follows is no further member: padding
            return b"".join(parts), True
    return b"".join(parts), False
