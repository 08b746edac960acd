"""The labels of whole series, from those of their slices."""

from typing import Any

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
