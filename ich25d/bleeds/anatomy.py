"""Where blood can be in a head: skull, CSF, ventricles and midline, found in the HU of its scan.

The slices must be in order, caudal to cranial; nothing else is assumed about the scan.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.fluid import find_fluid, find_ventricles
from ich25d.bleeds.midline import Midline, find_midline
from ich25d.bleeds.skull import Bool, Float, distance_to_table, intracranial, smooth_hu

ADULT_HALF_WIDTH_MM = 66.0
"""Half the inner width of an adult's skull; sizes of bleeds and heights above the base scale with it."""

DEPTH_STEPS = 256
"""Steps a mm in which depths are kept: whole numbers of two bytes, seven times as quick to read as half floats."""

Box = tuple[int, int, int, int]
"""top, left, bottom, right in pixels."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """What the painters use of one scan: 4 bytes a voxel.

    Args:
        usable: False where no skull was found; the other fields then mean nothing.
        spacing_mm: dz, dy, dx.
        slice_position_mm: (n,) float64.
        depth_steps: Distance to the inner table in 1/256 mm, uint16 (n, H, W); 0 outside the skull.
        fluid: Share of CSF in a voxel, uint8 (n, H, W), 255 = all.
        ventricle: The part of `fluid` that is in ventricles, uint8 (n, H, W).
        boxes: Box of the intracranial space on each slice with a margin of 2 px, int16 (n, 4): top, left,
            bottom, right; zeros where there is none.
        midline: Plane between the hemispheres.
        scale: Size of this head relative to an adult's.
        level_mm: (n,) distance below the vertex, divided by `scale`.
        area_mm2: (n,) intracranial area.
        ventricle_mm2: (n,) area of ventricles.
        brain_hu: Typical HU of this brain.
        tissue_hu: Typical HU of brain on each slice, (n,): beam hardening lifts it near the base and vertex.
        fluid_hu: HU of its CSF.
        noise_hu: Standard deviation of the pixel noise, (n,).
        table_points: int16 (P, 3), voxels (slice, row, column) along the inner table, evenly spread.
    """

    usable: bool
    spacing_mm: tuple[float, float, float]
    slice_position_mm: npt.NDArray[np.float64]
    depth_steps: npt.NDArray[np.uint16]
    fluid: npt.NDArray[np.uint8]
    ventricle: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.int16]
    midline: Midline
    scale: float
    level_mm: npt.NDArray[np.float64]
    area_mm2: npt.NDArray[np.float64]
    ventricle_mm2: npt.NDArray[np.float64]
    brain_hu: float
    tissue_hu: npt.NDArray[np.float64]
    fluid_hu: float
    noise_hu: npt.NDArray[np.float64]
    table_points: npt.NDArray[np.int16]

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return int(self.depth_steps.shape[0])

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        _, height, width = self.depth_steps.shape
        return height, width

    @property
    def depth(self) -> Float:
        """Distance to the inner table in mm, float32 (n, H, W); 0 outside the skull."""
        return np.asarray(np.multiply(self.depth_steps, np.float32(1 / DEPTH_STEPS), dtype=np.float32))

    def depth_in(self, index: int, box: Box) -> Float:
        """Return the distance to the inner table in mm in a box of one slice, float32 (h, w)."""
        top, left, bottom, right = box
        steps = self.depth_steps[index, top:bottom, left:right]
        return np.asarray(np.multiply(steps, np.float32(1 / DEPTH_STEPS), dtype=np.float32))

    def fluid_in(self, index: int, box: Box) -> Float:
        """Return the share of CSF in a box of one slice, float32 (h, w) in [0, 1]."""
        top, left, bottom, right = box
        return _share(self.fluid[index, top:bottom, left:right])

    def ventricle_in(self, index: int, box: Box) -> Float:
        """Return the share of a ventricle's CSF in a box of one slice, float32 (h, w) in [0, 1]."""
        top, left, bottom, right = box
        return _share(self.ventricle[index, top:bottom, left:right])

    def inside_in(self, index: int, box: Box) -> Float:
        """Return 1 in the intracranial space of a box of one slice and one pixel around it, float32 (h, w)."""
        top, left, bottom, right = box
        inside = (self.depth_steps[index, top:bottom, left:right] > 0).astype(np.uint8)
        return np.asarray(cv2.dilate(inside, np.ones((3, 3), np.uint8)).astype(np.float32))

    def head_box(self, index: int) -> Box | None:
        """Return the box of the intracranial space of a slice, with a margin of 2 px; None where there is none."""
        top, left, bottom, right = (int(value) for value in self.boxes[index])
        return (top, left, bottom, right) if bottom > top else None

    def box_around(self, x_mm: float, y_mm: float, radius_mm: float) -> Box | None:
        """Return the box of a circle, cut at the image's edge; None where nothing is left.

        Args:
            x_mm: Its middle, from the middle of the image.
            y_mm: Likewise.
            radius_mm: Its radius.
        """
        height, width = self.plane_shape
        _, dy, dx = self.spacing_mm
        column, row = x_mm / dx + (width - 1) / 2, y_mm / dy + (height - 1) / 2
        reach_x, reach_y = radius_mm / dx, radius_mm / dy
        top, left = max(0, int(row - reach_y)), max(0, int(column - reach_x))
        bottom, right = min(height, int(row + reach_y) + 2), min(width, int(column + reach_x) + 2)
        return (top, left, bottom, right) if bottom - top > 2 and right - left > 2 else None

    def grid_mm(self, box: Box) -> tuple[Float, Float]:
        """Return x (w,) and y (h,) in mm from the middle of the image, of a box's columns and rows."""
        return _grid_mm(self.plane_shape, self.spacing_mm, box)

    def coordinates(self, index: int, box: Box) -> tuple[Float, Float]:
        """Return lateral and along in mm (see `Midline`) of the pixels of a box of one slice, float32 (h, w)."""
        return self.midline.coordinates(index, *self.grid_mm(box))

    def head_mm(self, point: npt.NDArray[np.int16]) -> tuple[float, float, float]:
        """Return lateral, along and z in mm of one voxel (slice, row, column)."""
        index, row, column = (int(value) for value in point)
        lateral, along = self.coordinates(index, (row, column, row + 1, column + 1))
        return float(lateral[0, 0]), float(along[0, 0]), float(self.slice_position_mm[index])

    def image_mm(self, point: npt.NDArray[np.int16]) -> tuple[float, float, float]:
        """Return x and y from the middle of the image and z in mm of one voxel (slice, row, column)."""
        index, row, column = (int(value) for value in point)
        height, width = self.plane_shape
        _, dy, dx = self.spacing_mm
        return (column - (width - 1) / 2) * dx, (row - (height - 1) / 2) * dy, float(self.slice_position_mm[index])


def _grid_mm(shape: tuple[int, int], spacing_mm: tuple[float, float, float], box: Box) -> tuple[Float, Float]:
    height, width = shape
    _, dy, dx = spacing_mm
    x = (np.arange(box[1], box[3]) - (width - 1) / 2) * dx
    y = (np.arange(box[0], box[2]) - (height - 1) / 2) * dy
    return x.astype(np.float32), y.astype(np.float32)


def _noise(hu: npt.NDArray[np.int16], depth: Float, fluid: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the standard deviation of the residual noise of each slice, in tissue away from bone."""
    result = np.full(len(hu), np.nan)
    for index, plane in enumerate(hu):
        quiet = (depth[index] > 5) & (fluid[index] < 30)
        if quiet.sum() > 200:
            values = plane.astype(np.float32)
            residual = values - cv2.GaussianBlur(values, (0, 0), 1.2)
            result[index] = 1.4826 * np.median(np.abs(residual[quiet]))
    known = result[np.isfinite(result)]
    result[~np.isfinite(result)] = np.median(known) if len(known) else 3.0
    return result


def find_anatomy(
    hu: npt.NDArray[np.int16],
    spacing_mm: tuple[float, float, float],
    *,
    slice_position_mm: npt.ArrayLike | None = None,
) -> Anatomy:
    """Find skull, CSF, ventricles and midline of a head scan, bleeding or not.

    Args:
        hu: int16 (n, H, W), slices caudal to cranial.
        spacing_mm: dz, dy, dx.
        slice_position_mm: (n,) mm, for uneven gaps; by default `dz` apart.

    Returns:
        The map; `usable` is False where no skull is found.
    """
    n = len(hu)
    pixel_mm = float(spacing_mm[2])
    if slice_position_mm is None:
        position = np.arange(n, dtype=np.float64) * spacing_mm[0]
    else:
        position = np.asarray(slice_position_mm, dtype=np.float64).reshape(n)
    inside = intracranial(hu, pixel_mm)
    area = inside.sum(axis=(1, 2)) * pixel_mm**2
    if not inside.any():
        empty = np.zeros(hu.shape, np.uint8)
        flat = np.zeros(n)
        return Anatomy(
            usable=False,
            spacing_mm=spacing_mm,
            slice_position_mm=position,
            depth_steps=empty.astype(np.uint16),
            fluid=empty,
            ventricle=empty,
            boxes=np.zeros((n, 4), np.int16),
            midline=Midline(0.0, flat, 0.0, 1.0, 1.0),
            scale=1.0,
            level_mm=flat,
            area_mm2=area,
            ventricle_mm2=flat,
            brain_hu=34.0,
            tissue_hu=flat + 34.0,
            fluid_hu=8.0,
            noise_hu=flat,
            table_points=np.zeros((0, 3), np.int16),
        )
    depth = distance_to_table(inside, position, pixel_mm)
    midline = find_midline(hu, inside, pixel_mm)
    scale = float(np.clip(midline.half_width_mm / ADULT_HALF_WIDTH_MM, 0.6, 1.12))
    soft = smooth_hu(hu, 0.9 / pixel_mm)
    deep = inside & (depth > 4)
    brain_hu = _mode(soft[deep])
    fluid, fluid_hu = find_fluid(soft, inside, depth, brain_hu, pixel_mm)
    held = np.flatnonzero(area > 250)
    top = float(position[held[-1]])
    level = (top - position) / scale
    grid = _grid_mm(inside.shape[1:], spacing_mm, (0, 0, *inside.shape[1:]))
    ventricle = find_ventricles(midline, grid, level, scale, fluid, depth, pixel_mm)
    return Anatomy(
        usable=True,
        spacing_mm=spacing_mm,
        slice_position_mm=position,
        depth_steps=_steps(depth),
        fluid=fluid,
        ventricle=ventricle,
        boxes=_boxes(inside),
        midline=midline,
        scale=scale,
        level_mm=level,
        area_mm2=area,
        ventricle_mm2=(ventricle > 120).sum(axis=(1, 2)) * pixel_mm**2,
        brain_hu=brain_hu,
        tissue_hu=_tissue(soft, depth, fluid, brain_hu),
        fluid_hu=fluid_hu,
        noise_hu=_noise(hu, depth, fluid),
        table_points=_table_points(inside, depth, area),
    )


def _steps(depth: Float) -> npt.NDArray[np.uint16]:
    """Return depths as whole steps; what lies inside the skull stays above 0."""
    steps = np.clip(np.rint(depth * DEPTH_STEPS), 0, np.iinfo(np.uint16).max).astype(np.uint16)
    steps[(steps == 0) & (depth > 0)] = 1
    return steps


def _share(part: npt.NDArray[np.uint8]) -> Float:
    return np.asarray(np.multiply(part, np.float32(1 / 255), dtype=np.float32))


def _boxes(inside: Bool) -> npt.NDArray[np.int16]:
    """Return the box of each slice's mask with a margin of 2 px, int16 (n, 4)."""
    boxes = np.zeros((len(inside), 4), np.int16)
    height, width = inside.shape[1:]
    for index, plane in enumerate(inside):
        rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
        if len(rows):
            top, left = max(0, rows[0] - 2), max(0, columns[0] - 2)
            boxes[index] = top, left, min(height, rows[-1] + 3), min(width, columns[-1] + 3)
    return boxes


def _tissue(soft: Float, depth: Float, fluid: npt.NDArray[np.uint8], brain_hu: float) -> npt.NDArray[np.float64]:
    """Return the median HU of brain tissue of each slice, near `brain_hu`."""
    result = np.full(len(soft), brain_hu)
    for index, plane in enumerate(soft):
        tissue = (depth[index] > 3) & (fluid[index] < 40)
        if tissue.sum() > 150:
            result[index] = np.clip(np.median(plane[tissue]), brain_hu - 6, brain_hu + 14)
    return result


def _mode(values: Float) -> float:
    """Return the most frequent HU between 15 and 50 of smoothed brain, 34 where there is none."""
    counts, edges = np.histogram(values, bins=70, range=(15, 50))
    if counts.sum() == 0:
        return 34.0
    smooth = np.convolve(counts, np.ones(7) / 7, mode="same")
    return float(edges[int(smooth.argmax())] + 0.25)


def _table_points(inside: Bool, depth: Float, area: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
    """Take about 4000 voxels of the inner table, one in so many."""
    rim = inside & (depth > 0) & (depth < 1.6)
    rim[area < 600] = False
    points = np.argwhere(rim)
    step = max(1, len(points) // 4000)
    return points[::step].astype(np.int16)
