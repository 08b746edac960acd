"""Slabs: how a slice and its neighbours become channels.

A slab is S neighbouring slices around one slice, the 2.5D input; it isn't a thick-slab projection.
Axes: B batch, S slices of a slab, V windows, H and W px.
"""

import torch
from einops import rearrange
from torch.nn import functional

from ich25d.config import SlabConfig
from ich25d.slabs.grey_values import FALLBACK_WINDOW, resolve_windows, window_hu
from ich25d.training.device import to_device
from ich25d.windows import Window


def sized(hu: torch.Tensor, size: int) -> torch.Tensor:
    """Resize slices to the network's size; those that have it stay as they are.

    Args:
        hu: Shape (B, S, H, W), int16 or floating point.
        size: Side in px.

    Returns:
        Shape (B, S, size, size), float32 where resized.
    """
    if hu.shape[-2:] == (size, size):
        return hu
    return functional.interpolate(hu.float(), size=(size, size), mode="bilinear", antialias=True)


def make_slabs(
    hu: torch.Tensor,
    slab: SlabConfig,
    *,
    own_window: torch.Tensor | None = None,
    level_shift: torch.Tensor | None = None,
    width_factor: torch.Tensor | None = None,
) -> torch.Tensor:
    """Apply the windows and lay neighbours and windows out as channels.

    Args:
        hu: HU, shape (B, S, H, W), floating point.
        slab: The windows.
        own_window: The files' own level and width, shape (B, 2), for the window `dicom`; NaN where a file has none.
        level_shift: HU added to every window's level, shape (B,).
        width_factor: Factor on every window's width, shape (B,).

    Returns:
        Grey values from 0 to 1, shape (B, S * V, H, W): all windows of the first slice, then of the next.
    """
    grey = torch.stack(
        [_window_batch(hu, window, own_window, level_shift, width_factor) for window in resolve_windows(slab)], dim=2
    )
    return rearrange(grey, "b s v h w -> b (s v) h w")


def _window_batch(
    hu: torch.Tensor,
    window: Window | None,
    own_window: torch.Tensor | None,
    level_shift: torch.Tensor | None,
    width_factor: torch.Tensor | None,
) -> torch.Tensor:
    if window is not None and level_shift is None and width_factor is None:
        return window_hu(hu, level=window[0], width=window[1])
    n = len(hu)
    if window is None:
        fallback = to_device(torch.tensor(FALLBACK_WINDOW, dtype=hu.dtype), hu.device).expand(n, 2)
        chosen = fallback if own_window is None else own_window.to(hu)
        usable = torch.isfinite(chosen).all(dim=1, keepdim=True) & (chosen[:, 1:] > 0)
        chosen = torch.where(usable, chosen, fallback)
    else:
        chosen = to_device(torch.tensor(window, dtype=hu.dtype), hu.device).expand(n, 2)
    level = chosen[:, 0] if level_shift is None else chosen[:, 0] + level_shift
    width = chosen[:, 1] if width_factor is None else chosen[:, 1] * width_factor
    low = rearrange(level - width / 2, "b -> b 1 1 1")
    return ((hu - low) / rearrange(width, "b -> b 1 1 1")).clip(0, 1)
