"""A painted bleed: a shape in a head, the layer that it adds to one slice, and whether a reader would see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import Anatomy, Box
from ich25d.bleeds.skull import Bool, Float

Vector = npt.NDArray[np.float64]

Sight = tuple[Bool, float]
"""Where a reader would see a bleed, bool (h, w), and the area in mm2 from which on the slice counts as positive."""


@dataclass(frozen=True, slots=True)
class Layer:
    """What one bleed does to one slice, within a box.

    Args:
        box: top, left, bottom, right.
        alpha: Share of blood in each pixel, float32 (h, w) in [0, 1].
        blood_hu: HU of the blood, float32 (h, w).
        look: Returns where it would be seen in the box, and from which area on; called where labels are wanted.
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


def unlabelled(box: Box, *, alpha: Float | None = None, hu: float | Float = 0.0, rim_hu: Float | None = None) -> Layer:
    """Return the layer of what is no bleed; no part of it counts as blood.

    Args:
        box: top, left, bottom, right.
        alpha: Share of each pixel that it takes, float32 (h, w); None for a layer that only adds.
        hu: Its HU where it does.
        rim_hu: HU added, float32 (h, w), or None.
    """
    shape = (box[2] - box[0], box[3] - box[1])
    alpha = np.zeros(shape, np.float32) if alpha is None else alpha.astype(np.float32, copy=False)
    filled = np.broadcast_to(np.asarray(hu, np.float32), shape)
    added = None if rim_hu is None else rim_hu.astype(np.float32, copy=False)
    return Layer(box, alpha, filled, lambda: (np.zeros(shape, bool), float("inf")), in_fluid=False, rim_hu=added)


class Shape(Protocol):
    """A bleed's form in space, fixed once; draws its layer on any slice."""

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where the bleed does not reach."""


@dataclass(frozen=True, slots=True)
class Bleed:
    """One bleed in one head.

    Args:
        label: One of the five subtypes; empty for what is no bleed.
        anatomy: The head.
        shape: Form, density and texture.
        ready: Layers that were drawn in planning already, by slice.
    """

    label: str
    anatomy: Anatomy
    shape: Shape
    ready: Mapping[int, Layer] = field(default_factory=dict)

    def layer(self, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where the bleed does not reach."""
        return self.ready[index] if index in self.ready else self.shape.layer(self.anatomy, index)


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
        """Draw waves.

        Args:
            rng: Draws everything.
            shortest_mm: Least wave length.
            longest_mm: Greatest wave length.
            m: Number of waves.
        """
        length = np.exp(rng.uniform(np.log(shortest_mm), np.log(longest_mm), m))
        direction = rng.normal(size=(m, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return cls(direction * (2 * np.pi / length)[:, None], rng.uniform(0, 2 * np.pi, m))

    def at(self, x_mm: npt.NDArray[np.floating], y_mm: npt.NDArray[np.floating], z_mm: float) -> Float:
        """Return the field on a grid, float32 (h, w).

        Args:
            x_mm: Columns, (w,).
            y_mm: Rows, (h,).
            z_mm: The slice.
        """
        kx, ky, kz = self.vectors.T[:, :, None]
        across = (kx * x_mm).astype(np.float32)
        down = (ky * y_mm + (self.phases[:, None] + kz * z_mm)).astype(np.float32)
        # sin(a + b) = sin a cos b + cos a sin b: one product of real matrices for all waves at once.
        left = np.concatenate([np.sin(down), np.cos(down)])
        right = np.concatenate([np.cos(across), np.sin(across)])
        left *= np.float32(np.sqrt(2 / len(kx)))
        return np.asarray(left.T @ right)


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


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid in a head.

    Args:
        centre_mm: x, y (from the middle of the image), z.
        axes: Rows are unit vectors x, y, z.
        radii_mm: Half axes along them.
    """

    centre_mm: Vector
    axes: Vector
    radii_mm: Vector

    def signed_mm(
        self, x_mm: Float, y_mm: Float, z_mm: float, *, outward_mm: float = 0.0, least_slope: float = 0.05
    ) -> Float:
        """Return about the distance of a grid's pixels to the surface, negative inside: value over slope, first order.

        Args:
            x_mm: Columns, (w,).
            y_mm: Rows, (h,).
            z_mm: The slice.
            outward_mm: Length by which the ellipsoid is prolonged against its first axis.
            least_slope: Added to the slope, which is 0 in the centre.

        Returns:
            float32 (h, w).
        """
        dx, dy, dz = x_mm - self.centre_mm[0], y_mm - self.centre_mm[1], float(z_mm - self.centre_mm[2])
        square = np.zeros((len(y_mm), len(x_mm)), np.float32)
        steep = np.zeros_like(square)
        for number, (axis, radius) in enumerate(zip(self.axes, self.radii_mm, strict=True)):
            # The plane itself comes last, and in single precision.
            across = (axis[0] * dx / radius).astype(np.float32)
            down = ((axis[1] * dy + axis[2] * dz) / radius).astype(np.float32)
            along = across[None, :] + down[:, None]
            if number == 0 and outward_mm:
                along = np.maximum(along, 0) + np.minimum(along + np.float32(outward_mm / radius), 0)
            along *= along
            square += along
            along *= np.float32(1 / radius**2)
            steep += along
        return np.asarray((square - 1) / (2 * np.sqrt(steep) + least_slope), np.float32)


AT_AN_END = 0.3
"""Chance that the slice a bleed is planned around lies at its upper or lower end."""


def draw_shift(rng: np.random.Generator, usual: float, farthest: float) -> float:
    """Return how far the middle of a bleed lies from its slice, as a share of half its height.

    At the ends a bleed is thin and mixed with tissue, and readers and networks miss it there; they come up more often
    than an even draw would give.

    Args:
        rng: Draws it.
        usual: Greatest share elsewhere.
        farthest: Greatest share at an end.
    """
    if rng.random() < AT_AN_END:
        return float(rng.uniform(usual, farthest) * rng.choice([-1, 1]))
    return float(rng.uniform(-usual, usual))


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


def over_thickness(
    anatomy: Anatomy, index: int, signed_mm: Callable[[float], Float], edge_mm: float
) -> tuple[Float, Float]:
    """Sample a form over the thickness of a slice (partial volume).

    Args:
        anatomy: The head.
        index: The slice.
        signed_mm: From z in mm to the distance to the form's surface, negative inside, float32 (h, w).
        edge_mm: Width of the soft edge.

    Returns:
        Share of the form in each pixel, and the least distance, float32 (h, w).
    """
    z, dz = float(anatomy.slice_position_mm[index]), anatomy.spacing_mm[0]
    samples = [signed_mm(at) for at in ((z,) if dz < 2 else (z - dz / 3, z, z + dz / 3))]
    alpha = np.zeros(samples[0].shape, np.float32)
    nearest = np.full(alpha.shape, np.float32(1e3))
    for signed in samples:
        alpha += soft_edge(signed, edge_mm)
        np.minimum(nearest, signed, out=nearest)
    alpha *= np.float32(1 / len(samples))
    return alpha, nearest


def seen_in_fluid(anatomy: Anatomy, alpha: Float, share: Float, blood_hu: float) -> Bool:
    """Return where blood in CSF gets brighter than brain, in patches that a reader would take for blood, bool (h, w).

    Args:
        anatomy: The head.
        alpha: Share of blood, float32 (h, w).
        share: `Anatomy.fluid_in` of the same pixels.
        blood_hu: HU of the blood.
    """
    before = np.clip(0.38 * np.minimum(6 * share, 1) + 0.62 * share, 0, 1) * (anatomy.brain_hu - anatomy.fluid_hu)
    bright = alpha * (blood_hu - anatomy.brain_hu) - (1 - alpha) * before > 5.5
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8), connectivity=8)
    kept = stats[:, cv2.CC_STAT_AREA] * anatomy.spacing_mm[1] * anatomy.spacing_mm[2] > 9 * anatomy.scale**2
    kept[0] = False
    return np.asarray(kept[labels] if count > 1 else bright)


def seen_in_tissue(alpha: Float, contrast_hu: float) -> Bool:
    """Return where blood of a given contrast to brain shows: at least ~8 HU of it, or most of a faint one."""
    return alpha > min(max(8 / max(abs(contrast_hu), 1e-3), 0.3), 0.6)


def needed_area_mm2(anatomy: Anatomy, contrast_hu: float) -> float:
    """Return from which area on a bleed is seen: 28 mm2 in an adult, more where it is faint."""
    return 28 * anatomy.scale**2 * min(max((11 / max(abs(contrast_hu), 1e-3)) ** 2, 1), 8)


def needed_beside_bone(anatomy: Anatomy, seen: Bool, depth: Float, contrast_hu: float) -> float:
    """Return the needed area of a layer along the inner table in mm2; infinite where the blur of the bone hides it.

    Args:
        anatomy: The head.
        seen: Where it shows, bool (h, w).
        depth: Distance to the inner table in mm, (h, w).
        contrast_hu: Of the blood to brain.
    """
    need = needed_area_mm2(anatomy, contrast_hu)
    clear = float((seen & (depth > 1.5)).sum()) * anatomy.spacing_mm[1] * anatomy.spacing_mm[2]
    return need if clear >= need else float("inf")
