"""Windows: HU in, grey values out, from 0 to 1 for the network and from 0 to 255 for a picture."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from ich25d.config import SlabConfig
from ich25d.windows import FILE_WINDOW, NAMED_WINDOWS, Window

if TYPE_CHECKING:
    import torch

FloatArray = TypeVar("FloatArray", "torch.Tensor", npt.NDArray[np.float32])

FALLBACK_WINDOW: Window = NAMED_WINDOWS["brain"]
"""What `dicom` means for a file that doesn't name a window of its own."""


def window_hu(hu: FloatArray, *, level: float, width: float) -> FloatArray:
    """Map HU to grey values: 0 at and below `level - width / 2`, 1 at and above `level + width / 2`.

    The fixed linear map over the full width. The standard's LINEAR function (PS3.3, C.11.2.1.2.1)
    takes half a grey value off both ends, which matters for 8-bit screens and not here.

    Args:
        hu: HU of any shape; floating point.
        level: Window centre, (0028,1050), in HU.
        width: Full width, (0028,1051), in HU; above 0.

    Returns:
        The same shape, from 0 to 1.

    Raises:
        ValueError: The width isn't above 0.
    """
    if width <= 0:
        raise ValueError(f"window width must be above 0 HU (got {width})")
    return ((hu - (level - width / 2)) / width).clip(0, 1)


def grey(hu: npt.NDArray[np.int16], window: Window) -> npt.NDArray[np.uint8]:
    """Return HU as a picture in a window: grey values from 0 to 255, the same shape."""
    level, width = window
    shown = np.asarray(window_hu(hu.astype(np.float32), level=level, width=width))
    return np.asarray(np.rint(shown * 255), dtype=np.uint8)


def resolve_windows(slab: SlabConfig) -> tuple[Window | None, ...]:
    """Return level and width of every window of a recipe; None stands for the file's own."""
    resolved: list[Window | None] = []
    for window in slab.windows:
        if isinstance(window, str):
            resolved.append(None if window == FILE_WINDOW else NAMED_WINDOWS[window])
        else:
            resolved.append((float(window.level), float(window.width)))
    return tuple(resolved)
