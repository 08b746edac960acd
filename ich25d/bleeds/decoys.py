"""What looks like a bleed and is none: infarcts, cysts, old collections, calcifications, masses as dense as brain.

They are painted as bleeds are, with other densities, so that a network can't tell blood by traces of the painting.
"""

from dataclasses import dataclass, replace

import numpy as np

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.intraparenchymal import Clot, plan_intraparenchymal
from ich25d.bleeds.shape import Bleed, Layer, Shape
from ich25d.bleeds.subdural import plan_subdural

KINDS: dict[str, float] = {"infarct": 0.3, "cyst": 0.1, "collection": 0.2, "calcification": 0.25, "mass": 0.15}
"""Shares in which they are drawn."""

_LARGEST_CALCIFICATION_MM = 4.0


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
        return replace(
            drawn,
            alpha=drawn.alpha * np.float32(self.opacity),
            blood_hu=(self.hu + texture).astype(np.float32),
            look=lambda: (np.zeros(drawn.alpha.shape, bool), float("inf")),
        )


def plan_decoy(anatomy: Anatomy, rng: np.random.Generator, around_slice: int | None = None) -> Bleed | None:
    """Plan one thing that looks like a bleed and is none.

    Args:
        anatomy: The head.
        rng: Draws everything.
        around_slice: A slice that it reaches, or ends near.

    Returns:
        What `paint` takes as a bleed, without a label; None where the head has no room.
    """
    if not anatomy.usable or (around_slice is not None and anatomy.area_mm2[around_slice] <= 0):
        return None
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    planned = (plan_subdural if kind == "collection" else plan_intraparenchymal)(anatomy, rng, around_slice)
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
    if isinstance(form, Clot) and kind == "calcification":
        form = _small(form)
    return replace(planned, label="", shape=Decoy(form, hu, opacity), ready={})


def _small(form: Clot) -> Clot:
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
