"""What the hand parser doesn't read, by pydicom: other headers, compressed and big-endian pixels."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.encaps import encapsulate, get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.tag import BaseTag

from ich25d.dicom.elements import BARE_MARK, BIG_ENDIAN, IMPLICIT, MAX_ELEMENTS, NATIVE, UNDEFINED, Elements, Meta
from ich25d.dicom.header import WANTED, Header, NeedMore
from ich25d.dicom.stored_bits import signed_as_coded
from ich25d.errors import DicomError

# RSNA's `ID_...` UIDs aren't valid UI values: pydicom would warn twice a file with text that never repeats.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

RLE = "1.2.840.10008.1.2.5"

DECODERS: dict[str, tuple[str, tuple[str, ...]]] = {
    RLE: ("RLE Lossless", ("pylibjpeg", "pydicom")),
    "1.2.840.10008.1.2.4.50": ("JPEG Baseline", ("gdcm",)),
    "1.2.840.10008.1.2.4.51": ("JPEG Extended", ("gdcm",)),
    "1.2.840.10008.1.2.4.57": ("JPEG Lossless", ("gdcm",)),
    "1.2.840.10008.1.2.4.70": ("JPEG Lossless SV1", ("gdcm",)),
    "1.2.840.10008.1.2.4.80": ("JPEG-LS Lossless", ("pyjpegls",)),
    "1.2.840.10008.1.2.4.81": ("JPEG-LS Near-Lossless", ("pyjpegls",)),
    "1.2.840.10008.1.2.4.90": ("JPEG 2000 Lossless", ("pylibjpeg",)),
    "1.2.840.10008.1.2.4.91": ("JPEG 2000", ("pylibjpeg",)),
    "1.2.840.10008.1.2.4.201": ("HTJ2K Lossless", ("pylibjpeg",)),
    "1.2.840.10008.1.2.4.202": ("HTJ2K Lossless RPCL", ("pylibjpeg",)),
    "1.2.840.10008.1.2.4.203": ("HTJ2K", ("pylibjpeg",)),
}
"""Transfer syntax -> its name and the decoder pinned to it (the second one only where the first isn't installed).

pydicom would try every plugin there is, and GDCM first for JPEG-LS, which aborts the whole process on a wrong Rows.
"""

_NUMBERS = {
    *("samples_per_pixel", "rows", "columns", "bits_allocated", "bits_stored", "high_bit", "is_signed"),
    *("padding", "padding_limit"),
}
"""Values of VR US: their bytes come the other way round in a big-endian file."""
_STREAM_BYTES = 66_000
"""So far a stream is searched for the size that it declares."""
_JPEG_2000 = ("1.2.840.10008.1.2.4.9", "1.2.840.10008.1.2.4.20")
_SIZ = b"\xff\x4f\xff\x51"  # start of a JPEG 2000 codestream; its image's size follows
_SOF = re.compile(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]..(.)(..)(..)(.)", re.DOTALL)
_WIDEST_JPEG = 16  # bits a sample in all JPEG processes and in JPEG-LS; GDCM ends the process where a header says more


def read_elements(data: bytes, meta: Meta, total_size: int) -> Elements:
    """Let pydicom walk the data set up to its pixels.

    Args:
        data: The first bytes of the file, or all of them.
        meta: Its file meta information.
        total_size: Size of the whole file in bytes.

    Raises:
        NeedMore: The bytes end before the pixels do begin.
        DicomError: pydicom can't read it either (`UNREADABLE`).
    """
    found: list[tuple[int, int]] = []
    is_explicit = meta.transfer_syntax != IMPLICIT
    n_elements = 0

    def is_at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal n_elements
        n_elements += 1
        if n_elements > MAX_ELEMENTS:
            raise DicomError("UNREADABLE", f"a header must have at most {MAX_ELEMENTS} elements")
        if tag in {0x7FE00008, 0x7FE00009, 0x7FE00010}:
            found.append((int(tag), length))
        return bool(found)

    file = BytesIO(data)
    file.seek(meta.start)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = read_dataset(file, not is_explicit, meta.transfer_syntax != BIG_ENDIAN, stop_when=is_at_pixels)
            elements = _gather(dataset, swap=meta.transfer_syntax == BIG_ENDIAN)
            elements.is_cut = _ends_short(dataset, total_size)
    except DicomError:
        raise
    # 20,000 damaged copies of one CT raised nine classes of exception.
    except Exception as error:  # noqa: BLE001
        if len(data) < total_size:
            raise NeedMore(total_size) from None
        raise DicomError("UNREADABLE", f"the header can't be parsed ({type(error).__name__})") from None
    if not found:
        if len(data) < total_size:
            raise NeedMore(min(total_size, max(65_536, 16 * len(data))))
        return elements
    elements.is_cut = False
    tag, length = found[0]
    elements.is_float = tag != 0x7FE00010
    position = file.tell()
    # Behind the tag: VR, two bytes and a long length (OB, OW), or the length alone.
    elements.pixel_offset = position + (8 if not _has_vr(data, position) else 12)
    elements.pixel_length = -1 if length == UNDEFINED else length
    return elements


@contextmanager
def failing_as(code: str, detail: str) -> Iterator[None]:
    """Let pydicom work on a file of unknown origin: its warnings are dropped, and what it raises becomes a refusal.

    Raises:
        DicomError: With the code, and the detail and the class of what was raised.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  # pylibjpeg-rle panics with a class that is no Exception
        raise DicomError(code, f"{detail} ({type(error).__name__})") from None


def _has_vr(data: bytes, position: int) -> bool:
    return data[position + 4 : position + 6] in {b"OB", b"OW", b"UN"}


def _ends_short(dataset: pydicom.Dataset, total_size: int) -> bool:
    """Say whether the file ends inside an element: pydicom drops what it can't finish without a word."""
    if not len(dataset):
        return False
    last: Any = dataset.get_item(max(dataset.keys()))
    start, length = getattr(last, "value_tell", None), getattr(last, "length", UNDEFINED)
    return isinstance(start, int) and length != UNDEFINED and start + length != total_size


def _gather(dataset: pydicom.Dataset, *, swap: bool) -> Elements:
    elements = Elements()
    for slot, (name, tag) in enumerate(WANTED.items()):
        if tag not in dataset:
            continue
        raw: Any = dataset.get_item(BaseTag(tag))
        value = raw.value
        if not isinstance(value, bytes):
            # An empty value of some VRs, or a sequence, of which only the presence counts.
            value = b"\x01" if value else b""
        elements.values[slot] = value[::-1] if swap and name in _NUMBERS else value
    return elements


def pinned_decoder(transfer_syntax: str) -> str | None:
    """Return the plugin that decodes a syntax here, or None when it isn't installed."""
    _, pinned = DECODERS[transfer_syntax]
    available = get_decoder(transfer_syntax).available_plugins
    return next((plugin for plugin in pinned if plugin in available), None)


def decode(content: bytes, header: Header) -> npt.NDArray[Any]:
    """Decode the stored values of one image: of a file of many, the header's frame.

    Returns:
        Stored values, shape (rows, columns), of the integer type that the header declares; signed otherwise where a
        JPEG 2000 stream says so and its values don't speak against it.

    Raises:
        DicomError: No decoder (`NO_DECODER`), another size in the stream than in the header (`SHAPE`), or
            damage (`BAD_STREAM`).
    """
    plugin, syntax = "", header.transfer_syntax
    frame = _frame(content, header) if header.frame and header.pixel_length < 0 else None
    if syntax in DECODERS:
        name, _ = DECODERS[syntax]
        plugin = pinned_decoder(syntax) or ""
        if not plugin:
            raise DicomError("NO_DECODER", f"no decoder for {name} ({syntax}); pip install 'ich25d[codecs]'")
        start = header.pixel_offset
        _check_stream(content[start : start + _STREAM_BYTES] if frame is None else frame, header)
    elif syntax not in NATIVE:
        shown = syntax if re.fullmatch(r"[0-9.]{5,64}", syntax) else "not a UID"
        raise DicomError("NO_DECODER", f"this transfer syntax isn't read ({shown}); convert it, as by gdcmconv --raw")
    with failing_as("BAD_STREAM", "the pixel data can't be decoded"):
        dataset = _parsed(content) if frame is None else _one_image(frame, header)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(header.transfer_syntax)
        # What stands above the stored bits may be a part of the value (`stored_bits.py`).
        is_whole = syntax in NATIVE or syntax == RLE
        stored = pixel_array(dataset, raw=True, decoding_plugin=plugin, correct_unused_bits=not is_whole)
    if stored.shape != (header.rows, header.columns):
        raise DicomError("SHAPE", f"decoded to {stored.shape}, the header says {(header.rows, header.columns)}")
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if syntax.startswith(_JPEG_2000):
        stream = content[header.pixel_offset : header.pixel_offset + _STREAM_BYTES] if frame is None else frame
        stored = signed_as_coded(stored, header, is_coded_signed=stream[stream.find(_SIZ) + 42] >= 128)
    return stored


def _parsed(content: bytes, *, stop_before_pixels: bool = False) -> pydicom.Dataset:
    if content.startswith(BARE_MARK):
        content = bytes(128) + content
    return pydicom.dcmread(BytesIO(content), force=True, stop_before_pixels=stop_before_pixels)


def through_modality_lut(stored: npt.NDArray[Any], content: bytes) -> tuple[npt.NDArray[Any], str, int]:
    """Look stored values up in the file's Modality LUT.

    Returns:
        The table's values, of the shape of `stored`, unsigned; (0028,3004) Modality LUT Type; and the highest value
        of the whole table.

    Raises:
        DicomError: The table isn't one (`BAD_RESCALE`).

    References:
        DICOM PS3.3, C.11.1.1.1.
    """
    with failing_as("BAD_RESCALE", "the Modality LUT must be a table"):
        dataset = _parsed(content, stop_before_pixels=True)
        item = dataset.ModalityLUTSequence[0]
        n_entries, first, _ = (int(number) for number in item.LUTDescriptor)
        whole = np.arange(first, first + (n_entries or 65_536))
        # pydicom subtracts the first index in the indices' own type, which must hold the difference.
        looked_up = apply_modality_lut(stored.astype(np.int64), dataset)
        highest = int(apply_modality_lut(whole, dataset).max())
    return looked_up, str(item.get("ModalityLUTType", "")), highest


def _frame(content: bytes, header: Header) -> bytes:
    """Return the compressed stream of one frame."""
    file = BytesIO(content)
    file.seek(header.pixel_offset)
    with failing_as("BAD_STREAM", f"frame {header.frame} can't be found in the file's fragments"):
        return get_frame(file, header.frame - 1, number_of_frames=header.n_frames)


def _one_image(frame: bytes, header: Header) -> pydicom.Dataset:
    """Return a frame as an image of its own: parsing its whole file again would take longer than decoding it."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.Rows, dataset.Columns = header.rows, header.columns
    dataset.BitsAllocated, dataset.BitsStored = header.bits_allocated, header.bits_stored
    dataset.HighBit = header.high_bit
    dataset.PixelRepresentation, dataset.SamplesPerPixel = int(header.is_signed), 1
    dataset.PhotometricInterpretation = header.photometric or "MONOCHROME2"
    dataset.PixelData = encapsulate([frame], has_bot=False)
    dataset["PixelData"].is_undefined_length = True
    return dataset


def _check_stream(pixels: bytes, header: Header) -> None:
    """Hold what a compressed stream declares against the header, before a decoder allocates memory for it.

    RLE declares nothing. Components count too: a JPEG 2000 stream of some kilobytes may claim 16,384 of them.

    Raises:
        DicomError: Another size or number of components (`SHAPE`), bits that no such stream has (`BITS`), or no stream
            (`BAD_STREAM`).
    """
    syntax = header.transfer_syntax
    if syntax == RLE:
        return
    if syntax.startswith(_JPEG_2000):
        at = pixels.find(_SIZ, 0, 4096)
        if at < 0:
            raise DicomError("BAD_STREAM", "no JPEG 2000 codestream in the pixel data")
        right, bottom, left, top = (int.from_bytes(pixels[at + 8 + k : at + 12 + k]) for k in (0, 4, 8, 12))
        size, n_components = (bottom - top, right - left), int.from_bytes(pixels[at + 40 : at + 42])
    else:
        match = _SOF.search(pixels, 0, 65_536)
        if match is None:
            raise DicomError("BAD_STREAM", "no JPEG frame header in the pixel data")
        if header.bits_allocated > _WIDEST_JPEG:
            raise DicomError(
                "BITS", f"JPEG holds at most {_WIDEST_JPEG} bits (the header says {header.bits_allocated})"
            )
        size, n_components = (int.from_bytes(match[2]), int.from_bytes(match[3])), match[4][0]
    if size != (header.rows, header.columns):
        raise DicomError("SHAPE", f"the stream holds {size} px, the header says {(header.rows, header.columns)}")
    if n_components != 1:
        raise DicomError("SHAPE", f"the stream holds {n_components} components, the header says 1")
