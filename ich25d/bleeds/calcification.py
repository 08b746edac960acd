"""Calcifications that old heads have: choroid plexus, pineal gland, falx, basal ganglia."""

from dataclasses import dataclass

import cv2
import numpy as np

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.shape import Ellipsoid, Layer, Shape, Vector, Waves, over_thickness, soft_edge, unlabelled
from ich25d.bleeds.skull import Bool, Float

PINEAL_LEVEL_MM = (58.0, 80.0)
PLEXUS_LEVEL_MM = (46.0, 74.0)
GANGLIA_LEVEL_MM = (58.0, 82.0)


@dataclass(frozen=True, slots=True)
class Grains:
    """A clump of chalk: small ellipsoids, denser here than there.

    Args:
        parts: The ellipsoids.
        clumps: Unevenness of the share of chalk, of `clumpiness`.
        edge_mm: Width of the soft edge.
        share: Of chalk in the middle of a grain.
    """

    parts: tuple[Ellipsoid, ...]
    clumps: Waves
    clumpiness: float
    hu: float
    edge_mm: float
    share: float

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where it does not reach."""
        low = np.min([part.centre_mm - part.radii_mm.max() for part in self.parts], axis=0)
        high = np.max([part.centre_mm + part.radii_mm.max() for part in self.parts], axis=0)
        margin = anatomy.spacing_mm[0] / 2 + 1
        if not low[2] - margin <= anatomy.slice_position_mm[index] <= high[2] + margin:
            return None
        middle = (low + high) / 2
        box = anatomy.box_around(float(middle[0]), float(middle[1]), float((high - low)[:2].max()) / 2 + 4)
        if box is None:
            return None
        x, y = anatomy.grid_mm(box)
        clumps = self.clumps.at(x, y, float(anatomy.slice_position_mm[index]))
        bumps = clumps * np.float32(0.5)

        def signed_mm(z_mm: float) -> Float:
            distances = [part.signed_mm(x, y, z_mm) for part in self.parts]
            return np.asarray(np.minimum.reduce(distances) + bumps)

        alpha, _ = over_thickness(anatomy, index, signed_mm, self.edge_mm)
        alpha *= np.clip(1 - np.float32(self.clumpiness) * np.clip(clumps + 0.3, 0, 1.3), 0, 1)
        alpha *= np.clip(anatomy.depth_in(index, box) - 2, 0, 1) * np.float32(self.share)
        return unlabelled(box, alpha=alpha, hu=self.hu) if alpha.max() >= 0.05 else None


@dataclass(frozen=True, slots=True)
class Plate:
    """A thin plate of chalk in the falx.

    Args:
        along_mm, half_along_mm: Its middle along the midline, and half its length.
        z_mm, half_z_mm: Likewise upwards.
        half_mm: Half its thickness.
        waves: Its waviness and unevenness.
    """

    along_mm: float
    half_along_mm: float
    z_mm: float
    half_z_mm: float
    half_mm: float
    hu: float
    waves: Waves

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where it does not reach."""
        z = float(anatomy.slice_position_mm[index])
        tall = 1 - ((z - self.z_mm) / (self.half_z_mm + anatomy.spacing_mm[0] / 2)) ** 2
        box = anatomy.head_box(index)
        if tall <= 0 or box is None:
            return None
        lateral, along = anatomy.coordinates(index, box)
        x, y = anatomy.grid_mm(box)
        waves = self.waves.at(x, y, z)
        off = (along - np.float32(self.along_mm)) / np.float32(self.half_along_mm)
        thickness = np.float32(self.half_mm) * np.clip((1 - off * off) * np.float32(tall) + 0.35 * waves, 0, 1.2)
        alpha = soft_edge(np.abs(lateral + 0.7 * waves) - thickness, 1.6 * max(anatomy.spacing_mm[2], 0.6))
        alpha *= np.clip(2 * thickness, 0, 1) * np.clip(anatomy.depth_in(index, box) - 2, 0, 1)
        alpha *= np.abs(off) < 1
        return unlabelled(box, alpha=alpha, hu=self.hu) if alpha.max() >= 0.05 else None


def draw_grains(
    anatomy: Anatomy, rng: np.random.Generator, middle: Vector, radius_mm: float, *, hu: float, softer_mm: float = 0.0
) -> Grains:
    """Draw a clump of chalk.

    Args:
        anatomy: The head.
        rng: Draws everything.
        middle: x, y from the middle of the image, z in mm.
        radius_mm: About its radius.
        hu: Of the chalk.
        softer_mm: How much wider than usual its edge is.
    """
    parts = []
    for number in range(int(rng.integers(1, 5)) if radius_mm > 1.8 else 1):
        shift = np.clip(rng.normal(0, 0.5, 3), -0.8, 0.8) * radius_mm if number else np.zeros(3)
        radii = radius_mm * rng.uniform(0.35, 0.9, 3) if number else radius_mm * rng.uniform(0.7, 1.1, 3)
        parts.append(Ellipsoid(middle + shift, np.eye(3), np.maximum(radii, 0.9)))
    edge = float(rng.uniform(1.4, 2.8)) * max(anatomy.spacing_mm[2], 0.6) + softer_mm
    clumpiness = float(rng.uniform(0.0, 0.6))
    return Grains(tuple(parts), Waves.draw(rng, 3.5, 12, m=12), clumpiness, hu, edge, float(rng.uniform(0.6, 1.0)))


def _drawn_place(anatomy: Anatomy, rng: np.random.Generator, index: int, where: Bool) -> Vector | None:
    """Draw one pixel of a slice's head box; None where none is wanted."""
    box = anatomy.head_box(index)
    places = np.flatnonzero(where.ravel())
    if box is None or len(places) == 0:
        return None
    row, column = divmod(int(places[int(rng.integers(len(places)))]), where.shape[1])
    return np.array(anatomy.image_mm(np.array([index, box[0] + row, box[1] + column], np.int16)))


def plan_plexus(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan calcified choroid plexus in the atria of the lateral ventricles, on both sides most often.

    Args:
        anatomy: The head.
        rng: Draws everything.
        near: The slice that it reaches or ends beside; empty where it shows no atrium.
    """
    box = anatomy.head_box(near)
    if box is None or not PLEXUS_LEVEL_MM[0] < anatomy.level_mm[near] < PLEXUS_LEVEL_MM[1]:
        return []
    s, (lateral, along) = anatomy.scale, anatomy.coordinates(near, box)
    back = along / np.float32(anatomy.midline.half_length_mm)
    # High slices cut the body of the ventricle, whose back part alone holds plexus.
    # Low ones cut cisterns beside the midline, too.
    front = 0.12 if anatomy.level_mm[near] > 56 else 0.22
    out = 13 if anatomy.level_mm[near] > 62 else 8
    atrium = (anatomy.ventricle_in(near, box) > 0.5) & (back > front) & (back < 0.55)
    shapes: list[Shape] = []
    hu, radius = float(rng.uniform(60, 350)), float(rng.uniform(1.2, 4.2)) * s
    lift = float(rng.uniform(-1.2, 1.2)) * radius
    first = int(rng.choice([-1, 1]))
    for side in (first, -first):
        place = _drawn_place(anatomy, rng, near, atrium & (lateral * side > out * s) & (lateral * side < 36 * s))
        if place is None or (shapes and rng.random() < 0.25):
            continue
        size = radius * float(rng.uniform(0.7, 1.2))
        middle = place + np.array([0.0, 0.0, lift + float(rng.uniform(-1.5, 1.5))])
        shapes.append(draw_grains(anatomy, rng, middle, size, hu=hu * float(rng.uniform(0.7, 1.2))))
    return shapes


def plan_pineal(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan a calcified pineal gland, in the CSF behind the third ventricle where some is seen.

    Args:
        anatomy: The head.
        rng: Draws everything.
        near: The slice that it reaches or ends beside; empty where that is at another level.
    """
    box = anatomy.head_box(near)
    if box is None or not PINEAL_LEVEL_MM[0] < anatomy.level_mm[near] < PINEAL_LEVEL_MM[1]:
        return []
    lateral, along = anatomy.coordinates(near, box)
    back = along / np.float32(anatomy.midline.half_length_mm)
    middle = (np.abs(lateral) < 2.5) & (back > 0.06) & (back < 0.28)
    wet = middle & (cv2.blur(anatomy.fluid_in(near, box), (7, 7)) > 0.3)
    place = _drawn_place(anatomy, rng, near, wet if wet.any() else middle & (back > 0.12) & (back < 0.22))
    if place is None:
        return []
    radius = float(rng.uniform(1.0, 3.0)) * anatomy.scale
    place[2] += float(rng.uniform(-1.0, 1.0)) * radius
    return [draw_grains(anatomy, rng, place, radius, hu=float(rng.uniform(70, 380)))]


def plan_ganglia(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan calcified basal ganglia, much alike on both sides.

    Args:
        anatomy: The head.
        rng: Draws everything.
        near: The slice that they reach or end beside; empty where that is at another level.
    """
    box = anatomy.head_box(near)
    if box is None or not GANGLIA_LEVEL_MM[0] < anatomy.level_mm[near] < GANGLIA_LEVEL_MM[1]:
        return []
    s = anatomy.scale
    lateral, along = anatomy.coordinates(near, box)
    out, front = float(rng.uniform(16, 22)) * s, float(rng.uniform(-14, 2)) * s
    radius, hu = float(rng.uniform(1.6, 4.8)) * s, float(rng.uniform(45, 150))
    lift, soft = float(rng.uniform(-1.0, 1.0)) * radius, float(rng.uniform(0.0, 2.5))
    shapes: list[Shape] = []
    dry = anatomy.fluid_in(near, box) < 0.3
    sides = (-1, 1) if rng.random() < 0.85 else (int(rng.choice([-1, 1])),)
    for side in sides:
        there = (np.abs(lateral - side * out) < 2 * s) & (np.abs(along - front) < 2 * s)
        place = _drawn_place(anatomy, rng, near, there & dry)
        if place is not None:
            place[2] += lift
            shapes.append(
                draw_grains(anatomy, rng, place, radius * float(rng.uniform(0.7, 1.2)), hu=hu, softer_mm=soft)
            )
    return shapes


def plan_plate(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan one to three plates in the falx, near the vertex and in front.

    Args:
        anatomy: The head.
        rng: Draws everything.
        near: The slice that they reach or end beside; empty where that is below the falx.
    """
    level = float(anatomy.level_mm[near])
    if not 6 < level < 72 or anatomy.head_box(near) is None:
        return []
    half, s = anatomy.midline.half_length_mm, anatomy.scale
    shapes: list[Shape] = []
    for _ in range(int(rng.integers(1, 4))):
        # The front half below the corpus callosum's level, anywhere above it.
        shares = (-0.85, -0.5) if level > 40 else (-0.7, 0.7)
        half_z = float(rng.uniform(2, 10)) * s
        shapes.append(
            Plate(
                along_mm=float(rng.uniform(*shares)) * half,
                half_along_mm=float(np.exp(rng.uniform(np.log(2.5), np.log(16)))) * s,
                z_mm=float(anatomy.slice_position_mm[near]) + float(rng.uniform(-1, 1)) * half_z,
                half_z_mm=half_z,
                half_mm=float(rng.uniform(0.7, 2.0)),
                hu=float(rng.uniform(80, 400)),
                waves=Waves.draw(rng, 5, 25),
            )
        )
    return shapes
