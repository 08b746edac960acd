"""Brightness that is no blood: beam hardening, streaks, contrast in vessels and cortex, ghosts of motion."""

from dataclasses import dataclass

import cv2
import numpy as np

from ich25d.bleeds.anatomy import Anatomy, Box
from ich25d.bleeds.shape import Layer, Shape, Waves, unlabelled
from ich25d.bleeds.skull import Float
from ich25d.bleeds.subarachnoid import outside_ventricles


@dataclass(frozen=True, slots=True)
class TableGlow:
    """Brain that is brighter beside the inner table, and so at the vertex.

    Args:
        hu: At the table.
        fade_mm: Distance in which it falls to a third.
        patches: Where there is more of it.
        patchiness: 0 for an even glow.
    """

    hu: float
    fade_mm: float
    patches: Waves
    patchiness: float

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where no brain is."""
        box = anatomy.head_box(index)
        if box is None:
            return None
        x, y = anatomy.grid_mm(box)
        uneven = self.patches.at(x, y, float(anatomy.slice_position_mm[index])) * np.float32(self.patchiness)
        glow = np.exp(anatomy.depth_in(index, box) * np.float32(-1 / self.fade_mm)) * np.clip(1 + uneven, 0, 1.6)
        return unlabelled(box, rim_hu=np.float32(self.hu) * glow * anatomy.inside_in(index, box))


@dataclass(frozen=True, slots=True)
class Streak:
    """One stripe of beam hardening.

    Args:
        lateral_mm, along_mm: Where it begins.
        angle: Its direction, radians; 0 to the right, positive to the back.
        width_mm: Half its width where it begins; it widens.
        length_mm: Distance in which it fades.
        hu: Added, positive or negative.
        z_mm, half_z_mm: Its height and half the height that it is seen over.
    """

    lateral_mm: float
    along_mm: float
    angle: float
    width_mm: float
    length_mm: float
    hu: float
    z_mm: float
    half_z_mm: float


@dataclass(frozen=True, slots=True)
class Streaks:
    """Stripes from dense bones.

    Args:
        parts: The stripes.
    """

    parts: tuple[Streak, ...]

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where none is seen."""
        z, box = float(anatomy.slice_position_mm[index]), anatomy.head_box(index)
        strength = [float(np.exp(-(((z - part.z_mm) / part.half_z_mm) ** 2))) for part in self.parts]
        if box is None or max(strength) < 0.05:
            return None
        lateral, along = anatomy.coordinates(index, box)
        total = np.zeros(lateral.shape, np.float32)
        for part, share in zip(self.parts, strength, strict=True):
            if share < 0.05:
                continue
            cos, sin = np.float32(np.cos(part.angle)), np.float32(np.sin(part.angle))
            right, down = lateral - np.float32(part.lateral_mm), along - np.float32(part.along_mm)
            far, across = cos * right + sin * down, cos * down - sin * right
            width = np.float32(part.width_mm) + 0.06 * np.maximum(far, 0)
            ahead = np.clip(far * 0.2, 0, 1) * np.exp(np.maximum(far, 0) * np.float32(-1 / part.length_mm))
            total += np.float32(part.hu * share) * ahead * np.exp(-((across / width) ** 2))
        return unlabelled(box, rim_hu=total * anatomy.inside_in(index, box))


@dataclass(frozen=True, slots=True)
class Enhancement:
    """Vessels in CSF and cortex beside it, brighter as after contrast.

    Args:
        vessels: Vessels are where this field is near 0.
        vessel_hu: HU of vessels above brain; None for none.
        cortex_hu: Added in cortex.
        region: Where cortex is bright, of `patchiness`.
        patchiness: 0 for all of it.
    """

    vessels: Waves
    vessel_hu: float | None
    cortex_hu: float
    region: Waves
    patchiness: float

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where no brain is."""
        box = anatomy.head_box(index)
        if box is None:
            return None
        x, y = anatomy.grid_mm(box)
        z = float(anatomy.slice_position_mm[index])
        fluid = anatomy.fluid_in(index, box)
        free = np.maximum(fluid - anatomy.ventricle_in(index, box), 0)
        added = np.zeros(free.shape, np.float32)
        # The arteries of the base and of the Sylvian fissures; higher up they would look like blood in sulci.
        low = float(np.clip((anatomy.level_mm[index] - 56) / 12, 0, 1))
        if self.vessel_hu is not None and low > 0:
            line = np.float32(low) * np.exp(-((self.vessels.at(x, y, z) * 6) ** 2))
            # As dense as brain where CSF was, and so much more.
            cistern = free * outside_ventricles(anatomy, index, box, *anatomy.coordinates(index, box))
            # No lakes: in hydrocephalus the ventricles are where brain should be.
            wide = round(14 / anatomy.spacing_mm[2])
            cistern *= np.clip(6 * (0.9 - cv2.blur(fluid, (wide, wide))), 0, 1)
            filled = np.float32(anatomy.tissue_hu[index] - anatomy.fluid_hu) * cistern
            added += line * (filled + np.float32(self.vessel_hu) * np.minimum(cistern * 2, 1))
        if self.cortex_hu:
            beside = np.clip(cv2.GaussianBlur(free, (0, 0), 2.0 / anatomy.spacing_mm[2]) * 3.5, 0, 1) * (1 - fluid)
            where = np.clip(1 + np.float32(self.patchiness) * (self.region.at(x, y, z) - 0.6), 0, 1.3)
            added += np.float32(self.cortex_hu) * beside * where
        return unlabelled(box, rim_hu=added * anatomy.inside_in(index, box))


@dataclass(frozen=True, slots=True)
class Ghost:
    """A second picture of the head, shifted and weak, on the slices during which it moved.

    It is made from what the anatomy knows (CSF, brain, bone), so that it needs no other slice.

    Args:
        right_mm, down_mm: Its shift.
        share: Its strength.
        z_mm, half_z_mm: Middle and half height of the slices.
        bone_hu: HU that bone counts for: an inner table of 1000 HU is blurred by the movement itself.
    """

    right_mm: float
    down_mm: float
    share: float
    z_mm: float
    half_z_mm: float
    bone_hu: float

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where the head lay still."""
        off = (float(anatomy.slice_position_mm[index]) - self.z_mm) / self.half_z_mm
        box = anatomy.head_box(index)
        if abs(off) > 1.5 or box is None:
            return None
        plain = self._plain(anatomy, index, box)
        move = np.array(
            [[1, 0, self.right_mm / anatomy.spacing_mm[2]], [0, 1, self.down_mm / anatomy.spacing_mm[1]]], np.float32
        )
        shifted = cv2.warpAffine(plain, move, plain.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        share = np.float32(self.share * np.exp(-off * off))
        return unlabelled(box, rim_hu=share * (shifted - plain) * (anatomy.depth_in(index, box) > 0))

    def _plain(self, anatomy: Anatomy, index: int, box: Box) -> Float:
        """Return the slice as the anatomy knows it, HU (h, w)."""
        tissue = np.float32(anatomy.tissue_hu[index])
        brain = tissue - anatomy.fluid_in(index, box) * (tissue - np.float32(anatomy.fluid_hu))
        bone = np.where(anatomy.depth_in(index, box) > 0, brain, np.float32(self.bone_hu))
        return np.asarray(cv2.GaussianBlur(bone.astype(np.float32), (0, 0), 0.8))


def plan_glow(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan a glow along the inner table of the whole head, or of parts.

    Args:
        anatomy: The head.
        rng: Draws everything.
        near: Not needed: all slices change.
    """
    del anatomy, near
    patchiness = float(rng.uniform(0.0, 0.3) if rng.random() < 0.5 else rng.uniform(0.5, 1.0))
    return [TableGlow(float(rng.uniform(4, 18)), float(rng.uniform(3.5, 10)), Waves.draw(rng, 60, 200), patchiness)]


def plan_streaks(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan streaks between and behind the petrous bones.

    Args:
        anatomy: The head.
        rng: Draws everything.
        near: A slice that they reach; empty where that is above the base.
    """
    level = float(anatomy.level_mm[near])
    if not 84 < level < 135:
        return []
    s, half, z = anatomy.scale, anatomy.midline.half_length_mm, float(anatomy.slice_position_mm[near])
    parts = []
    front = float(rng.uniform(0.0, 0.25)) * half
    strength = float(rng.uniform(0.5, 1.3))
    for _ in range(int(rng.integers(4, 11))):
        kind = rng.random()
        height = (z + float(rng.uniform(-4, 4)), float(rng.uniform(3, 9)))
        hu = strength * float(rng.uniform(5, 18) * (1 if rng.random() < 0.55 else -1))
        if kind < 0.7:  # from the ridge inwards and across the fossa
            side = int(rng.choice([-1, 1]))
            angle = float(rng.normal(0.25, 0.5))
            start = (side * float(rng.uniform(24, 50)) * s, front + float(rng.uniform(-6, 12)) * s)
            direction = np.pi - angle if side > 0 else angle
            parts.append(
                Streak(*start, direction, float(rng.uniform(1.0, 3.5)), float(rng.uniform(15, 60)), hu, *height)
            )
        else:  # from the crest of the occiput forwards
            start = (float(rng.uniform(-6, 6)) * s, 0.95 * half)
            direction = -np.pi / 2 + float(rng.normal(0, 0.45))
            parts.append(
                Streak(*start, direction, float(rng.uniform(1.0, 3.0)), float(rng.uniform(12, 40)), hu, *height)
            )
    if rng.random() < 0.6:  # the broad dark bar from ridge to ridge
        bar = -strength * float(rng.uniform(6, 16))
        start = (-60 * s, front + float(rng.uniform(0, 8)) * s)
        parts.append(Streak(*start, 0.0, float(rng.uniform(4, 9)), 300.0, bar, z, float(rng.uniform(4, 9))))
    return [Streaks(tuple(parts))]


def plan_enhancement(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan bright vessels, bright cortex, or both.

    Args:
        anatomy: The head.
        rng: Draws everything.
        near: Not needed: all slices change.
    """
    del near
    kind = rng.random()
    longest = 70 * anatomy.scale
    return [
        Enhancement(
            vessels=Waves.draw(rng, 22, longest, m=10),
            vessel_hu=float(rng.uniform(2, 18)) if kind < 0.75 else None,
            cortex_hu=float(rng.uniform(5, 15)) if kind > 0.35 else 0.0,
            region=Waves.draw(rng, 60, 200),
            patchiness=float(rng.choice([0.0, 0.5, 1.0, 1.5])),
        )
    ]


def plan_ghost(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan a ghost of motion on a few slices.

    Args:
        anatomy: The head.
        rng: Draws everything.
        near: A slice on which it is seen.
    """
    angle, far = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(2, 7))
    return [
        Ghost(
            right_mm=far * float(np.cos(angle)),
            down_mm=far * float(np.sin(angle)),
            share=float(rng.uniform(0.12, 0.35)),
            z_mm=float(anatomy.slice_position_mm[near] + rng.uniform(-4, 4)),
            half_z_mm=float(rng.uniform(4, 14)),
            bone_hu=float(rng.uniform(80, 180)),
        )
    ]
