"""Dense venous sinuses, falx and tentorium, as where the blood is thick: on both sides, in their own places."""

from dataclasses import dataclass

import numpy as np

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.shape import Layer, Shape, Waves, soft_edge, unlabelled
from ich25d.bleeds.skull import Float


@dataclass(frozen=True, slots=True)
class DenseDura:
    """What is added where falx and sinuses are.

    Args:
        falx_hu: Added in the falx.
        falx_mm: Half its thickness.
        sinus_hu: Added in the sinuses.
        sinus_mm: Half the width of the superior sagittal sinus; the others are likewise.
        transverse_level_mm: Level of the transverse sinuses below the vertex.
        lean: Share by which the right transverse sinus is wider.
        waves: Waviness and unevenness.
    """

    falx_hu: float
    falx_mm: float
    sinus_hu: float
    sinus_mm: float
    transverse_level_mm: float
    lean: float
    waves: Waves

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where no brain is."""
        box = anatomy.head_box(index)
        if box is None:
            return None
        lateral, along = anatomy.coordinates(index, box)
        x, y = anatomy.grid_mm(box)
        s, level = np.float32(anatomy.scale), float(anatomy.level_mm[index])
        back = along / np.float32(anatomy.midline.half_length_mm)
        depth = anatomy.depth_in(index, box)
        waves = self.waves.at(x, y, float(anatomy.slice_position_mm[index]))
        side = np.abs(lateral + 0.5 * waves)
        added = np.zeros(side.shape, np.float32)
        if level < 90:
            hangs = soft_edge(depth - s * (26 + 14 * np.clip(back, 0, 1)), 8.0) * np.float32(
                np.clip((90 - level) / 8, 0, 1)
            )
            added += np.float32(self.falx_hu) * soft_edge(side - np.float32(self.falx_mm), 1.6) * hangs
            added *= np.clip(0.85 + 0.25 * waves, 0.3, 1.2)
        np.maximum(added, np.float32(self.sinus_hu) * self._sinuses(s, level, lateral, side, back, depth), out=added)
        return unlabelled(box, rim_hu=added * anatomy.inside_in(index, box))

    def _sinuses(self, s: np.float32, level: float, lateral: Float, side: Float, back: Float, depth: Float) -> Float:
        """Return the share of each pixel that a sinus takes, float32 (h, w)."""
        wide = np.float32(self.sinus_mm) * s
        # A triangle whose base is on the bone: behind at all levels, in the middle under the vertex.
        behind = np.clip((back - 0.35) * 6, 0, 1) if level > 18 else np.clip((back + 0.5) * 4, 0, 1)
        sagittal = soft_edge(side - wide * (1.1 - depth / (2.2 * wide)), 2.0) * soft_edge(depth - 1.6 * wide, 2.5)
        sagittal *= behind * np.float32(np.clip((self.transverse_level_mm + 4 - level) / 5, 0, 1))
        size = wide * np.where(lateral > 0, np.float32(1 + self.lean), np.float32(1 - self.lean))
        at_bone = soft_edge(depth - 1.4 * size, 2.5)
        across = at_bone * np.clip((back - 0.42) * 8, 0, 1) * _near(level - self.transverse_level_mm, 4.5)
        down = (
            at_bone
            * np.clip((back - 0.12) * 8, 0, 1)
            * np.clip((0.55 - back) * 8, 0, 1)
            * np.clip((side / s - 32) / 4, 0, 1)
        )
        down *= _near(level - self.transverse_level_mm - 11, 9.0)
        return np.asarray(np.maximum(np.maximum(sagittal, across), down))


def _near(off_mm: float, half_mm: float) -> np.float32:
    """Return 1 at a level, falling to 0 with distance."""
    return np.float32(np.exp(-((off_mm / half_mm) ** 2)))


@dataclass(frozen=True, slots=True)
class DenseTentorium:
    """Both leaves of the tentorium, as a thin sheet that a slice cuts as a V.

    Args:
        top_z_mm: Where they meet the falx.
        slope: mm that they fall for each mm to the side.
        thickness_mm: Of the sheet.
        hu: Added.
        waves: Unevenness.
    """

    top_z_mm: float
    slope: float
    thickness_mm: float
    hu: float
    waves: Waves

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where it does not reach."""
        z, dz, s = float(anatomy.slice_position_mm[index]), max(anatomy.spacing_mm[0], 1.0), anatomy.scale
        box = anatomy.head_box(index)
        if box is None or not self.top_z_mm - 75 * s < z < self.top_z_mm + dz:
            return None
        lateral, along = anatomy.coordinates(index, box)
        x, y = anatomy.grid_mm(box)
        back, side = along / np.float32(anatomy.midline.half_length_mm), np.abs(lateral)
        leaf = self.top_z_mm - np.float32(self.slope) * side - np.float32(26 * s) * np.clip(back - 0.25, 0, 1)
        leaf += 1.2 * self.waves.at(x, y, 0.0)
        # A sheet is steep: on a thick slice it is a band as wide as the slice's thickness over its slope.
        low, high = np.maximum(leaf, z - dz / 2), np.minimum(leaf + np.float32(self.thickness_mm), z + dz / 2)
        share = np.clip((high - low) / np.float32(min(dz, self.thickness_mm)), 0, 1)
        share *= np.clip((back - 0.12) * 8, 0, 1) * np.clip((anatomy.depth_in(index, box) - 1) / 3, 0, 1)
        share *= soft_edge(side - np.float32(46 * s), 8.0)
        return unlabelled(box, rim_hu=np.float32(self.hu) * share * anatomy.inside_in(index, box))


def plan_dura(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan dense sinuses and falx, and a dense tentorium where the slice may show it.

    Args:
        anatomy: The head.
        rng: Draws everything.
        near: The slice to look at.
    """
    s, level = anatomy.scale, float(anatomy.level_mm[near])
    sinus = float(rng.uniform(8, 25))
    shapes: list[Shape] = [
        DenseDura(
            falx_hu=float(rng.uniform(0.4, 1.0)) * sinus,
            falx_mm=float(rng.uniform(0.6, 1.6)),
            sinus_hu=sinus,
            sinus_mm=float(rng.uniform(3.2, 5.5)),
            transverse_level_mm=float(rng.uniform(92, 106)),
            lean=float(rng.uniform(-0.3, 0.5)),
            waves=Waves.draw(rng, 20, 80),
        )
    ]
    low = (level - 62) / 34
    if 0 < low < 1:
        # The leaves pass this slice between falx and bone, the lower the farther from the middle.
        slope, out = float(rng.uniform(0.7, 1.2)), float(rng.uniform(4, 18) + 20 * low) * s
        shapes.append(
            DenseTentorium(
                top_z_mm=float(anatomy.slice_position_mm[near]) + slope * out,
                slope=slope,
                thickness_mm=float(rng.uniform(1.5, 3.5)),
                hu=float(rng.uniform(0.5, 1.0)) * sinus,
                waves=Waves.draw(rng, 14, 50),
            )
        )
    return shapes
