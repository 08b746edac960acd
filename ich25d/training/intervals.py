"""Intervals by resampling patients: the slices of a scan aren't independent, patients are. Wilson's for shares."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

REPLICATES = 1000
"""Resamplings of the patients."""

LEVEL = 0.95
"""Share of the resamplings that an interval covers."""

MANY_CASES, FEW_REPLICATES = 50_000, 200
"""Above so many cases intervals are narrow anyway, and fewer resamplings do."""

_ELEMENTS_AT_ONCE = 4_000_000  # weights in memory at a time: 32 MB


@dataclass(frozen=True, slots=True)
class Measure:
    """A number and the ends of its interval; NaN where it isn't defined."""

    value: float
    low: float
    high: float


def replicates_for(n_cases: int, replicates: int = REPLICATES) -> int:
    """Return how many resamplings so many cases get."""
    return replicates if n_cases <= MANY_CASES else min(replicates, FEW_REPLICATES)


def patient_weights(
    patient: npt.ArrayLike, *, replicates: int = REPLICATES, seed: int = 0, elements: int = _ELEMENTS_AT_ONCE
) -> Iterator[npt.NDArray[np.float64]]:
    """Draw patients with replacement and yield how often each row was drawn, some resamplings at a time.

    Args:
        patient: Patient of each row, shape (N,), any kind of value.
        replicates: Number of resamplings R.
        seed: Seed of the draws; the same patients in the same order get the same draws.
        elements: Largest size of what is yielded.

    Yields:
        Shape (r, N), float64, counts; R of them altogether.
    """
    _, code = np.unique(np.asarray(patient), return_inverse=True)
    n_patients = int(code.max()) + 1 if len(code) else 0
    generator = np.random.default_rng(seed)
    at_once = max(1, elements // max(1, len(code)))
    for start in range(0, replicates, at_once):
        drawn = generator.multinomial(
            n_patients, np.full(n_patients, 1 / max(1, n_patients)), min(at_once, replicates - start)
        )
        yield drawn[:, code].astype(np.float64)


def bootstrap(
    statistic: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    patient: npt.ArrayLike,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Return a statistic under resampled patients, shape (R, ...).

    Args:
        statistic: From weights of shape (r, N) to values of shape (r, ...), as
            `lambda weight: auc(target, probability, weight)`.
        patient: Patient of each row, shape (N,).
        replicates: Number of resamplings R.
        seed: Seed of the draws; two models compared with one seed are compared on the same patients.
    """
    return np.concatenate(
        [np.asarray(statistic(weight)) for weight in patient_weights(patient, replicates=replicates, seed=seed)]
    )


def percentiles(values: npt.NDArray[np.float64], *, level: float = LEVEL) -> Any:  # noqa: ANN401
    """Return the ends of the central interval over the first axis, shape (2, ...); NaN where none is defined.

    Resamplings in which a measure isn't defined (no positive drawn) are left out.
    """
    tail = (1 - level) / 2
    out = np.full((2, *values.shape[1:]), np.nan)
    flat, ends = values.reshape(len(values), -1), out.reshape(2, -1)
    for column in range(flat.shape[1]):
        defined = flat[~np.isnan(flat[:, column]), column]
        if len(defined):
            ends[:, column] = np.quantile(defined, [tail, 1 - tail])
    return out


def bootstrap_interval(
    statistic: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    patient: npt.ArrayLike,
    *,
    replicates: int = REPLICATES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the ends of one number's interval under resampled patients (percentile bootstrap).

    Args:
        statistic: From weights of shape (r, N) to shape (r,), as `lambda weight: auc(target, probability, weight)`.
        patient: Whose row it is, shape (N,).
        replicates: Number of resamplings.
        level: Share of them that the interval covers.
        seed: Seed of the draws.

    References:
        Efron & Tibshirani, An introduction to the bootstrap, 1993, chapter 13.
    """
    low, high = percentiles(bootstrap(statistic, patient, replicates=replicates, seed=seed), level=level)
    return float(low), float(high)


def wilson_interval(n_hit: float, n: float, *, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's interval of a share of independent cases; NaN where there is none.

    It stays within 0 and 1, and doesn't collapse where all or none are hit.

    Args:
        n_hit: Cases that are hit, 0 to n.
        n: Cases.
        level: Coverage.

    References:
        Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    if not n > 0:
        return float("nan"), float("nan")
    z = float(ndtri(0.5 + level / 2))
    share, pull = n_hit / n, z**2 / n
    centre = (share + pull / 2) / (1 + pull)
    half = z / (1 + pull) * float(np.sqrt(share * (1 - share) / n + pull / (4 * n)))
    return max(0.0, centre - half), min(1.0, centre + half)
