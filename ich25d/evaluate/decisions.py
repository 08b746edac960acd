"""Sensitivity and specificity at operating points set beforehand, and predictive values at stated prevalences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.evaluate.level import LabelCases, Level
from ich25d.labels import LABELS
from ich25d.training.intervals import Measure, percentiles, wilson_interval
from ich25d.training.metrics import confusion
from ich25d.training.operating_point import HOLDING_RULES
from ich25d.training.ranking import ratio

PREVALENCES: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
"""Shares of positives at which predictive values are stated, unless others are asked for."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its counts, Wilson's interval and that of resampled patients."""

    n_hit: int
    n: int
    value: float
    wilson: tuple[float, float]
    resampled: tuple[float, float]
    """Wider than Wilson's where cases of one patient are alike."""


@dataclass(frozen=True, slots=True)
class PointResult:
    """One label decided at one operating point."""

    point: str
    """Its rule, one of `HOLDING_RULES`."""
    label: str
    threshold: float
    """Chosen on validation."""
    sensitivity: Share
    specificity: Share
    positive_predictive: dict[float, Measure]
    """By prevalence."""
    negative_predictive: dict[float, Measure]

    def to_dict(self) -> dict[str, Any]:
        """Return it as `evaluation.json` has it."""
        values = {"ppv": self.positive_predictive, "npv": self.negative_predictive}
        return {
            "threshold": self.threshold,
            "sensitivity": self.sensitivity,
            "specificity": self.specificity,
            **{name: {f"{at:g}": found for at, found in part.items()} for name, part in values.items()},
        }


def decide(level: Level, prevalences: Sequence[float] = PREVALENCES) -> list[PointResult]:
    """Decide every label at every operating point for which the model has a threshold.

    Without a model's thresholds nothing is decided: one chosen on the cases at hand would flatter.

    Args:
        level: The cases.
        prevalences: Shares of positives, above 0 and below 1.
    """
    found = []
    for point in HOLDING_RULES:
        for column, label in enumerate(LABELS):
            threshold = level.thresholds.get(point, {}).get(label)
            if threshold is not None:
                found.append(_decide_label(level.of_label(column), point, label, threshold, prevalences))
    return found


def _decide_label(
    cases: LabelCases, point: str, label: str, threshold: float, prevalences: Sequence[float]
) -> PointResult:
    """Call positive what is at least a threshold, and count what is right."""
    counts = confusion(cases.positive.astype(np.float64), cases.probability, threshold)
    called_positive, called_negative = (part[:, 0] for part in cases.called_at(np.array([threshold])))
    positives, negatives = cases.totals()
    drawn = []
    for weight in cases.weights():
        m, n = weight @ positives, weight @ negatives
        shares = ratio(weight @ called_positive, m), ratio(n - weight @ called_negative, n)
        values = zip(*(predictive_values(*shares, at) for at in prevalences), strict=True)
        drawn.append(np.stack([*shares, *(value for of_kind in values for value in of_kind)], axis=1))
    everything = np.concatenate(drawn)
    low, high = percentiles(everything[1:])
    measures = [Measure(float(v), float(lo), float(hi)) for v, lo, hi in zip(everything[0], low, high, strict=True)]
    hits = ((counts.true_positive, counts.false_negative), (counts.true_negative, counts.false_positive))
    sensitivity, specificity = (
        Share(round(hit), round(hit + miss), one.value, wilson_interval(hit, hit + miss), (one.low, one.high))
        for one, (hit, miss) in zip(measures[:2], hits, strict=True)
    )
    split = 2 + len(prevalences)
    ppv, npv = (dict(zip(prevalences, part, strict=True)) for part in (measures[2:split], measures[split:]))
    return PointResult(point, label, threshold, sensitivity, specificity, ppv, npv)


def predictive_values(sensitivity: Floats, specificity: Floats, prevalence: float) -> tuple[Floats, Floats]:
    """Return the share of positive calls that are right, and that of negative ones; NaN where nothing is called so.

    Args:
        sensitivity: Any shape.
        specificity: The same shape.
        prevalence: Share of positives.
    """
    positive, negative = sensitivity * prevalence, specificity * (1 - prevalence)
    return (
        ratio(positive, positive + (1 - specificity) * (1 - prevalence)),
        ratio(negative, negative + (1 - sensitivity) * prevalence),
    )
