"""All measures of one level (slices or series), with intervals from resampled patients."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.labels import LABELS
from ich25d.pages.number import NONE
from ich25d.training.intervals import REPLICATES, Measure, patient_weights, percentiles, replicates_for
from ich25d.training.metrics import (
    Confusion,
    case_losses,
    gap_by_bin,
    log_loss_each,
    mean_gap,
    outcomes,
    squared_error_each,
)
from ich25d.training.operating_point import F_RULES, Thresholds
from ich25d.training.ranking import Order, order, ratio

RANKED = ("log_loss", "auc", "average_precision", "brier", "calibration_error")
"""Measures of a label that need no threshold."""

DECIDED = ("sensitivity", "specificity", "precision", "accuracy", *F_RULES)
"""Measures of a label at a threshold."""

OVERALL = ("score", "of_constant", "mean_auc", "mean_average_precision")
"""Measures over the labels: the competition's score; the same as a share of the best constant answer's; means over the
labels for which a measure is defined. `of_constant` is NaN where every label has one class alone: the best constant
answer is never wrong then."""

NO_LOSS = 1e-9
"""A constant answer's loss up to this is 0 but for the clipping of its logarithm (1e-15)."""

RESAMPLED_AT_ONCE = 4_000_000
"""Cases times resamplings that are ranked at once: some 32 MB an array."""

Floats = npt.NDArray[np.float64]


def short(measure: Measure, digits: int = 3) -> str:
    """Write a measure with its interval, as `.912 [.880, .941]`; a dash where it isn't defined."""
    if math.isnan(measure.value):
        return NONE
    value = _without_zero(measure.value, digits)
    return value if math.isnan(measure.low) else f"{value} {interval((measure.low, measure.high), digits)}"


def interval(ends: tuple[float, float], digits: int = 3) -> str:
    """Write an interval alone, as `[.880, .941]`; a dash where it isn't defined."""
    if math.isnan(ends[0]):
        return NONE
    return f"[{_without_zero(ends[0], digits)}, {_without_zero(ends[1], digits)}]"


def _without_zero(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    text = text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
    return text.replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True, slots=True)
class LevelScores:
    """All measures of slices, or of series."""

    n: int
    n_patients: int
    n_known: dict[str, int]
    n_positive: dict[str, int]
    replicates: int
    """Resamplings behind the intervals: fewer where cases are many."""
    threshold: dict[str, dict[str, float]]
    """By rule, then label."""
    overall: dict[str, Measure]
    label: dict[str, dict[str, Measure]]
    """By label, then measure."""
    at: dict[str, dict[str, dict[str, Measure]]]
    """By rule, label and measure."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as `evaluation.json` has it."""
        return {
            "n": self.n,
            "n_patients": self.n_patients,
            "replicates": self.replicates,
            **self.overall,
            "labels": {
                label: {
                    "n": self.n_known[label],
                    "n_positive": self.n_positive[label],
                    **self.label[label],
                    **{
                        f"at_{rule}_threshold": {"threshold": self.threshold[rule][label], **self.at[rule][label]}
                        for rule in F_RULES
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
    """Measure everything on the cases, and on resampled patients for the intervals.

    Args:
        target: Shape (N, 6), NaN where unknown.
        probability: Shape (N, 6).
        patient: What is resampled together, shape (N,).
        thresholds: By rule and label; a label without one is decided at 1 / (1 + beta^2).
        replicates: Number of resamplings; `replicates_for` so many cases may draw fewer.
        seed: Seed of the draws.
    """
    used = {
        rule: {label: thresholds.get(rule, {}).get(label, 1 / (1 + beta**2)) for label in LABELS}
        for rule, beta in F_RULES.items()
    }
    replicates = replicates_for(len(target), replicates)
    cases = _prepare(target, probability, patient, used)
    values = _measure(cases, np.ones((1, cases.n_patients)))[0]
    elements = RESAMPLED_AT_ONCE * cases.n_patients // max(1, len(target))
    draws = patient_weights(np.arange(cases.n_patients), replicates=replicates, seed=seed, elements=elements)
    low, high = percentiles(np.concatenate([_measure(cases, weight) for weight in draws]))
    numbers = iter([Measure(*(float(number) for number in row)) for row in zip(values, low, high, strict=True)])
    overall = {name: next(numbers) for name in OVERALL}
    label = {name: {measure: next(numbers) for measure in RANKED} for name in LABELS}
    at = {rule: {name: {measure: next(numbers) for measure in DECIDED} for name in LABELS} for rule in F_RULES}
    n_known = dict(zip(LABELS, (~np.isnan(target)).sum(axis=0).tolist(), strict=True))
    n_positive = dict(zip(LABELS, (target == 1).sum(axis=0).tolist(), strict=True))
    return LevelScores(len(target), cases.n_patients, n_known, n_positive, replicates, used, overall, label, at)


@dataclass(frozen=True, slots=True)
class _Cases:
    """Sums by patient that every resampling needs, made once: P patients, L labels."""

    n_patients: int
    orders: tuple[Order, ...]
    """By label."""
    sums: dict[str, Floats]
    """By patient: `known`, `log_loss` and `squared_error` (P, L), `gap` (P, L, bins), by rule the four
    outcomes (P, L, 4), and `score` (P, 3): the competition's losses, their weights, the constant answer's losses."""


def _prepare(target: Floats, probability: Floats, patient: npt.NDArray[np.object_], thresholds: Thresholds) -> _Cases:
    names, code = np.unique(patient, return_inverse=True)
    known = ~np.isnan(target)

    def by_patient(values: npt.NDArray[Any]) -> Floats:
        summed = np.zeros((len(names), values.shape[1]))
        for column in range(values.shape[1]):
            summed[:, column] = np.bincount(code, weights=values[:, column], minlength=len(names))
        return summed

    def of_known(values: npt.NDArray[np.floating[Any]], column: int) -> Floats:
        whole = np.zeros((len(target), values.shape[1]))
        whole[known[:, column]] = values
        return by_patient(whole)

    share = np.divide(
        np.nansum(target, axis=0), known.sum(axis=0), out=np.full(len(LABELS), 0.5), where=known.any(axis=0)
    )
    constant = case_losses(target, np.broadcast_to(share, target.shape))[0]
    sums = {
        "known": by_patient(known),
        "log_loss": by_patient(np.where(known, log_loss_each(target, probability), 0)),
        "squared_error": by_patient(np.where(known, squared_error_each(target, probability), 0)),
        "score": by_patient(np.stack([*case_losses(target, probability), constant], axis=1)),
    }
    pairs = [(target[known[:, k], k], probability[known[:, k], k]) for k in range(len(LABELS))]
    sums["gap"] = np.stack([of_known(gap_by_bin(*pair), k) for k, pair in enumerate(pairs)], axis=1)
    for rule in F_RULES:
        decided = [np.stack(outcomes(*pairs[k], thresholds[rule][label]), axis=1) for k, label in enumerate(LABELS)]
        sums[rule] = np.stack([of_known(each, k) for k, each in enumerate(decided)], axis=1)
    orders = tuple(order(target[:, k], probability[:, k], code) for k in range(len(LABELS)))
    return _Cases(len(names), orders, sums)


def _measure(cases: _Cases, weight: Floats) -> Floats:
    """Return all measures under patients' weights (R, P), shape (R, K): overall, by label, by rule and label."""
    total = {name: np.tensordot(weight, sums, axes=1) for name, sums in cases.sums.items()}
    n_known = total["known"]  # (R, 6)
    rankings = [order.weighed(weight) for order in cases.orders]
    by_label = {
        "log_loss": ratio(total["log_loss"], n_known),
        "auc": np.stack([ranking.auc for ranking in rankings], axis=1),
        "average_precision": np.stack([ranking.average_precision for ranking in rankings], axis=1),
        "brier": ratio(total["squared_error"], n_known),
        "calibration_error": mean_gap(total["gap"], n_known),
    }
    loss, evidence, constant = np.moveaxis(total["score"], -1, 0)
    means = [_mean_defined(by_label[name]) for name in ("auc", "average_precision")]
    constant = np.where(constant > NO_LOSS * evidence, constant, 0)  # 0: its ratio isn't defined
    overall = np.stack([ratio(loss, evidence), ratio(loss, constant), *means], axis=-1)
    parts = [overall, np.stack([by_label[name] for name in RANKED], axis=-1).reshape(len(weight), -1)]
    for rule in F_RULES:
        found = Confusion(*np.moveaxis(total[rule], -1, 0))
        measures = [found.sensitivity, found.specificity, found.precision, found.accuracy]
        measures += [found.f_beta(beta) for beta in F_RULES.values()]
        parts.append(np.stack(measures, axis=-1).reshape(len(weight), -1))
    return np.concatenate(parts, axis=1)


def _mean_defined(values: Floats) -> Floats:
    """Return the mean over the labels for which a measure is defined, shape (R,)."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=1)
    total = np.where(defined, values, 0).sum(axis=1)
    mean: Floats = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return mean
