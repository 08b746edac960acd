"""Thresholds for decisions, chosen on validation and kept with the model.

    {"f1": {label: threshold}, "f2": {label: threshold}}

`f1` weighs recall and precision alike, `f2` weighs recall twice: a bleed missed costs more than one looked at in vain.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.errors import ModelError
from ich25d.labels import LABELS, N_LABELS
from ich25d.training.metrics import best_threshold

Thresholds = dict[str, dict[str, float]]
"""By rule, then by label; a label that had no positive is absent."""

RULES: dict[str, float] = {"f1": 1.0, "f2": 2.0}
"""Name of a rule and the beta of the F measure that its thresholds maximise."""


def choose_thresholds(target: npt.NDArray[np.floating[Any]], probability: npt.NDArray[np.floating[Any]]) -> Thresholds:
    """Choose the threshold of every label under every rule.

    Args:
        target: Shape (N, 6), in the order of `LABELS`; NaN where unknown.
        probability: Calibrated probabilities of slices (or series) that weren't trained on, shape (N, 6).
    """
    found: Thresholds = {rule: {} for rule in RULES}
    for rule, beta in RULES.items():
        for column in range(N_LABELS):
            value = best_threshold(target[:, column], probability[:, column], beta=beta)
            if math.isfinite(value):
                found[rule][LABELS[column]] = value
    return found


def read_thresholds(content: object) -> Thresholds:
    """Check thresholds that were read from JSON.

    Raises:
        ModelError: They are damaged, or of unknown rules or labels.
    """
    if not isinstance(content, Mapping):
        raise ModelError(f"thresholds must be given by rule and label (got {type(content).__name__})")
    found: Thresholds = {}
    for rule in RULES:
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
