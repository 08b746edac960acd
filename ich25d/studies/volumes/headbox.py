"""Where the head is: HU slices of one series come in, the box of the head in source px goes out."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

TISSUE_HU = -200
"""Skin, fat, brain and bone lie above; air, foam, hair and blankets below."""

BONE_HU = 250
"""Bone lies above, also where a coarse grid hits the edge of a thin skull."""

GRID = 64
"""Side of the coarse grid on which the head is looked for; 3.75 mm a step in a usual field of 240 mm."""

SHELL_MM = 24.0
"""Parts of a slice thinner than this aren't a head: table tops, head-rests, fingers, the nose, an ear."""

MARGIN_MM = 6.0
"""Air kept around the head; also covers the coarse grid."""

SMALLEST_HEAD_MM = 70.0
"""A box with a shorter side isn't one of a head (a newborn's head is 90 mm wide)."""

MOSTLY = 0.5
"""Share of a component's area that lies on the head of the slice before, for it to be head too."""

USUAL_FIELD_MM = 240.0
"""Field of view that the sizes above assume where no pixel spacing is known."""


class Box(NamedTuple):
    """Half-open rectangle in px of the source: rows top to bottom, columns left to right."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows inside."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns inside."""
        return self.right - self.left


def full_field(shape: tuple[int, int]) -> Box:
    """Return the box that holds all of a slice of this shape (rows, columns)."""
    return Box(0, 0, shape[0], shape[1])


def tissue_grid(hu: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Find where a slice holds tissue, on a coarse grid.

    Args:
        hu: One slice, shape (rows, columns), HU.

    Returns:
        1 where there is tissue, shape (GRID, GRID), whatever the slice's own shape.
    """
    sampled = cv2.resize(hu, (GRID, GRID), interpolation=cv2.INTER_NEAREST)
    tissue: npt.NDArray[np.uint8] = (sampled > TISSUE_HU).astype(np.uint8)
    if tissue[[0, 0, -1, -1], [0, -1, 0, -1]].all():
        # A head never fills all four corners: the slice has no air (a brain window saved as an image).
        tissue[:] = 0
    return tissue


def brain_share(hu: npt.NDArray[np.int16]) -> float:
    """Return the share of a slice that looks like brain: 0 to 80 HU, inside a closed ring of bone."""
    sampled = cv2.resize(hu, (GRID, GRID), interpolation=cv2.INTER_NEAREST)
    bone = cv2.dilate((sampled > BONE_HU).astype(np.uint8), np.ones((3, 3), dtype=np.uint8))
    outside = cv2.copyMakeBorder(bone, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(outside, None, (0, 0), 2)
    return float(((outside[1:-1, 1:-1] == 0) & (sampled > 0) & (sampled < 80)).mean())


def find_head_box(
    tissue: Sequence[npt.NDArray[np.uint8]],
    shape: tuple[int, int],
    pixel_spacing_mm: tuple[float, float] | None,
) -> Box | None:
    """Find the box of the largest head component over all slices of a series, with a margin.

    Thin parts (table, head-rest) are removed slice by slice by a morphological opening. The head is the largest
    component of any slice and, going from slice to slice, the components that lie mostly on the head of the slice
    before; thick cushions beside the head don't. One box serves the whole series, which keeps the slices aligned.

    Args:
        tissue: Results of `tissue_grid`, one a slice, in scan order.
        shape: Rows and columns of the series.
        pixel_spacing_mm: Distance of rows and of columns in mm; None where unknown.

    Returns:
        The box in source px inside `shape`, or None where nothing has the size of a head.
    """
    if not tissue:
        return None
    step_mm = _grid_step_mm(shape, pixel_spacing_mm)
    kernel = _kernel(step_mm)
    # With the edge of the field repeated, a head that it cuts isn't removed there.
    solid = [cv2.morphologyEx(grid, cv2.MORPH_OPEN, kernel, borderType=cv2.BORDER_REPLICATE) for grid in tissue]
    components = [cv2.connectedComponentsWithStats(grid, connectivity=4) for grid in solid]
    largest = [int(stats[1:, cv2.CC_STAT_AREA].max(initial=0)) for _, _, stats, _ in components]
    start = int(np.argmax(largest))
    if largest[start] == 0:
        return None
    _, component, stats, _ = components[start]
    core = component == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    head = core.copy()
    for walk in (range(start + 1, len(solid)), range(start - 1, -1, -1)):
        last = core
        for index in walk:
            n_components, component, stats, _ = components[index]
            shared = np.bincount(component[last], minlength=n_components)
            kept = shared >= MOSTLY * stats[:, cv2.CC_STAT_AREA]
            kept[0] = False
            if kept.any():
                last = kept[component]
                head |= last
    return _box_around(head, shape, step_mm)


def _box_around(head: npt.NDArray[np.bool_], shape: tuple[int, int], step_mm: tuple[float, float]) -> Box | None:
    """Return the box of a mask on the coarse grid with its margin, in source px; None where it's too small."""
    on_rows, on_columns = np.flatnonzero(head.any(axis=1)), np.flatnonzero(head.any(axis=0))
    top, bottom, left, right = int(on_rows[0]), int(on_rows[-1]) + 1, int(on_columns[0]), int(on_columns[-1]) + 1
    if (bottom - top) * step_mm[0] < SMALLEST_HEAD_MM or (right - left) * step_mm[1] < SMALLEST_HEAD_MM:
        return None
    margin = MARGIN_MM / step_mm[0], MARGIN_MM / step_mm[1]
    per_step = shape[0] / GRID, shape[1] / GRID
    return Box(
        top=max(0, int((top - margin[0]) * per_step[0])),
        left=max(0, int((left - margin[1]) * per_step[1])),
        bottom=min(shape[0], int(np.ceil((bottom + margin[0]) * per_step[0]))),
        right=min(shape[1], int(np.ceil((right + margin[1]) * per_step[1]))),
    )


def _grid_step_mm(shape: tuple[int, int], pixel_spacing_mm: tuple[float, float] | None) -> tuple[float, float]:
    if pixel_spacing_mm is None:
        return USUAL_FIELD_MM / GRID, USUAL_FIELD_MM / GRID
    return shape[0] * pixel_spacing_mm[0] / GRID, shape[1] * pixel_spacing_mm[1] / GRID


def _kernel(step_mm: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Return an ellipse of `SHELL_MM` on the coarse grid, of odd sides, at least 3 x 3 px."""
    height, width = (max(3, round(SHELL_MM / step) | 1) for step in step_mm)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, height)), dtype=np.uint8)
