"""Windowed pictures back to HU: PNG and JPEG of one slice come in, int16 HU go out.

A window shows level +- width / 2 as black to white, so inside it the grey value tells the HU; what is black
or white in a narrow window is looked up in the next wider one.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.dicom.header import Remark, Slice
from ich25d.errors import DicomError

Window = tuple[float, float]
"""Level and width, HU."""

AIR_HU = -1024
MAX_HU = 3071
MAX_PICTURE_BYTES = 64 * 2**20
MAX_SIDE = 4096
"""No slice has more rows or columns; a picture that says so is refused before it's decoded."""

JPEG_MARGIN = 3
"""Grey steps by which JPEG moves black and white: so near to them a pixel counts as saturated."""
_AIR_BELOW_HU = -200
"""What is darker than that in a head is air; fat ends at -150."""
_GREY_NOISE = 2.0  # mean difference of the channels of a grey picture kept as colour, grey steps

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


class Picture(NamedTuple):
    """One picture file of a slice."""

    path: str
    """Relative to the table's folder, or absolute; empty where the table names none."""
    windows: tuple[Window, ...]
    """The window of each channel, in the order red, green, blue; one for a grey picture."""


class _Layer(NamedTuple):
    """One window of a slice."""

    window: Window
    grey: npt.NDArray[np.uint8]
    """Shape (rows, columns), 0 to 255."""
    margin: int
    """Grey values up to this, and from 255 less this on, are saturated."""


def read_image_hu(root: Path, pictures: Sequence[Picture]) -> Slice:
    """Read the pictures of one slice and put its HU together.

    Each pixel comes from the narrowest window in which it isn't saturated, else from the next wider one; what a
    narrower window says by its saturation (at least so bright, at most so dark) holds. What is black in the
    widest window is air when that window reaches below fat, or when it lies around the head.

    Args:
        root: The table's folder.
        pictures: The first one says the size; others are resized to it when they are smaller, and it to them
            when they are larger.

    Returns:
        HU, shape of the largest picture; a remark when a picture is missing.

    Raises:
        DicomError: `NO_ACCESS`, `EMPTY`, `TOO_BIG`, `SHAPE`, `BAD_STREAM` or `BAD_TABLE`: no picture can be read,
            one is damaged, or its channels and windows don't fit.
    """
    layers: list[_Layer] = []
    absent = 0
    for picture in pictures:
        if not picture.path:
            absent += 1
            continue
        try:
            content = (root / picture.path).read_bytes()
        except FileNotFoundError:
            absent += 1
            continue
        except OSError as error:
            raise DicomError("NO_ACCESS", "the picture can't be read") from error
        layers += _layers(content, picture.windows)
    if not layers:
        raise DicomError("NO_ACCESS", "no picture of the slice can be found")
    remarks = (
        (Remark("NO_IMAGE_PARTNER", f"{absent} of {len(pictures)} pictures of the slice isn't there"),)
        if absent
        else ()
    )
    return Slice(_combine(layers), remarks)


def picture_shape(content: bytes) -> tuple[int, int]:
    """Return rows and columns of a PNG or JPEG from its header.

    Raises:
        DicomError: `BAD_STREAM`: it is neither, or its header is damaged.
    """
    if content[:8] == _PNG and len(content) >= 24:
        columns, rows = struct.unpack_from(">II", content, 16)
        return int(rows), int(columns)
    if content[:3] == _JPEG:
        at = 2
        while at + 9 <= len(content) and content[at] == 0xFF:
            marker = content[at + 1]
            if marker == 0xFF:
                at += 1
                continue
            # Start of frame, but for DHT (C4), JPG (C8) and DAC (CC), which share its range.
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                rows, columns = struct.unpack_from(">HH", content, at + 5)
                return int(rows), int(columns)
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    raise DicomError("BAD_STREAM", "a picture must be a whole PNG or JPEG")


def _layers(content: bytes, windows: tuple[Window, ...]) -> list[_Layer]:
    if not content:
        raise DicomError("EMPTY", "the picture holds no bytes")
    if len(content) > MAX_PICTURE_BYTES:
        raise DicomError("TOO_BIG", f"a picture must be at most {MAX_PICTURE_BYTES} bytes (got {len(content)})")
    rows, columns = picture_shape(content)
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise DicomError("SHAPE", f"a picture must have 1 to {MAX_SIDE} rows and columns (got {rows} x {columns})")
    try:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise DicomError("BAD_STREAM", "the picture can't be decoded") from error
    if decoded is None:
        raise DicomError("BAD_STREAM", "the picture can't be decoded")
    if decoded.dtype == np.uint16:
        decoded = np.round(decoded / 257.0).astype(np.uint8)
    if decoded.dtype != np.uint8:
        raise DicomError("BAD_STREAM", f"grey values must have 8 or 16 bits (got {decoded.dtype})")
    margin = 0 if content[:8] == _PNG else JPEG_MARGIN
    channels = _channels(decoded, len(windows))
    return [_Layer(window, grey, margin) for window, grey in zip(windows, channels, strict=True)]


def _channels(decoded: npt.NDArray[np.uint8], n_windows: int) -> list[npt.NDArray[np.uint8]]:
    """Return as many grey channels as there are windows, red first."""
    if decoded.ndim == 2:
        found = [decoded]
    else:
        found = [decoded[..., index] for index in (2, 1, 0, 3)[: decoded.shape[2]]]  # OpenCV has blue first
        if n_windows < len(found) == 4:
            found = found[:3]  # opacity says nothing
        if n_windows == 1:
            spread = (
                np.abs(found[0].astype(np.int16) - found[2]).mean()
                + np.abs(found[0].astype(np.int16) - found[1]).mean()
            )
            if spread < _GREY_NOISE:
                found = found[:1]
    if len(found) != n_windows:
        raise DicomError(
            "BAD_TABLE", f"a picture of {len(found)} different channels must have as many windows (got {n_windows})"
        )
    return [np.ascontiguousarray(channel) for channel in found]


def _combine(layers: Sequence[_Layer]) -> npt.NDArray[np.int16]:
    """Put HU together from windows of one slice; shape of the largest."""
    rows, columns = max((layer.grey.shape for layer in layers), key=lambda shape: shape[0] * shape[1])
    widest, *narrower = sorted(layers, key=lambda layer: -layer.window[1])
    grey = _resized(widest.grey, rows, columns)
    hu = _table(widest)[grey]
    is_black = grey <= widest.margin
    bottom = widest.window[0] - widest.window[1] / 2
    hu[is_black if bottom <= _AIR_BELOW_HU else _touching_border(is_black)] = AIR_HU
    for layer in narrower:
        grey = _resized(layer.grey, rows, columns)
        table = _table(layer)
        black, white = layer.margin, 255 - layer.margin
        inside = (grey > black) & (grey < white)
        # Saturated: the wider window tells the value, but no other than the saturation allows.
        np.minimum(hu, table[black], out=hu, where=grey <= black)
        np.maximum(hu, table[white], out=hu, where=grey >= white)
        hu[inside] = table[grey[inside]]
    return np.clip(np.rint(hu), AIR_HU, MAX_HU).astype(np.int16)


def _table(layer: _Layer) -> npt.NDArray[np.float32]:
    """Return the HU of each of 256 grey values."""
    level, width = layer.window
    return (level - width / 2 + np.arange(256) * (width / 255)).astype(np.float32)


def _resized(grey: npt.NDArray[np.uint8], rows: int, columns: int) -> npt.NDArray[np.uint8]:
    if grey.shape == (rows, columns):
        return grey
    return np.asarray(cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _touching_border(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the parts of a mask that reach the border of the picture."""
    numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1]
    edge = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    return np.isin(numbers, edge[edge > 0])
