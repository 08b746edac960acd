"""Epidural bleeds: a lens between the skull and the dura, convex to the brain."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import Anatomy, Box
from ich25d.bleeds.shape import (
    Bleed,
    Ellipsoid,
    Layer,
    Sight,
    Vector,
    Waves,
    draw_shift,
    needed_beside_bone,
    over_thickness,
    seen_in_tissue,
)  # fmt: skip
from ich25d.bleeds.skull import Float

OUTWARD_MM = 14.0
"""The lens goes on towards the bone, where the skull curves away from it."""

NORMAL_REACH_MM = 14.0
"""The direction into the brain is a mean over so much on each side."""


@dataclass(frozen=True, slots=True)
class Lens:
    """The part of an ellipsoid that lies inside the skull.

    Args:
        ellipsoid: Centre on the inner table; axes: normal (into the brain), tangent in the slice, tangent across it.
        edge_mm: Width of the soft edge.
        shape_waves: Unevenness of the surface, of `unevenness_mm`.
        texture: Unevenness of the density, of `texture_hu`.
        swirl_hu: How much darker unclotted pockets are; 0 for none.
        push: Share of the thickness by which tissue gives way.
    """

    ellipsoid: Ellipsoid
    hu: float
    edge_mm: float
    shape_waves: Waves
    unevenness_mm: float
    texture: Waves
    texture_hu: float
    swirl_hu: float
    push: float

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where the lens does not reach."""
        z, dz = float(anatomy.slice_position_mm[index]), anatomy.spacing_mm[0]
        centre, (thickness, half_chord, tall) = self.ellipsoid.centre_mm, self.ellipsoid.radii_mm
        reach = max(thickness, half_chord, tall)
        if abs(z - centre[2]) > min(reach + dz, max(thickness, tall) + 2 * dz):
            return None
        box = anatomy.box_around(centre[0], centre[1], reach + 26 * self.push + 3)
        if box is None:
            return None
        x, y = anatomy.grid_mm(box)
        bumps = self.shape_waves.at(x, y, z) * np.float32(self.unevenness_mm)

        def signed_mm(z_mm: float) -> Float:
            return self.ellipsoid.signed_mm(x, y, z_mm, outward_mm=OUTWARD_MM, least_slope=1e-3) + bumps

        alpha, nearest = over_thickness(anatomy, index, signed_mm, self.edge_mm)
        alpha *= anatomy.inside_in(index, box)
        if alpha.max() < 0.05:
            return None
        tone = self.texture.at(x, y, z)
        blood = np.float32(self.hu) + np.float32(self.texture_hu) * tone
        if self.swirl_hu:
            blood -= np.float32(self.swirl_hu) * np.clip((tone - 0.5) * 1.6, 0, 1)
        push = self._push(anatomy, index, box, nearest) if self.push else None

        def look() -> Sight:
            contrast = self.hu - anatomy.brain_hu
            seen = seen_in_tissue(alpha, contrast)
            return seen, needed_beside_bone(anatomy, seen, anatomy.depth_in(index, box), contrast)

        return Layer(box, alpha, blood, look, in_fluid=False, push_mm=push)

    def _push(self, anatomy: Anatomy, index: int, box: Box, signed: Float) -> Float:
        """Return how far tissue gives way, mm (2, h, w): along the normal, fading with distance."""
        depth = anatomy.depth_in(index, box)
        free = np.clip((depth - 2) / 8, 0, 1)
        thickness = max(float(self.ellipsoid.radii_mm[0]) - 2.0, 0.0)
        normal = self.ellipsoid.axes[0]
        amount = np.float32(self.push * thickness) * np.exp(-np.maximum(signed, 0) / 16) * free
        return np.stack([amount * np.float32(normal[1]), amount * np.float32(normal[0])])


def inward_normal(anatomy: Anatomy, point: npt.NDArray[np.int16]) -> Vector | None:
    """Return the unit vector x, y, z that leads from a voxel of the inner table into the brain; None in a corner."""
    index, row, column = (int(value) for value in point)
    height, width = anatomy.plane_shape
    reach = max(3, round(NORMAL_REACH_MM / anatomy.spacing_mm[2]))
    low, high = max(0, index - 1), min(anatomy.n_slices, index + 2)
    top, bottom = max(0, row - reach), min(height, row + reach + 1)
    left, right = max(0, column - reach), min(width, column + reach + 1)
    if bottom - top < 3 or right - left < 3:
        return None
    depth = np.stack([anatomy.depth_in(near, (top, left, bottom, right)) for near in range(low, high)])
    rows: npt.NDArray[np.float32] = np.asarray(np.gradient(depth, anatomy.spacing_mm[1], axis=1))
    columns: npt.NDArray[np.float32] = np.asarray(np.gradient(depth, anatomy.spacing_mm[2], axis=2))
    inside = depth > 0.5
    if inside.sum() < 10:
        return None
    across = 0.0
    if high - low > 1:
        gap = float(anatomy.slice_position_mm[high - 1] - anatomy.slice_position_mm[low])
        change = depth[-1:] - depth[:1]
        both = (depth[-1:] > 0.5) | (depth[:1] > 0.5)
        across = float(change[both].mean() / gap) if gap > 0.5 and both.any() else 0.0
    vector = np.array([columns[inside].mean(), rows[inside].mean(), np.clip(across, -1.0, 1.0)])
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-3 else None


def plan_epidural(anatomy: Anatomy, rng: np.random.Generator, around_slice: int | None) -> Bleed | None:
    """Plan an epidural bleed at the inner table; None where no place is found.

    Args:
        anatomy: The head.
        rng: Draws everything.
        around_slice: A slice that it reaches, or ends near; None for any.
    """
    points = anatomy.table_points
    s = anatomy.scale
    thickness = float(np.exp(rng.uniform(np.log(4.5), np.log(26)))) * s
    half_chord = float(np.clip(thickness * rng.uniform(1.3, 3.2), 14 * s, 46 * s)) + 3
    tall = float(np.clip(half_chord * rng.uniform(0.6, 1.1), 10 * s, 42 * s))
    if around_slice is not None:
        z0 = float(anatomy.slice_position_mm[around_slice]) + draw_shift(rng, 0.8, 1.0) * tall
        near = np.abs(anatomy.slice_position_mm[points[:, 0]] - z0) < max(4.0, 0.8 * anatomy.spacing_mm[0])
        points = points[near]
    if len(points) == 0:
        return None
    for _ in range(12):
        point: npt.NDArray[np.int16] = points[int(rng.integers(len(points))), :]
        lateral, along, _ = anatomy.head_mm(point)
        normal = inward_normal(anatomy, point)
        if normal is None:
            continue
        # Temporal and parietal most; rarely on the midline or in the deepest base.
        chance = 0.15 + 0.85 * min(1.0, abs(lateral) / (0.75 * anatomy.midline.half_width_mm))
        if abs(along) > 0.7 * anatomy.midline.half_length_mm:
            chance *= 0.6
        if rng.random() > chance or abs(normal[2]) > 0.9:
            continue
        tangent = np.cross(normal, [0.0, 0.0, 1.0])
        tangent /= np.linalg.norm(tangent)
        axes = np.stack([normal, tangent, np.cross(normal, tangent)])
        kind = rng.random()
        shape = Lens(
            ellipsoid=Ellipsoid(np.array(anatomy.image_mm(point)), axes, np.array([thickness, half_chord, tall])),
            hu=min(anatomy.brain_hu + float(rng.uniform(17, 37) if kind > 0.1 else rng.uniform(9, 15)), 76.0),
            edge_mm=float(rng.uniform(1.8, 3.4)) * max(anatomy.spacing_mm[2], 0.5),
            shape_waves=Waves.draw(rng, 18, 45),
            unevenness_mm=float(rng.uniform(0.0, 0.08)) * thickness,
            texture=Waves.draw(rng, 3, 26, m=20),
            texture_hu=float(rng.uniform(2.0, 5.5)),
            swirl_hu=float(rng.uniform(6, 18)) if rng.random() < 0.25 else 0.0,
            push=float(rng.uniform(0.35, 0.75)) if rng.random() < 0.8 else 0.0,
        )
        return Bleed("epidural", anatomy, shape)
    return None
