"""What looks like a bleed and is none: infarcts, cysts, old collections, calcifications, masses as dense as brain.

Painted by the same painters with other densities, they keep a network from taking the paint for the blood.
"""

from dataclasses import dataclass, replace

import numpy as np

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.blob import Blob, plan_blob
from ich25d.bleeds.crescent import plan_crescent
from ich25d.bleeds.shape import Bleed, Layer, Shape

KINDS: dict[str, float] = {"infarct": 0.3, "cyst": 0.1, "collection": 0.2, "calcification": 0.25, "mass": 0.15}
"""Shares in which they are drawn."""

_LARGEST_CALCIFICATION_MM = 4.0


@dataclass(frozen=True, slots=True)
class Decoy:
    """A bleed's form with another density; no label.

    Args:
        form: The bleed's.
        hu: HU of what is painted.
        opacity: How much of it there is, in (0, 1].
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
        return replace(
            drawn,
            alpha=drawn.alpha * np.float32(self.opacity),
            blood_hu=(self.hu + texture).astype(np.float32),
            look=lambda: (np.zeros(drawn.alpha.shape, bool), float("inf")),
        )


def plan_decoy(anatomy: Anatomy, rng: np.random.Generator, around_slice: int | None = None) -> Bleed | None:
    """Decide on one thing that is no bleed.

    Args:
        anatomy: The head.
        rng: Decides everything.
        around_slice: A slice that it shall reach, or end near.

    Returns:
        What `paint` takes as a bleed; its label, an empty text, changes no target. None where the head has no room.
    """
    if not anatomy.usable or (around_slice is not None and anatomy.area_mm2[around_slice] <= 0):
        return None
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    planned = (plan_crescent if kind == "collection" else plan_blob)(anatomy, rng, around_slice)
    if planned is None:
        return None
    form, opacity = planned.shape, 1.0
    if kind == "infarct":
        hu, opacity = anatomy.brain_hu - float(rng.uniform(6, 20)), float(rng.uniform(0.5, 1.0))
    elif kind == "mass":
        hu = anatomy.brain_hu + float(rng.uniform(-6, 4))
    elif kind == "calcification":
        hu = float(rng.uniform(100, 300))
    else:
        hu = float(rng.uniform(anatomy.fluid_hu, anatomy.brain_hu - 8))
    if isinstance(form, Blob) and kind == "calcification":
        form = _small(form)
    return replace(planned, label="", shape=Decoy(form, hu, opacity), ready={})


def _small(form: Blob) -> Blob:
    """Shrink a clot to a calcification: its first part alone, without oedema and push."""
    part = form.parts[0]
    shrink = min(1.0, _LARGEST_CALCIFICATION_MM / float(part.radii_mm.max()))
    return replace(
        form,
        parts=(replace(part, radii_mm=part.radii_mm * shrink),),
        unevenness_mm=form.unevenness_mm * shrink,
        edge_mm=min(form.edge_mm, 2.0),
        patchiness=0.0,
        rim_mm=0.0,
        push_mm=0.0,
    )
