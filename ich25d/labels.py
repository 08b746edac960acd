"""The six labels: their order, their weights in the score, and their ids in Kaggle's CSV.

Every other file imports them from here, so that an order is written down once.
"""

from collections.abc import Sequence

LABELS: tuple[str, ...] = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
"""Order of the last axis of every logit, probability and target (L = 6); Kaggle's own order in its CSV."""

SUBTYPES: tuple[str, ...] = LABELS[:-1]
"""The five kinds of bleed; `any` is true where one of them is."""

ANY_INDEX = LABELS.index("any")
"""Position of `any` in `LABELS`."""

N_LABELS = len(LABELS)
"""Length of the label axis."""

LABEL_WEIGHTS: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 2.0)
"""Weights of the RSNA 2019 score: `any` counts twice (sum 7)."""


def row_id(image_id: str, label: str) -> str:
    """Return the CSV row id of one label of one image, as `ID_0002bd10a_epidural`."""
    return f"{image_id}_{label}"


def row_ids(image_ids: Sequence[str]) -> list[str]:
    """Return the CSV row ids of many images: six rows an image, in label order."""
    return [row_id(image_id, label) for image_id in image_ids for label in LABELS]
