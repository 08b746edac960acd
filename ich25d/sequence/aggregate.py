"""From the logits of slices to those of the series: the aggregates that are tried, and each label's choice."""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ich25d.sequence.blend import cross_entropy

Floats = npt.NDArray[np.float64]

HEAD = "head"
"""The sequence model's own series logit."""

_SLOPE_SPREAD, _BIAS_SPREAD = 0.3, 0.7
_MARGIN = 1.0
"""Nats by which a later candidate must be better than an earlier one, over all series of the fit: about the
uncertainty of the difference between two sources on a hundred series."""


def _mean_of_top(count: int) -> Callable[[Floats], Floats]:
    def aggregate(logit: Floats) -> Floats:
        return np.asarray(np.sort(logit, axis=0)[::-1][:count].mean(axis=0))

    return aggregate


def _noisy_or(logit: Floats) -> Floats:
    """Return the log odds that at least one slice is positive, if slices were independent."""
    log_none = -np.logaddexp(0.0, logit).sum(axis=0)
    log_none = np.minimum(log_none, -1e-12)
    return np.asarray(np.log(-np.expm1(log_none)) - log_none)


AGGREGATES: dict[str, Callable[[Floats], Floats]] = {
    "top3": _mean_of_top(3),
    "max": _mean_of_top(1),
    "top2": _mean_of_top(2),
    "top5": _mean_of_top(5),
    "noisy_or": _noisy_or,
}
"""Aggregates of slice logits, shape (n, 6) to (6,); the first is chosen where the data don't prefer one."""


@dataclasses.dataclass(frozen=True, slots=True)
class SeriesRule:
    """How the logit of one label of a whole series is made: a source, and its calibration."""

    source: str
    """`head`, or a name in `AGGREGATES`."""
    slope: float
    bias: float

    def apply(self, source_logit: Floats) -> Floats:
        """Calibrate logits of the source, any shape."""
        return self.slope * source_logit + self.bias


def candidates(slice_logit: Floats, head_logit: Floats) -> dict[str, Floats]:
    """Return every source's logits of one series, shape (6,) each.

    Args:
        slice_logit: Calibrated slice logits, shape (n, 6).
        head_logit: The sequence model's series logits, shape (6,).
    """
    return {**{name: aggregate(slice_logit) for name, aggregate in AGGREGATES.items()}, HEAD: head_logit}


def fit_rule(sources: dict[str, Floats], truth: Floats) -> SeriesRule:
    """Choose and calibrate one label's source on held-out series.

    Args:
        sources: By name, the earlier preferred: logits of all series, shape (N,).
        truth: 0 or 1, shape (N,).
    """
    best: tuple[float, SeriesRule] | None = None
    for name, logit in sources.items():
        rule, value = _calibrate(name, logit, truth)
        if best is None or value < best[0] - _MARGIN:
            best = (value, rule)
    assert best is not None
    return best[1]


def _calibrate(name: str, logit: Floats, truth: Floats) -> tuple[SeriesRule, float]:
    from scipy.optimize import minimize
    from scipy.special import expit

    def objective(free: Floats) -> tuple[float, Floats]:
        slope, bias = np.exp(free[0]), free[1]
        residual = expit(slope * logit + bias) - truth
        value = len(truth) * cross_entropy(slope * logit + bias, truth)
        value += free[0] ** 2 / (2 * _SLOPE_SPREAD**2) + bias**2 / (2 * _BIAS_SPREAD**2)
        gradient = [slope * (residual @ logit) + free[0] / _SLOPE_SPREAD**2, residual.sum() + bias / _BIAS_SPREAD**2]
        return value, np.array(gradient)

    found = minimize(objective, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3.0, 1.5), (-8.0, 8.0)])
    return SeriesRule(name, float(np.exp(found.x[0])), float(found.x[1])), float(found.fun)
