"""Intraparenchymal bleeds: clots in deep nuclei, lobes, brain stem and cerebellum; contusions."""

from dataclasses import dataclass

import cv2
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
    needed_area_mm2,
    over_thickness,
    seen_in_tissue,
    soft_edge,
)  # fmt: skip
from ich25d.bleeds.skull import Float


@dataclass(frozen=True, slots=True)
class Clot:
    """A union of uneven ellipsoids within the brain.

    Args:
        parts: The ellipsoids.
        shape_waves: Unevenness of the surface, of `unevenness_mm`.
        edge_mm: Width of the soft edge.
        texture: Unevenness of the density, of `texture_hu`.
        patchiness: Share of the clot that is mixed with tissue (contusions).
        rim_mm: Width of the oedema; 0 for none.
        rim_hu: Its HU relative to tissue, negative.
        push_mm: How far tissue at the surface gives way.
        depth_mm: How near to the inner table it may come.
        need: From which share of the usual area on a slice counts; a small dense clot stands out.
        clear_hu: HU above brain that a pixel needs to count; cortex is brighter than brain on the whole.
        layered_hu: Difference between the lower (posterior) and the upper part; 0 without a level.
        level_mm: y of the level, from the middle of the image.
    """

    parts: tuple[Ellipsoid, ...]
    shape_waves: Waves
    unevenness_mm: float
    edge_mm: float
    hu: float
    texture: Waves
    texture_hu: float
    patchiness: float
    rim_mm: float
    rim_hu: float
    push_mm: float
    depth_mm: float
    need: float = 0.9
    clear_hu: float = 0.0
    layered_hu: float = 0.0
    level_mm: float = 0.0

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where the clot does not reach."""
        low = np.min([part.centre_mm - part.radii_mm.max() for part in self.parts], axis=0)
        high = np.max([part.centre_mm + part.radii_mm.max() for part in self.parts], axis=0)
        z = float(anatomy.slice_position_mm[index])
        margin = self.rim_mm + anatomy.spacing_mm[0] / 2 + 2 * self.unevenness_mm
        if not low[2] - margin <= z <= high[2] + margin:
            return None
        middle = (low + high) / 2
        reach = float((high - low)[:2].max()) / 2 + self.rim_mm + self.unevenness_mm + 3
        box = anatomy.box_around(float(middle[0]), float(middle[1]), reach)
        if box is None:
            return None
        x, y = anatomy.grid_mm(box)
        bumps = self.shape_waves.at(x, y, z) * np.float32(self.unevenness_mm)

        def signed_mm(z_mm: float) -> Float:
            nearest = np.full(bumps.shape, np.float32(1e3))
            for part in self.parts:
                np.minimum(nearest, part.signed_mm(x, y, z_mm), out=nearest)
            nearest += bumps
            return nearest

        alpha, signed = over_thickness(anatomy, index, signed_mm, self.edge_mm)
        if alpha.max() < 0.05:
            return None
        depth = anatomy.depth_in(index, box)
        room = np.clip((depth - np.float32(self.depth_mm)) / np.float32(1.5), 0, 1)
        alpha *= room * anatomy.inside_in(index, box)
        tone = self.texture.at(x, y, z)
        if self.patchiness:
            alpha *= np.clip(1 - np.float32(self.patchiness) * np.clip(tone + 0.4, 0, 1.2), 0, 1)
        if alpha.max() < 0.05:
            return None
        blood = np.float32(self.hu) + np.float32(self.texture_hu) * tone
        if self.layered_hu:
            blood += np.float32(self.layered_hu) * (soft_edge(np.float32(self.level_mm) - y[:, None], 4.0) - 0.5)
        rim = None
        if self.rim_mm:
            fade = np.clip(1 - np.maximum(signed, 0) / np.float32(self.rim_mm), 0, 1)
            deep = np.clip((depth - 3) / 3, 0, 1) * (1 - anatomy.fluid_in(index, box))
            rim = np.asarray(np.float32(self.rim_hu) * fade * (1 - alpha) * deep, np.float32)
        push, push_box = None, None
        if self.push_mm:
            push_box = anatomy.box_around(float(middle[0]), float(middle[1]), reach + 22)
            push = self._push(anatomy, index, push_box, middle, float(np.sqrt(alpha.sum() / np.pi)))

        def look() -> Sight:
            contrast = self.hu - anatomy.brain_hu
            seen = seen_in_tissue(alpha, contrast) & (alpha * np.float32(contrast) >= self.clear_hu)
            return seen, self.need * needed_area_mm2(anatomy, contrast)

        return Layer(box, alpha, blood, look, in_fluid=False, rim_hu=rim, push_mm=push, push_box=push_box)

    def _push(self, anatomy: Anatomy, index: int, box: Box | None, middle: Vector, radius_px: float) -> Float | None:
        """Return how far tissue gives way, mm (2, h, w): away from the middle, fading with distance."""
        if box is None:
            return None
        x, y = anatomy.grid_mm(box)
        dx, dy = x[None, :] - np.float32(middle[0]), y[:, None] - np.float32(middle[1])
        length = np.sqrt(dx * dx + dy * dy) + 1e-3
        outward = np.maximum(length - np.float32(radius_px * anatomy.spacing_mm[2]), 0)
        free = np.clip((anatomy.depth_in(index, box) - 2) / 10, 0, 1)
        amount = np.float32(self.push_mm) * np.exp(-outward / 10) * free * np.clip(length / 4, 0, 1)
        return np.stack([amount * dy / length, amount * dx / length])


def _turned(rng: np.random.Generator) -> Vector:
    """Draw three perpendicular unit vectors, as rows."""
    matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return np.asarray(matrix)


def _site(anatomy: Anatomy, rng: np.random.Generator, index: int) -> tuple[npt.NDArray[np.int16], str] | None:
    """Draw a voxel of slice `index` that suits one of the sites of this level."""
    s = anatomy.scale
    level = float(anatomy.level_mm[index])
    box = anatomy.head_box(index)
    if box is None:
        return None
    top, left, bottom, right = box
    lateral, along = anatomy.coordinates(index, box)
    side, back = np.abs(lateral) / s, along / s
    depth = anatomy.depth_in(index, box) / np.float32(s)
    tissue = (depth > 5) & (anatomy.fluid[index, top:bottom, left:right] < 90)
    half = anatomy.midline.half_length_mm / s
    sites: list[tuple[str, float, npt.NDArray[np.bool_]]] = []
    if 58 < level < 86:
        sites.append(("deep", 2.2, tissue & (side > 17) & (side < 32) & (back > -22) & (back < 14)))
        sites.append(("deep", 1.3, tissue & (side > 6) & (side < 18) & (back > 0) & (back < 22)))
    if level < 95:
        sites.append(("lobar", 2.0, tissue & (depth > 8) & (depth < 34) & (side > 6)))
    if 92 < level < 118:
        sites.append(("stem", 0.7, tissue & (side < 9) & (back > -6) & (back < 16) & (depth > 12)))
    if 94 < level < 130:
        sites.append(("cerebellar", 1.6, tissue & (side < 40) & (back > 22) & (depth > 7)))
    if level > 70:
        front = (back < -0.5 * half) & (side < 40)
        temporal = (side > 30) & (back > -0.5 * half) & (back < 0.1 * half)
        sites.append(("contusion", 1.6, tissue & (depth < 13) & (front | temporal)))
    else:
        sites.append(("contusion", 0.5, tissue & (depth < 11)))
    if level < 95:
        beside = cv2.blur(anatomy.fluid_in(index, box), (9, 9)) > 0.08
        sites.append(("cortical", 1.4, tissue & (depth < 15) & (beside | (depth < 8))))
    sites = [(name, chance, where) for name, chance, where in sites if where.sum() > 20]
    if not sites:
        return None
    chances = np.array([chance for _, chance, _ in sites])
    name, _, where = sites[int(rng.choice(len(sites), p=chances / chances.sum()))]
    places = np.flatnonzero(where.ravel())
    row, column = divmod(int(places[int(rng.integers(len(places)))]), where.shape[1])
    return np.array([index, top + row, left + column], np.int16), name


def plan_intraparenchymal(anatomy: Anatomy, rng: np.random.Generator, around_slice: int | None) -> Bleed | None:
    """Plan an intraparenchymal bleed; None where no place is found.

    Args:
        anatomy: The head.
        rng: Draws everything.
        around_slice: A slice that it reaches, or ends near; None for any.
    """
    s = anatomy.scale
    slices = np.flatnonzero(anatomy.area_mm2 > 2500 * s**2)
    if len(slices) == 0:
        return None
    near = int(rng.choice(slices)) if around_slice is None else around_slice
    drawn = _site(anatomy, rng, near)
    if drawn is None:
        return None
    point, site = drawn
    biggest = {"deep": 24.0, "lobar": 30.0, "stem": 10.0, "cerebellar": 20.0, "contusion": 16.0, "cortical": 4.2}[site]
    small = site == "cortical"
    radius = float(rng.uniform(2.2, 4.2) if small else np.clip(np.exp(rng.normal(np.log(8.5), 0.55)), 2.6, biggest)) * s
    x, y, z = anatomy.image_mm(point)
    middle = np.array([x, y, z + draw_shift(rng, 0.8, 1.1) * radius])
    count = int(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15])) if not small else 1
    scattered = site == "contusion" and rng.random() < 0.5
    parts = []
    for k in range(count + 2 * scattered):
        size = radius * (1.0 if k == 0 else rng.uniform(0.4, 0.85)) * (0.6 if scattered else 1.0)
        shift = np.zeros(3) if k == 0 else rng.normal(size=3) * radius * (1.0 if scattered else 0.55)
        radii = size * np.exp(rng.normal(0, 0.22, 3))
        parts.append(Ellipsoid(middle + shift, _turned(rng), np.maximum(radii, 1.5)))
    dense = (22, 40) if small else (13, 33) if rng.random() < 0.85 else (9, 17)
    rim = float(rng.uniform(2, 5) + 0.35 * radius) if rng.random() < 0.6 and radius > 4 else 0.0
    shape = Clot(
        parts=tuple(parts),
        shape_waves=Waves.draw(rng, 5 + 0.7 * radius, 12 + 2.5 * radius),
        unevenness_mm=float(rng.uniform(0.04, 0.2)) * radius,
        edge_mm=float(rng.choice([2.0, 3.0, 4.0, 6.0], p=[0.25, 0.35, 0.25, 0.15] if not small else [0.5, 0.5, 0, 0]))
        * max(anatomy.spacing_mm[2], 0.5),
        hu=min(anatomy.brain_hu + float(rng.uniform(*dense)), 77.0),
        texture=Waves.draw(rng, 3, 30, m=24),
        texture_hu=float(rng.uniform(2.5, 8.0)),
        patchiness=float(rng.uniform(0.3, 0.9)) if site == "contusion" and rng.random() < 0.6 else 0.0,
        rim_mm=min(rim, 12.0),
        rim_hu=-float(rng.uniform(4, 11)),
        push_mm=float(rng.uniform(0.1, 0.35)) * radius if radius > 6 and rng.random() < 0.8 else 0.0,
        depth_mm=float(rng.choice([-1.5, 0.3, 1.5])) if site in ("contusion", "cortical") else 2.0,
        need=0.6 if small else 0.9,
        clear_hu=12.0 if small else 0.0,
        # A level of settled cells, as under anticoagulants.
        layered_hu=float(rng.uniform(10, 24)) if radius > 11 * s and rng.random() < 0.2 else 0.0,
        level_mm=y + float(rng.uniform(-0.4, 0.5)) * radius,
    )
    return Bleed("intraparenchymal", anatomy, shape)
