"""What a painted bleed is: a shape in a head, and the layer it lays over one slice."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import Anatomy, Box
from ich25d.bleeds.skull import Bool, Float

Sight = tuple[Bool, float]
"""Where a reader would see a bleed, bool (h, w), and the area in mm2 from which on the slice counts as positive."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one bleed does to one slice, within a box.

    Args:
        box: top, left, bottom, right.
        alpha: Share of blood in each pixel, float32 (h, w) in [0, 1].
        blood_hu: HU of the blood, float32 (h, w).
        look: Gives where it would be seen in the box, and from which area on; asked where labels are wanted.
        in_fluid: True where the blood takes the place of CSF (SAH, IVH): such a layer moves along
            when a clot pushes the tissue.
        rim_hu: HU added around the blood (oedema), float32 (h, w), or None.
        push_mm: Where tissue is pushed to: rows and columns in mm, float32 (2, h, w), or None.
        push_box: Box of `push_mm`; None where it is `box`.
    """

    box: Box
    alpha: Float
    blood_hu: Float
    look: Callable[[], Sight]
    in_fluid: bool
    rim_hu: Float | None = None
    push_mm: Float | None = None
    push_box: Box | None = None


def trimmed(layer: Layer) -> Layer:
    """Return the layer with its box shrunk to what it changes."""
    touched = layer.alpha > 0.01
    if layer.rim_hu is not None:
        touched |= np.abs(layer.rim_hu) > 0.05
    box = box_where(layer.box, touched)
    if box is None:
        return layer
    part = inner(layer.box, box)

    def look() -> Sight:
        seen, need_mm2 = layer.look()
        return seen[part], need_mm2

    return replace(
        layer,
        box=box,
        alpha=layer.alpha[part],
        blood_hu=layer.blood_hu[part],
        look=look,
        rim_hu=None if layer.rim_hu is None else layer.rim_hu[part],
        push_box=layer.push_box or layer.box,
    )


class Shape(Protocol):
    """A bleed's form in space, fixed once; draws its layer on any slice."""

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where the bleed does not reach."""


@dataclass(frozen=True, slots=True)
class Bleed:
    """One bleed in one head.

    Args:
        label: One of the five subtypes.
        anatomy: The head.
        shape: Form, density and texture.
        first: Lowest slice it may reach.
        last: Highest slice it may reach.
        ready: Layers that planning had to draw already, by slice.
    """

    label: str
    anatomy: Anatomy
    shape: Shape
    first: int
    last: int
    ready: Mapping[int, Layer] = field(default_factory=dict)

    def layer(self, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where the bleed does not reach."""
        if index in self.ready:
            return self.ready[index]
        return self.shape.layer(self.anatomy, index) if self.first <= index <= self.last else None


@dataclass(frozen=True, slots=True)
class Waves:
    """A smooth random field in space, the sum of plane waves; unit variance, same for every slice.

    Args:
        vectors: Wave vectors x, y, z in rad/mm, (m, 3).
        phases: (m,).
    """

    vectors: npt.NDArray[np.float64]
    phases: npt.NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, shortest_mm: float, longest_mm: float, m: int = 8) -> "Waves":
        """Draw `m` waves with lengths between two bounds."""
        length = np.exp(rng.uniform(np.log(shortest_mm), np.log(longest_mm), m))
        direction = rng.normal(size=(m, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return cls(direction * (2 * np.pi / length)[:, None], rng.uniform(0, 2 * np.pi, m))

    def at(self, x_mm: npt.NDArray[np.floating], y_mm: npt.NDArray[np.floating], z_mm: float) -> Float:
        """Return the field on a grid: x (w,), y (h,), one z; float32 (h, w)."""
        kx, ky, kz = self.vectors.T[:, :, None]
        across = (kx * x_mm).astype(np.float32)
        down = (ky * y_mm + (self.phases[:, None] + kz * z_mm)).astype(np.float32)
        # sin(a + b) = sin a cos b + cos a sin b: one product of real matrices for all waves at once.
        left = np.concatenate([np.sin(down), np.cos(down)])
        right = np.concatenate([np.cos(across), np.sin(across)])
        left *= np.float32(np.sqrt(2 / len(kx)))
        field: Float = left.T @ right
        return field


def grid_mm(anatomy: Anatomy, box: Box) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return x (w,) and y (h,) in mm from the middle of the image, of a box's columns and rows."""
    height, width = anatomy.plane_shape
    _, dy, dx = anatomy.spacing_mm
    x = (np.arange(box[1], box[3]) - (width - 1) / 2) * dx
    y = (np.arange(box[0], box[2]) - (height - 1) / 2) * dy
    return x.astype(np.float32), y.astype(np.float32)


def box_around(anatomy: Anatomy, x_mm: float, y_mm: float, radius_mm: float) -> Box | None:
    """Return the box of a circle, cut at the image's edge; None where nothing is left."""
    height, width = anatomy.plane_shape
    _, dy, dx = anatomy.spacing_mm
    column, row = x_mm / dx + (width - 1) / 2, y_mm / dy + (height - 1) / 2
    reach_x, reach_y = radius_mm / dx, radius_mm / dy
    box = (
        max(0, int(row - reach_y)),
        max(0, int(column - reach_x)),
        min(height, int(row + reach_y) + 2),
        min(width, int(column + reach_x) + 2),
    )
    return box if box[2] - box[0] > 2 and box[3] - box[1] > 2 else None


def head_box(anatomy: Anatomy, index: int) -> Box | None:
    """Return the box of the intracranial space of a slice, with a margin of 2 px."""
    top, left, bottom, right = (int(value) for value in anatomy.boxes[index])
    return (top, left, bottom, right) if bottom > top else None


def box_where(box: Box, wanted: Bool, margin_px: int = 0) -> Box | None:
    """Return the smallest box within a box that holds all wanted pixels and a margin; None where none is wanted.

    Args:
        box: top, left, bottom, right.
        wanted: Its pixels, bool (h, w).
        margin_px: Pixels around them, cut at the box.
    """
    rows, columns = np.flatnonzero(wanted.any(axis=1)), np.flatnonzero(wanted.any(axis=0))
    if len(rows) == 0:
        return None
    top, left, bottom, right = box
    return (
        max(top, top + int(rows[0]) - margin_px),
        max(left, left + int(columns[0]) - margin_px),
        min(bottom, top + int(rows[-1]) + 1 + margin_px),
        min(right, left + int(columns[-1]) + 1 + margin_px),
    )


def inner(box: Box, part: Box) -> tuple[slice, slice]:
    """Return the rows and columns of an array over `box` that lie over `part`, which lies within it."""
    top, left, _, _ = box
    return slice(part[0] - top, part[2] - top), slice(part[1] - left, part[3] - left)


def along_axis(
    axis: npt.NDArray[np.float64],
    radius_mm: float,
    x_mm: npt.NDArray[np.floating],
    y_mm: npt.NDArray[np.floating],
    z_mm: float,
) -> Float:
    """Return how far a grid lies along a half axis of an ellipsoid, in half axes from its middle.

    Args:
        axis: Unit vector x, y, z.
        radius_mm: Half the axis.
        x_mm: Columns from the middle, (w,).
        y_mm: Rows from the middle, (h,).
        z_mm: The slice from the middle.

    Returns:
        float32 (h, w).
    """
    # The plane itself comes last, and in single precision.
    across = (axis[0] * x_mm / radius_mm).astype(np.float32)
    down = ((axis[1] * y_mm + axis[2] * z_mm) / radius_mm).astype(np.float32)
    far: Float = across[None, :] + down[:, None]
    return far


def soft_edge(signed_mm: Float, width_mm: float) -> Float:
    """Return 1 inside, 0 outside and a smooth step of a given width where `signed_mm` crosses 0."""
    step = signed_mm * np.float32(-1 / width_mm)
    step += np.float32(0.5)
    np.clip(step, 0, 1, out=step)
    smooth: Float = step * step
    step *= -2
    step += 3
    smooth *= step
    return smooth


def within(anatomy: Anatomy, index: int, box: Box) -> Float:
    """Return 1 in the intracranial space of a box and one pixel around it, float32."""
    inside = (anatomy.depth_steps[index, box[0] : box[2], box[1] : box[3]] > 0).astype(np.uint8)
    room: Float = cv2.dilate(inside, np.ones((3, 3), np.uint8)).astype(np.float32)
    return room


def sub_slices(anatomy: Anatomy, index: int) -> tuple[float, ...]:
    """Return the z in mm at which a slice is sampled across its thickness (partial volume)."""
    z = float(anatomy.slice_position_mm[index])
    dz = anatomy.spacing_mm[0]
    return (z,) if dz < 2 else (z - dz / 3, z, z + dz / 3)


def seen_in_fluid(anatomy: Anatomy, alpha: Float, share: Float, blood_hu: float) -> Bool:
    """Return where blood in CSF gets brighter than brain, in patches that a reader would take for blood.

    Args:
        anatomy: The head.
        alpha: Share of blood, float32 (h, w).
        share: `Anatomy.fluid_in` of the same pixels.
        blood_hu: HU of the blood.

    Returns:
        bool (h, w).
    """
    before = np.clip(0.38 * np.minimum(6 * share, 1) + 0.62 * share, 0, 1) * (anatomy.brain_hu - anatomy.fluid_hu)
    bright = alpha * (blood_hu - anatomy.brain_hu) - (1 - alpha) * before > 5.5
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8), connectivity=8)
    kept = stats[:, cv2.CC_STAT_AREA] * anatomy.spacing_mm[1] * anatomy.spacing_mm[2] > 9 * anatomy.scale**2
    kept[0] = False
    seen: Bool = kept[labels] if count > 1 else bright
    return seen


def seen_in_tissue(alpha: Float, contrast_hu: float) -> Bool:
    """Return where blood of a given contrast to brain shows: at least ~8 HU of it, or most of a faint one."""
    return alpha > min(max(8 / max(abs(contrast_hu), 1e-3), 0.3), 0.6)


def needed_area_mm2(anatomy: Anatomy, contrast_hu: float) -> float:
    """Return from which area on a bleed is seen: 28 mm2 in an adult, more where it is faint."""
    return 28 * anatomy.scale**2 * min(max((11 / max(abs(contrast_hu), 1e-3)) ** 2, 1), 8)


def needed_beside_bone(anatomy: Anatomy, seen: Bool, depth: Float, contrast_hu: float) -> float:
    """Return the needed area of a layer along the inner table; infinite where it hides in the glow of the bone.

    Args:
        anatomy: The head.
        seen: Where it shows, bool (h, w).
        depth: Distance to the inner table in mm, (h, w).
        contrast_hu: Of the blood to brain.

    Returns:
        mm2.
    """
    need = needed_area_mm2(anatomy, contrast_hu)
    clear = float((seen & (depth > 1.5)).sum()) * anatomy.spacing_mm[1] * anatomy.spacing_mm[2]
    return need if clear >= need else float("inf")
