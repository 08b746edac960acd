"""The six labels: their order, their weights in the score, and their ids in Kaggle's CSV."""

from collections.abc import Sequence

LABELS: tuple[str, ...] = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
"""Order of the last axis of every logit, probability and target (L = 6); Kaggle's own order in its CSV."""

SUBTYPES: tuple[str, ...] = LABELS[:-1]
"""The five kinds of bleed; `any` is true where one of them is."""

SHORT = dict(zip(SUBTYPES, ("EDH", "IPH", "IVH", "SAH", "SDH"), strict=True))
"""Their usual abbreviations."""

ANY_INDEX = LABELS.index("any")
"""Position of `any` in `LABELS`."""

ANY_FIRST = (ANY_INDEX, *range(ANY_INDEX))
"""Positions of the labels as pages list them: `any` before the subtypes."""

N_LABELS = len(LABELS)
"""Length of the label axis."""

LABEL_WEIGHTS: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 2.0)
"""Weights of the RSNA 2019 score: `any` counts twice (sum 7)."""


def row_ids(image_ids: Sequence[str]) -> list[str]:
    """Return the row ids of Kaggle's CSV, as `ID_0002bd10a_epidural`: six rows per image, in label order."""
    return [f"{image_id}_{label}" for image_id in image_ids for label in LABELS]
