"""Which bleeds a head gets, and where: decided once in space, before any slice is painted."""

from collections.abc import Callable, Sequence

import numpy as np

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.epidural import plan_epidural
from ich25d.bleeds.intraparenchymal import plan_intraparenchymal
from ich25d.bleeds.intraventricular import has_ventricle, plan_intraventricular
from ich25d.bleeds.shape import Bleed
from ich25d.bleeds.subarachnoid import plan_subarachnoid
from ich25d.bleeds.subdural import plan_subdural
from ich25d.labels import SUBTYPES

Planner = Callable[[Anatomy, np.random.Generator, int | None], Bleed | None]

PLANNERS: dict[str, Planner] = {
    "epidural": plan_epidural,
    "intraparenchymal": plan_intraparenchymal,
    "intraventricular": plan_intraventricular,
    "subarachnoid": plan_subarachnoid,
    "subdural": plan_subdural,
}
"""What plans the bleed of each subtype."""

CHANCES: dict[str, float] = {
    "epidural": 0.12,
    "intraparenchymal": 0.23,
    "intraventricular": 0.50,
    "subarachnoid": 0.23,
    "subdural": 0.28,
}
"""Shares in which each is drawn first. The real shares would give hardly any epidural (3 % of positive slices);
the intraventricular is drawn only where the slice shows a ventricle, about every third."""

COMPANIONS: dict[str, tuple[str, ...]] = {
    "epidural": ("subdural", "subarachnoid", "intraparenchymal"),
    "intraparenchymal": ("intraventricular", "subarachnoid", "subdural", "intraparenchymal"),
    "intraventricular": ("intraparenchymal", "subarachnoid"),
    "subarachnoid": ("subdural", "intraparenchymal", "intraventricular", "subarachnoid"),
    "subdural": ("subarachnoid", "subdural", "intraparenchymal"),
}
"""What a second bleed beside it is drawn from."""

SECOND = 0.3
"""Chance of a second bleed."""


def plan_bleeds(
    anatomy: Anatomy,
    rng: np.random.Generator,
    *,
    labels: Sequence[str] | None = None,
    around_slice: int | None = None,
) -> list[Bleed]:
    """Decide on one or two bleeds of a head.

    Args:
        anatomy: The head.
        rng: Draws everything.
        labels: Exactly these subtypes, as far as this head has room for them; by default drawn.
        around_slice: A slice that the bleeds reach, or end near.

    Returns:
        One or two bleeds, or as many as `labels`; fewer or none where the head has no room: what is seen on a slice
        is in the labels that `paint` returns.
    """
    if not anatomy.usable or (around_slice is not None and anatomy.area_mm2[around_slice] <= 0):
        return []
    if labels is not None:
        planned = (PLANNERS[label](anatomy, rng, around_slice) for label in labels)
        return [bleed for bleed in planned if bleed is not None]
    bleeds: list[Bleed] = []
    chances = np.array([CHANCES[label] for label in SUBTYPES])
    if around_slice is not None and not has_ventricle(anatomy)[around_slice]:
        chances[SUBTYPES.index("intraventricular")] = 0
    for _ in range(6):
        first = str(rng.choice(SUBTYPES, p=chances / chances.sum()))
        bleed = PLANNERS[first](anatomy, rng, around_slice)
        if bleed is None:
            continue
        bleeds.append(bleed)
        if rng.random() < SECOND:
            second = PLANNERS[str(rng.choice(COMPANIONS[first]))](anatomy, rng, around_slice)
            if second is not None:
                bleeds.append(second)
        break
    return bleeds
