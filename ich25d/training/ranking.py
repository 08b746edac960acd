"""How positives rank among all: one sort for every measure of rank, and for many weights at once."""

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
    def known_only(
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


def ratio(above: Any, below: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401
    """Divide, NaN where nothing is below the line."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    ratio: npt.NDArray[np.float64] = np.divide(
        above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below > 0
    )
    return quotient


def plain(value: Any) -> Any:  # noqa: ANN401
    """Return a float for a single number."""
    return float(value) if np.ndim(value) == 0 else value
