"""One DICOM file: bytes in, header and int16 HU out, or a `DicomError` with the reason.

    first bytes -> read_header -> Header -> read_hu(whole file) -> Slice
    first bytes -> read_headers -> a Header a frame, where a file holds many

All are pure. Little-endian files go through the hand parser and numpy; the rest, and everything when the
environment says `ICH25D_PARSER=pydicom`, through pydicom.
"""

import os
import zlib
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.dicom import elements
from ich25d.dicom.elements import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, Elements, Meta
from ich25d.dicom.header import Content, Header, NeedMore, Remark, Slice
from ich25d.dicom.hounsfield import looked_up_hu, to_hu
from ich25d.dicom.interpret import make_header
from ich25d.errors import DicomError

HEAD_BYTES = 4096
"""How many bytes to offer `read_header` first: nearly every CT header fits."""
MAX_FILE_BYTES = 256 * 2**20
"""A single CT image is at most 8 MB; a larger file than this is none."""
MAX_FRAMES_BYTES = 2**30
"""Largest file of many frames: it is read whole."""
FORCE_PYDICOM = os.environ.get("ICH25D_PARSER") == "pydicom"
"""Read everything by pydicom. Looked up once a process: each look-up takes as long as an element."""
_MAX_INFLATED = 64 * 2**20


class _Walk(NamedTuple):
    """A walk over a file's header."""

    found: Elements
    meta: Meta
    data: bytes
    """The bytes walked over: the file's first ones, or the inflated data set of the deflated syntax."""
    size: int
    """Bytes of the file, or of that data set."""


def read_header(head: bytes, *, total_size: int) -> Header:
    """Read and check the header of one file.

    Args:
        head: The first bytes of the file, or all of them.
        total_size: Size of the whole file in bytes; the pixel data's length is held against it.

    Returns:
        The header, with remarks on what was odd.

    Raises:
        NeedMore: `head` ends before the header does; come back with more.
        DicomError: The file can't be used; `code` is its reason code: `MULTIFRAME` where it holds many images.
    """
    if total_size > MAX_FILE_BYTES:
        raise _too_big(MAX_FILE_BYTES, total_size)
    walk = _walk(head, total_size)
    return make_header(walk.found, walk.meta, walk.size)


def read_headers(head: bytes, *, total_size: int) -> list[Header | DicomError]:
    """Read and check what the header of one file says of each image in it: of one, or of an enhanced CT's frames.

    Args:
        head: The first bytes of the file, or all of them.
        total_size: Size of the whole file in bytes.

    Returns:
        The headers; of many frames the reason in place of a header where one of them can't be used.

    Raises:
        NeedMore: `head` ends before the header does; come back with more.
        DicomError: Nothing of the file can be used; `code` is its reason code.
    """
    if total_size > MAX_FRAMES_BYTES:
        raise _too_big(MAX_FRAMES_BYTES, total_size)
    try:
        walk = _walk(head, total_size)
    except NeedMore as more:
        if more.n_bytes > MAX_FILE_BYTES:
            raise _too_big(MAX_FILE_BYTES, total_size) from None
        raise
    try:
        header = make_header(walk.found, walk.meta, walk.size)
    except DicomError as error:
        if error.code == "MULTIFRAME":
            return _frame_headers(walk, error)
        raise
    if total_size > MAX_FILE_BYTES:
        raise _too_big(MAX_FILE_BYTES, total_size)
    return [header]


def _too_big(limit: int, size: int) -> DicomError:
    return DicomError("TOO_BIG", f"a file must be at most {limit} bytes (got {size})")


def _frame_headers(walk: _Walk, whole: DicomError) -> list[Header | DicomError]:
    """Return a header or a reason for every frame; `whole` carries the file's ids."""
    from ich25d.dicom.frames import split_frames

    headers: list[Header | DicomError] = []
    try:
        frames, remarks = split_frames(walk.found, walk.data, walk.meta)
        for frame in frames:
            try:
                header = make_header(frame, walk.meta, walk.size)
                headers.append(header._replace(remarks=(*header.remarks, *remarks)) if remarks else header)
            except DicomError as error:
                headers.append(error)
        if isinstance(headers[0], DicomError) and all(isinstance(header, DicomError) for header in headers):
            raise headers[0]  # what is wrong with all of them is wrong with the file
    except DicomError as error:
        raise DicomError(error.code, error.detail, **whole.ids()) from None
    return headers


def _walk(head: bytes, total_size: int) -> _Walk:
    """Walk a file's header up to its pixels."""
    meta = elements.read_meta(head, total_size)
    syntax = meta.transfer_syntax
    if syntax == DEFLATED:
        if len(head) < total_size:
            raise NeedMore(total_size)
        head = _inflate(head[meta.start :])
        total_size = len(head)
        meta = meta._replace(start=0)
    if FORCE_PYDICOM or syntax == BIG_ENDIAN:
        found = _by_pydicom(head, meta, total_size)
    else:
        try:
            found = elements.read_elements(head, meta.start, total_size, is_explicit=syntax != IMPLICIT)
        except elements.Unfamiliar:
            found = _by_pydicom(head, meta, total_size)
    return _Walk(found, meta, head, total_size)


def _by_pydicom(head: bytes, meta: Meta, total_size: int) -> Elements:
    from ich25d.dicom import foreign  # pydicom takes longer to import than a scan of usual files to read

    return foreign.read_elements(head, meta, total_size)


def read_hu(content: Content, header: Header, out: npt.NDArray[np.int16] | None = None) -> Slice:
    """Read the pixels of one file in HU.

    Args:
        content: The whole file.
        header: What `read_header` gave for it, or `read_headers` for one of its frames.
        out: Memory to write into, int16; left alone unless its shape is the image's.

    Returns:
        The image in HU, int16, -1024 to 3071, shape (rows, columns), with remarks on what the pixels needed.

    Raises:
        DicomError: The pixels can't be used; `code` is the reason code.
    """
    try:
        stored = _stored(content, header)
        signs: tuple[Remark, ...] = ()
        if (stored.dtype.kind == "i") != header.is_signed:
            signs = (Remark("SIGN", f"the header says {'' if header.is_signed else 'un'}signed, the stream otherwise"),)
            header = header._replace(is_signed=not header.is_signed)
        if header.has_modality_lut:
            from ich25d.dicom import foreign

            hu, remarks = looked_up_hu(stored, header, partial(foreign.through_modality_lut, content=bytes(content)))
        else:
            hu, remarks = to_hu(stored, header, out if out is not None and out.shape == stored.shape else None)
    except DicomError as error:
        raise DicomError(error.code, error.detail, image_id=header.image_id, series_id=header.series_id) from None
    return Slice(hu, signs + remarks)


def _decoded(whole: bytes, header: Header) -> npt.NDArray[Any]:
    from ich25d.dicom import foreign

    return foreign.decode(whole, header)


def _stored(content: Content, header: Header) -> npt.NDArray[Any]:
    """Return the stored values, shape (rows, columns), without a copy where they lie in the file as they are."""
    syntax, order = header.transfer_syntax, "<"
    if header.frame and syntax == BIG_ENDIAN:
        order = ">"  # pydicom would want, and swap, all frames for each
    elif syntax == DEFLATED:
        whole = bytes(content)
        content = _inflate(whole[elements.read_meta(whole, len(whole)).start :])
        if FORCE_PYDICOM:
            return _decoded(whole, header)
    elif syntax not in {IMPLICIT, EXPLICIT} or (FORCE_PYDICOM and not header.frame):
        return _decoded(bytes(content), header)
    kind = f"{order}{'i' if header.is_signed else 'u'}{header.bits_allocated // 8}"
    n_pixels = header.rows * header.columns
    if header.pixel_offset + n_pixels * header.bits_allocated // 8 > len(content):
        needed = header.pixel_offset + n_pixels * header.bits_allocated // 8
        raise DicomError("CHANGED", f"the file must hold {needed} bytes, as when it was listed (got {len(content)})")
    stored = np.frombuffer(content, dtype=kind, count=n_pixels, offset=header.pixel_offset)
    return stored.reshape(header.rows, header.columns).astype(kind.replace(">", "="), copy=False)


def _inflate(deflated: bytes) -> bytes:
    """Inflate a deflated data set up to a limit: pydicom would inflate 780 kB to 1.6 GB before the first tag."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(deflated, _MAX_INFLATED)
    except zlib.error:
        raise DicomError("UNREADABLE", "the deflated data set is damaged") from None
    if inflater.unconsumed_tail:
        raise DicomError(
            "DEFLATED_BIG",
            f"a deflated data set must inflate to at most {_MAX_INFLATED} bytes (got more, from {len(deflated)} bytes)",
        )
    return data
