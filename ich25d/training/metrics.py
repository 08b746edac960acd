"""How good probabilities are: log loss, ranking, decisions and calibration, each also under weights.

Every measure takes a target of 0, 1 or NaN (unknown: left out) and weights of shape (N,) or, for many resamplings
at once, (R, N); it gives one number, or R of them. So an interval costs one sort and not a thousand (`intervals.py`).
NaN means that the measure isn't defined, as an AUC where one class is missing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.labels import LABEL_WEIGHTS, N_LABELS

Floats = npt.NDArray[np.floating[Any]]
"""Any floating-point array."""

CLIP = 1e-15
"""Kaggle clips probabilities to [CLIP, 1 - CLIP] before it takes logarithms."""

CALIBRATION_BINS = 15
"""Bins of equal width in the calibration error (Guo et al. 2017)."""


def log_loss_each(target: Floats, probability: Floats) -> npt.NDArray[np.float64]:
    """Return -log of the probability given to what was true, element by element; NaN where unknown.

    Args:
        target: 0, 1 or NaN, any shape.
        probability: Same shape, 0 to 1; clipped as Kaggle does.
    """
    target = np.asarray(target, dtype=np.float64)
    clipped = np.clip(np.asarray(probability, dtype=np.float64), CLIP, 1 - CLIP)
    return -(target * np.log(clipped) + (1 - target) * np.log1p(-clipped))


def label_log_loss(target: Floats, probability: Floats, mask: npt.NDArray[np.bool_] | None = None) -> Floats:
    """Return the log loss of every label, shape (6,); NaN where nothing of a label is known.

    Args:
        target: Shape (N, 6), in the order of `LABELS`; NaN where unknown.
        probability: Shape (N, 6).
        mask: What counts, shape (N,) or (N, 6); None is everything known.
    """
    each = _masked(log_loss_each(target, probability), mask)
    known = ~np.isnan(each)
    return _ratio(np.where(known, each, 0).sum(axis=0), known.sum(axis=0))


def weighted_log_loss(target: Floats, probability: Floats, mask: npt.NDArray[np.bool_] | None = None) -> float:
    """Return the competition's score: (2 L_any + the five others) / 7, averaged over images.

    Unknown labels weigh nothing, as in the training's loss; NaN when none is known.

    Args:
        target: Shape (N, 6), in the order of `LABELS`; NaN where unknown.
        probability: Shape (N, 6).
        mask: What counts, shape (N,) or (N, 6); None is everything known.

    References:
        RSNA Intracranial Hemorrhage Detection 2019: weighted multi-label logarithmic loss.
    """
    each = _masked(log_loss_each(target, probability), mask)
    weight = np.where(np.isnan(each), 0.0, np.asarray(LABEL_WEIGHTS))
    return float(_ratio(np.nansum(weight * np.nan_to_num(each)), weight.sum()))


def _masked(each: npt.NDArray[np.float64], mask: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float64]:
    if each.ndim != 2 or each.shape[1] != N_LABELS:
        raise ValueError(f"targets and probabilities must have shape (N, {N_LABELS}) (got {each.shape})")
    if mask is None:
        return each
    return np.where(mask[:, None] if mask.ndim == 1 else mask, each, np.nan)


def auc(target: Floats, score: Floats, weight: Floats | None = None) -> Any:  # noqa: ANN401  # a float, or R of them
    """Return the area under the ROC curve: how often a positive ranks above a negative, ties counting half.

    Args:
        target: Shape (N,), NaN where unknown.
        score: Shape (N,), any scale.
        weight: Shape (N,) or (R, N), not negative.

    Returns:
        A float, or shape (R,); NaN where a class is missing.
    """
    positive, negative = _ranked(target, score, weight)
    below = np.cumsum(negative, axis=-1)
    wins = (positive * (below - negative / 2)).sum(axis=-1)
    return _plain(_ratio(wins, positive.sum(axis=-1) * below[..., -1]))


def average_precision(target: Floats, score: Floats, weight: Floats | None = None) -> Any:  # noqa: ANN401
    """Return the average precision: precision at every threshold, weighted by the recall gained there.

    Args:
        target: Shape (N,), NaN where unknown.
        score: Shape (N,), any scale.
        weight: Shape (N,) or (R, N), not negative.

    Returns:
        A float, or shape (R,); NaN where nothing is positive.
    """
    positive, negative = (np.flip(part, axis=-1) for part in _ranked(target, score, weight))
    found = np.cumsum(positive, axis=-1)
    called = found + np.cumsum(negative, axis=-1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return _plain(_ratio((positive * precision).sum(axis=-1), found[..., -1]))


def _ranked(
    target: Floats, score: Floats, weight: Floats | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the weight of positives and of negatives at each distinct score, rising, shape (..., groups)."""
    target, score, weight = _known(target, score, weight)
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    positive = weight[..., order] * target[order]
    negative = weight[..., order] - positive
    if not len(ranked):
        nothing = np.zeros((*weight.shape[:-1], 1))
        return nothing, nothing
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    if len(starts) < len(ranked):
        positive, negative = (np.add.reduceat(part, starts, axis=-1) for part in (positive, negative))
    return positive, negative


def brier(target: Floats, probability: Floats, weight: Floats | None = None) -> Any:  # noqa: ANN401
    """Return the mean squared difference of probability and truth; shapes as in `auc`."""
    target, probability, weight = _known(target, probability, weight)
    return _plain(_ratio(weight @ (probability - target) ** 2, weight.sum(axis=-1)))


def mean_log_loss(target: Floats, probability: Floats, weight: Floats | None = None) -> Any:  # noqa: ANN401
    """Return the log loss of one label; shapes as in `auc`."""
    target, probability, weight = _known(target, probability, weight)
    return _plain(_ratio(weight @ log_loss_each(target, probability), weight.sum(axis=-1)))


def calibration_error(
    target: Floats, probability: Floats, weight: Floats | None = None, *, bins: int = CALIBRATION_BINS
) -> Any:  # noqa: ANN401
    """Return the expected calibration error: the mean gap of probability and frequency, over bins of equal width.

    Args:
        target: Shape (N,), NaN where unknown.
        probability: Shape (N,), 0 to 1.
        weight: Shape (N,) or (R, N), not negative.
        bins: Number of bins; the lower edge belongs to a bin, and 1 to the last.

    Returns:
        A float, or shape (R,).

    References:
        Guo et al., On calibration of modern neural networks, 2017, eq. 3.
    """
    target, probability, weight = _known(target, probability, weight)
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    gap_by_bin = np.zeros((len(target), bins))
    gap_by_bin[np.arange(len(target)), place] = probability - target
    # |sum of the gaps in a bin| / N is the bin's share times |mean probability - frequency|.
    return _plain(_ratio(np.abs(weight @ gap_by_bin).sum(axis=-1), weight.sum(axis=-1)))


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts (or summed weights) of decisions at one threshold; each a number or shape (R,)."""

    true_positive: Any
    false_positive: Any
    true_negative: Any
    false_negative: Any

    @property
    def sensitivity(self) -> Any:  # noqa: ANN401
        """Share of the positives that are called; recall."""
        return _plain(_ratio(self.true_positive, self.true_positive + self.false_negative))

    @property
    def specificity(self) -> Any:  # noqa: ANN401
        """Share of the negatives that aren't called."""
        return _plain(_ratio(self.true_negative, self.true_negative + self.false_positive))

    @property
    def precision(self) -> Any:  # noqa: ANN401
        """Share of those called that are positive."""
        return _plain(_ratio(self.true_positive, self.true_positive + self.false_positive))

    @property
    def accuracy(self) -> Any:  # noqa: ANN401
        """Share of all that are decided rightly."""
        right = self.true_positive + self.true_negative
        return _plain(_ratio(right, right + self.false_positive + self.false_negative))

    def f_beta(self, beta: float = 1.0) -> Any:  # noqa: ANN401
        """Return the F measure, in which recall weighs beta times as much as precision; 0 where nothing is found.

        NaN where nothing is positive and nothing is called.
        """
        squared = beta**2
        found = (1 + squared) * self.true_positive
        return _plain(_ratio(found, found + squared * self.false_negative + self.false_positive))


def confusion(target: Floats, probability: Floats, threshold: float, weight: Floats | None = None) -> Confusion:
    """Count decisions: what is at least the threshold is called positive; shapes as in `auc`."""
    target, probability, weight = _known(target, probability, weight)
    called = probability >= threshold
    parts = (target * called, (1 - target) * called, (1 - target) * ~called, target * ~called)
    return Confusion(*(_plain(weight @ part) for part in parts))


def best_threshold(target: Floats, probability: Floats, *, beta: float = 1.0) -> float:
    """Return the threshold with the greatest F-beta on these data, half-way to the next score below it.

    Of several, the highest, which calls the least. NaN where nothing is positive.

    Args:
        target: Shape (N,), NaN where unknown.
        probability: Shape (N,), 0 to 1.
        beta: How many times recall weighs what precision weighs.
    """
    positive, negative = _ranked(target, probability, None)
    if not positive.sum() > 0:
        return float("nan")
    scores = np.unique(_known(target, probability, None)[1])
    found, wrong = (np.cumsum(part[::-1])[::-1] for part in (positive, negative))
    squared = beta**2
    f_beta = (1 + squared) * found / ((1 + squared) * found + squared * (positive.sum() - found) + wrong)
    best = int(np.flatnonzero(f_beta >= f_beta.max() - 1e-12)[-1])
    return float(scores[best] if best == 0 else (scores[best - 1] + scores[best]) / 2)


def _known(
    target: Floats, score: Floats, weight: Floats | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the known elements and their weights, all float64."""
    truth: npt.NDArray[np.float64] = np.asarray(target, dtype=np.float64)
    value: npt.NDArray[np.float64] = np.asarray(score, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != value.shape:
        raise ValueError(f"target and score must both have shape (N,) (got {truth.shape} and {value.shape})")
    each = np.ones(len(truth)) if weight is None else np.asarray(weight, dtype=np.float64)
    known = ~np.isnan(truth)
    if np.isnan(value[known]).any():
        raise ValueError("scores must be numbers (got NaN)")
    return (truth, value, each) if known.all() else (truth[known], value[known], each[..., known])


def _ratio(above: Any, below: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    ratio: npt.NDArray[np.float64] = np.divide(
        above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0
    )
    return ratio


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return a float for a single number."""
    return float(value) if np.ndim(value) == 0 else value
