"""Curves of one label, with bands from resampled patients: ROC, precision-recall, reliability, net benefit.

Counts by patient and threshold are made once; a resampling is then one product of matrices.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ich25d.evaluate.level import LabelCases, Level
from ich25d.labels import LABELS
from ich25d.training.intervals import Measure, percentiles

Floats = npt.NDArray[np.float64]

FALSE_ALARMS: Floats = np.unique(np.concatenate([np.linspace(0, 0.1, 41), np.linspace(0.1, 1, 91)]))
"""1 - specificity at which the ROC curve and its band are given; closer where decisions are made."""

RECALLS: Floats = np.linspace(0.01, 1, 100)
"""Sensitivities at which precision and its band are given."""

THRESHOLDS: Floats = np.concatenate([np.linspace(0.005, 0.1, 20), np.linspace(0.12, 0.6, 25)])
"""Threshold probabilities of the decision curve: how likely a bleed must be for an alarm to be wanted."""

RELIABILITY_BINS = 10
"""Groups of equal size in a reliability plot."""

_MOST_THRESHOLDS, _FEWEST_THRESHOLDS, _COUNTS = 256, 48, 12_000_000
_LEAST_PROBABILITY = 1e-6
_MOST_STEPS, _MOST_HALVINGS, _CONVERGED, _WORST_CONDITION, _ROUNDING = 100, 30, 1e-14, 1e14, 1e-12


class Curve(NamedTuple):
    """A curve and its pointwise 95 % band; NaN where it isn't defined."""

    x: Floats
    y: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Observed share of positives against the mean probability, in groups of equal size."""

    curve: Curve
    n: npt.NDArray[np.int64]
    """Cases a group."""
    intercept: Measure
    """Of a logistic regression of truth on the logit; 0 is right. NaN where that has no finite fit."""
    slope: Measure
    """Likewise; 1 is right, below 1 the probabilities are too extreme. Intervals are clustered by patient."""
    observed: float
    """Share of positives."""
    expected: float
    """Mean probability."""


class LabelCurves:
    """The curves of one label that has both classes.

    Args:
        level: All cases of a level.
        label: One of `LABELS`.
    """

    def __init__(self, level: Level, label: str) -> None:
        self.label = label
        self.name = f"{label}, {level.name}"
        self.cases = level.of_label(LABELS.index(label))
        self.measures = level.scores.label[label]
        self.prevalence = float(self.cases.positive.mean())
        self.roc, self.precision = roc_and_precision(self.cases)
        self.reliability = reliability(self.cases)
        self.benefit, self.everything = net_benefit(self.cases)


def grid_of(cases: LabelCases) -> Floats:
    """Choose rising thresholds, evenly among the positives and among the negatives; all probabilities where few."""
    values = np.unique(cases.probability)
    size = int(np.clip(_COUNTS // max(1, cases.n_patients), _FEWEST_THRESHOLDS, _MOST_THRESHOLDS))
    if len(values) <= size:
        return values
    shares = np.linspace(0, 1, size // 2)
    groups = (cases.probability[cases.positive], cases.probability[~cases.positive])
    return np.unique(np.concatenate([np.quantile(group, shares, method="nearest") for group in groups]))


def roc_and_precision(cases: LabelCases) -> tuple[Curve, Curve]:
    """Return the ROC curve (x: 1 - specificity) and the precision-recall curve (x: sensitivity).

    Args:
        cases: With both classes.
    """
    called_positive, called_negative = cases.called_at(grid_of(cases))
    positives, negatives = cases.totals()
    rocs, precisions = [], []
    for weight in cases.weights():
        # Thresholds fall from here on, so that everything rises.
        true = (weight @ called_positive)[:, ::-1]
        false = (weight @ called_negative)[:, ::-1]
        m, n = weight @ positives, weight @ negatives
        for row in range(len(weight)):
            if not m[row] or not n[row]:
                rocs.append(np.full(len(FALSE_ALARMS), np.nan))
                precisions.append(np.full(len(RECALLS), np.nan))
                continue
            rocs.append(_sensitivity_at(false[row] / n[row], true[row] / m[row]))
            precisions.append(_precision_at(true[row], false[row], m[row]))
    return _curve(FALSE_ALARMS, np.stack(rocs)), _curve(RECALLS, np.stack(precisions))


def _sensitivity_at(false_rate: Floats, true_rate: Floats) -> Floats:
    """Read a ROC curve, straight between its points, at `FALSE_ALARMS`; at its steps the upper end."""
    x, y = np.concatenate([[0.0], false_rate, [1.0]]), np.concatenate([[0.0], true_rate, [1.0]])
    left = np.searchsorted(x, FALSE_ALARMS, side="right") - 1
    right = np.minimum(left + 1, len(x) - 1)
    gap = x[right] - x[left]
    share = np.divide(FALSE_ALARMS - x[left], gap, out=np.zeros(len(left)), where=gap > 0)
    found: Floats = y[left] + share * (y[right] - y[left])
    return found


def _precision_at(true: Floats, false: Floats, positives: float) -> Floats:
    """Read the precision at the first threshold that reaches each of `RECALLS`."""
    at = np.minimum(np.searchsorted(true, RECALLS * positives - 1e-9), len(true) - 1)
    found: Floats = true[at] / (true[at] + false[at])
    return found


def net_benefit(cases: LabelCases) -> tuple[Curve, Curve]:
    """Return the decision curve of the model, and that of calling everything positive.

    Net benefit is the share of true calls minus that of false ones, weighed by the odds of the probability at which
    one wants an alarm; calling nothing has 0.

    References:
        Vickers & Elkin, Decision curve analysis, 2006.
    """
    called_positive, called_negative = cases.called_at(THRESHOLDS)
    positives, negatives = cases.totals()
    odds = THRESHOLDS / (1 - THRESHOLDS)
    model, everything = [], []
    for weight in cases.weights():
        n = (weight @ (positives + negatives))[:, None]
        model.append((weight @ called_positive - odds * (weight @ called_negative)) / n)
        everything.append(((weight @ positives)[:, None] - odds * (weight @ negatives)[:, None]) / n)
    return _curve(THRESHOLDS, np.concatenate(model)), _curve(THRESHOLDS, np.concatenate(everything))


def reliability(cases: LabelCases) -> Reliability:
    """Return the reliability plot of one label, and slope and intercept of its recalibration."""
    edges = np.unique(np.quantile(cases.probability, np.linspace(0, 1, RELIABILITY_BINS + 1)[1:-1]))
    place = np.searchsorted(edges, cases.probability, side="right")
    size = len(edges) + 1
    key = cases.code * size + place
    length = cases.n_patients * size
    sums = [
        np.bincount(key, weights, minlength=length).reshape(-1, size)
        for weights in (np.ones(len(key)), cases.positive.astype(np.float64), cases.probability)
    ]
    n, _, total = (part.sum(axis=0) for part in sums)
    kept = n > 0
    drawn = []
    for weight in cases.weights():
        drawn_n, drawn_hits = (weight @ part[:, kept] for part in sums[:2])
        drawn.append(np.divide(drawn_hits, drawn_n, out=np.full(drawn_n.shape, np.nan), where=drawn_n > 0))
    intercept, slope = _recalibration(cases)
    return Reliability(
        _curve(total[kept] / n[kept], np.concatenate(drawn)), n[kept].astype(np.int64), intercept, slope,
        float(cases.positive.mean()), float(cases.probability.mean()),
    )  # fmt: skip


def _recalibration(cases: LabelCases) -> tuple[Measure, Measure]:
    """Fit truth on the logit; intervals are from the variance of clusters (sandwich), the patients.

    There is no resampling that could fail to converge. Two patients or fewer give no interval: at the optimum their
    scores cancel out, and the variance of two parameters would be 0.
    """
    absent = Measure(*[float("nan")] * 3)
    clipped = np.clip(cases.probability, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    logit = np.log(clipped) - np.log1p(-clipped)
    if not _has_optimum(logit, cases.positive):
        return absent, absent
    centre, spread = float(logit.mean()), float(logit.std())
    design = np.stack([np.ones(len(logit)), (logit - centre) / spread], axis=1)
    fit = _logistic(design, cases.positive)
    if fit is None:
        return absent, absent
    back = np.array([[1, -centre / spread], [0, 1 / spread]])
    found = back @ fit.coefficient
    scores = design * fit.residual[:, None]
    by_patient = np.stack([np.bincount(cases.code, scores[:, k], minlength=cases.n_patients) for k in (0, 1)], axis=1)
    inverse = back @ np.linalg.inv(fit.information)
    deviation = np.sqrt(np.diag(inverse @ (by_patient.T @ by_patient) @ inverse.T))
    if cases.n_patients <= len(found):
        deviation = np.full(len(found), np.nan)
    ends = [Measure(float(v), float(v - 1.96 * d), float(v + 1.96 * d)) for v, d in zip(found, deviation, strict=True)]
    return ends[0], ends[1]


def _has_optimum(logit: Floats, positive: npt.NDArray[np.bool_]) -> bool:
    """Return whether a logistic regression on the logit has a finite best fit.

    It has none with one class or one logit alone, nor where a threshold separates the classes, even with ties at the
    threshold: the likelihood then grows without bound with the slope.

    References:
        Albert & Anderson, On the existence of maximum likelihood estimates in logistic regression models, 1984.
    """
    if not positive.any() or positive.all() or logit.min() == logit.max():
        return False
    yes, no = logit[positive], logit[~positive]
    return bool(yes.min() < no.max() and no.min() < yes.max())


class _Fit(NamedTuple):
    """A logistic regression at its optimum."""

    coefficient: Floats
    information: Floats
    """Minus the second derivative of the log likelihood, shape (2, 2)."""
    residual: Floats
    """Truth less fitted, shape (N,)."""


def _logistic(design: Floats, positive: npt.NDArray[np.bool_]) -> _Fit | None:
    """Fit by Newton's steps, each halved until the likelihood doesn't fall; None where that didn't converge.

    Args:
        design: Ones and the standardised logit, shape (N, 2).
        positive: Shape (N,).
    """
    share = float(positive.mean())
    found = np.array([np.log(share / (1 - share)), 0.0])
    score = design @ found
    loss = _loss(score, positive)
    for _ in range(_MOST_STEPS):
        residual = np.where(positive, expit(-score), -expit(score))
        information = (design * (expit(score) * expit(-score))[:, None]).T @ design
        if np.linalg.cond(information) > _WORST_CONDITION:
            return None
        slopes = design.T @ residual
        step = np.linalg.solve(information, slopes)
        # The remaining step is far below a standard error.
        if slopes @ step < _CONVERGED:
            return _Fit(found, information, residual)
        for _ in range(_MOST_HALVINGS):
            tried = design @ (found + step)
            if (new := _loss(tried, positive)) <= loss * (1 + _ROUNDING):
                break
            step = step / 2
        else:
            return None
        found, score, loss = found + step, tried, new
    return None


def _loss(score: Floats, positive: npt.NDArray[np.bool_]) -> float:
    return float(np.logaddexp(0, np.where(positive, -score, score)).sum())


def _curve(x: Floats, values: Floats) -> Curve:
    """Make a curve of values (1 + R, G): the first row is the curve, the others its resamplings."""
    low, high = percentiles(values[1:]) if len(values) > 1 else (np.full(len(x), np.nan),) * 2
    return Curve(x, values[0], low, high)
