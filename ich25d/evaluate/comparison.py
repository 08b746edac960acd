"""Two prediction files on the same cases: differences by DeLong's test and by resampled patients.

DeLong's covariance of areas under ROC curves also gives the interval of one area.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erfc, ndtri
from scipy.stats import rankdata

from ich25d.errors import UsageError
from ich25d.evaluate.level import Cases
from ich25d.labels import LABELS
from ich25d.training.intervals import LEVEL, Measure, bootstrap, percentiles, replicates_for
from ich25d.training.metrics import auc, mean_log_loss

CLUSTERED = (
    "DeLong's test takes cases as independent. Slices of one patient aren't: for slices its interval is too narrow and "
    "its p too small; the intervals of resampled patients hold"
)

_HALF_WIDTH = float(ndtri(0.5 + LEVEL / 2))  # of an interval, in standard deviations

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Areas:
    """Areas of K scores on the same cases, and how they vary together."""

    auc: Floats
    """Shape (K,); NaN where a class is missing."""
    covariance: Floats
    """Shape (K, K); NaN where a class has fewer than two cases."""

    def interval(self) -> tuple[float, float]:
        """Return the normal interval of the first area, cut to 0 and 1."""
        area, variance = float(self.auc[0]), float(self.covariance[0, 0])
        if math.isnan(variance):
            return float("nan"), float("nan")
        half = _HALF_WIDTH * math.sqrt(max(0.0, variance))
        return max(0.0, area - half), min(1.0, area + half)


@dataclass(frozen=True, slots=True)
class Difference(Measure):
    """The second area minus the first."""

    z: float
    """0 where both rank all cases alike; NaN where it isn't defined."""
    p: float
    """Two-sided."""


@dataclass(frozen=True, slots=True)
class LabelComparison:
    """One label: this file minus the other."""

    level: str
    label: str
    n: int
    n_positive: int
    auc: float
    other_auc: float
    delong: Difference
    resampled: Measure
    """Difference of the areas."""
    log_loss: Measure
    """Difference of the log losses; below 0 this file is better."""

    def to_row(self) -> dict[str, Any]:
        """Return it as a row of a table."""
        return {
            "level": self.level, "label": self.label, "n": self.n, "n_positive": self.n_positive,
            "auc": self.auc, "other_auc": self.other_auc, "difference": self.delong.value,
            "delong_low": self.delong.low, "delong_high": self.delong.high, "z": self.delong.z, "p": self.delong.p,
            "resampled_low": self.resampled.low, "resampled_high": self.resampled.high,
            "log_loss_difference": self.log_loss.value, "log_loss_low": self.log_loss.low,
            "log_loss_high": self.log_loss.high,
        }  # fmt: skip


def compare(
    this: Sequence[Cases], other: Sequence[Cases], *, replicates: int, seed: int
) -> tuple[list[LabelComparison], list[str]]:
    """Compare two prediction files, joined with the same labels, on the cases that both predict.

    Args:
        this: Levels of the one file.
        other: Levels of the other.
        replicates: Number of resamplings.
        seed: Seed of the draws.

    Returns:
        A comparison a level and label, and remarks.

    Raises:
        UsageError: They share no labelled image.
    """
    comparisons: list[LabelComparison] = []
    remarks: list[str] = []
    of_other = {cases.name: cases for cases in other}
    for cases in this:
        if cases.name not in of_other:
            continue
        theirs = of_other[cases.name]
        place = {case: row for row, case in enumerate(theirs.case_id)}
        rows = np.array([row for row, case in enumerate(cases.case_id) if case in place], dtype=np.int64)
        if not len(rows):
            raise UsageError(f"--against must share labelled {cases.name} with the predictions (got none)")
        n, n_theirs = len(cases.case_id), len(theirs.case_id)
        if len(rows) < max(n, n_theirs):
            remarks.append(f"comparison: {len(rows)} {cases.name} are in both files, of {n} and {n_theirs}")
        shared = Cases(
            cases.name, cases.case_id[rows], cases.target[rows], cases.probability[rows], cases.patient[rows]
        )
        probability = theirs.probability[[place[case] for case in shared.case_id]]
        comparisons += compare_level(shared, probability, replicates=replicates, seed=seed)
    return comparisons, [*remarks, CLUSTERED]


def compare_level(cases: Cases, other: Floats, *, replicates: int, seed: int) -> list[LabelComparison]:
    """Compare two sets of probabilities of the same cases, label by label; a label without both classes is left out.

    Args:
        cases: The cases, with the one set.
        other: The other set, shape (N, 6).
        replicates: Number of resamplings.
        seed: Seed of the draws.
    """
    comparisons = []
    for column, label in enumerate(LABELS):
        known = ~np.isnan(cases.target[:, column])
        truth, mine, theirs = cases.target[known, column], cases.probability[known, column], other[known, column]
        if not 0 < truth.sum() < len(truth):
            continue

        def both(weight: Floats, truth: Floats = truth, mine: Floats = mine, theirs: Floats = theirs) -> Floats:
            pairs = [
                np.atleast_1d(measure(truth, mine, weight)) - np.atleast_1d(measure(truth, theirs, weight))
                for measure in (auc, mean_log_loss)
            ]
            return np.stack(pairs, axis=1)

        areas = delong(truth, np.stack([theirs, mine]))
        value = both(np.ones((1, len(truth))))[0]
        times = replicates_for(len(truth), replicates)
        low, high = percentiles(bootstrap(both, cases.patient[known].astype(str), replicates=times, seed=seed))
        resampled, log_loss = (Measure(*map(float, ends)) for ends in zip(value, low, high, strict=True))
        comparisons.append(
            LabelComparison(
                cases.name, label, len(truth), int(truth.sum()), float(areas.auc[1]), float(areas.auc[0]),
                difference(areas), resampled, log_loss,
            )
        )  # fmt: skip
    return comparisons


def delong(target: npt.NDArray[np.floating[Any]], score: npt.NDArray[np.floating[Any]]) -> Areas:
    """Return areas and their covariance, from ranks: O(K N log N).

    The cases are taken as independent; slices of one patient aren't, and for them the interval is too narrow.

    Args:
        target: 0 or 1, NaN where unknown, shape (N,).
        score: Shape (K, N), any scale.

    Raises:
        ValueError: A score is NaN.

    References:
        DeLong, DeLong & Clarke-Pearson, Comparing the areas under two or more correlated ROC curves, 1988.
        Sun & Xu, Fast implementation of DeLong's algorithm, 2014.
    """
    known = ~np.isnan(target)
    truth, value = target[known] == 1, np.asarray(score, dtype=np.float64)[:, known]
    if np.isnan(value).any():
        raise ValueError("scores must be numbers (got NaN)")
    positive, negative = value[:, truth], value[:, ~truth]
    m, n = positive.shape[1], negative.shape[1]
    if not m or not n:
        return Areas(np.full(len(value), np.nan), np.full((len(value), len(value)), np.nan))
    both = rankdata(np.concatenate([positive, negative], axis=1), axis=1)
    # How large a share of the other class each case beats, ties counting half.
    beats = (both[:, :m] - rankdata(positive, axis=1)) / n
    is_beaten = 1 - (both[:, m:] - rankdata(negative, axis=1)) / m
    covariance = np.full((len(value), len(value)), np.nan)
    if m > 1 and n > 1:
        covariance = np.atleast_2d(np.cov(beats)) / m + np.atleast_2d(np.cov(is_beaten)) / n
    return Areas(beats.mean(axis=1), covariance)


def difference(areas: Areas) -> Difference:
    """Compare two areas of `delong`: the second minus the first."""
    value = float(areas.auc[1] - areas.auc[0])
    variance = float(areas.covariance[0, 0] + areas.covariance[1, 1] - 2 * areas.covariance[0, 1])
    if math.isnan(value) or math.isnan(variance):
        return Difference(value, *[float("nan")] * 4)
    if variance <= 1e-18:  # rounding is all that is left: every case ranks alike, or no case ever loses
        same = abs(value) < 1e-12
        return Difference(value, value, value, 0.0 if same else math.copysign(math.inf, value), 1.0 if same else 0.0)
    deviation = math.sqrt(variance)
    half, z = _HALF_WIDTH * deviation, value / deviation
    return Difference(value, value - half, value + half, z, float(erfc(abs(z) / math.sqrt(2))))
