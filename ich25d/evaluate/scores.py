"""All measures of one level (slices or series), with intervals from resampled patients."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.labels import LABEL_WEIGHTS, LABELS
from ich25d.training.intervals import REPLICATES, bootstrap, percentiles
from ich25d.training.metrics import (
    brier,
    calibration_error,
    confusion,
    log_loss_each,
    mean_log_loss,
)
from ich25d.training.ranking import rank
from ich25d.training.thresholds import RULES, Thresholds

RANKED = ("log_loss", "auc", "average_precision", "brier", "calibration_error")
"""Measures of a label that need no threshold."""

DECIDED = ("sensitivity", "specificity", "precision", "accuracy", "f1", "f2")
"""Measures of a label at a threshold."""

OVERALL = ("score", "of_constant", "mean_auc", "mean_average_precision")
"""Measures over the labels: the competition's score; that as a share of the best constant answer's; plain means of the
labels for which they are defined."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number and the ends of its interval; NaN where it isn't defined."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """Return it for JSON, undefined numbers as null."""
        return {name: _or_none(getattr(self, name)) for name in ("value", "low", "high")}


@dataclass(frozen=True, slots=True)
class LevelScores:
    """All measures of slices, or of series."""

    n: int
    n_patients: int
    n_known: dict[str, int]
    n_positive: dict[str, int]
    threshold: dict[str, dict[str, float]]
    """By rule, then label."""
    overall: dict[str, Measure]
    label: dict[str, dict[str, Measure]]
    """By label, then measure."""
    at: dict[str, dict[str, dict[str, Measure]]]
    """By rule, label and measure."""

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "n": self.n,
            "n_patients": self.n_patients,
            **{name: measure.to_dict() for name, measure in self.overall.items()},
            "labels": {
                label: {
                    "n": self.n_known[label],
                    "n_positive": self.n_positive[label],
                    **{name: measure.to_dict() for name, measure in self.label[label].items()},
                    **{
                        f"at_{rule}_threshold": {
                            "threshold": self.threshold[rule][label],
                            **{name: measure.to_dict() for name, measure in self.at[rule][label].items()},
                        }
                        for rule in RULES
                    },
                }
                for label in LABELS
            },
        }


def score_level(
    target: Floats,
    probability: Floats,
    patient: npt.NDArray[np.object_],
    thresholds: Thresholds,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> LevelScores:
    """Measure everything, once as it is and `replicates` times over resampled patients.

    Args:
        target: Shape (N, 6), NaN where unknown.
        probability: Shape (N, 6).
        patient: What is resampled together, shape (N,).
        thresholds: By rule and label; a label without one is decided at 1 / (1 + beta^2).
        replicates: Number of resamplings.
        seed: Seed of the draws.
    """
    used = {
        rule: {label: thresholds.get(rule, {}).get(label, 1 / (1 + beta**2)) for label in LABELS}
        for rule, beta in RULES.items()
    }
    values = _measure(target, probability, used, np.ones((1, len(target))))[0]
    drawn = bootstrap(
        lambda weight: _measure(target, probability, used, weight), patient, replicates=replicates, seed=seed
    )
    low, high = percentiles(drawn)
    numbers = iter([Measure(*(float(number) for number in row)) for row in zip(values, low, high, strict=True)])
    overall = {name: next(numbers) for name in OVERALL}
    label = {name: {measure: next(numbers) for measure in RANKED} for name in LABELS}
    at = {rule: {name: {measure: next(numbers) for measure in DECIDED} for name in LABELS} for rule in RULES}
    return LevelScores(
        n=len(target),
        n_patients=len(set(patient.tolist())),
        n_known=dict(zip(LABELS, (~np.isnan(target)).sum(axis=0).tolist(), strict=True)),
        n_positive=dict(zip(LABELS, (target == 1).sum(axis=0).tolist(), strict=True)),
        threshold=used,
        overall=overall,
        label=label,
        at=at,
    )


def _measure(target: Floats, probability: Floats, thresholds: Thresholds, weight: Floats) -> Floats:
    """Return all measures under weights of shape (R, N), shape (R, K): overall, by label, by rule and label."""
    ranked = np.stack(
        [np.stack(_measure_label(target[:, k], probability[:, k], weight), axis=-1) for k in range(len(LABELS))],
        axis=1,
    )  # (R, 6, measures)
    decided = []
    for rule in RULES:
        for k, label in enumerate(LABELS):
            found = confusion(target[:, k], probability[:, k], thresholds[rule][label], weight)
            decided += [found.sensitivity, found.specificity, found.precision, found.accuracy]
            decided += [found.f_beta(1.0), found.f_beta(2.0)]
    means = [_mean_defined(ranked[:, :, RANKED.index(name)]) for name in ("auc", "average_precision")]
    overall = np.stack([*_score(target, probability, weight), *means], axis=-1)
    return np.concatenate([overall, ranked.reshape(len(weight), -1), np.stack(decided, axis=-1)], axis=1)


def _measure_label(target: Floats, probability: Floats, weight: Floats) -> list[Floats]:
    """Return the measures of one label in the order of `RANKED`, shape (R,) each."""
    ranking = rank(target, probability, weight)
    return [
        mean_log_loss(target, probability, weight),
        ranking.auc,
        ranking.average_precision,
        brier(target, probability, weight),
        calibration_error(target, probability, weight),
    ]


def _score(target: Floats, probability: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return the competition's score and its share of the best constant answer's, shape (R,) each."""
    known = ~np.isnan(target)
    label_weight = known * np.asarray(LABEL_WEIGHTS)
    each = np.where(known, log_loss_each(target, probability), 0) * label_weight
    total = weight @ label_weight.sum(axis=1)
    score = np.divide(weight @ each.sum(axis=1), total, out=np.full(len(weight), np.nan), where=total > 0)
    share = np.divide(
        np.nansum(target, axis=0), known.sum(axis=0), out=np.full(len(LABELS), 0.5), where=known.any(axis=0)
    )
    constant = np.where(known, log_loss_each(target, np.broadcast_to(share, target.shape)), 0) * label_weight
    of_constant = weight @ constant.sum(axis=1)
    return score, np.divide(score * total, of_constant, out=np.full(len(weight), np.nan), where=of_constant > 0)


def _mean_defined(values: Floats) -> Floats:
    """Return the mean over the labels for which a measure is defined, shape (R,)."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=1)
    total = np.where(defined, values, 0).sum(axis=1)
    mean: Floats = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return mean


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
