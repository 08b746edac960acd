"""Thresholds that hold on other scans too: chosen on validation by the spread of both classes, not by one case.

The lowest of 36 positives moves by whole logits from one sample of patients to the next, and a threshold with it. Here
each class gives its median and its spread on the side that matters, in logits; the cases themselves count for more the
more there are. What the thresholds reach on validation is measured and kept beside them.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.special import expit, logit
from scipy.stats import t as student

from ich25d.labels import ANY_INDEX, LABELS
from ich25d.training.metrics import best_threshold, confusion
from ich25d.training.operating_point import (
    F_RULES,
    FLAGGED,
    HOLDING_RULES,
    Held,
    OperatingPoint,
    Thresholds,
    holding_threshold,
)

LEAST_SERIES = 5
"""A label with fewer positive or negative series on validation gets no threshold: it would be that of one case."""

MANY_SERIES = 1000
"""From so many series of the class on, the cases alone give a threshold; below, in proportion."""

_PRIOR_CASES = 10.0
"""Cases' worth by which one side's spread is drawn to that of both sides."""
_OUTLYING = 3.0
"""Standard deviations (by the median of distances) beyond which a case moves the spread no further."""
_LEAST_SPREAD = 0.1
"""Least spread, as a share of the distance of the two medians."""
_FARTHEST = 1e-6
"""Probabilities are kept so far from 0 and 1: their logits would be infinite."""
_N_STEPS = 2048

Floats = npt.NDArray[np.float64]
Found = dict[str, dict[str, dict[str, float | int]]]
"""By rule and label (and `FLAGGED`): `sensitivity`, `specificity`, and the cases, `n_positive` and `n_negative`."""


def choose_points(
    target: npt.NDArray[np.floating[Any]],
    probability: npt.NDArray[np.floating[Any]],
    whose: npt.NDArray[np.integer[Any]],
    series_target: npt.NDArray[np.floating[Any]],
    series_probability: npt.NDArray[np.floating[Any]],
) -> dict[str, Any]:
    """Choose the thresholds of slices and of series, and measure them.

    Args:
        target: Labels of slices, shape (N, 6), in the order of `LABELS`; NaN where unknown.
        probability: Calibrated probabilities of slices that weren't trained on, shape (N, 6).
        whose: Number of each slice's series, shape (N,).
        series_target: Labels of series, shape (n, 6).
        series_probability: Shape (n, 6).

    Returns:
        Two parts of `model.json`: `thresholds` by level, rule and label, and `operating_points`, what each of them
        reaches on these cases (`Found`).
    """
    alone = np.arange(len(series_target))
    slices, series = (target, probability), (series_target, series_probability)
    thresholds = {"slice": choose_thresholds(*slices, whose), "series": choose_thresholds(*series, alone)}
    found = {"slice": measure(*slices, thresholds["slice"]), "series": measure(*series, thresholds["series"])}
    bleeds = series_target[:, ANY_INDEX]
    for rule, by_label in thresholds["series"].items():
        if by_label and (bleeds == 1).any() and (bleeds == 0).any():
            flagged = [bool(OperatingPoint(rule, {}, by_label).over(row)) for row in series_probability]
            found["series"][rule][FLAGGED] = _reached(bleeds, np.array(flagged, np.float64), 0.5)
    return {"thresholds": thresholds, "operating_points": found}


def choose_thresholds(
    target: npt.NDArray[np.floating[Any]],
    probability: npt.NDArray[np.floating[Any]],
    whose: npt.NDArray[np.integer[Any]],
) -> Thresholds:
    """Choose the threshold of every label by every rule; a label with too few series gets none.

    Args:
        target: Shape (N, 6), in the order of `LABELS`; NaN where unknown.
        probability: Calibrated probabilities of cases that weren't trained on, shape (N, 6).
        whose: Number of each case's series, shape (N,): slices of one series don't count as independent.
    """
    thresholds: Thresholds = {rule: {} for rule in (*F_RULES, *HOLDING_RULES)}
    for column, label in enumerate(LABELS):
        known = ~np.isnan(target[:, column])
        truth, value = target[known, column] == 1, np.asarray(probability[known, column], dtype=np.float64)
        n_positive, n_negative = (len(np.unique(whose[known][rows])) for rows in (truth, ~truth))
        if min(n_positive, n_negative) < LEAST_SERIES:
            continue
        for rule, (measure_held, least) in HOLDING_RULES.items():
            n = n_positive if measure_held == "sensitivity" else n_negative
            thresholds[rule][label] = steady_threshold(truth, value, measure_held, least, n)
        for rule, beta in F_RULES.items():
            thresholds[rule][label] = steady_best(truth, value, beta, n_positive, n_negative)
    return thresholds


def measure(
    target: npt.NDArray[np.floating[Any]], probability: npt.NDArray[np.floating[Any]], thresholds: Thresholds
) -> Found:
    """Return what thresholds reach on cases, shape (N, 6) each, by rule and label."""
    return {
        rule: {
            label: _reached(target[:, column], probability[:, column], by_label[label])
            for column, label in enumerate(LABELS)
            if label in by_label
        }
        for rule, by_label in thresholds.items()
    }


def _reached(
    target: npt.NDArray[np.floating[Any]], probability: npt.NDArray[np.floating[Any]], threshold: float
) -> dict[str, float | int]:
    known = ~np.isnan(target)
    truth = target[known].astype(np.float64)
    counts = confusion(truth, probability[known].astype(np.float64), threshold)
    return {
        "sensitivity": round(float(counts.sensitivity), 4), "n_positive": int(truth.sum()),
        "specificity": round(float(counts.specificity), 4), "n_negative": int((1 - truth).sum()),
    }  # fmt: skip


def steady_threshold(truth: npt.NDArray[np.bool_], probability: Floats, held: Held, least: float, n: int) -> float:
    """Return the threshold at which new cases of one class are called right with a probability of `least`.

    The class's logits are taken for normal on the side that the threshold is on, with a spread that outliers don't
    move; Student's t stands for what n cases leave open. With many, the cases' own quantile takes over.

    Args:
        truth: Shape (N,).
        probability: Shape (N,), 0 to 1.
        held: The measure that is held: of positives the sensitivity, of negatives the specificity.
        least: Its least value, .5 to below 1.
        n: Independent cases of that class: its series.
    """
    value = _logit(probability)
    side = 1.0 if held == "sensitivity" else -1.0
    own, other = (value[truth], value[~truth]) if held == "sensitivity" else (value[~truth], value[truth])
    middle = float(np.median(own))
    gap = abs(middle - float(np.median(other)))
    spread = max(_side_spread(side * (middle - own), n), _LEAST_SPREAD * gap)
    reach = float(student.ppf(least, max(n - 1, 1))) * math.sqrt(1 + 1 / n)
    smooth = middle - side * max(reach * spread, _FARTHEST)
    exact = float(_logit(holding_threshold(truth.astype(np.float64), probability, held, least)))
    return float(expit(_blend(smooth, exact, n)))


def steady_best(
    truth: npt.NDArray[np.bool_], probability: Floats, beta: float, n_positive: int, n_negative: int
) -> float:
    """Return the threshold with the greatest F-beta where each class's logits are smoothed by its own bandwidth.

    Args:
        truth: Shape (N,).
        probability: Shape (N,), 0 to 1.
        beta: How many times recall weighs what precision weighs.
        n_positive: Independent positives: their series.
        n_negative: Likewise.
    """
    value = _logit(probability)
    low, high = float(value.min()) - 1, float(value.max()) + 1
    edges = np.linspace(low, high, _N_STEPS + 1)
    called = []
    for part, n in ((value[truth], n_positive), (value[~truth], n_negative)):
        bandwidth = 0.9 * _spread(part - np.median(part)) * n**-0.2
        counts = np.histogram(part, edges)[0].astype(np.float64)
        counts = gaussian_filter1d(counts, max(bandwidth / (edges[1] - edges[0]), 1e-3), mode="nearest")
        counts *= len(part) / counts.sum()
        called.append(np.append(np.cumsum(counts[::-1])[::-1], 0.0))
    right, wrong = called
    score = (1 + beta**2) * right / (beta**2 * truth.sum() + np.maximum(right + wrong, 1e-9))
    # A gap between the classes gives many best thresholds: its middle.
    smooth = float(np.mean(edges[score >= score.max() - 1e-6]))
    exact = float(_logit(best_threshold(truth.astype(np.float64), probability, beta=beta)))
    return float(expit(_blend(smooth, exact, n_positive)))


def _blend(smooth: float, exact: float, n: int) -> float:
    share = min(1.0, n / MANY_SERIES)
    return (1 - share) * smooth + share * exact


def _side_spread(below: Floats, n: int) -> float:
    """Return the spread on the side where `below`, distances from the median, is positive; drawn to that of both."""
    distance = np.minimum(np.abs(below), _OUTLYING * 1.4826 * float(np.median(np.abs(below))))
    one_side, both = float(np.mean(distance[below >= 0] ** 2)), float(np.mean(distance**2))
    weight = n / 2
    return math.sqrt((weight * one_side + _PRIOR_CASES * both) / (weight + _PRIOR_CASES))


def _spread(deviation: Floats) -> float:
    """Return the smaller of the standard deviation and what the median of distances says of it, if that isn't 0."""
    whole, robust = float(np.sqrt(np.mean(deviation**2))), 1.4826 * float(np.median(np.abs(deviation)))
    return min(whole, robust) if robust > 0 else whole


def _logit(probability: npt.ArrayLike) -> Floats:
    return np.asarray(logit(np.clip(probability, _FARTHEST, 1 - _FARTHEST)), dtype=np.float64)


def labels_without(thresholds: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the labels for which no rule has a threshold."""
    return [label for label in LABELS if not any(label in by_label for by_label in thresholds.values())]
