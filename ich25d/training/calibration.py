"""From logits to probabilities that mean what they say: temperature and bias a label, priors, `any` >= subtypes.

logit -> logit / temperature + bias -> sigmoid -> any = max(any, subtypes)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from ich25d.errors import ModelError
from ich25d.labels import ANY_INDEX, LABELS, N_LABELS

CORRELATED = 8.0
"""Slices that count as one piece of evidence: neighbours in a scan share their blood and the model's mistake."""

_TEMPERATURE_SD = 0.5  # of log temperature around 0: a factor of 2.7 either way is two standard deviations
_BIAS_SD = 1.0  # in logits, around 0
_LARGEST_LOGIT = 60.0  # beyond it a sigmoid is 0 or 1 in float64 anyway


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature and a bias for each label, in the order of `LABELS`."""

    temperature: tuple[float, ...] = (1.0,) * N_LABELS
    bias: tuple[float, ...] = (0.0,) * N_LABELS

    def __post_init__(self) -> None:
        """Refuse what isn't a calibration.

        Raises:
            ModelError: Not six finite numbers each, or a temperature that isn't positive.
        """
        sound = len(self.temperature) == len(self.bias) == N_LABELS and all(
            math.isfinite(value) for value in (*self.temperature, *self.bias)
        )
        if not sound or min(self.temperature) <= 0:
            raise ModelError(
                f"a calibration must be {N_LABELS} positive temperatures and {N_LABELS} finite biases "
                f"(got {self.temperature!r} and {self.bias!r})"
            )

    @classmethod
    def fit(
        cls,
        logit: npt.NDArray[np.floating[Any]],
        target: npt.NDArray[np.floating[Any]],
        *,
        prevalence: npt.ArrayLike | None = None,
        prevalence_weight: float = 0.0,
        correlated: float = CORRELATED,
    ) -> "Calibration":
        """Fit temperature and bias of each label by log loss, drawn towards 1 and 0.

        A label with few known slices moves little, one with none not at all.

        Args:
            logit: Out-of-fold logits, shape (N, 6).
            target: 0, 1 or NaN where unknown, shape (N, 6).
            prevalence: Expected share of positive slices where the model will be used, shape (6,); NaN for a label
                leaves it alone.
            prevalence_weight: How many slices of evidence that share counts for.
            correlated: How many slices count as one piece of evidence, against the pull towards 1 and 0.
        """
        expected = np.full(N_LABELS, np.nan) if prevalence is None else np.asarray(prevalence, dtype=np.float64)
        pairs = []
        for label in range(N_LABELS):
            known = ~np.isnan(target[:, label])
            pairs.append(
                _fit_label(
                    np.asarray(logit[known, label], dtype=np.float64),
                    np.asarray(target[known, label], dtype=np.float64),
                    float(expected[label]),
                    prevalence_weight,
                    correlated,
                )
            )
        return cls(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))

    def apply(self, logit: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Return calibrated logits, same shape (..., 6), float64."""
        scaled: npt.NDArray[np.float64] = np.asarray(logit, dtype=np.float64) / np.asarray(self.temperature)
        scaled += np.asarray(self.bias)
        return scaled

    def probability(self, logit: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities, same shape (..., 6), with `any` at least its subtypes."""
        return enforce_any(np.asarray(expit(self.apply(logit))))

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Return what goes into JSON: both by label."""
        return {
            "temperature": dict(zip(LABELS, self.temperature, strict=True)),
            "bias": dict(zip(LABELS, self.bias, strict=True)),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any] | None) -> "Calibration":
        """Read what `to_dict` gave; None is no calibration.

        Raises:
            ModelError: It's damaged.
        """
        if content is None:
            return cls()
        try:
            temperature, bias = content["temperature"], content["bias"]
            return cls(
                tuple(float(temperature[label]) for label in LABELS), tuple(float(bias[label]) for label in LABELS)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"a calibration must hold temperature and bias by label (got {type(error).__name__}: {error})"
            ) from error


def _fit_label(
    logit: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
    prevalence: float,
    prevalence_weight: float,
    correlated: float,
) -> tuple[float, float]:
    """Return temperature and bias of one label; the maximum of a posterior with normal priors."""
    if not len(logit):
        return 1.0, 0.0
    logit = np.clip(logit, -_LARGEST_LOGIT, _LARGEST_LOGIT)
    wanted = prevalence_weight > 0 and math.isfinite(prevalence)

    def loss(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        scale, bias = math.exp(-parameters[0]), parameters[1]  # scale is 1 / temperature
        scaled = scale * logit + bias
        probability = expit(scaled)
        total = np.logaddexp(0, scaled).sum() - (target * scaled).sum()
        slope = probability - target  # of the total by the calibrated logit
        if wanted:
            mean = float(np.clip(probability.mean(), 1e-12, 1 - 1e-12))
            total -= prevalence_weight * (prevalence * math.log(mean) + (1 - prevalence) * math.log1p(-mean))
            by_mean = prevalence_weight * (mean - prevalence) / (mean * (1 - mean))
            slope = slope + by_mean * probability * (1 - probability) / len(logit)
        gradient = np.array([-(slope * scale * logit).sum(), slope.sum()]) / correlated
        pull = np.array([parameters[0] / _TEMPERATURE_SD**2, bias / _BIAS_SD**2])
        prior = 0.5 * ((parameters[0] / _TEMPERATURE_SD) ** 2 + (bias / _BIAS_SD) ** 2)
        return float(total) / correlated + prior, gradient + pull

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3, 3), (-10, 10)])
    return math.exp(float(found.x[0])), float(found.x[1])


def enforce_any(probability: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Raise `any` to its largest subtype: where one of them is, there is a bleed. Shape (..., 6); copies."""
    out = np.array(probability, dtype=np.float64)
    out[..., ANY_INDEX] = out.max(axis=-1)
    return out
