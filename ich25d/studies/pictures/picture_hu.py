"""Windowed pictures back to HU: PNG and JPEG of one slice in, int16 HU out.

A window shows level +- width / 2 as black to white: inside it a grey value is one HU; what is black or white in a
narrow window is looked up in the next wider one.
"""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.dicom.header import Remark, Slice
from ich25d.dicom.hounsfield import HU_MAX, HU_MIN
from ich25d.errors import DicomError
from ich25d.studies.pictures.saturated_bone import ends_below_bone, saturated_bone
from ich25d.studies.pictures.torn import check_tail, check_whole, without_damage
from ich25d.studies.pictures.window_curve import Curve, curve_of
from ich25d.windows import Window

MAX_PICTURE_BYTES = 64 * 2**20
MAX_SIDE = 4096
"""No slice has more rows or columns; a picture that says so is refused before it's decoded."""

JPEG_MARGIN = 3
"""Grey steps by which JPEG moves black: so near to it a pixel counts as black."""
_SUBSAMPLED_MARGIN = 9
_DARK = 32  # grey steps
_AIR_BELOW_HU = -200
"""Below is air; fat ends at -150."""
_HALF_STEP = 0.5 / 257
"""Half a step of 16 bits: a pixel so near to black or white is black or white, but for rounding by the resizing."""
_GREY_NOISE = 2.0  # mean difference of the channels of a grey picture kept as colour, grey steps

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"

Grey = npt.NDArray[Any]
"""0 to 255: uint8, or float32 in steps of 1/257 where the file has 16 bits."""
Hu = npt.NDArray[np.float32]


class Picture(NamedTuple):
    """One picture file of a slice."""

    path: str
    """Relative to the table's folder, or absolute; empty where the table names none."""
    windows: tuple[Window, ...]
    """The window of each channel, in the order red, green, blue; one for a grey picture."""


class _Decoded(NamedTuple):
    """A picture as it was decoded."""

    channels: tuple[Grey, ...]
    """One a window, shape (rows, columns) each."""
    windows: tuple[Window, ...]
    is_jpeg: bool
    is_subsampled: bool
    """Its colours have half the resolution of its brightness."""


def read_image_hu(root: Path, pictures: Sequence[Picture]) -> Slice:
    """Read the pictures of one slice and put its HU together.

    Each pixel comes from the narrowest window in which it isn't saturated; the saturation of narrower windows bounds
    it. JPEG blurs saturation: with two windows or more, a pixel gets the HU whose greys in all windows are nearest to
    its own. What is black in the widest window is air where that window reaches below fat, else around the head alone.
    Where the widest window ends below bone, what is white in it and looks like skull is bone (`saturated_bone`).

    Args:
        root: The table's folder.
        pictures: Of one slice; all are resized to the largest.

    Returns:
        HU, shape of the largest picture; a remark when a picture is missing.

    Raises:
        DicomError: `NO_ACCESS`, `EMPTY`, `TOO_BIG`, `SHAPE`, `BAD_STREAM` or `BAD_TABLE`: no picture can be read,
            one is damaged, or its channels and windows don't fit.
    """
    decoded: list[_Decoded] = []
    for picture in pictures:
        if not picture.path:
            continue
        try:
            content = (root / picture.path).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise DicomError("NO_ACCESS", "the picture can't be read") from error
        decoded.append(_decode(content, picture.windows))
    if not decoded:
        raise DicomError("NO_ACCESS", "no picture of the slice can be found")
    n_absent = len(pictures) - len(decoded)
    detail = f"{n_absent} of {len(pictures)} pictures of the slice can't be found"
    remarks = (Remark("NO_IMAGE_PARTNER", detail),) if n_absent else ()
    return Slice(np.clip(np.rint(_hu_of(decoded)), HU_MIN, HU_MAX).astype(np.int16), remarks)


def picture_shape(content: bytes) -> tuple[int, int]:
    """Return rows and columns of a PNG or JPEG from its header.

    Raises:
        DicomError: `BAD_STREAM`: it is neither, or its header is damaged.
    """
    if content[:8] == _PNG and len(content) >= 24:
        columns, rows = struct.unpack_from(">II", content, 16)
        return int(rows), int(columns)
    rows, columns = struct.unpack_from(">HH", _jpeg_header(content), 1)
    return int(rows), int(columns)


def _jpeg_header(content: bytes) -> bytes:
    """Return the frame header of a JPEG (ITU T.81, B.2.2), from its precision on."""
    at = 2 if content[:3] == _JPEG else len(content)
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        # Start of frame, but for DHT (C4), JPG (C8) and DAC (CC), which share its range.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            header = content[at + 4 : at + 2 + length]
            if len(header) >= 6 and len(header) >= 6 + 3 * header[5]:
                return header
            break
        at += 2 + length
    raise DicomError("BAD_STREAM", "a picture must be a whole PNG or JPEG")


def _decode(content: bytes, windows: tuple[Window, ...]) -> _Decoded:
    if not content:
        raise DicomError("EMPTY", "the picture holds no bytes")
    if len(content) > MAX_PICTURE_BYTES:
        raise DicomError("TOO_BIG", f"a picture must be at most {MAX_PICTURE_BYTES} bytes (got {len(content)})")
    rows, columns = picture_shape(content)
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise DicomError("SHAPE", f"a picture must have 1 to {MAX_SIDE} rows and columns (got {rows} x {columns})")
    is_jpeg = content[:3] == _JPEG
    if is_jpeg:
        check_whole(content)
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = without_damage(lambda: cv2.imdecode(np.frombuffer(content, np.uint8), flags))
    except cv2.error as error:
        raise DicomError("BAD_STREAM", "the picture can't be decoded") from error
    if pixels is None:
        raise DicomError("BAD_STREAM", "the picture can't be decoded")
    if pixels.dtype == np.uint16:
        pixels = pixels / np.float32(257)  # one scale for both depths; 65,535 is 255 exactly
    elif pixels.dtype != np.uint8:
        raise DicomError("BAD_STREAM", f"grey values must have 8 or 16 bits (got {pixels.dtype})")
    if is_jpeg:
        check_tail(pixels)
    is_subsampled = False
    if is_jpeg and pixels.ndim == 3:
        sampling = _jpeg_header(content)[7::3]  # horizontal and vertical factor of each component
        is_subsampled = sampling[0] > max(sampling[1:], default=0)
    return _Decoded(_channels(np.asarray(pixels), len(windows)), windows, is_jpeg, is_subsampled)


def _channels(pixels: Grey, n_windows: int) -> tuple[Grey, ...]:
    """Return as many grey channels as there are windows, red first."""
    if pixels.ndim == 2:
        found = [pixels]
    else:
        found = [pixels[..., index] for index in (2, 1, 0, 3)[: pixels.shape[2]]]  # OpenCV has blue first
        if n_windows < len(found) == 4:
            found = found[:3]  # without opacity
        if n_windows == 1:
            spread = [np.abs(found[0].astype(np.float32) - other).mean() for other in found[1:3]]
            if max(spread, default=0) < _GREY_NOISE:
                found = found[:1]
    if len(found) != n_windows:
        raise DicomError(
            "BAD_TABLE", f"a picture of {len(found)} different channels must have as many windows (got {n_windows})"
        )
    return tuple(np.ascontiguousarray(channel) for channel in found)


def _hu_of(decoded: Sequence[_Decoded]) -> Hu:
    """Put the HU of a slice together; shape of the largest picture."""
    greys = [channel for picture in decoded for channel in picture.channels]
    windows = tuple(window for picture in decoded for window in picture.windows)
    rows, columns = max((grey.shape for grey in greys), key=lambda shape: shape[0] * shape[1])
    greys = [_resized(grey, rows, columns) for grey in greys]
    widest = max(range(len(windows)), key=lambda index: windows[index][1])
    limit = margin = JPEG_MARGIN if any(picture.is_jpeg for picture in decoded) else 0
    if margin and len(windows) > 1:
        kind: Curve = "grey"
        if len(decoded) == 1 and len(windows) == 3:
            kind = "subsampled" if decoded[0].is_subsampled else "colour"
        hu = curve_of(windows, kind).nearest(greys)
        # Colours at half resolution stray further; the HU found keeps the edge of bone from being taken for air.
        if kind == "subsampled":
            limit = _SUBSAMPLED_MARGIN
        is_black = (greys[widest] <= limit) & (hu < _hu_at(_DARK, windows[widest]))
    else:
        hu = _narrowest(windows, greys, margin)
        is_black = np.max(greys, axis=0) <= margin + _HALF_STEP
    level, width = windows[widest]
    is_air = is_black if level - width / 2 <= _AIR_BELOW_HU else _touching_border(is_black)
    top = level + width / 2
    if ends_below_bone(top):
        bone, bone_hu = saturated_bone(greys[widest], limit + _HALF_STEP, is_air, top)
        hu[bone] = bone_hu
    hu[is_air] = HU_MIN
    return hu


def _narrowest(windows: Sequence[Window], greys: Sequence[Grey], margin: int) -> Hu:
    """Take each pixel from the narrowest window in which it isn't saturated."""
    order = sorted(range(len(windows)), key=lambda index: -windows[index][1])
    hu = _shown_hu(greys[order[0]], windows[order[0]])
    low, high = margin + _HALF_STEP, 255 - margin - _HALF_STEP
    for index in order[1:]:
        grey, window = greys[index], windows[index]
        # Saturated: the value is the wider window's, within what the saturation allows.
        np.minimum(hu, _hu_at(margin, window), out=hu, where=grey <= low)
        np.maximum(hu, _hu_at(255 - margin, window), out=hu, where=grey >= high)
        inside = (grey > low) & (grey < high)
        hu[inside] = _shown_hu(grey[inside], window)
    return hu


def _shown_hu(grey: Grey, window: Window) -> Hu:
    """Return the HU that a window shows as these greys."""
    if grey.dtype == np.uint8:
        return np.asarray(_hu_at(np.arange(256), window)[grey])
    return np.asarray(_hu_at(grey, window))


def _hu_at(grey: Any, window: Window) -> Any:  # noqa: ANN401  # a number gives a number, an array an array
    level, width = window
    return np.float32(level - width / 2 + np.asarray(grey, dtype=np.float64) * (width / 255))


def _resized(grey: Grey, rows: int, columns: int) -> Grey:
    if grey.shape == (rows, columns):
        return grey
    return np.asarray(cv2.resize(grey, (columns, rows), interpolation=cv2.INTER_LINEAR), dtype=grey.dtype)


def _touching_border(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the parts of a mask that reach the border of the picture."""
    numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1]
    edge = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
    return np.asarray(np.isin(numbers, edge[edge > 0]))
