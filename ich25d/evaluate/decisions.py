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
                found.append(decide_label(level.of_label(column), point, label, threshold, prevalences))
    return found


def decide_label(
    cases: LabelCases, point: str, label: str, threshold: float, prevalences: Sequence[float]
) -> PointResult:
    """Call positive what is at least a threshold, and count what is right.

    Args:
        cases: The cases of the label.
        point: Name of the rule that chose the threshold.
        label: The label.
        threshold: Chosen on validation.
        prevalences: Shares of positives at which predictive values are stated.
    """
    counts = confusion(cases.positive.astype(np.float64), cases.probability, threshold)
    called_positive, called_negative = (part[:, 0] for part in cases.called_at(np.array([threshold])))
    positives, negatives = cases.totals()
    drawn = []
    for weight in cases.weights():
        m, n = weight @ positives, weight @ negatives
        sensitivity = ratio(weight @ called_positive, m)
        specificity = ratio(n - weight @ called_negative, n)
        values = [sensitivity, specificity]
        values += [positive_predictive(sensitivity, specificity, at) for at in prevalences]
        values += [negative_predictive(sensitivity, specificity, at) for at in prevalences]
        drawn.append(np.stack(values, axis=1))
    everything = np.concatenate(drawn)
    low, high = percentiles(everything[1:])
    measures = [Measure(float(v), float(lo), float(hi)) for v, lo, hi in zip(everything[0], low, high, strict=True)]
    hits = ((counts.true_positive, counts.false_negative), (counts.true_negative, counts.false_positive))
    shares = [
        Share(round(hit), round(hit + miss), one.value, wilson_interval(hit, hit + miss), (one.low, one.high))
        for one, (hit, miss) in zip(measures, hits, strict=False)
    ]
    split = 2 + len(prevalences)
    return PointResult(
        point, label, threshold, shares[0], shares[1],
        dict(zip(prevalences, measures[2:split], strict=True)), dict(zip(prevalences, measures[split:], strict=True)),
    )  # fmt: skip


def positive_predictive(sensitivity: Floats, specificity: Floats, prevalence: float) -> Floats:
    """Return the share of positive calls that are right; NaN where nothing is called.

    Args:
        sensitivity: Any shape.
        specificity: The same shape.
        prevalence: Share of positives.
    """
    true = sensitivity * prevalence
    return ratio(true, true + (1 - specificity) * (1 - prevalence))


def negative_predictive(sensitivity: Floats, specificity: Floats, prevalence: float) -> Floats:
    """Return the share of negative calls that are right; NaN where everything is called.

    Args:
        sensitivity: Any shape.
        specificity: The same shape.
        prevalence: Share of positives.
    """
    true = specificity * (1 - prevalence)
    return ratio(true, true + (1 - sensitivity) * prevalence)
