"""Thresholds for decisions, chosen on validation and kept with the model.

    {"f1": {label: threshold}, "f2": ..., "sensitivity_95": ..., "specificity_90": ...}

`f1` weighs recall and precision alike, `f2` weighs recall twice: a bleed missed costs more than one looked at in vain.
The two operating points are those that a report names beforehand: the highest threshold with a sensitivity of at least
.95, and the lowest with a specificity of at least .90, on slices (or series) that weren't trained on.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ich25d.errors import ModelError
from ich25d.labels import LABELS, N_LABELS
from ich25d.training.metrics import best_threshold

Thresholds = dict[str, dict[str, float]]
"""By rule, then by label; a label that had no positive is absent."""

RULES: dict[str, float] = {"f1": 1.0, "f2": 2.0}
"""Name of a rule and the beta of the F measure that its thresholds maximise."""

POINTS: dict[str, tuple[Literal["sensitivity", "specificity"], float]] = {
    "sensitivity_95": ("sensitivity", 0.95),
    "specificity_90": ("specificity", 0.90),
}
"""Name of an operating point, the measure that it holds and the least value of that."""


def choose_thresholds(target: npt.NDArray[np.floating[Any]], probability: npt.NDArray[np.floating[Any]]) -> Thresholds:
    """Choose the threshold of every label under every rule and at every operating point.

    Args:
        target: Shape (N, 6), in the order of `LABELS`; NaN where unknown.
        probability: Calibrated probabilities of slices (or series) that weren't trained on, shape (N, 6).
    """
    found: Thresholds = {rule: {} for rule in (*RULES, *POINTS)}
    for column in range(N_LABELS):
        pair = target[:, column], probability[:, column]
        values = {rule: best_threshold(*pair, beta=beta) for rule, beta in RULES.items()}
        values |= {name: point_threshold(*pair, *point) for name, point in POINTS.items()}
        for rule, value in values.items():
            if math.isfinite(value):
                found[rule][LABELS[column]] = value
    return found


def point_threshold(
    target: npt.NDArray[np.floating[Any]],
    probability: npt.NDArray[np.floating[Any]],
    measure: Literal["sensitivity", "specificity"],
    least: float,
) -> float:
    """Return the threshold that gives the other measure most while this one is at least so high on these data.

    It lies half-way between two neighbouring probabilities; what is at least the threshold is called positive. NaN
    where a class is missing.

    Args:
        target: Shape (N,), NaN where unknown.
        probability: Shape (N,), 0 to 1.
        measure: What is held.
        least: Its least value, above 0 and at most 1.
    """
    known = ~np.isnan(target)
    truth, value = target[known] == 1, np.asarray(probability[known], dtype=np.float64)
    positive, negative = np.sort(value[truth])[::-1], np.sort(value[~truth])[::-1]
    if not len(positive) or not len(negative):
        return float("nan")
    if measure == "sensitivity":
        # The k-th highest positive must be called; anything down to the next lower probability does the same.
        lowest_called = positive[math.ceil(least * len(positive) - 1e-9) - 1]
        below = value[value < lowest_called]
        return float((below.max() + lowest_called) / 2 if len(below) else lowest_called)
    n_false = math.floor((1 - least) * len(negative) + 1e-9)
    if n_false >= len(negative):
        return 0.0
    highest_spared = negative[n_false]
    above = value[value > highest_spared]
    return float((highest_spared + (above.min() if len(above) else 1.0)) / 2)


def read_thresholds(content: object) -> Thresholds:
    """Check thresholds that were read from JSON.

    Raises:
        ModelError: They are damaged, or of unknown rules or labels.
    """
    if not isinstance(content, Mapping):
        raise ModelError(f"thresholds must be given by rule and label (got {type(content).__name__})")
    found: Thresholds = {}
    for rule in (*RULES, *POINTS):
        by_label = content.get(rule, {})
        if not isinstance(by_label, Mapping):
            raise ModelError(f"thresholds of a rule must be given by label (got {type(by_label).__name__} for {rule})")
        found[rule] = {}
        for label, value in by_label.items():
            sound = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
            if label not in LABELS or not sound:
                raise ModelError(
                    f"a threshold must be a probability of one of the six labels (got {label!r}: {value!r})"
                )
            found[rule][str(label)] = float(value)
    return found
