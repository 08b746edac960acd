"""Subdural bleeds: crescents along the convexity, bands along the falx and the tentorium."""

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from ich25d.bleeds.anatomy import Anatomy, Box
from ich25d.bleeds.shape import (
    Bleed,
    Layer,
    Sight,
    Waves,
    box_where,
    draw_shift,
    inner,
    needed_area_mm2,
    needed_beside_bone,
    seen_in_tissue,
    soft_edge,
)  # fmt: skip
from ich25d.bleeds.skull import Float

FLOOR_RISE = (0.4, 0.65)
"""Distance to bone gained a mm upwards: beside a wall at most the first, over a floor at least the second."""

PUSH_REACH_MM = 9.0
"""Beyond its ends a crescent moves tissue no farther along the skull than this."""


@dataclass(frozen=True, slots=True)
class Density:
    """How dense the blood of a subdural is.

    Args:
        texture: Unevenness, of `texture_hu`.
        layered_hu: Difference between the lower (posterior) and the upper part; 0 without a level.
        level_mm: y of the level, from the middle of the image, where layered.
    """

    hu: float
    texture: Waves
    texture_hu: float
    layered_hu: float
    level_mm: float

    def at(self, x: Float, y: Float, z: float) -> Float:
        """Return HU on a grid, float32 (h, w).

        Args:
            x: mm from the middle of the image, (w,).
            y: Likewise, (h,).
            z: Slice position, mm.
        """
        blood = np.float32(self.hu) + np.float32(self.texture_hu) * self.texture.at(x, y, z)
        if self.layered_hu:
            part = 1 / (1 + np.exp(-(y[:, None] - np.float32(self.level_mm)) / np.float32(2.5)))
            blood = blood + np.float32(self.layered_hu) * (part - 0.5).astype(np.float32)
        return blood


def _draw_density(anatomy: Anatomy, rng: np.random.Generator, thickness_mm: float) -> Density:
    """Draw how dense the blood is: acute most often; mixed, layered, isodense or chronic where it is thick."""
    kind = rng.random()
    brain = anatomy.brain_hu
    thick = thickness_mm > 5
    texture = Waves.draw(rng, 3, 40, m=24)
    layered, level = 0.0, 0.0
    if kind < 0.52 or not thick:
        hu, uneven = brain + rng.uniform(13, 34), rng.uniform(2.0, 5.0)
    elif kind < 0.74:
        hu, uneven = brain + rng.uniform(9, 22), rng.uniform(5, 9)
    elif kind < 0.84:
        hu, uneven = brain + rng.uniform(-4, 8), rng.uniform(1.5, 4)
        layered, level = rng.uniform(14, 28), rng.uniform(-15, 35)
    elif kind < 0.94:
        hu, uneven = brain + rng.uniform(2, 10), rng.uniform(1.5, 4)
    else:
        hu, uneven = brain - rng.uniform(8, 18), rng.uniform(2, 6)
    return Density(float(hu), texture, float(uneven), float(layered), float(level))


def _look_at_band(anatomy: Anatomy, alpha: Float, hu: float) -> Sight:
    """Return where a band of blood would be seen, and from which area on."""
    contrast = hu - anatomy.brain_hu
    return seen_in_tissue(alpha, contrast), 1.3 * needed_area_mm2(anatomy, contrast)


@dataclass(frozen=True, slots=True)
class FalxBand:
    """A thin layer on one side of the falx.

    Args:
        side: -1 or 1.
        middle_along, half_along: Where along the falx, as shares of half the brain's length.
        middle_z_mm, half_z_mm: Where it is thickest, and half its height.
        reach_mm: How deep the falx hangs from the inner table.
        waves: Unevenness of the thickness.
    """

    side: int
    middle_along: float
    half_along: float
    middle_z_mm: float
    half_z_mm: float
    thickness_mm: float
    reach_mm: float
    waves: Waves
    edge_mm: float
    density: Density

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where the band does not reach."""
        z = float(anatomy.slice_position_mm[index])
        tall = 1 - ((z - self.middle_z_mm) / self.half_z_mm) ** 2
        box = anatomy.head_box(index)
        if tall <= 0 or box is None:
            return None
        lateral, along = anatomy.coordinates(index, box)
        x, y = anatomy.grid_mm(box)
        off = (along / np.float32(anatomy.midline.half_length_mm) - self.middle_along) / self.half_along
        profile = np.sqrt(np.clip((1 - off * off) * np.float32(tall), 0, 1))
        uneven = np.clip(1 + 0.3 * self.waves.at(x, y, z), 0.4, 1.6)
        hangs = soft_edge(anatomy.depth_in(index, box) - np.float32(self.reach_mm), 6.0)
        thickness = np.float32(self.thickness_mm) * profile * uneven * hangs
        across = lateral * self.side
        alpha = soft_edge(across - thickness, self.edge_mm) * soft_edge(-across - 0.4, self.edge_mm)
        alpha *= np.clip(thickness / np.float32(0.9), 0, 1) * anatomy.inside_in(index, box)
        if alpha.max() < 0.05:
            return None
        blood = self.density.at(x, y, z)
        look = partial(_look_at_band, anatomy, alpha, self.density.hu)
        return Layer(box, alpha.astype(np.float32), blood, look, in_fluid=False)


@dataclass(frozen=True, slots=True)
class TentBand:
    """A layer on one leaf of the tentorium: a band that sweeps outwards from slice to slice.

    Args:
        side: -1 or 1.
        top_z_mm: Where the leaf meets the falx.
        slope: mm the leaf falls for each mm to the side.
        thickness_mm: Thickness across the leaf.
        from_along, to_along: Front and back end, as shares of half the brain's length.
        out_mm: How far to the side it reaches.
        waves: Unevenness.
    """

    side: int
    top_z_mm: float
    slope: float
    thickness_mm: float
    from_along: float
    to_along: float
    out_mm: float
    waves: Waves
    edge_mm: float
    density: Density

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where the band does not reach."""
        z = float(anatomy.slice_position_mm[index])
        dz = max(anatomy.spacing_mm[0], 1.0)
        if z > self.top_z_mm + dz + self.thickness_mm or z < self.top_z_mm - self.slope * self.out_mm - dz:
            return None
        box = anatomy.head_box(index)
        if box is None:
            return None
        lateral, along = anatomy.coordinates(index, box)
        x, y = anatomy.grid_mm(box)
        back = along / np.float32(anatomy.midline.half_length_mm)
        across = lateral * self.side
        # The leaf falls to the side and to the back: on a slice it draws a V that opens to the front.
        leaf = self.top_z_mm - np.float32(self.slope) * across - 26.0 * np.clip(back - 0.25, 0, 1)
        leaf = leaf + 1.2 * self.waves.at(x, y, 0.0)
        # Share of the slice's thickness that lies in the layer [leaf, leaf + thickness].
        low, high = np.maximum(leaf, z - dz / 2), np.minimum(leaf + np.float32(self.thickness_mm), z + dz / 2)
        alpha = np.clip((high - low) / np.float32(dz), 0, 1)
        alpha *= soft_edge(1.0 - across, self.edge_mm) * soft_edge(across - self.out_mm, 8.0)
        alpha *= soft_edge((self.from_along - back) * 80, 8.0) * soft_edge((back - self.to_along) * 80, 6.0)
        room = anatomy.inside_in(index, box)
        alpha = cv2.GaussianBlur((alpha * room).astype(np.float32), (0, 0), 0.8) * room
        if alpha.max() < 0.1:
            return None
        blood = self.density.at(x, y, z)
        look = partial(_look_at_band, anatomy, alpha, self.density.hu)
        return Layer(box, alpha, blood, look, in_fluid=False)


@dataclass(frozen=True, slots=True)
class Crescent:
    """A layer along the inner table of one hemisphere, thinning out to all sides.

    Args:
        side: -1 or 1, the sign of the lateral coordinate.
        middle_angle: Where it is thickest, as an angle around the head's axis; 0 in front, pi behind.
        half_angle: Half its extent, radians.
        middle_z_mm: Where it is thickest.
        half_z_mm: Half its extent.
        waves: Unevenness of the thickness, of `unevenness` relative to it.
        flatness: Exponent of the profile; small keeps the thickness nearly to the ends.
        push: Share of the thickness by which tissue gives way.
    """

    side: int
    middle_angle: float
    half_angle: float
    middle_z_mm: float
    half_z_mm: float
    thickness_mm: float
    waves: Waves
    unevenness: float
    flatness: float
    edge_mm: float
    density: Density
    push: float

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where the crescent does not reach."""
        z = float(anatomy.slice_position_mm[index])
        tall = 1 - ((z - self.middle_z_mm) / self.half_z_mm) ** 2
        head = anatomy.head_box(index)
        # Towards the base the layer thins out.
        low = np.float32(np.clip((118 - anatomy.level_mm[index]) / 25, 0, 1))
        if tall <= 0 or low <= 0 or head is None:
            return None
        lateral, along = anatomy.coordinates(index, head)
        ratio = np.float32(anatomy.midline.half_width_mm / anatomy.midline.half_length_mm)
        angle = cv2.phase(along * -ratio, np.abs(lateral))
        off = (angle - np.float32(self.middle_angle)) / np.float32(self.half_angle)
        profile = (1 - off * off) * np.float32(tall)
        box = box_where(head, (profile > 0) & (lateral * self.side > -1), round(PUSH_REACH_MM / anatomy.spacing_mm[2]))
        if box is None:
            return None
        part = inner(head, box)
        lateral, along = lateral[part], along[part]
        x, y = anatomy.grid_mm(box)
        profile = cv2.pow(np.clip(profile[part], 0, 1), self.flatness)
        uneven = 1 + np.float32(self.unevenness) * self.waves.at(x, y, z)
        thickness = np.float32(self.thickness_mm) * profile * np.clip(uneven, 0.3, 1.7)
        depth = anatomy.depth_in(index, box)
        across = lateral * self.side
        # Bone that faces away from the middle (petrous ridge, clivus) stays bare.
        deepest = np.float32(anatomy.depth_in(index, head).max())
        thickness = np.minimum(thickness, np.float32(0.45) * deepest) * low
        rows, columns = _away_from_table(depth, anatomy)
        inward = -(rows * along + columns * lateral) / (np.sqrt(along * along + lateral * lateral) + 1)
        wall = np.clip(inward * 4 - 0.4, 0, 1) if low < 1 else np.float32(1)
        midline = np.clip((across - 1.0) / 1.5, 0, 1) * wall * (1 - over_floor(anatomy, index, box))
        # Under half a pixel nothing is left of it: partial volume alone thins it out.
        alpha = soft_edge(depth - thickness, self.edge_mm) * np.clip(thickness / np.float32(0.8), 0, 1) * midline
        alpha *= anatomy.inside_in(index, box)
        if alpha.max() < 0.05:
            return None
        push = _push_from_table(depth, thickness * midline, self.push, anatomy, rows, columns) if self.push else None
        blood = self.density.at(x, y, z)

        def look() -> Sight:
            full = alpha > 0.5
            contrast = float(np.abs(blood[full] - anatomy.brain_hu).mean()) if full.any() else 1.0
            seen = seen_in_tissue(alpha, contrast)
            return seen, needed_beside_bone(anatomy, seen, depth, contrast)

        return Layer(box, alpha, blood, look, in_fluid=False, push_mm=push)


def over_floor(anatomy: Anatomy, index: int, box: Box) -> Float:
    """Return how much the nearest bone lies below rather than beside, 0 to 1, float32 (h, w).

    Over the floor of the skull (orbital roofs, middle fossa) every pixel of a slice is near bone: a layer drawn by
    distance alone would fill whole lobes there. Under the vertex the bone lies above, and a layer may be broad.

    Args:
        anatomy: The head.
        index: The slice.
        box: top, left, bottom, right.
    """
    below, above = max(index - 1, 0), min(index + 1, anatomy.n_slices - 1)
    gap = np.float32(anatomy.slice_position_mm[above] - anatomy.slice_position_mm[below])
    if gap <= 0:  # a single slice, or two passes at one place
        return np.zeros((box[2] - box[0], box[3] - box[1]), np.float32)
    rise = anatomy.depth_in(above, box) - anatomy.depth_in(below, box)
    steep = cv2.GaussianBlur(rise / gap, (0, 0), 2.0 / anatomy.spacing_mm[2])
    return np.asarray(np.clip((steep - FLOOR_RISE[0]) / (FLOOR_RISE[1] - FLOOR_RISE[0]), 0, 1))


def _away_from_table(depth: Float, anatomy: Anatomy) -> tuple[Float, Float]:
    """Return the unit vector (rows, columns) that leads away from the nearest bone, float32 (h, w)."""
    height, width = depth.shape
    half = cv2.resize(depth, (max(2, width // 2), max(2, height // 2)), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(half, (0, 0), 1.5 / anatomy.spacing_mm[2])
    rows = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3)
    columns = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3)
    length = np.sqrt(rows * rows + columns * columns) + 1e-3
    return cv2.resize(rows / length, (width, height)), cv2.resize(columns / length, (width, height))


def _push_from_table(
    depth: Float, thickness: Float, share: float, anatomy: Anatomy, rows: Float, columns: Float
) -> Float:
    """Return how far tissue under a layer gives way, mm (2, h, w): away from the inner table."""
    wide = cv2.GaussianBlur(thickness, (0, 0), 3.0 / anatomy.spacing_mm[2])
    amount = np.float32(share) * np.maximum(wide - 1.5, 0) * np.exp(-np.maximum(depth - thickness, 0) / 14)
    amount *= np.clip((depth - 2) / 4, 0, 1)
    return np.stack([amount * rows, amount * columns])


def plan_subdural(anatomy: Anatomy, rng: np.random.Generator, around_slice: int | None) -> Bleed | None:
    """Plan a subdural bleed, along the convexity most often, else falx or tentorium; None where no slice has room.

    Args:
        anatomy: The head.
        rng: Draws everything.
        around_slice: A slice that it reaches, or ends near; None for any.
    """
    s = anatomy.scale
    candidates = np.flatnonzero(anatomy.area_mm2 > 1500 * s**2)
    if len(candidates) == 0:
        return None
    near = int(rng.choice(candidates)) if around_slice is None else around_slice
    z, level = float(anatomy.slice_position_mm[near]), float(anatomy.level_mm[near])
    side = int(rng.choice([-1, 1]))
    edge = float(rng.uniform(1.7, 3.2)) * max(anatomy.spacing_mm[2], 0.5)
    kind = rng.random()
    shape: Crescent | FalxBand | TentBand
    if kind < 0.16 and level < 75:
        half_z = rng.uniform(12, 40) * s
        thickness = float(np.exp(rng.uniform(np.log(2.3), np.log(8.0)))) * s
        back = rng.random() < 0.6
        shape = FalxBand(
            side=side,
            middle_along=float(rng.uniform(0.3, 0.8) if back else rng.uniform(-0.85, -0.1)),
            half_along=float(rng.uniform(0.25, 0.8)),
            middle_z_mm=z + draw_shift(rng, 0.7, 1.0) * half_z,
            half_z_mm=float(half_z),
            thickness_mm=thickness,
            reach_mm=float(rng.uniform(26, 46) if back else rng.uniform(16, 30)) * s,
            waves=Waves.draw(rng, 12, 50),
            edge_mm=edge,
            density=_draw_density(anatomy, rng, 0.0),
        )
    elif kind < 0.26 and 68 < level < 100:
        slope = float(rng.uniform(0.7, 1.3))
        out = float(rng.uniform(28, 48)) * s
        shape = TentBand(
            side=side,
            top_z_mm=z + float(rng.uniform(0.05, 0.6)) * slope * out,
            slope=slope,
            thickness_mm=float(rng.uniform(2.5, 6.0)) * s,
            from_along=float(rng.uniform(0.05, 0.3)),
            to_along=float(rng.uniform(0.7, 1.0)),
            out_mm=out,
            waves=Waves.draw(rng, 14, 50),
            edge_mm=edge,
            density=_draw_density(anatomy, rng, 0.0),
        )
    else:
        thickness = float(np.exp(rng.uniform(np.log(2.8), np.log(18.0)))) * s
        half_z = float(np.clip(rng.uniform(14, 55) * s, 10, 60))
        half_angle = float(rng.uniform(0.45, 1.7))
        shape = Crescent(
            side=side,
            middle_angle=float(rng.uniform(0.15, 0.95) * np.pi),
            half_angle=half_angle,
            middle_z_mm=z + draw_shift(rng, 0.75, 1.0) * half_z,
            half_z_mm=half_z,
            thickness_mm=thickness,
            waves=Waves.draw(rng, 14, 60),
            unevenness=float(rng.uniform(0.05, 0.35)),
            flatness=float(rng.uniform(0.35, 0.75)),
            edge_mm=edge,
            density=_draw_density(anatomy, rng, thickness),
            push=float(rng.uniform(0.4, 0.8)) if thickness > 2.5 and rng.random() < 0.85 else 0.0,
        )
    return Bleed("subdural", anatomy, shape)
