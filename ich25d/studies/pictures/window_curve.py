"""The HU of a pixel from its greys in several windows that JPEG has blurred.

Shown in its windows, rising HU run along a curve in the space of greys. JPEG noise moves a pixel off the curve, and the
nearest point of it is the most likely HU: a pixel that rings to dark grey in the brain window but is black in the bone
window is air. Where JPEG keeps colours at half resolution, brightness counts most, since it is kept whole.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.dicom.hounsfield import HU_MAX, HU_MIN
from ich25d.windows import Window

Curve = Literal["grey", "colour", "subsampled"]
"""Windows as grey pictures; as channels of one JPEG; of one whose colours have half the resolution."""

_COLOUR_NOISE = {"colour": 2.0, "subsampled": 8.0}
"""Noise of the colours against that of brightness; least HU error on real slices out of 1, 2, 4 and 8."""
_COLOUR_STEP = 2  # colours are looked up in such steps: half of them, a quarter of the table
_UNKNOWN = np.iinfo(np.int16).min
_MAX_TABLE = 2**23


class WindowCurve:
    """The curve of some windows, and a table of the nearest HU by greys, filled as they occur.

    Args:
        windows: Level and width of each, HU.
        kind: How the pictures hold the windows.
    """

    def __init__(self, windows: tuple[Window, ...], kind: Curve) -> None:
        bottom = max(HU_MIN, min(level - width / 2 for level, width in windows))
        top = min(HU_MAX, max(level + width / 2 for level, width in windows))
        self.hu = np.arange(np.floor(bottom), max(np.ceil(top), np.floor(bottom)) + 1, dtype=np.float32)
        greys = [255 * np.clip((self.hu - level) / width + 0.5, 0, 1) for level, width in windows]
        self.is_colour = kind != "grey"
        if self.is_colour:
            self.sides: tuple[int, ...] = (256, 256 // _COLOUR_STEP, 256 // _COLOUR_STEP)
            points = _luma_chroma(np.stack(greys, axis=-1)[None].astype(np.float32))[0]
            self.units = np.array([1.0, *2 * [_COLOUR_STEP / _COLOUR_NOISE[kind]]])
            points = points / np.array([1.0, _COLOUR_STEP, _COLOUR_STEP])
        else:
            self.sides = (256,) * len(windows)
            points = np.stack(greys, axis=-1)
            self.units = np.ones(len(windows))
        from scipy.spatial import cKDTree

        self.tree = cKDTree(points * self.units)
        # Three grey pictures would need a table of 16 million: they are looked up pixel by pixel.
        size = int(np.prod(self.sides, dtype=np.float64))
        self.table = np.full(size, _UNKNOWN, dtype=np.int16) if size <= _MAX_TABLE else None

    def nearest(self, greys: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
        """Return the HU of each pixel, shape (rows, columns).

        Args:
            greys: One a window, shape (rows, columns) each, 0 to 255; uint8, or float32 where a file has 16 bits.
        """
        seen = list(greys)
        if self.is_colour:
            luma, *colours = np.moveaxis(_luma_chroma(np.stack(greys, axis=-1)), -1, 0)
            seen = [luma, *(colour // _COLOUR_STEP for colour in colours)]
        shape = seen[0].shape
        # A table has a place for whole greys alone.
        if self.table is None or any(grey.dtype != np.uint8 for grey in greys):
            points = np.stack([grey.ravel() for grey in seen], axis=-1) * self.units
            return np.asarray(self.hu[self.tree.query(points)[1]].reshape(shape))
        keys = np.ravel_multi_index([grey.astype(np.int32) for grey in seen], self.sides).ravel()
        new = np.unique(keys[self.table[keys] == _UNKNOWN])
        if len(new):
            points = np.stack(np.unravel_index(new, self.sides), axis=-1) * self.units
            self.table[new] = self.hu[self.tree.query(points)[1]].astype(np.int16)
        return np.asarray(self.table[keys].reshape(shape).astype(np.float32))


@lru_cache(maxsize=4)
def curve_of(windows: tuple[Window, ...], kind: Curve) -> WindowCurve:
    """Return the curve of some windows; the last few are kept, with the tables that they have filled."""
    return WindowCurve(windows, kind)


def _luma_chroma(rgb: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return brightness and the two colour differences, as JPEG has them; shape (rows, columns, 3), 0 to 255."""
    converted = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb))
    if rgb.dtype == np.float32:
        # OpenCV centres the colours of floats on 0.5, as if white were 1.
        converted[..., 1:] += 127.5
    return converted
