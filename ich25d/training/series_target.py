"""The labels of whole series from those of their slices, and what they say of slices without any."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


def series_targets(
    target: npt.NDArray[np.floating[Any]], whose: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.float64]:
    """Return the labels of whole series: 1 where a slice has it, 0 where every slice is known to have none, else NaN.

    Args:
        target: Labels of slices, shape (N, 6), NaN where unknown.
        whose: Number of the slice's series, from 0 on, shape (N,).

    Returns:
        Shape (number of series, 6).
    """
    n_series = int(whose.max()) + 1 if len(whose) else 0
    positive, unknown = (np.zeros((n_series, target.shape[1]), dtype=bool) for _ in range(2))
    np.logical_or.at(positive, whose, target == 1)
    np.logical_or.at(unknown, whose, np.isnan(target))
    return np.where(positive, 1.0, np.where(unknown, np.nan, 0.0))


def series_target(target: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return the labels of one series, shape (6,), from those of its slices, shape (n, 6)."""
    found: npt.NDArray[np.float64] = series_targets(target, np.zeros(len(target), dtype=np.int64))[0]
    return found


def told_series_target(
    target: npt.NDArray[np.floating[Any]], told: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float64]:
    """Return the labels of one series, shape (6,): what its slices settle, and what was given where they don't.

    Args:
        target: Labels of its slices, shape (n, 6), NaN where unknown.
        told: Labels given for the whole series, shape (6,), NaN where none was.
    """
    settled = series_target(target)
    return np.where(np.isnan(settled), told, settled)


class SpreadLabels(NamedTuple):
    """What the labels of whole series say of their slices."""

    target: npt.NDArray[np.float32]
    """Labels of slices, shape (N, 6): those given, and 0 where the whole series has none; NaN where unknown."""
    is_open: npt.NDArray[np.bool_]
    """Slices of which one at least has the label, but nobody knows which, shape (N, 6): the series has it, and none of
    the slices with a label."""


def spread_series_labels(
    target: npt.NDArray[np.floating[Any]],
    series_target: npt.NDArray[np.floating[Any]],
    whose: npt.NDArray[np.integer[Any]],
) -> SpreadLabels:
    """Spread the labels of whole series over slices that have none. Labels of slices stay as they are.

    Args:
        target: Labels of slices, shape (N, 6), NaN where unknown.
        series_target: Labels of series, 0, 1 or NaN, shape (number of series, 6).
        whose: Number of each slice's series, shape (N,).
    """
    unknown, wanted = np.isnan(target), series_target[whose]
    found = np.where(unknown & (wanted == 0), 0.0, target).astype(np.float32)
    has_one = np.zeros(series_target.shape, dtype=bool)
    np.logical_or.at(has_one, whose, target == 1)
    return SpreadLabels(found, unknown & (wanted == 1) & ~has_one[whose])
