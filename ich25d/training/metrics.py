"""Measures of probabilities: log loss, ranking, decisions and calibration, each also under weights.

Every measure takes a target of 0, 1 or NaN (unknown: left out) and weights of shape (N,) or, for many resamplings
at once, (R, N); it gives one number, or R of them. So an interval costs one sort and not a thousand (`intervals.py`).
NaN means that the measure isn't defined, as an AUC where one class is missing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.labels import LABEL_WEIGHTS, N_LABELS
from ich25d.training.ranking import Floats, known_only, plain, rank, ratio

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


def case_losses(target: Floats, probability: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return what each case brings to the competition's score, (2 L_any + the five others) / 7: loss and weight.

    The sum of the losses over the sum of the weights is the score. Unknown labels bring neither, as in the
    training's loss.

    Args:
        target: Shape (N, 6), in the order of `LABELS`; NaN where unknown.
        probability: Shape (N, 6).

    Returns:
        Weighted losses and weights, summed over the labels, shape (N,) each.

    Raises:
        ValueError: The shapes are others.

    References:
        RSNA Intracranial Hemorrhage Detection 2019: weighted multi-label logarithmic loss.
    """
    each = log_loss_each(target, probability)
    if each.ndim != 2 or each.shape[1] != N_LABELS:
        raise ValueError(f"targets and probabilities must have shape (N, {N_LABELS}) (got {each.shape})")
    known = ~np.isnan(each)
    label_weight = np.asarray(LABEL_WEIGHTS)
    return np.where(known, each, 0.0) @ label_weight, known @ label_weight


def squared_error_each(target: Floats, probability: Floats) -> npt.NDArray[np.float64]:
    """Return the squared difference of probability and truth, element by element; NaN where unknown."""
    difference: npt.NDArray[np.float64] = np.asarray(probability, np.float64) - np.asarray(target, np.float64)
    return difference**2


def auc(target: Floats, score: Floats, weight: Floats | None = None) -> Any:  # noqa: ANN401  # a float, or R of them
    """Return the area under the ROC curve: how often a positive ranks above a negative, ties counting half.

    Args:
        target: Shape (N,), NaN where unknown.
        score: Shape (N,), any scale.
        weight: Shape (N,) or (R, N), not negative.

    Returns:
        A float, or shape (R,); NaN where a class is missing.
    """
    return rank(target, score, weight).auc


def average_precision(target: Floats, score: Floats, weight: Floats | None = None) -> Any:  # noqa: ANN401
    """Return the average precision: precision at every threshold, weighted by the recall gained there.

    Args:
        target: Shape (N,), NaN where unknown.
        score: Shape (N,), any scale.
        weight: Shape (N,) or (R, N), not negative.

    Returns:
        A float, or shape (R,); NaN where nothing is positive.
    """
    return rank(target, score, weight).average_precision


def brier(target: Floats, probability: Floats, weight: Floats | None = None) -> Any:  # noqa: ANN401
    """Return the mean squared difference of probability and truth.

    Args:
        target: Shape (N,), NaN where unknown.
        probability: Shape (N,), 0 to 1.
        weight: Shape (N,) or (R, N), not negative.
    """
    target, probability, weight = known_only(target, probability, weight)
    return plain(ratio(weight @ squared_error_each(target, probability), weight.sum(axis=-1)))


def mean_log_loss(target: Floats, probability: Floats, weight: Floats | None = None) -> Any:  # noqa: ANN401
    """Return the log loss of one label.

    Args:
        target: Shape (N,), NaN where unknown.
        probability: Shape (N,), 0 to 1.
        weight: Shape (N,) or (R, N), not negative.
    """
    target, probability, weight = known_only(target, probability, weight)
    return plain(ratio(weight @ log_loss_each(target, probability), weight.sum(axis=-1)))


def calibration_error(target: Floats, probability: Floats, weight: Floats | None = None) -> Any:  # noqa: ANN401
    """Return the expected calibration error: the mean gap of probability and frequency, over bins of equal width.

    Args:
        target: Shape (N,), NaN where unknown.
        probability: Shape (N,), 0 to 1.
        weight: Shape (N,) or (R, N), not negative.

    Returns:
        A float, or shape (R,).

    References:
        Guo et al., On calibration of modern neural networks, 2017, eq. 3.
    """
    target, probability, weight = known_only(target, probability, weight)
    return mean_gap(weight @ gap_by_bin(target, probability), weight.sum(axis=-1))


def gap_by_bin(target: Floats, probability: Floats) -> npt.NDArray[np.float64]:
    """Return probability less truth of each element, in the column of its bin, shape (N, bins); 0 elsewhere.

    The lower edge belongs to a bin, and 1 to the last.

    Args:
        target: 0 or 1, shape (N,).
        probability: Shape (N,), 0 to 1.
    """
    gaps = np.zeros((len(target), CALIBRATION_BINS))
    place = np.minimum((probability * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps[np.arange(len(target)), place] = probability - target
    return gaps


def mean_gap(gaps: Floats, total: Any) -> Any:  # noqa: ANN401  # a float, or R of them
    """Return the calibration error from the summed gaps of every bin, shape (..., bins), and all weight (...)."""
    # |sum of the gaps in a bin| / N is the bin's share times |mean probability - frequency|.
    return plain(ratio(np.abs(gaps).sum(axis=-1), total))


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
        return plain(ratio(self.true_positive, self.true_positive + self.false_negative))

    @property
    def specificity(self) -> Any:  # noqa: ANN401
        """Share of the negatives that aren't called."""
        return plain(ratio(self.true_negative, self.true_negative + self.false_positive))

    @property
    def precision(self) -> Any:  # noqa: ANN401
        """Share of those called that are positive."""
        return plain(ratio(self.true_positive, self.true_positive + self.false_positive))

    @property
    def accuracy(self) -> Any:  # noqa: ANN401
        """Share of all that are decided rightly."""
        right = self.true_positive + self.true_negative
        return plain(ratio(right, right + self.false_positive + self.false_negative))

    def f_beta(self, beta: float = 1.0) -> Any:  # noqa: ANN401
        """Return the F measure, in which recall weighs beta times as much as precision; 0 where nothing is found.

        NaN where nothing is positive and nothing is called.
        """
        squared = beta**2
        found = (1 + squared) * self.true_positive
        return plain(ratio(found, found + squared * self.false_negative + self.false_positive))


def confusion(target: Floats, probability: Floats, threshold: float, weight: Floats | None = None) -> Confusion:
    """Count decisions.

    Args:
        target: Shape (N,), NaN where unknown.
        probability: Shape (N,), 0 to 1.
        threshold: The least probability that is called positive.
        weight: Shape (N,) or (R, N), not negative.
    """
    target, probability, weight = known_only(target, probability, weight)
    return Confusion(*(plain(weight @ part) for part in outcomes(target, probability, threshold)))


def outcomes(target: Floats, probability: Floats, threshold: float) -> tuple[Floats, ...]:
    """Return which elements are true positives, false positives, true and false negatives, as 0 or 1, shape (N,) each.

    Args:
        target: 0 or 1, shape (N,).
        probability: Shape (N,), 0 to 1.
        threshold: The least probability that is called positive.
    """
    called = probability >= threshold
    return target * called, (1 - target) * called, (1 - target) * ~called, target * ~called


def best_threshold(target: Floats, probability: Floats, *, beta: float = 1.0) -> float:
    """Return the threshold with the greatest F-beta on these data, half-way to the next score below it.

    Of several, the highest, which calls the least. NaN where nothing is positive.

    Args:
        target: Shape (N,), NaN where unknown.
        probability: Shape (N,), 0 to 1.
        beta: How many times recall weighs what precision weighs.
    """
    ranking = rank(target, probability)
    if not ranking.positives > 0:
        return float("nan")
    found = ranking.positives - ranking.positive_below
    called = ranking.everything - ranking.all_below
    # (1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP); the greatest is at a positive's score, where recall just rose.
    f_beta = (1 + beta**2) * found / (called + beta**2 * ranking.positives)
    best = ranking.score[np.flatnonzero(f_beta >= f_beta.max() - 1e-12)[-1]]
    lower = known_only(target, probability, None)[1]
    lower = lower[lower < best]
    return float((lower.max() + best) / 2 if len(lower) else best)
