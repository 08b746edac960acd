"""Small sound scans as files: what the mutants are made of, and what commands are killed over."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.encaps import encapsulate

from ich25d.phantom.dicom import FAMILIES, dicom_bytes
from ich25d.studies.pool.pool import n_workers

SIDE, SLICES = 32, 10
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
RLE, JPEG, JPEG_LS, J2K = (f"1.2.840.10008.1.2.{last}" for last in ("5", "4.70", "4.80", "4.90"))
COMPRESSED = {RLE: "RLE", JPEG: "JPEG lossless", JPEG_LS: "JPEG-LS", J2K: "JPEG 2000"}


def cores(wanted: int) -> int:
    """Return how many processes to use."""
    return n_workers(wanted)


@lru_cache(maxsize=32)
def head_hu(side: int = SIDE, seed: int = 0) -> npt.NDArray[np.int16]:
    """Return the slices of a skull around a brain in air, int16 HU (10, side, side); the seed draws their noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    radius = np.hypot(x / 0.4, y / 0.46)
    one = np.where(radius < 0.85, 35, np.where(radius < 1, 1000, -1000))
    return np.clip(one + rng.integers(-4, 5, (SLICES, side, side)), -1024, 3071).astype(np.int16)


def sound_file(index: int, family: int = 0, *, side: int = SIDE) -> bytes:
    """Return the file of one slice; ten files after each other are a series.

    Args:
        index: Which; ids follow from it.
        family: Which of `phantom.dicom.FAMILIES`.
        side: Rows and columns.
    """
    series, rank = divmod(index, SLICES)
    return dicom_bytes(
        head_hu(side, series % 16)[rank], image_id=f"ID_{index:09x}", patient_id=f"ID_{series:08x}",
        study_id=f"ID_{series:010x}", series_id=f"ID_{series + (1 << 36):010x}", origin_mm=(-100.0, -100.0, 5.0 * rank),
        pixel_spacing_mm=(64 / side, 64 / side), family=FAMILIES[family],
    )  # fmt: skip


@contextmanager
def _lenient() -> Iterator[None]:
    """Let pydicom write RSNA's UIDs, which are none, without a warning."""
    settings = pydicom.config.settings
    before = settings.reading_validation_mode, settings.writing_validation_mode  # an element is read when it is written
    settings.reading_validation_mode = settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        yield
    finally:
        settings.reading_validation_mode, settings.writing_validation_mode = before


@_lenient()
def rewritten(content: bytes, syntax: str) -> bytes:
    """Return a file in another uncompressed transfer syntax: big endian or deflated."""
    dataset = pydicom.dcmread(BytesIO(content))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    if syntax == BIG_ENDIAN:
        dataset.PixelData = np.frombuffer(dataset.PixelData, dtype="<i2").astype(">i2").tobytes()
    return _written(dataset, little_endian=syntax != BIG_ENDIAN)


@_lenient()
def compressed(content: bytes, syntax: str) -> bytes:
    """Return an uncompressed file with its pixels compressed by RLE, JPEG lossless, JPEG-LS or JPEG 2000."""
    dataset = pydicom.dcmread(BytesIO(content))
    if syntax == JPEG:
        stored = np.frombuffer(dataset.PixelData, dtype="<u2").reshape(dataset.Rows, dataset.Columns)
        return with_stream(content, JPEG, lossless_jpeg(stored))
    dataset.compress(syntax, generate_instance_uid=False)
    return _written(dataset)


@_lenient()
def with_stream(content: bytes, syntax: str, stream: bytes) -> bytes:
    """Return a file whose pixels are one compressed stream, whatever it holds."""
    dataset = pydicom.dcmread(BytesIO(content))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return _written(dataset)


def _written(dataset: pydicom.Dataset, *, little_endian: bool = True) -> bytes:
    target = BytesIO()
    pydicom.dcmwrite(target, dataset, implicit_vr=False, little_endian=little_endian, force_encoding=True)
    return target.getvalue()


def lossless_jpeg(stored: npt.NDArray[np.uint16]) -> bytes:
    """Compress one 16-bit image by JPEG lossless, process 14, predictor 1 (ITU-T T.81, annex H); no encoder is needed.

    All seventeen sizes of difference have codes of five bits: no smaller than it could be, but right.
    """
    rows, columns = stored.shape
    values = stored.astype(np.int64)
    before = np.zeros_like(values)
    before[:, 1:] = values[:, :-1]
    before[1:, 0] = values[:-1, 0]
    before[0, 0] = 1 << 15
    bits: list[str] = []
    for difference in ((values - before + 32768) % 65536 - 32768).ravel().tolist():
        size = abs(difference).bit_length()
        bits.append(f"{size:05b}")
        if 0 < size < 16:
            bits.append(f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    coded = int(text, 2).to_bytes(len(text) // 8).replace(b"\xff", b"\xff\0")
    frame = struct.pack(">BHHB3B", 16, rows, columns, 1, 1, 0x11, 0)
    table = b"\0" + bytes([0, 0, 0, 0, 17, *[0] * 11]) + bytes(range(17))
    scan = bytes([1, 1, 0, 1, 0, 0])
    segments = ((0xC3, frame), (0xC4, table), (0xDA, scan))
    head = b"".join(struct.pack(">BBH", 0xFF, mark, len(body) + 2) + body for mark, body in segments)
    return b"\xff\xd8" + head + coded + b"\xff\xd9"


def element_spans(content: bytes) -> list[tuple[int, int, int]]:
    """Return of each top-level element of a sound file where it starts, where its value does, and where it ends.

    Files that aren't little endian, or are deflated, give those of the file meta information alone.
    """
    spans = []
    position, is_explicit, syntax = 132, True, b""
    while position + 8 <= len(content):
        group = int.from_bytes(content[position : position + 2], "little")
        if group != 2:
            if syntax in {DEFLATED.encode(), BIG_ENDIAN.encode()}:
                break
            is_explicit = syntax != b"1.2.840.10008.1.2"
        vr = content[position + 4 : position + 6]
        if is_explicit and vr in {b"OB", b"OW", b"SQ", b"UN", b"UT"}:
            value, (length,) = position + 12, struct.unpack_from("<I", content, position + 8)
        elif is_explicit:
            value, (length,) = position + 8, struct.unpack_from("<H", content, position + 6)
        else:
            value, (length,) = position + 8, struct.unpack_from("<I", content, position + 4)
        end = len(content) if length == 0xFFFFFFFF else value + length
        if content[position : position + 4] == b"\x02\0\x10\0":
            syntax = content[value:end].rstrip(b"\0")
        spans.append((position, value, end))
        position = end
    return spans
