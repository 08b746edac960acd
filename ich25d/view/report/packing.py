"""Slices as a page holds them: deflated, in base64, exact unless the series is too long for a page."""

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

MOST_BYTES = 10 * 2**20
"""Most bytes of deflated HU a page: base64 makes 13.4 MiB of them, and a page stays under 15 MB."""

HEAT_SIDE = 64
"""Largest side in px of a heat map on a page; the networks' own maps are coarser."""

AIR_HU, FLAT_HU = -900, -1000
"""In series that would make a page too large, HU below the first are shown as the second: noise of air."""

_LEVEL = 6  # zlib's usual: its best takes three times as long for 2 % less


@dataclass(frozen=True, slots=True)
class PackedSlices:
    """HU of a series."""

    data: str
    """Base64 of a zlib stream: the low bytes of all px, then their high bytes, of little-endian int16."""
    side: int
    remark: str
    """What was changed to save space; empty where every px is as it was read."""


def pack_slices(hu: npt.NDArray[np.int16]) -> PackedSlices:
    """Pack slices, shape (n, side, side), into at most `MOST_BYTES`.

    Exact where that fits; else without the noise of air; else at three quarters of the side, repeatedly.
    """
    shown, remark = hu, ""
    content = _deflate_planes(shown)
    if len(content) > MOST_BYTES:
        shown = np.where(hu < AIR_HU, FLAT_HU, hu).astype(np.int16)
        remark = f"below {AIR_HU} HU all is shown as {FLAT_HU}, so that the page stays small"
        content = _deflate_planes(shown)
    while len(content) > MOST_BYTES and shown.shape[1] >= 32:
        side = shown.shape[1] * 3 // 4
        shown = np.stack([cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA) for part in shown])
        remark = (
            f"the series is long: shown at {side} x {side} px instead of {hu.shape[1]}, so that the page stays small"
        )
        content = _deflate_planes(shown)
    return PackedSlices(base64.b64encode(content).decode("ascii"), shown.shape[1], remark)


def pack_heat(heat: npt.NDArray[np.float16] | npt.NDArray[np.uint8]) -> tuple[str, int]:
    """Pack heat maps, shape (n, 6, h, w), 0 to 1 or 0 to 255; return base64 of deflated uint8, and their side in px."""
    if heat.dtype != np.uint8:
        heat = np.nan_to_num(np.asarray(heat, dtype=np.float32) * 255).clip(0, 255).astype(np.uint8)
    side = min(HEAT_SIDE, max(heat.shape[2:]))
    flat = heat.reshape(-1, *heat.shape[2:])
    if flat.shape[1:] != (side, side):
        flat = np.stack([cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA) for part in flat])
    return base64.b64encode(zlib.compress(flat.tobytes(), _LEVEL)).decode("ascii"), side


def pack_masks(masks: Mapping[str, npt.NDArray[np.bool_]]) -> str:
    """Pack masks, shape (n, h, w) each, one after the other: base64 of deflated bits, eight px a byte."""
    if not masks:
        return ""
    bits = np.packbits(np.stack(list(masks.values())).reshape(-1), bitorder="little")
    return base64.b64encode(zlib.compress(bits.tobytes(), _LEVEL)).decode("ascii")


def _deflate_planes(hu: npt.NDArray[np.int16]) -> bytes:
    # The low bytes are noise, the high ones nearly constant: apart they deflate a fifth smaller than in pairs.
    pairs = np.ascontiguousarray(hu.astype("<i2")).view(np.uint8).reshape(-1, 2)
    return zlib.compress(pairs[:, 0].tobytes() + pairs[:, 1].tobytes(), _LEVEL)
