"""Ranks of positives among all: one sort for every measure of rank and many weights at once."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
"""Any floating-point array."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """How positives stand among all, at each distinct score of a positive, rising (G of them)."""

    score: npt.NDArray[np.float64]
    """Shape (G,)."""
    positive: npt.NDArray[np.float64]
    """Weight of the positives with this score, shape (..., G)."""
    positive_below: npt.NDArray[np.float64]
    all_here: npt.NDArray[np.float64]
    """Weight of everything with this score."""
    all_below: npt.NDArray[np.float64]
    positives: npt.NDArray[np.float64]
    """Weight of all positives, shape (...)."""
    everything: npt.NDArray[np.float64]

    @property
    def auc(self) -> Any:  # noqa: ANN401  # a float, or R of them
        """Area under the ROC curve: how often a positive ranks above a negative, ties counting half."""
        negative_below = self.all_below - self.positive_below
        negative_here = self.all_here - self.positive
        wins = (self.positive * (negative_below + negative_here / 2)).sum(axis=-1)
        return plain(ratio(wins, self.positives * (self.everything - self.positives)))

    @property
    def average_precision(self) -> Any:  # noqa: ANN401
        """Precision at every threshold, weighted by the recall gained there."""
        found = self.positives[..., None] - self.positive_below
        called = self.everything[..., None] - self.all_below
        precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
        return plain(ratio((self.positive * precision).sum(axis=-1), self.positives))


@dataclass(frozen=True, slots=True)
class Order:
    """What is known, by rising score: sorted once, weighed as often as intervals want it."""

    score: npt.NDArray[np.float64]
    """Distinct scores of positives, rising, shape (G,)."""
    everything: npt.NDArray[np.int64]
    """Whose weight each known element has, shape (K,)."""
    positives: npt.NDArray[np.int64]
    """The same of the positives alone."""
    places: tuple[npt.NDArray[np.int64], ...]
    """How many of all and of the positives stand below each of `score`, and up to it; shape (G,) each."""

    def weighed(self, weight: Floats) -> Ranking:
        """Rank under weights of shape (P,) or (R, P), not negative."""
        # Sums up to a rank need no look at each tie, and are only needed where a positive stands.
        everything, positives = _sums(weight, self.everything), _sums(weight, self.positives)
        below, above, positive_below, positive_above = self.places
        return Ranking(
            score=self.score,
            positive=positives[..., positive_above] - positives[..., positive_below],
            positive_below=positives[..., positive_below],
            all_here=everything[..., above] - everything[..., below],
            all_below=everything[..., below],
            positives=positives[..., -1],
            everything=everything[..., -1],
        )


def order(target: Floats, score: Floats, whose: npt.NDArray[np.int64] | None = None) -> Order:
    """Sort once, for all measures of rank and all weights.

    Args:
        target: Shape (N,), NaN where unknown.
        score: Shape (N,), any scale.
        whose: Number of the patient, whose weight an element has, shape (N,); None where each has its own.
    """
    rows = np.arange(len(target)) if whose is None else whose
    rows = rows[~np.isnan(np.asarray(target, dtype=np.float64))]
    truth, value, _ = known_only(target, score, None)
    rising = np.argsort(value, kind="stable")
    ranked, is_positive = value[rising], truth[rising] == 1
    ranked_positive = ranked[is_positive]
    at = np.unique(ranked_positive)
    places = [np.searchsorted(among, at, side=side) for among in (ranked, ranked_positive) for side in _SIDES]
    return Order(at, rows[rising], rows[rising][is_positive], tuple(places))


def rank(target: Floats, score: Floats, weight: Floats | None = None) -> Ranking:
    """Rank under weights that are asked for once.

    Args:
        target: Shape (N,), NaN where unknown.
        score: Shape (N,), any scale.
        weight: Shape (N,) or (R, N), not negative.
    """
    each = np.ones(len(target)) if weight is None else np.asarray(weight, dtype=np.float64)
    return order(target, score).weighed(each)


_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


def _sums(weight: Floats, whose: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the weight of the first 0, 1, ... elements in this order, shape (..., 1 + len(whose))."""
    sums = np.zeros((*weight.shape[:-1], 1 + len(whose)))
    np.cumsum(np.take(weight, whose, axis=-1), axis=-1, out=sums[..., 1:])
    return sums


def known_only(
    target: Floats, score: Floats, weight: Floats | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the known elements and their weights, all float64.

    Args:
        target: Shape (N,), NaN where unknown.
        score: Shape (N,).
        weight: Shape (N,) or (R, N); None is 1 each.

    Raises:
        ValueError: The shapes differ, or a known element has no score.
    """
    truth: npt.NDArray[np.float64] = np.asarray(target, dtype=np.float64)
    value: npt.NDArray[np.float64] = np.asarray(score, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != value.shape:
        raise ValueError(f"target and score must both have shape (N,) (got {truth.shape} and {value.shape})")
    each = np.ones(len(truth)) if weight is None else np.asarray(weight, dtype=np.float64)
    known = ~np.isnan(truth)
    if np.isnan(value[known]).any():
        raise ValueError("scores must be numbers (got NaN)")
    return (truth, value, each) if known.all() else (truth[known], value[known], each[..., known])


def ratio(above: Any, below: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401
    """Divide; NaN where the divisor isn't above 0."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    quotient = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def plain(value: Any) -> Any:  # noqa: ANN401
    """Return a float for a single number."""
    return float(value) if np.ndim(value) == 0 else value
