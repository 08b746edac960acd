"""From a series' HU to what an exported encoder takes, in NumPy: the same numbers as `slabs.network_input`."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ich25d.config import SlabConfig
from ich25d.slabs.grey_values import FALLBACK_WINDOW, resolve_windows, window_hu
from ich25d.slabs.neighbours import neighbour_indices

Floats = npt.NDArray[np.float32]


def slab_batches(
    hu: npt.NDArray[np.int16],
    slice_position_mm: npt.NDArray[np.float64],
    window: npt.NDArray[np.float32] | None,
    slab: SlabConfig,
    batch_size: int,
    *,
    brain_hu: float = float("nan"),
) -> Iterator[Floats]:
    """Yield the slabs of one whole series in scan order, windowed.

    Args:
        hu: Shape (n, H, W), int16.
        slice_position_mm: Shape (n,), mm, rising; NaN where unknown.
        window: The files' own level and width, shape (n, 2); NaN or None where they name none.
        slab: Size, neighbours and windows.
        batch_size: Slabs a batch.
        brain_hu: HU of the series' brain tissue; NaN where unknown.

    Yields:
        Grey values from 0 to 1, shape (B, S * V, size, size), float32: all windows of the first slice, then of the
        next.
    """
    neighbours = neighbour_indices(slice_position_mm, slab)
    volume = sized(hu, slab.size)
    if slab.brain_hu and np.isfinite(brain_hu):
        volume += np.float32(slab.brain_hu) - np.float32(brain_hu)
    windows = resolve_windows(slab)
    own = _usable(np.full((len(hu), 2), np.nan, np.float32) if window is None else window.astype(np.float32))
    grey = [None if one is None else _windowed(volume, *one) for one in windows]
    shape = len(slab.neighbours), len(windows), slab.size, slab.size
    for start in range(0, len(hu), batch_size):
        rows = neighbours[start : start + batch_size]
        slabs = np.empty((len(rows), *shape), np.float32)
        for number, shown in enumerate(grey):
            if shown is not None:
                slabs[:, :, number] = shown[rows]
                continue
            for place, wanted in enumerate(
                rows
            ):  # the file's own window of the slice in the middle, for its neighbours too
                slabs[place, :, number] = _windowed(volume[wanted], *own[start + place])
        yield slabs.reshape(len(rows), shape[0] * shape[1], slab.size, slab.size)


def sized(hu: npt.NDArray[np.int16], size: int) -> Floats:
    """Resize slices as `slabs.slab.sized` does: bilinear, with the triangle widened by the factor of shrinking.

    Args:
        hu: Shape (n, H, W).
        size: Side in px.

    Returns:
        Shape (n, size, size), float32; a copy.
    """
    if hu.shape[-2:] == (size, size):
        return hu.astype(np.float32)
    rows, columns = (_triangles(side, size) for side in hu.shape[-2:])
    out = np.empty((len(hu), size, size), np.float32)
    for one, target in zip(hu, out, strict=True):
        np.matmul(rows @ one.astype(np.float32), columns.T, out=target)
    return out


@lru_cache(maxsize=8)
def _triangles(n_in: int, n_out: int) -> Floats:
    """Return the weights of every input px in every output px, shape (n_out, n_in)."""
    scale = n_in / n_out
    reach = max(scale, 1.0)
    centre = (np.arange(n_out)[:, None] + 0.5) * scale
    weight = np.clip(1 - np.abs(np.arange(n_in)[None, :] + 0.5 - centre) / reach, 0, None)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), dtype=np.float32)


def _windowed(hu: Floats, level: float, width: float) -> Floats:
    return np.asarray(window_hu(hu, level=float(level), width=float(width)), dtype=np.float32)


def _usable(own: Floats) -> Floats:
    good = np.isfinite(own).all(axis=1) & (own[:, 1] > 0)
    return np.where(good[:, None], own, np.asarray(FALLBACK_WINDOW, dtype=np.float32))
