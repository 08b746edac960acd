"""Intraventricular bleeds: a cast of a ventricle, a layer in the back horns, or a clot."""

from dataclasses import dataclass

import cv2
import numpy as np

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.shape import Bleed, Layer, Sight, Waves, needed_area_mm2, seen_in_fluid, soft_edge
from ich25d.bleeds.skull import Bool, Float


@dataclass(frozen=True, slots=True)
class VentricleBlood:
    """Blood in the CSF of the ventricles.

    Args:
        sides: Which lateral ventricles, -1 and 1; 0 for those of the midline (third and fourth).
        level_mm: Blood lies behind this y (from the middle of the image): a level, patient on the back.
        level_edge_mm: How sharp the level is.
        centre: lateral, along, z of a clot in mm; with `radius_mm` it bounds the blood.
        radius_mm: Large for a cast.
        patches: Unevenness of the share of blood, of `patchiness`.
        share: Of blood in the CSF.
    """

    sides: tuple[int, ...]
    level_mm: float
    level_edge_mm: float
    centre: tuple[float, float, float]
    radius_mm: float
    patches: Waves
    patchiness: float
    hu: float
    share: float

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where no blood is."""
        z = float(anatomy.slice_position_mm[index])
        if abs(z - self.centre[2]) > self.radius_mm or not anatomy.ventricle[index].any():
            return None
        box = anatomy.head_box(index)
        if box is None:
            return None
        lateral, along = anatomy.coordinates(index, box)
        x, y = anatomy.grid_mm(box)
        # The third and fourth ventricle lie on the midline, below the bodies of the lateral ones.
        central = is_central(anatomy, index, lateral, along)
        allowed = central & (0 in self.sides)
        for side in self.sides:
            if side:
                allowed |= (lateral * side > 0) & ~central
        allowed = cv2.GaussianBlur(allowed.astype(np.float32), (0, 0), 1.0)
        far = np.sqrt(
            (lateral - np.float32(self.centre[0])) ** 2
            + (along - np.float32(self.centre[1])) ** 2
            + np.float32((z - self.centre[2]) ** 2)
        )
        patches = self.patches.at(x, y, z)
        weight = soft_edge(far + 2 * patches - np.float32(self.radius_mm), 4.0) * np.float32(self.share)
        weight *= soft_edge(np.float32(self.level_mm) - y[:, None], self.level_edge_mm)
        weight *= np.clip(1 + np.float32(self.patchiness) * (patches - np.float32(0.4)), 0, 1)
        alpha = np.minimum(anatomy.ventricle_in(index, box) * np.float32(1.2), 1) * weight * allowed
        if alpha.max() < 0.1:
            return None

        def look() -> Sight:
            seen = seen_in_fluid(anatomy, alpha, anatomy.fluid_in(index, box), self.hu)
            return seen, 0.6 * needed_area_mm2(anatomy, 20.0)

        return Layer(box, alpha, np.full(alpha.shape, self.hu, np.float32), look, in_fluid=True)


def is_central(anatomy: Anatomy, index: int, lateral: Float, along: Float) -> Bool:
    """Return which pixels of a slice lie where the third and fourth ventricle are, bool like `lateral`.

    Args:
        anatomy: The head.
        index: The slice.
        lateral: mm from the midline.
        along: mm, positive to the back.
    """
    level = anatomy.level_mm[index]
    half = anatomy.midline.half_length_mm
    if level < 66:
        return np.zeros(lateral.shape, bool)
    result: Bool = (np.abs(lateral) < 5 * anatomy.scale) & (along > -0.12 * half)
    return result | (np.abs(lateral) < 16 * anatomy.scale) if level > 92 else result


def has_ventricle(anatomy: Anatomy) -> Bool:
    """Return which slices show enough of a ventricle to hold blood that is seen, bool (n,)."""
    return np.asarray(anatomy.ventricle_mm2 > 45 * anatomy.scale**2)


def plan_intraventricular(anatomy: Anatomy, rng: np.random.Generator, around_slice: int | None) -> Bleed | None:
    """Plan an intraventricular bleed; None where the head, or the slice, shows no ventricle.

    Args:
        anatomy: The head.
        rng: Draws everything.
        around_slice: A slice that it reaches; None for any.
    """
    slices = np.flatnonzero(has_ventricle(anatomy))
    if around_slice is not None:
        slices = slices[slices == around_slice]
    if len(slices) == 0:
        return None
    near = int(rng.choice(slices))
    rows, columns = np.nonzero(anatomy.ventricle[near] > 150)
    if len(rows) == 0:
        return None
    pick = int(rng.integers(len(rows)))
    lateral, along, z = anatomy.head_mm(np.array([near, rows[pick], columns[pick]], np.int16))
    central = is_central(anatomy, near, np.full((1, 1), lateral, np.float32), np.full((1, 1), along, np.float32))
    own = 0 if central[0, 0] else int(np.sign(lateral) or 1)
    chance = 1.0 if rng.random() < 0.35 else 0.35
    others = [side for side in (-1, 0, 1) if side != own and rng.random() < chance]
    sides = (own, *others)
    height, _ = anatomy.plane_shape
    level, level_edge, centre, radius = -1e4, 1.0, (0.0, 0.0, z), 1e4
    kind = rng.random()
    if kind < 0.55 and own != 0:
        # A layer: measured from the back end of the blood's own ventricle.
        back = float((rows.max() - (height - 1) / 2) * anatomy.spacing_mm[1])
        level = back - float(np.exp(rng.uniform(np.log(2.5), np.log(16)))) * anatomy.scale
        level_edge = float(rng.choice([1.2, 2.0, 5.0])) * max(anatomy.spacing_mm[1], 0.5)
    elif kind < 0.72:
        centre, radius = (lateral, along, z), float(rng.uniform(6, 22)) * anatomy.scale
    else:
        radius = float(rng.uniform(15, 60)) * anatomy.scale
        centre = (0.0, along, z)
        radius += abs(lateral) + 10
    shape = VentricleBlood(
        sides=sides,
        level_mm=level,
        level_edge_mm=level_edge,
        centre=centre,
        radius_mm=radius,
        patches=Waves.draw(rng, 8, 40),
        patchiness=float(rng.uniform(0.0, 0.3)),
        hu=anatomy.brain_hu + float(rng.uniform(16, 40)),
        share=float(rng.uniform(0.75, 1.0)),
    )
    return Bleed("intraventricular", anatomy, shape)
