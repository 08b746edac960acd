"""The worst mistakes as pictures: negatives with the highest probability, positives with the lowest."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ich25d.evaluate.level import Level
from ich25d.labels import ANY_FIRST, LABELS
from ich25d.pages.picture import gallery, picture
from ich25d.slabs.grey_values import grey
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.operating_point import HOLDING_RULES
from ich25d.windows import NAMED_WINDOWS

SHOWN = 6
"""Pictures of each kind a label."""

_WINDOWS = ("brain", "subdural")
_RULE = {measure: rule for rule, (measure, _) in reversed(HOLDING_RULES.items())}
"""The first rule that holds a measure decides what counts as a mistake."""

Kind = Literal["false positive", "false negative"]


@dataclass(frozen=True, slots=True)
class Mistake:
    """A slice that the model got wrong."""

    kind: Kind
    label: str
    image_id: str
    series_id: str
    probability: float
    truth: tuple[str, ...]
    """Labels that the slice has."""


def find_mistakes(level: Level) -> list[Mistake]:
    """Choose the worst slices of each label and kind, one a series, as neighbours look alike.

    A negative is a mistake from the threshold that holds specificity on, a positive below the one that holds
    sensitivity; without a model's thresholds both are 0.5.

    Args:
        level: Slices, with their series.
    """
    if level.series_id is None:
        return []
    found = []
    for column in ANY_FIRST:
        label = LABELS[column]
        truth, probability = level.target[:, column], level.probability[:, column]
        false_alarm = level.thresholds.get(_RULE["specificity"], {}).get(label, 0.5)
        miss = level.thresholds.get(_RULE["sensitivity"], {}).get(label, 0.5)
        order = np.argsort(-probability, kind="stable")
        kinds: tuple[tuple[Kind, npt.NDArray[np.int64]], ...] = (
            ("false positive", order[(truth[order] == 0) & (probability[order] >= false_alarm)]),
            ("false negative", order[::-1][(truth[order[::-1]] == 1) & (probability[order[::-1]] < miss)]),
        )
        for kind, rows in kinds:
            seen: set[str] = set()
            for row in rows.tolist():
                series = str(level.series_id[row]) or str(level.case_id[row])
                if series in seen:
                    continue
                seen.add(series)
                true = tuple(name for place, name in enumerate(LABELS[:-1]) if level.target[row, place] == 1)
                image = str(level.case_id[row])
                found.append(Mistake(kind, label, image, series, float(probability[row]), true))
                if len(seen) == SHOWN:
                    break
    return found


def mistake_gallery(mistakes: list[Mistake], store: StudyStore) -> Markup:
    """Show slices in brain and subdural windows side by side; those that the store doesn't hold are left out."""
    series_and_index = zip(store.slices["series_id"], store.slices["slice_index"], strict=True)
    place = dict(zip(store.slices["image_id"], series_and_index, strict=True))
    length = store.series.set_index("series_id")["n_slices"]
    pictures = []
    for mistake in mistakes:
        if mistake.image_id not in place:
            continue
        series_id, index = place[mistake.image_id]
        hu = store.hu(str(series_id), [int(index)])[0]
        truth = ", ".join(mistake.truth) or "no bleed"
        pictures.append(
            picture(
                np.concatenate([grey(hu, NAMED_WINDOWS[name]) for name in _WINDOWS], axis=1),
                alt=f"Slice {int(index) + 1} of series {mistake.series_id} in brain and subdural window; "
                f"a {mistake.kind} for {mistake.label}",
                caption=f"{mistake.label} {mistake.probability:.3f}; labelled: {truth}. Series {mistake.series_id}, "
                f"slice {int(index) + 1} of {length[series_id]}",
                width=384,
            )
        )
    return gallery(pictures)
