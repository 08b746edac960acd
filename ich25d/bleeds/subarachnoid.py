"""Subarachnoid bleeds: blood takes the place of CSF in cisterns, fissures and sulci."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import DEPTH_STEPS, Anatomy, Box
from ich25d.bleeds.shape import Bleed, Layer, Sight, Waves, box_where, draw_shift, inner, needed_area_mm2, seen_in_fluid
from ich25d.bleeds.skull import Float

CONVEXITY = 0.4
"""Chance that blood is in sulci of the convexity alone, where the slice shows such, down to single ones."""


@dataclass(frozen=True, slots=True)
class Spread:
    """One region that the blood fills: an ellipsoid in head coordinates with a soft edge.

    Args:
        centre: lateral, along, z in mm.
        radii: Along these.
        strength: Share of blood in the CSF at the middle.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    strength: float


@dataclass(frozen=True, slots=True)
class CisternBlood:
    """Blood in the CSF outside the ventricles.

    Args:
        spreads: The regions that it fills.
        patches: Unevenness of the share of blood, of `patchiness`.
        gain: How much wider blood makes the spaces; 1 keeps them.
        deepest_mm: Distance to the inner table up to which blood reaches; large where it isn't bound to the convexity.
    """

    spreads: tuple[Spread, ...]
    patches: Waves
    patchiness: float
    hu: float
    gain: float
    deepest_mm: float = 1e3

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where no blood is."""
        z = float(anatomy.slice_position_mm[index])
        chosen = [part for part in self.spreads if abs(z - part.centre[2]) < 1.5 * part.radii[2]]
        head = anatomy.head_box(index)
        if not chosen or head is None:
            return None
        lateral, along = anatomy.coordinates(index, head)
        weight = np.zeros(lateral.shape, np.float32)
        for part in chosen:
            (u, v, w), (a, b, c) = part.centre, part.radii
            far = np.sqrt(
                ((lateral - np.float32(u)) / np.float32(a)) ** 2
                + ((along - np.float32(v)) / np.float32(b)) ** 2
                + np.float32(((z - w) / c) ** 2)
            )
            np.maximum(weight, np.float32(part.strength) * np.clip(2.2 * (1.35 - far), 0, 1), out=weight)
        # Two pixels more, which the ventricle's dilation and the blur may look at.
        box = box_where(head, weight > 0, 2)
        if box is None or weight.max() < 0.1:
            return None
        reached = inner(head, box)
        weight, lateral, along = weight[reached], lateral[reached], along[reached]
        x, y = anatomy.grid_mm(box)
        weight *= np.clip(1 + np.float32(self.patchiness) * (self.patches.at(x, y, z) - np.float32(0.3)), 0, 1)
        if self.deepest_mm < 100:
            weight *= np.clip((np.float32(self.deepest_mm) - anatomy.depth_in(index, box)) / 4, 0, 1)
        fluid = anatomy.fluid_in(index, box)
        dry = cv2.dilate(anatomy.ventricle[index, box[0] : box[2], box[1] : box[3]], np.ones((5, 5), np.uint8))
        free = fluid * (1 - dry * np.float32(1 / 255))
        free *= outside_ventricles(anatomy, index, box, lateral, along)
        if self.gain > 1:
            wide = cv2.GaussianBlur(free, (0, 0), 0.7 / anatomy.spacing_mm[2])
            alpha = np.clip(np.maximum(free, wide) * np.float32(self.gain), 0, 1) * weight
        else:
            alpha = free * weight
        if alpha.max() < 0.08:
            return None

        def look() -> Sight:
            # The blur of the bone hides what lies beside it.
            clear = alpha * (anatomy.depth_in(index, box) > 1.5)
            return seen_in_fluid(anatomy, clear, fluid, self.hu), needed_area_mm2(anatomy, 20.0)

        return Layer(box, alpha, np.full(alpha.shape, self.hu, np.float32), look, in_fluid=True)


def outside_ventricles(anatomy: Anatomy, index: int, box: Box, lateral: Float, along: Float) -> Float:
    """Return 0 where dark voxels are no subarachnoid CSF, but a ventricle: deep, near the midline, above the base.

    Args:
        anatomy: The head.
        index: The slice.
        box: top, left, bottom, right.
        lateral: `Anatomy.coordinates` of its pixels.
        along: Likewise.

    Returns:
        float32 (h, w), 0 to 1.
    """
    if anatomy.level_mm[index] > 106:
        # Streaks between the petrous bones look like CSF.
        return np.asarray(np.clip((27 * anatomy.scale - np.abs(lateral)) / 4, 0, 1).astype(np.float32))
    if not 28 < anatomy.level_mm[index] < 84:
        return np.ones(lateral.shape, np.float32)
    s = anatomy.scale
    depth = anatomy.depth_in(index, box)
    back = along / np.float32(anatomy.midline.half_length_mm)
    side = np.abs(lateral)
    deep = np.clip((depth - 26 * s) / 4, 0, 1) * np.clip((34 * s - side) / 3, 0, 1)
    if anatomy.level_mm[index] > 60:
        # The cistern behind the midbrain.
        deep *= 1 - np.clip((16 * s - side) / 3, 0, 1) * np.clip((back - 0.1) * 20, 0, 1)
    return np.asarray((1 - deep).astype(np.float32))


def _spreads(anatomy: Anatomy, rng: np.random.Generator, point: npt.NDArray[np.int16]) -> tuple[Spread, ...]:
    """Draw which spaces hold blood, one of them around `point` (slice, row, column)."""
    s = anatomy.scale
    lateral, along, z = anatomy.head_mm(point)
    level = float(anatomy.level_mm[int(point[0])])
    half = anatomy.midline.half_length_mm
    strength = float(rng.uniform(0.55, 1.0))
    top = z + level * s

    def at(level_mm: float) -> float:
        return top - level_mm * s

    basal = Spread((0.0, rng.uniform(-0.15, 0.1) * half, at(rng.uniform(88, 98))), (34 * s, 34 * s, 17 * s), strength)
    kind = rng.random()
    if level > 74 and kind < 0.75:
        if rng.random() < 0.22:
            # Around the midbrain and in front of the pons.
            return (Spread((0.0, 0.12 * half, at(96)), (20 * s, 22 * s, rng.uniform(9, 18) * s), strength),)
        parts = [basal]
        for side in (-1, 1):
            if rng.random() < 0.6:
                parts.append(
                    Spread(
                        (side * 42 * s, rng.uniform(-0.2, 0.0) * half, at(rng.uniform(76, 86))),
                        (24 * s, rng.uniform(20, 34) * s, rng.uniform(10, 20) * s),
                        strength * rng.uniform(0.5, 1.0),
                    )
                )
        if rng.random() < 0.45:
            parts.append(Spread((0.0, -0.65 * half, at(70)), (9 * s, 28 * s, rng.uniform(18, 40) * s), strength))
        return tuple(parts)
    if kind < 0.12:
        # Everywhere.
        return (Spread((0.0, 0.0, at(70)), (90 * s, 110 * s, rng.uniform(55, 85) * s), strength),)
    if kind < 0.3:
        half_of_head = float(np.sign(lateral) or 1.0)
        radii = (rng.uniform(26, 45) * s, rng.uniform(45, 80) * s, rng.uniform(18, 45) * s)
        return (Spread((half_of_head * 38 * s, along, z), radii, strength),)
    radius = rng.uniform(11, 34) * s
    return (
        Spread((lateral, along, z), (radius, radius * rng.uniform(0.8, 1.6), radius * rng.uniform(0.6, 1.2)), strength),
    )


def _over_brain(anatomy: Anatomy, rng: np.random.Generator, point: npt.NDArray[np.int16]) -> tuple[Spread, ...]:
    """Draw which sulci of the convexity around `point` hold blood: one or two, or those of a region."""
    s = anatomy.scale
    lateral, along, z = anatomy.head_mm(point)
    trace = rng.random() < 0.5
    radius = float(rng.uniform(6, 13) if trace else rng.uniform(16, 42)) * s
    high = radius * float(rng.uniform(0.5, 1.0))
    middle = (lateral, along, z + draw_shift(rng, 0.6, 1.0) * high)
    strength = float(rng.uniform(0.75, 1.0))
    parts = [Spread(middle, (radius * rng.uniform(0.7, 1.2), radius, high), strength)]
    if not trace and rng.random() < 0.4:  # across the falx, too
        parts.append(
            Spread((-lateral, along, middle[2]), (radius * 0.8, radius, high), strength * rng.uniform(0.5, 1.0))
        )
    return tuple(parts)


def plan_subarachnoid(anatomy: Anatomy, rng: np.random.Generator, around_slice: int | None) -> Bleed | None:
    """Plan a subarachnoid bleed; None where the head, or the slice, has no CSF to fill.

    Args:
        anatomy: The head.
        rng: Draws everything.
        around_slice: A slice that it reaches, or ends near; None for any.
    """
    s = anatomy.scale
    slices = np.flatnonzero(anatomy.area_mm2 > 1200 * s**2)
    if len(slices) == 0:
        return None
    convexity = rng.random() < CONVEXITY
    enough_mm2 = float(rng.choice([60.0, 25.0], p=[0.6, 0.4])) * s**2
    for attempt in range(8):
        near = int(rng.choice(slices)) if around_slice is None else around_slice
        over_brain = convexity and anatomy.level_mm[near] < 78
        free = (anatomy.fluid[near] > (60 if over_brain else 110)) & (anatomy.ventricle[near] < 20)
        if over_brain:
            free &= anatomy.depth_steps[near] < 20 * s * DEPTH_STEPS
        places = np.flatnonzero(free.ravel())
        if len(places) < 20:
            if around_slice is not None:
                return None
            continue
        # Of a few places, the one with most CSF around.
        around = cv2.blur(anatomy.fluid[near], (25, 25)).ravel()
        drawn = places[rng.integers(len(places), size=int(rng.integers(1, 5)))]
        row, column = divmod(int(drawn[int(around[drawn].argmax())]), free.shape[1])
        point = np.array([near, row, column], np.int16)
        spreads = _over_brain(anatomy, rng, point) if over_brain else _spreads(anatomy, rng, point)
        shape = CisternBlood(
            spreads=spreads,
            patches=Waves.draw(rng, 16, 60),
            patchiness=float(rng.uniform(0.0, 0.45)),
            hu=anatomy.brain_hu + float(rng.uniform(20, 40) if over_brain else rng.uniform(12, 36)),
            gain=float(rng.uniform(1.3, 2.4) if over_brain else rng.uniform(1.0, 2.6)),
            deepest_mm=float(rng.uniform(14, 26)) * s if over_brain else 1e3,
        )
        layer = shape.layer(anatomy, near)
        n_seen = 0.0 if layer is None else float(layer.look()[0].sum())
        if attempt == 7 or n_seen * anatomy.spacing_mm[1] * anatomy.spacing_mm[2] > enough_mm2:
            ready = {} if layer is None else {near: layer}
            return Bleed("subarachnoid", anatomy, shape, ready)
    return None
