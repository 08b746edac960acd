"""DeLong's covariance of areas under ROC curves, for intervals and for comparing two models on the same cases."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erfc, ndtri
from scipy.stats import rankdata

from ich25d.training.intervals import LEVEL

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Areas:
    """Areas of K scores on the same cases, and how they vary together."""

    auc: Floats
    """Shape (K,); NaN where a class is missing."""
    covariance: Floats
    """Shape (K, K); NaN where a class has fewer than two cases."""

    def interval(self, number: int = 0, *, level: float = LEVEL) -> tuple[float, float]:
        """Return the normal interval of one area, cut to 0 and 1."""
        half = float(ndtri(0.5 + level / 2)) * math.sqrt(max(0.0, float(self.covariance[number, number])))
        area = float(self.auc[number])
        if math.isnan(float(self.covariance[number, number])):
            return float("nan"), float("nan")
        return max(0.0, area - half), min(1.0, area + half)


@dataclass(frozen=True, slots=True)
class Difference:
    """The second area minus the first."""

    value: float
    low: float
    high: float
    z: float
    """0 where both rank all cases alike; NaN where it isn't defined."""
    p: float
    """Two-sided."""


def delong(target: npt.NDArray[np.floating[Any]], score: npt.NDArray[np.floating[Any]]) -> Areas:
    """Return areas and their covariance, from ranks: O(K N log N).

    The cases are taken as independent; slices of one patient aren't, and for them the interval is too narrow.

    Args:
        target: 0 or 1, NaN where unknown, shape (N,).
        score: Shape (K, N), any scale.

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


def difference(areas: Areas, *, level: float = LEVEL) -> Difference:
    """Compare two areas of `delong`: the second minus the first."""
    value = float(areas.auc[1] - areas.auc[0])
    variance = float(areas.covariance[0, 0] + areas.covariance[1, 1] - 2 * areas.covariance[0, 1])
    if math.isnan(value) or math.isnan(variance):
        return Difference(value, *[float("nan")] * 4)
    if variance <= 1e-18:  # rounding is all that is left: every case ranks alike, or no case ever loses
        same = abs(value) < 1e-12
        return Difference(value, value, value, 0.0 if same else math.copysign(math.inf, value), 1.0 if same else 0.0)
    deviation = math.sqrt(variance)
    half, z = float(ndtri(0.5 + level / 2)) * deviation, value / deviation
    return Difference(value, value - half, value + half, z, float(erfc(abs(z) / math.sqrt(2))))
