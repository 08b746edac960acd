"""Sensitivity and specificity at operating points set beforehand, and what a call is worth at a prevalence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.evaluate.level import LabelCases, Level
from ich25d.evaluate.scores import Measure
from ich25d.labels import LABELS
from ich25d.training.intervals import percentiles, wilson_interval
from ich25d.training.metrics import confusion
from ich25d.training.operating_point import HOLDING_RULES

PREVALENCES: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
"""Shares of positives at which predictive values are stated, unless others are asked for."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many, with Wilson's interval and that of resampled patients."""

    n_hit: int
    n: int
    value: float
    wilson: tuple[float, float]
    resampled: tuple[float, float]
    """Wider than Wilson's where cases of one patient are alike."""

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        ends = {"wilson": self.wilson, "resampled": self.resampled}
        return {
            "n_hit": self.n_hit,
            "n": self.n,
            "value": _or_none(self.value),
            **{name: [_or_none(end) for end in pair] for name, pair in ends.items()},
        }


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

    @property
    def predictive(self) -> tuple[dict[float, Measure], dict[float, Measure]]:
        """Positive and negative predictive values."""
        return self.positive_predictive, self.negative_predictive

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        values = {"ppv": self.positive_predictive, "npv": self.negative_predictive}
        return {
            "threshold": self.threshold,
            "sensitivity": self.sensitivity.to_dict(),
            "specificity": self.specificity.to_dict(),
            **{name: {f"{at:g}": found.to_dict() for at, found in part.items()} for name, part in values.items()},
        }


def decide(level: Level, prevalences: Sequence[float] = PREVALENCES) -> list[PointResult]:
    """Decide every label at every operating point for which the model has a threshold.

    Args:
        level: With the model's thresholds of this level; without them nothing is decided: a threshold chosen on
            the cases at hand would flatter.
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
    """Decide the cases of one label at one threshold: what is at least that is called positive."""
    counts = confusion(cases.positive.astype(np.float64), cases.probability, threshold)
    called_positive, called_negative = (part[:, 0] for part in cases.called_at(np.array([threshold])))
    positives, negatives = cases.totals()
    drawn = []
    for weight in cases.weights():
        m, n = weight @ positives, weight @ negatives
        sensitivity = _ratio(weight @ called_positive, m)
        specificity = _ratio(n - weight @ called_negative, n)
        values = [sensitivity, specificity]
        values += [positive_predictive(sensitivity, specificity, at) for at in prevalences]
        values += [negative_predictive(sensitivity, specificity, at) for at in prevalences]
        drawn.append(np.stack(values, axis=1))
    everything = np.concatenate(drawn)
    low, high = percentiles(everything[1:])
    measures = [Measure(float(v), float(lo), float(hi)) for v, lo, hi in zip(everything[0], low, high, strict=True)]
    shares = []
    for measure, hit, of in (
        (measures[0], counts.true_positive, counts.true_positive + counts.false_negative),
        (measures[1], counts.true_negative, counts.true_negative + counts.false_positive),
    ):
        shares.append(
            Share(round(hit), round(of), measure.value, wilson_interval(hit, of), (measure.low, measure.high))
        )
    split = 2 + len(prevalences)
    return PointResult(
        point, label, threshold, shares[0], shares[1],
        dict(zip(prevalences, measures[2:split], strict=True)), dict(zip(prevalences, measures[split:], strict=True)),
    )  # fmt: skip


def positive_predictive(sensitivity: Floats, specificity: Floats, prevalence: float) -> Floats:
    """Return how often a call is right where this share is positive; NaN where nothing is called."""
    true = sensitivity * prevalence
    return _ratio(true, true + (1 - specificity) * (1 - prevalence))


def negative_predictive(sensitivity: Floats, specificity: Floats, prevalence: float) -> Floats:
    """Return how often no call is right where this share is positive; NaN where everything is called."""
    true = specificity * (1 - prevalence)
    return _ratio(true, true + (1 - sensitivity) * prevalence)


def _ratio(above: Floats, below: Floats) -> Floats:
    found: Floats = np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
    return found


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
