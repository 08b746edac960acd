"""What old brains look like: wide sulci and ventricles, a dark rim along the convexity, old infarcts."""

from dataclasses import dataclass

import cv2
import numpy as np

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.shape import Layer, Shape, Waves, box_where, inner, soft_edge, unlabelled


@dataclass(frozen=True, slots=True)
class Atrophy:
    """Brain that gives way to CSF: beside sulci, around the ventricles, along the convexity.

    Args:
        sulci_mm: How far sulci grow.
        ventricle_mm: How far ventricles grow.
        rim_mm: Width of the dark rim beside the inner table; 0 for none.
        sides: Share of the rim on the left and on the right.
        waves: Unevenness.
        share: Of CSF in what has grown.
    """

    sulci_mm: float
    ventricle_mm: float
    rim_mm: float
    sides: tuple[float, float]
    waves: Waves
    share: float

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where no brain is."""
        box = anatomy.head_box(index)
        if box is None:
            return None
        mm = anatomy.spacing_mm[2]
        fluid, depth = anatomy.fluid_in(index, box), anatomy.depth_in(index, box)
        x, y = anatomy.grid_mm(box)
        uneven = np.clip(1 + 0.4 * self.waves.at(x, y, float(anatomy.slice_position_mm[index])), 0.2, 1.8)
        near = cv2.GaussianBlur(fluid, (0, 0), max(self.sulci_mm / mm, 0.5))
        grown = np.clip((near * uneven - 0.16) * 2.6, 0, 1)
        # Below the tentorium what is dark beside bone is a streak more often than a sulcus.
        above = np.float32(np.clip((104 - anatomy.level_mm[index]) / 12, 0, 1))
        grown *= above
        if anatomy.ventricle[index].any():
            horn = cv2.GaussianBlur(anatomy.ventricle_in(index, box), (0, 0), max(self.ventricle_mm / mm, 0.5))
            np.maximum(grown, np.clip((horn - 0.13) * 4, 0, 1), out=grown)
        if self.rim_mm:
            lateral, along = anatomy.coordinates(index, box)
            front = 1 - 0.45 * np.clip(along / np.float32(anatomy.midline.half_length_mm) + 0.2, 0, 1)
            side = np.where(lateral < 0, np.float32(self.sides[0]), np.float32(self.sides[1]))
            thickness = np.float32(self.rim_mm) * uneven * front * side * above
            rim = soft_edge(depth - thickness, 2.0) * np.clip(thickness, 0, 1)
            np.maximum(grown, rim, out=grown)
        dark = np.float32(anatomy.tissue_hu[index] - anatomy.fluid_hu) * np.float32(self.share)
        gain = np.maximum(grown - fluid, 0) * anatomy.inside_in(index, box)
        return unlabelled(box, rim_hu=-dark * gain)


@dataclass(frozen=True, slots=True)
class OldInfarct:
    """A dark wedge, wide at the cortex, narrow at the ventricle.

    Args:
        side: -1 or 1, the sign of the lateral coordinate.
        angle: Direction around the head's axis; 0 in front, pi behind.
        half_angle: Half its width at the cortex, radians.
        z_mm, half_z_mm: Its middle and half its height.
        reach_mm: How deep it goes from the inner table.
        waves: Unevenness of its border.
        loss: Share of the tissue that has become CSF.
    """

    side: int
    angle: float
    half_angle: float
    z_mm: float
    half_z_mm: float
    reach_mm: float
    waves: Waves
    loss: float

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where it does not reach."""
        z = float(anatomy.slice_position_mm[index])
        tall = 1 - ((z - self.z_mm) / self.half_z_mm) ** 2
        head = anatomy.head_box(index)
        if tall <= 0 or head is None:
            return None
        lateral, along = anatomy.coordinates(index, head)
        ratio = np.float32(anatomy.midline.half_width_mm / anatomy.midline.half_length_mm)
        off = np.abs(cv2.phase(along * -ratio, np.abs(lateral)) - np.float32(self.angle))
        box = box_where(head, (off < 1.6 * self.half_angle) & (lateral * self.side > 0))
        if box is None:
            return None
        part = inner(head, box)
        x, y = anatomy.grid_mm(box)
        depth, bumps = anatomy.depth_in(index, box), self.waves.at(x, y, z)
        radius = np.hypot(lateral[part], along[part])
        inwards = np.clip(depth / np.float32(self.reach_mm), 0, 1)
        wide = np.float32(self.half_angle * np.sqrt(tall)) * (1 - 0.6 * inwards)
        inside = soft_edge((off[part] - wide) * radius + 2.5 * bumps, 5.0)
        inside *= soft_edge(depth - np.float32(self.reach_mm * np.sqrt(tall)) + 3 * bumps, 6.0)
        inside *= np.clip(lateral[part] * self.side - 1, 0, 1) * anatomy.inside_in(index, box)
        dark = np.float32((anatomy.tissue_hu[index] - anatomy.fluid_hu) * self.loss)
        dry = 1 - anatomy.fluid_in(index, box)
        return unlabelled(box, rim_hu=-dark * inside * dry * np.clip(0.85 + 0.15 * bumps, 0.4, 1))


def plan_atrophy(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan wider CSF spaces in the whole head, with a dark rim along the convexity in half of the heads.

    Args:
        anatomy: The head.
        rng: Draws everything.
        near: Not needed: all slices change.
    """
    del near
    both = rng.random() < 0.75
    sides = (1.0, float(rng.uniform(0.6, 1.0))) if both else (1.0, 0.0)
    return [
        Atrophy(
            sulci_mm=float(rng.uniform(0.8, 2.4)),
            ventricle_mm=float(rng.uniform(0.8, 5.0)) * anatomy.scale,
            rim_mm=float(rng.uniform(2.5, 9)) * anatomy.scale if rng.random() < 0.5 else 0.0,
            sides=sides if rng.random() < 0.5 else sides[::-1],
            waves=Waves.draw(rng, 35, 120),
            share=float(rng.uniform(0.6, 0.95)),
        )
    ]


def plan_old_infarct(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan an old infarct from the cortex towards the ventricle.

    Args:
        anatomy: The head.
        rng: Draws everything.
        near: A slice that it reaches; empty where that is below the hemispheres.
    """
    s = anatomy.scale
    if anatomy.level_mm[near] > 92 or anatomy.area_mm2[near] < 2500 * s**2:
        return []
    half_z = float(rng.uniform(10, 32)) * s
    return [
        OldInfarct(
            side=int(rng.choice([-1, 1])),
            angle=float(rng.uniform(0.1, 0.95) * np.pi),
            half_angle=float(rng.uniform(0.15, 0.55)),
            z_mm=float(anatomy.slice_position_mm[near]) + float(rng.uniform(-0.8, 0.8)) * half_z,
            half_z_mm=half_z,
            reach_mm=float(rng.uniform(16, 44)) * s,
            waves=Waves.draw(rng, 6, 30, m=16),
            loss=float(rng.uniform(0.4, 1.0)),
        )
    ]
