"""What looks like a bleed and is none: which of it a head gets, each kind where it belongs.

Old brains, chalk, dense sinuses, streaks, contrast and motion have files of their own; infarcts, cysts, old collections
and masses are painted here as bleeds are, with other densities, so that a network can't tell blood by traces of the
painting.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.atrophy import plan_atrophy, plan_old_infarct
from ich25d.bleeds.brightness import plan_enhancement, plan_ghost, plan_glow, plan_streaks
from ich25d.bleeds.calcification import draw_grains, plan_ganglia, plan_pineal, plan_plate, plan_plexus
from ich25d.bleeds.dura import plan_dura
from ich25d.bleeds.intraparenchymal import Clot, plan_intraparenchymal
from ich25d.bleeds.shape import Bleed, Layer, Shape, unlabelled
from ich25d.bleeds.skull import Float
from ich25d.bleeds.subdural import plan_subdural


@dataclass(frozen=True, slots=True)
class Decoy:
    """A bleed's shape with another density.

    Args:
        form: The bleed's shape.
        hu: Mean HU.
        opacity: Factor on the share of each pixel that it takes, in (0, 1].
    """

    form: Shape
    hu: float
    opacity: float

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where it does not reach."""
        drawn = self.form.layer(anatomy, index)
        if drawn is None:
            return None
        texture = drawn.blood_hu - drawn.blood_hu.mean(dtype=np.float64)
        return _of_density(drawn, drawn.alpha * np.float32(self.opacity), (self.hu + texture).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Tumour:
    """A mass with a rim brighter than its core, and oedema around.

    Args:
        form: Its shape.
        core_hu: HU of the core.
        ring_hu: HU of the rim.
        ring_mm: Width of the rim.
    """

    form: Clot
    core_hu: float
    ring_hu: float
    ring_mm: float

    def layer(self, anatomy: Anatomy, index: int) -> Layer | None:
        """Return the layer on slice `index`, None where it does not reach."""
        drawn = self.form.layer(anatomy, index)
        if drawn is None:
            return None
        into = cv2.distanceTransform((drawn.alpha > 0.4).astype(np.uint8), cv2.DIST_L2, 3)
        into *= np.float32(anatomy.spacing_mm[2])
        ring = np.exp(-(((into - np.float32(self.ring_mm / 2)) / np.float32(self.ring_mm)) ** 2))
        texture = drawn.blood_hu - np.float32(self.form.hu)
        ring *= np.clip(0.7 + texture * np.float32(0.5 / self.form.texture_hu), 0.1, 1)
        hu = np.float32(self.core_hu) + np.float32(self.ring_hu - self.core_hu) * ring + texture
        return _of_density(drawn, drawn.alpha, hu)


def _of_density(drawn: Layer, alpha: Float, hu: Float) -> Layer:
    """Return a bleed's layer with another share and density; it keeps oedema and push, and no part counts as blood."""
    plain = unlabelled(drawn.box, alpha=alpha, hu=hu, rim_hu=drawn.rim_hu)
    return replace(plain, push_mm=drawn.push_mm, push_box=drawn.push_box)


def _plan_as_bleed(kind: str, anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan what has a bleed's form: an infarct, a cyst, an old collection or a mass."""
    planned = (plan_subdural if kind == "collection" else plan_intraparenchymal)(anatomy, rng, near)
    if planned is None:
        return []
    form, opacity = planned.shape, 1.0
    if kind == "infarct":
        hu, opacity = anatomy.brain_hu - float(rng.uniform(6, 20)), float(rng.uniform(0.5, 1.0))
    elif kind == "mass":
        hu = anatomy.brain_hu + float(rng.uniform(-6, 4))
    else:
        hu = float(rng.uniform(anatomy.fluid_hu, anatomy.brain_hu - 8))
    return [Decoy(form, hu, opacity)]


def _plan_calcification(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan a calcification wherever a clot may lie."""
    planned = plan_intraparenchymal(anatomy, rng, near)
    if planned is None or not isinstance(planned.shape, Clot):
        return []
    middle, radius = planned.shape.parts[0].centre_mm, float(rng.uniform(1, 4)) * anatomy.scale
    return [draw_grains(anatomy, rng, middle, radius, hu=float(rng.uniform(100, 300)))]


def _plan_tumour(anatomy: Anatomy, rng: np.random.Generator, near: int) -> list[Shape]:
    """Plan a tumour: dark in the middle with a bright rim, or moderately dense throughout."""
    planned = plan_intraparenchymal(anatomy, rng, near)
    if planned is None or not isinstance(planned.shape, Clot):
        return []
    form = replace(
        planned.shape,
        texture_hu=float(rng.uniform(0.5, 2.5)),
        patchiness=0.0,
        layered_hu=0.0,
        rim_mm=float(rng.uniform(5, 16)) * anatomy.scale,
        rim_hu=-float(rng.uniform(5, 13)),
    )
    solid = rng.random() < 0.4
    ring = anatomy.brain_hu + float(rng.uniform(6, 16) if solid else rng.uniform(8, 25))
    core = ring - float(rng.uniform(0, 4)) if solid else anatomy.brain_hu - float(rng.uniform(2, 18))
    return [Tumour(form, core, ring, float(rng.uniform(1.2, 3.0)))]


_PLANNERS: dict[str, Callable[[Anatomy, np.random.Generator, int], list[Shape]]] = {
    "plexus": plan_plexus,
    "pineal": plan_pineal,
    "plate": plan_plate,
    "ganglia": plan_ganglia,
    "glow": plan_glow,
    "streaks": plan_streaks,
    "dura": plan_dura,
    "enhancement": plan_enhancement,
    "ghost": plan_ghost,
    "atrophy": plan_atrophy,
    "old_infarct": plan_old_infarct,
    "tumour": _plan_tumour,
    "calcification": _plan_calcification,
    **{kind: partial(_plan_as_bleed, kind) for kind in ("infarct", "cyst", "collection", "mass")},
}

KINDS: dict[str, float] = {
    "plexus": 0.16,
    "pineal": 0.11,
    "plate": 0.07,
    "ganglia": 0.06,
    "glow": 0.10,
    "streaks": 0.08,
    "dura": 0.08,
    "enhancement": 0.05,
    "ghost": 0.03,
    "atrophy": 0.10,
    "old_infarct": 0.04,
    "tumour": 0.03,
    "infarct": 0.03,
    "cyst": 0.01,
    "collection": 0.02,
    "calcification": 0.02,
    "mass": 0.01,
}
"""Shares in which they are drawn, where the slice has room: plexus and pineal gland have it on few slices."""

MOST = (0.55, 0.3, 0.15)
"""Chances of one, two and three kinds in one head: an old one has several."""


def plan_decoys(anatomy: Anatomy, rng: np.random.Generator, around_slice: int | None = None) -> list[Bleed]:
    """Plan one to three kinds of what looks like a bleed and is none.

    Args:
        anatomy: The head.
        rng: Draws everything.
        around_slice: A slice that each kind reaches, or ends near.

    Returns:
        What `paint` takes as bleeds, without labels; empty where the head has no room.
    """
    held = np.flatnonzero(anatomy.area_mm2 > 0)
    if not anatomy.usable or len(held) == 0 or (around_slice is not None and anatomy.area_mm2[around_slice] <= 0):
        return []
    near = int(rng.choice(held)) if around_slice is None else around_slice
    wanted = int(rng.choice(len(MOST), p=MOST)) + 1
    shares = np.array(list(KINDS.values()))
    order = rng.choice(list(KINDS), size=int((shares > 0).sum()), replace=False, p=shares / shares.sum())
    found: list[Bleed] = []
    for kind in order:
        shapes = _PLANNERS[str(kind)](anatomy, rng, near)
        found += [Bleed("", anatomy, shape) for shape in shapes]
        wanted -= bool(shapes)
        if wanted == 0:
            break
    return found
