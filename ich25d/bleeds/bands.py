"""Subdural blood along the falx and the tentorium, and how dense subdural blood is."""

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.shape import (
    Layer,
    Sight,
    Waves,
    grid_mm,
    head_box,
    needed_area_mm2,
    seen_in_tissue,
    soft_edge,
    within,
)

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Density:
    """How dense the blood of a subdural is.

    Args:
        hu: Mean HU.
        texture: Unevenness.
        texture_hu: Its size.
        layered_hu: Difference between the lower (posterior) and the upper part; 0 without a level.
        level_mm: y of the level, from the middle of the image, where layered.
    """

    hu: float
    texture: Waves
    texture_hu: float
    layered_hu: float
    level_mm: float

    def at(self, x: Plane, y: Plane, z: float) -> Plane:
        """Return HU on a grid, float32 (h, w)."""
        blood = np.float32(self.hu) + np.float32(self.texture_hu) * self.texture.at(x, y, z)
        if self.layered_hu:
            part = 1 / (1 + np.exp(-(y[:, None] - np.float32(self.level_mm)) / np.float32(2.5)))
            blood = blood + np.float32(self.layered_hu) * (part - 0.5).astype(np.float32)
        return blood


def draw_density(anatomy: Anatomy, rng: np.random.Generator, thickness_mm: float) -> Density:
    """Draw how dense the blood is: acute most often; mixed, isodense or chronic where it is thick."""
    kind = rng.random()
    brain = anatomy.brain_hu
    thick = thickness_mm > 5
    texture = Waves.draw(rng, 5, 30, m=24)
    layered, level = 0.0, 0.0
    if kind < 0.68 or not thick:
        hu, uneven = brain + rng.uniform(13, 34), rng.uniform(1.0, 4.0)
    elif kind < 0.84:
        hu, uneven = brain + rng.uniform(9, 22), rng.uniform(5, 9)
    elif kind < 0.91:
        hu, uneven = brain + rng.uniform(-4, 8), rng.uniform(1.5, 4)
        layered, level = rng.uniform(14, 28), rng.uniform(-15, 35)
    elif kind < 0.96:
        hu, uneven = brain + rng.uniform(2, 10), rng.uniform(1.5, 4)
    else:
        hu, uneven = brain - rng.uniform(8, 18), rng.uniform(2, 6)
    return Density(float(hu), texture, float(uneven), float(layered), float(level))


def sight_of_band(anatomy: Anatomy, alpha: Plane, hu: float) -> Sight:
    """Return where a band of blood of some HU would be seen, and from which area on."""
    contrast = hu - anatomy.brain_hu
    return seen_in_tissue(alpha, contrast), 1.3 * needed_area_mm2(anatomy, contrast)


@dataclass(frozen=True, slots=True)
class FalxBand:
    """A thin layer on one side of the falx.

    Args:
        side: -1 or 1.
        middle_along, half_along: Where along the falx, as shares of half the brain's length.
        middle_z_mm, half_z_mm: Where it is thickest, and half its height.
        thickness_mm: Greatest thickness.
        reach_mm: How deep the falx hangs from the inner table.
        waves: Unevenness of the thickness.
        edge_mm: Width of the soft edge.
        density: Of the blood.
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
        box = head_box(anatomy, index)
        if tall <= 0 or box is None:
            return None
        lateral, along = anatomy.frame(index, box)
        x, y = grid_mm(anatomy, box)
        off = (along / np.float32(anatomy.midline.half_length_mm) - self.middle_along) / self.half_along
        profile = np.sqrt(np.clip((1 - off * off) * np.float32(tall), 0, 1))
        uneven = np.clip(1 + 0.3 * self.waves.at(x, y, z), 0.4, 1.6)
        hangs = soft_edge(anatomy.depth_in(index, box) - np.float32(self.reach_mm), 6.0)
        thickness = np.float32(self.thickness_mm) * profile * uneven * hangs
        # The falx bends; its own path is followed a little.
        across = lateral * self.side
        alpha = soft_edge(across - thickness, self.edge_mm) * soft_edge(-across - 0.4, self.edge_mm)
        alpha *= np.clip(thickness / np.float32(0.9), 0, 1) * within(anatomy, index, box)
        if alpha.max() < 0.05:
            return None
        blood = self.density.at(x, y, z)
        look = partial(sight_of_band, anatomy, alpha, self.density.hu)
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
        edge_mm: Width of the soft edge.
        density: Of the blood.
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
        box = head_box(anatomy, index)
        if box is None:
            return None
        lateral, along = anatomy.frame(index, box)
        x, y = grid_mm(anatomy, box)
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
        room = within(anatomy, index, box)
        alpha = cv2.GaussianBlur((alpha * room).astype(np.float32), (0, 0), 0.8) * room
        if alpha.max() < 0.1:
            return None
        blood = self.density.at(x, y, z)
        look = partial(sight_of_band, anatomy, alpha, self.density.hu)
        return Layer(box, alpha, blood, look, in_fluid=False)
