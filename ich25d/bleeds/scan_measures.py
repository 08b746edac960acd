"""How a scan looks, in eight numbers that any head CT has: what tells other scans than a model was trained on.

Each is one that a reader of CT can check: noise, bone, air, an open skull, contrast. Embeddings were tried as well and
left out: they take another hospital's plain heads for stranger than a contrast series of their own (docs/measured.md).
"""

from typing import Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.brain_hu import CELL_PX, SKULL_HU, WIDE_SLICES


class Measure(NamedTuple):
    """One number of a scan, and how it is compared with others."""

    meaning: str
    """For people, with its unit."""
    sides: Literal["both", "high", "low"] = "both"
    """On which side of the usual it tells something."""
    is_log: bool = False
    """A factor counts, not a difference."""
    least: float = 0.0
    """Least distance of the usual's ends from the median, in the number's unit or, with `is_log`, in logarithms."""
    is_weak: bool = False
    """It alone makes no scan foreign, and where it isn't defined, that says nothing."""


MEASURES: dict[str, Measure] = {
    "grain_hu": Measure("noise of the brain, HU", is_log=True),
    "grain_share": Measure("noise of the brain as a share of its structure", "high", is_log=True),
    "open_skull": Measure("share of the upper head that bone leaves open", "high", least=0.05),
    "bright": Measure("share of the deep brain above 110 HU, above the base", "high", least=0.0005, is_weak=True),
    "bone": Measure("share of the field that is bone", is_log=True),
    "air": Measure("share of the field that is air"),
    "highest_hu": Measure("highest HU", "low", is_log=True, least=0.1),
    "reach_mm": Measure("from the lowest slice to the highest, mm", "low", is_log=True, is_weak=True),
}
"""By name; the order of `measure_scan`."""

LOOKED_AT = 48
"""Slices looked at, spread over the scan."""

BRIGHT_HU = 110
"""Fresh blood lies below, vessels with contrast above."""

_AIR_HU, _TISSUE_HU = -300, -200
_DEEP_CELLS = 7  # side of the square around bone that isn't deep: 3 cells, some 12 mm, on either side
_LEAST_DEEP = 100  # cells
_ABOVE_BASE = 0.3  # share of the wide slices, from below, in which islands of bone of the base lie
_FLAT_HU = 15.0  # px within this of the median of the deep brain count for its noise
_SMOOTH_PX = 2.0
_STRUCTURE_HU = 12.0

Floats = npt.NDArray[np.float64]


def measure_scan(hu: npt.NDArray[np.int16], slice_position_mm: Floats) -> Floats:
    """Measure how a scan looks.

    Args:
        hu: Shape (n, H, W), int16, in scan order, cropped and scaled as the model takes it; n at least 1.
        slice_position_mm: Shape (n,), mm; NaN where unknown.

    Returns:
        Shape (8,), in the order of `MEASURES`; NaN where a number isn't defined, as the noise of a brain that isn't
        there.
    """
    rows = np.unique(np.linspace(0, len(hu) - 1, min(len(hu), LOOKED_AT)).round().astype(int))
    chosen = hu[rows]
    cells = np.stack([
        cv2.resize(np.clip(plane, -1000, 1500).astype(np.float32), (CELL_PX, CELL_PX), interpolation=cv2.INTER_AREA)
        for plane in chosen
    ])  # fmt: skip
    bone = cells > SKULL_HU
    met = _directions_with_bone(bone)
    inside = (met == 4) & ~bone
    area = inside.sum(axis=(1, 2))
    wide = np.flatnonzero(area >= max(1.0, WIDE_SLICES * float(area.max())))
    found = dict.fromkeys(MEASURES, float("nan"))
    found["air"] = float((chosen < _AIR_HU).mean())
    found["highest_hu"] = float(chosen.max())
    if np.isfinite(slice_position_mm).all():
        found["reach_mm"] = float(slice_position_mm.max() - slice_position_mm.min())
    if len(wide):
        upper = wide[len(wide) // 2 :]
        head = ((met >= 3) & (cells > _TISSUE_HU) & ~bone)[upper].sum(axis=(1, 2))
        found["open_skull"] = _open_share(inside[upper].sum(axis=(1, 2)), head)
        found["bone"] = float(bone[wide].mean())
        square = np.ones((_DEEP_CELLS, _DEEP_CELLS), np.uint8)
        near = np.stack([cv2.dilate(plane.astype(np.uint8), square) for plane in bone[wide]])
        _measure_brain(found, chosen[wide], cells[wide], inside[wide] & (near == 0))
    return np.array([found[name] for name in MEASURES])


def _measure_brain(
    found: dict[str, float], hu: npt.NDArray[np.int16], cells: npt.NDArray[np.float32], deep: npt.NDArray[np.bool_]
) -> None:
    """Enter noise and brightness of the deep brain, where there is enough of it."""
    if deep.sum() < _LEAST_DEEP:
        return
    middle = float(np.median(cells[deep]))
    structure = float(np.std(cells[deep & (np.abs(cells - middle) < _STRUCTURE_HU)], dtype=np.float64))
    height, width = hu.shape[1:]
    n_deep = n_bright = n_flat = 0
    squares = 0.0
    for index, (plane, mask) in enumerate(zip(hu, deep, strict=True)):
        px = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
        clipped = np.clip(plane, -50, 150).astype(np.float32)
        flat = px & (np.abs(clipped - middle) < _FLAT_HU)
        residual = (clipped - cv2.GaussianBlur(clipped, (0, 0), _SMOOTH_PX))[flat]
        squares += float((residual.astype(np.float64) ** 2).sum())
        n_flat += int(flat.sum())
        if index >= int(_ABOVE_BASE * len(hu)):
            n_deep += int(px.sum())
            n_bright += int((plane[px] > BRIGHT_HU).sum())
    found["bright"] = n_bright / max(n_deep, 1)
    if n_flat:
        found["grain_hu"] = float(np.sqrt(squares / n_flat))
        found["grain_share"] = found["grain_hu"] / max(structure, 0.1)


def _directions_with_bone(bone: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    """Count the directions of the plane, of four, in which bone is met from each cell; shape (n, h, w)."""
    met = np.zeros(bone.shape, np.int8)
    for axis in (1, 2):
        met += np.logical_or.accumulate(bone, axis=axis)
        met += np.flip(np.logical_or.accumulate(np.flip(bone, axis), axis=axis), axis)
    return met


def _open_share(inside: npt.NDArray[np.int64], head: npt.NDArray[np.int64]) -> float:
    """Return the share of the head that bone doesn't surround, on the slice that three of four don't exceed."""
    return float(np.quantile(1 - inside / np.maximum(head, 1), 0.75).clip(0, 1))
