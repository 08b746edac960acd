"""Subdural bleeds: crescents along the convexity, and the choice between them and the bands."""

from dataclasses import dataclass

import cv2
import numpy as np

from ich25d.bleeds.anatomy import Anatomy, Box
from ich25d.bleeds.bands import Density, FalxBand, Plane, TentBand, draw_density
from ich25d.bleeds.shape import (
    Bleed,
    Layer,
    Sight,
    Waves,
    box_where,
    grid_mm,
    head_box,
    inner,
    needed_beside_bone,
    seen_in_tissue,
    soft_edge,
    within,
)

FLOOR_RISE = (0.4, 0.65)
"""Distance to bone gained a mm upwards: beside a wall at most the first, over a floor at least the second."""

PUSH_REACH_MM = 9.0
"""Beyond its ends a crescent moves tissue no farther along the skull than this."""


@dataclass(frozen=True, slots=True)
class Crescent:
    """A layer along the inner table of one hemisphere, thinning out to all sides.

    Args:
        side: -1 or 1, the sign of the lateral coordinate.
        middle_angle: Where it is thickest, as an angle around the head's axis; 0 in front, pi behind.
        half_angle: Half its extent, radians.
        middle_z_mm: Where it is thickest.
        half_z_mm: Half its extent.
        thickness_mm: Greatest thickness.
        waves: Unevenness of the thickness.
        unevenness: Its relative size.
        flatness: Exponent of the profile; small keeps the thickness nearly to the ends.
        edge_mm: Width of the soft edge.
        density: Of the blood.
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
        head = head_box(anatomy, index)
        # Towards the base the layer thins out.
        low = np.float32(np.clip((118 - anatomy.level_mm[index]) / 25, 0, 1))
        if tall <= 0 or low <= 0 or head is None:
            return None
        lateral, along = anatomy.frame(index, head)
        ratio = np.float32(anatomy.midline.half_width_mm / anatomy.midline.half_length_mm)
        angle = cv2.phase(along * -ratio, np.abs(lateral))
        off = (angle - np.float32(self.middle_angle)) / np.float32(self.half_angle)
        profile = (1 - off * off) * np.float32(tall)
        box = box_where(head, (profile > 0) & (lateral * self.side > -1), round(PUSH_REACH_MM / anatomy.spacing_mm[2]))
        if box is None:
            return None
        part = inner(head, box)
        lateral, along = lateral[part], along[part]
        x, y = grid_mm(anatomy, box)
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
        alpha *= within(anatomy, index, box)
        if alpha.max() < 0.05:
            return None
        push = None
        if self.push:
            push = _push_from_table(depth, thickness * midline, self.push, anatomy, rows, columns)
        blood = self.density.at(x, y, z)

        def look() -> Sight:
            full = alpha > 0.5
            contrast = float(np.abs(blood[full] - anatomy.brain_hu).mean()) if full.any() else 1.0
            seen = seen_in_tissue(alpha, contrast)
            return seen, needed_beside_bone(anatomy, seen, depth, contrast)

        return Layer(box, alpha, blood, look, in_fluid=False, push_mm=push)


def over_floor(anatomy: Anatomy, index: int, box: Box) -> Plane:
    """Return how much the nearest bone lies below rather than beside, 0 to 1, float32 (h, w).

    Over the floor of the skull (orbital roofs, middle fossa) every pixel of a slice is near bone: a layer drawn by
    distance alone would fill whole lobes there. Under the vertex the bone lies above, and a layer may well be broad.
    """
    below, above = max(index - 1, 0), min(index + 1, anatomy.n_slices - 1)
    gap = np.float32(anatomy.slice_position_mm[above] - anatomy.slice_position_mm[below])
    if gap <= 0:  # a single slice, or two passes at one place
        return np.zeros((box[2] - box[0], box[3] - box[1]), np.float32)
    rise = anatomy.depth_in(above, box) - anatomy.depth_in(below, box)
    steep = cv2.GaussianBlur(rise / gap, (0, 0), 2.0 / anatomy.spacing_mm[2])
    over: Plane = np.clip((steep - FLOOR_RISE[0]) / (FLOOR_RISE[1] - FLOOR_RISE[0]), 0, 1)
    return over


def _away_from_table(depth: Plane, anatomy: Anatomy) -> tuple[Plane, Plane]:
    """Return the unit vector (rows, columns) that leads away from the nearest bone, float32 (h, w)."""
    height, width = depth.shape
    half = cv2.resize(depth, (max(2, width // 2), max(2, height // 2)), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(half, (0, 0), 1.5 / anatomy.spacing_mm[2])
    rows = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3)
    columns = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3)
    length = np.sqrt(rows * rows + columns * columns) + 1e-3
    return cv2.resize(rows / length, (width, height)), cv2.resize(columns / length, (width, height))


def _push_from_table(
    depth: Plane, thickness: Plane, share: float, anatomy: Anatomy, rows: Plane, columns: Plane
) -> Plane:
    """Return how far tissue under a layer gives way, mm (2, h, w): away from the inner table."""
    wide = cv2.GaussianBlur(thickness, (0, 0), 3.0 / anatomy.spacing_mm[2])
    amount = np.float32(share) * np.maximum(wide - 1.5, 0) * np.exp(-np.maximum(depth - thickness, 0) / 14)
    amount *= np.clip((depth - 2) / 4, 0, 1)
    return np.stack([amount * rows, amount * columns])


def plan_crescent(anatomy: Anatomy, rng: np.random.Generator, around_slice: int | None) -> Bleed | None:
    """Plan a subdural bleed: convexity most often, else falx or tentorium."""
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
            middle_z_mm=z + float(rng.uniform(-0.7, 0.7) * half_z),
            half_z_mm=float(half_z),
            thickness_mm=thickness,
            reach_mm=float(rng.uniform(26, 46) if back else rng.uniform(16, 30)) * s,
            waves=Waves.draw(rng, 12, 50),
            edge_mm=edge,
            density=draw_density(anatomy, rng, 0.0),
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
            density=draw_density(anatomy, rng, 0.0),
        )
    else:
        thickness = float(np.exp(rng.uniform(np.log(2.8), np.log(18.0)))) * s
        half_z = float(np.clip(rng.uniform(14, 55) * s, 10, 60))
        half_angle = float(rng.uniform(0.45, 1.7))
        shape = Crescent(
            side=side,
            middle_angle=float(rng.uniform(0.15, 0.95) * np.pi),
            half_angle=half_angle,
            middle_z_mm=z + float(rng.uniform(-0.8, 0.8) * half_z),
            half_z_mm=half_z,
            thickness_mm=thickness,
            waves=Waves.draw(rng, 14, 60),
            unevenness=float(rng.uniform(0.05, 0.35)),
            flatness=float(rng.uniform(0.35, 0.75)),
            edge_mm=edge,
            density=draw_density(anatomy, rng, thickness),
            push=float(rng.uniform(0.4, 0.8)) if thickness > 2.5 and rng.random() < 0.85 else 0.0,
        )
    return Bleed("subdural", anatomy, shape, 0, anatomy.n_slices - 1)
