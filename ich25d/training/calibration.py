"""Calibrated probabilities from logits: smoothing along the scan, temperature and bias of each label, prevalence.

logit, smoothed along the scan -> / temperature + bias -> sigmoid -> any = max(any, subtypes)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.errors import ModelError
from ich25d.labels import ANY_INDEX, LABELS, N_LABELS
from ich25d.training.smoothing import smooth

CORRELATED = 8.0
"""Slices that count as one independent slice: about the length of a bleed, within which slices share the blood and the
network's mistake. Two numbers a label are fitted here; the sequence model's blend fits more and counts a whole scan as
one (`SLICES_PER_OPINION`)."""

_TEMPERATURE_SD = 0.5  # of log temperature around 0: a factor of 2.7 either way is two standard deviations
_BIAS_SD = 1.0  # in logits, around 0
_LARGEST_LOGIT = 60.0  # beyond it a sigmoid is 0 or 1 in float64 anyway


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature and a bias for each label, in the order of `LABELS`, and one width of smoothing."""

    temperature: tuple[float, ...] = (1.0,) * N_LABELS
    bias: tuple[float, ...] = (0.0,) * N_LABELS
    sigma_mm: float = 0.0
    """Standard deviation of the Gaussian under which logits are averaged along the scan first; 0 is none."""

    def __post_init__(self) -> None:
        """Refuse what isn't a calibration.

        Raises:
            ModelError: Not six finite numbers each, a temperature that isn't positive, or a negative width.
        """
        sound = len(self.temperature) == len(self.bias) == N_LABELS and all(
            math.isfinite(value) for value in (*self.temperature, *self.bias, self.sigma_mm)
        )
        if not sound or min(self.temperature) <= 0 or self.sigma_mm < 0:
            raise ModelError(
                f"a calibration must be {N_LABELS} positive temperatures, {N_LABELS} finite biases and a width of 0 mm "
                f"or more (got {self.temperature!r}, {self.bias!r} and {self.sigma_mm!r})"
            )

    @classmethod
    def fit(
        cls,
        logit: npt.NDArray[np.floating[Any]],
        target: npt.NDArray[np.floating[Any]],
        *,
        prevalence: npt.ArrayLike | None = None,
        prevalence_weight: float = 0.0,
    ) -> "Calibration":
        """Fit temperature and bias of each label by log loss, with penalties that draw them towards 1 and 0.

        A label with few known slices moves little, one with none not at all. The prevalence then shifts the bias alone.

        Args:
            logit: Out-of-fold logits, shape (N, 6); smoothed already, if they are to be.
            target: 0, 1 or NaN where unknown, shape (N, 6).
            prevalence: Expected share of positive slices where the model will be used, shape (6,); NaN for a label
                leaves it alone.
            prevalence_weight: How many slices that share counts for (`prevalence_shift`).
        """
        expected = np.full(N_LABELS, np.nan) if prevalence is None else np.asarray(prevalence, dtype=np.float64)
        temperatures, biases = [], []
        for label in range(N_LABELS):
            known = ~np.isnan(target[:, label])
            own = np.clip(np.asarray(logit[known, label], dtype=np.float64), -_LARGEST_LOGIT, _LARGEST_LOGIT)
            temperature, bias = _fit_label(own, np.asarray(target[known, label], dtype=np.float64))
            if len(own) and math.isfinite(expected[label]):
                bias += prevalence_shift(own / temperature + bias, float(expected[label]), prevalence_weight)
            temperatures.append(temperature)
            biases.append(bias)
        return cls(tuple(temperatures), tuple(biases))

    @property
    def of_series(self) -> "Calibration":
        """The same without smoothing, for whole series.

        A series has the largest of its slices, and smoothing would take the peak from a bleed on one slice.
        """
        return replace(self, sigma_mm=0.0)

    def apply(
        self, logit: npt.NDArray[np.floating[Any]], slice_position_mm: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return calibrated logits of one series.

        Args:
            logit: Shape (..., n, 6), in scan order.
            slice_position_mm: Shape (n,), mm; NaN where unknown.

        Returns:
            The same shape, float64.
        """
        along = np.moveaxis(np.asarray(logit, dtype=np.float64), -2, 0)
        smoothed = np.moveaxis(smooth(along, slice_position_mm, self.sigma_mm), 0, -2)
        return np.asarray(smoothed / np.asarray(self.temperature) + np.asarray(self.bias))

    def probability(
        self, logit: npt.NDArray[np.floating[Any]], slice_position_mm: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities of one series, shapes as in `apply`, with `any` at least its subtypes."""
        return enforce_any(sigmoid(self.apply(logit, slice_position_mm)))

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into JSON: temperature and bias by label, and the width."""
        return {
            "temperature": dict(zip(LABELS, self.temperature, strict=True)),
            "bias": dict(zip(LABELS, self.bias, strict=True)),
            "sigma_mm": self.sigma_mm,
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
                tuple(float(temperature[label]) for label in LABELS),
                tuple(float(bias[label]) for label in LABELS),
                float(content.get("sigma_mm", 0.0)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"a calibration must hold temperature and bias by label (got {type(error).__name__}: {error})"
            ) from error


def sigmoid(logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return probabilities of logits, without overflow and without SciPy, which takes longer to import than a scan."""
    return np.asarray(0.5 * (1 + np.tanh(logit / 2)))


def prevalence_shift(logit: npt.NDArray[np.float64], prevalence: float, weight: float) -> float:
    """Return what to add to calibrated logits for use where positives are rarer or more frequent.

    The mean probability on the slices of the fit and the prevalence at the place of use are averaged, each weighted by
    its number of slices; the shift is the difference of log odds. Temperature stays, as the images of either class do.

    Args:
        logit: Calibrated logits of the slices of the fit, shape (N,).
        prevalence: Share of positive slices at the place of use.
        weight: Number of slices that it counts for.

    References:
        Saerens et al., Adjusting the outputs of a classifier to new a priori probabilities, 2002, eq. 2.4.
    """
    from scipy.special import expit

    if weight <= 0:
        return 0.0
    now = float(expit(logit).mean()) if len(logit) else prevalence
    now = min(max(now, 1e-6), 1 - 1e-6)
    wanted = (len(logit) * now + weight * prevalence) / (len(logit) + weight)
    return odds_between(now, wanted)


def odds_between(now: float, wanted: float) -> float:
    """Return what takes logits from one share of positives to another: the difference of their log odds."""
    return math.log(wanted / (1 - wanted)) - math.log(now / (1 - now))


def _fit_label(logit: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return temperature and bias of one label: the maximum of a posterior with normal priors."""
    from scipy.optimize import minimize
    from scipy.special import expit

    if not len(logit):
        return 1.0, 0.0

    def loss(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        scale, bias = math.exp(-parameters[0]), parameters[1]  # scale is 1 / temperature
        scaled = scale * logit + bias
        total = np.logaddexp(0, scaled).sum() - (target * scaled).sum()
        slope = expit(scaled) - target  # of the total by the calibrated logit
        gradient = np.array([-(slope * scale * logit).sum(), slope.sum()]) / CORRELATED
        pull = np.array([parameters[0] / _TEMPERATURE_SD**2, bias / _BIAS_SD**2])
        prior = 0.5 * ((parameters[0] / _TEMPERATURE_SD) ** 2 + (bias / _BIAS_SD) ** 2)
        return float(total) / CORRELATED + prior, gradient + pull

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3, 3), (-10, 10)])
    return math.exp(float(found.x[0])), float(found.x[1])


def enforce_any(probability: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Raise `any` to its largest subtype: where one of them is, there is a bleed. Shape (..., 6); copies."""
    out = np.array(probability, dtype=np.float64)
    out[..., ANY_INDEX] = out.max(axis=-1)
    return out
