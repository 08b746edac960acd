"""The calibrated slice logits of one label: a blend of encoder and sequence model, smoothed along the scan.

The encoder's logit and the sequence model's are mixed, the mixture is smoothed, and slope and bias calibrate it. Even
beside a sequence model smoothing helps: trained on few series, it leaves slices of one bleed apart. Rare labels are
pulled to usual shares and to the slope of all labels together: a free fit to a dozen positive slices damages them.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ich25d.training.calibration import prevalence_shift

Floats = npt.NDArray[np.float64]

SLICES_PER_OPINION = 30.0
"""Slices that count as one independent slice: about a scan, whose slices share a patient, a bleed and the networks'
mistakes. More than the 8 of the CNN's own calibration (`CORRELATED`), as two more numbers a label are fitted here."""

_POOLED_SPREAD, _SLOPE_SPREAD, _BIAS_SPREAD = 0.7, 0.2, 0.5
"""Standard deviations of the penalties: log slope of all labels, of one label around it, and bias."""

_USUAL = {"smoothed": (0.7, 0.35), "sequence": (0.4, 0.3)}
"""Mean and standard deviation of the shares before any data: smoothing helps nearly always (every good solution of
2019 used it), a sequence model trained on few series less surely."""

_STARTS = ((0.1, 0.1), (0.1, 0.8), (0.8, 0.1))
_MANY_SLICES = 50_000
"""Above it the first start alone is tried: with so many slices there is no second minimum worth the time."""


@dataclasses.dataclass(frozen=True, slots=True)
class LabelBlend:
    """One label's numbers: mixed = (1 - w) * encoder + w * sequence; logit = slope * (mixed, smoothed by s) + bias."""

    slope: float
    """One over the temperature."""
    bias: float
    sigma_mm: float
    """Width of the smoothing."""
    smoothed: float
    """s: share of the smoothed mixture, beside the mixture as it is."""
    sequence: float
    """w: share of the sequence model."""

    def mix(self, encoder: Floats, sequence: Floats) -> Floats:
        """Mix logits of one shape; it may be done before or after smoothing."""
        return (1 - self.sequence) * encoder + self.sequence * sequence

    def calibrate(self, mixed: Floats, smoothed: Floats) -> Floats:
        """Return calibrated logits from mixed ones and from the same smoothed by `sigma_mm`."""
        return self.slope * ((1 - self.smoothed) * mixed + self.smoothed * smoothed) + self.bias


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledSlices:
    """Held-out slices with a known label, for one of the six; every array has shape (N,)."""

    encoder: Floats
    """Logits of the encoder."""
    sequence: Floats
    """Logits of the sequence model."""
    truth: Floats
    """0 or 1."""
    smoothed: dict[float, tuple[Floats, Floats]]
    """By width in mm, logits of encoder and sequence model, smoothed."""


def cross_entropy(logit: Floats, truth: Floats) -> float:
    """Return the mean log loss of logits; 0 for none."""
    if len(truth) == 0:
        return 0.0
    return float(np.mean(np.logaddexp(0.0, logit) - truth * logit))


def fit_slope(logits: Sequence[Floats], truths: Sequence[Floats]) -> float:
    """Fit one slope for all labels, each with a bias of its own; return its logarithm.

    Args:
        logits: One array a label.
        truths: Likewise, 0 or 1.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    def objective(free: Floats) -> tuple[float, Floats]:
        slope = np.exp(free[0])
        value = free[0] ** 2 / (2 * _POOLED_SPREAD**2) + float((free[1:] ** 2).sum()) / (2 * _BIAS_SPREAD**2)
        gradient = np.concatenate([[free[0] / _POOLED_SPREAD**2], free[1:] / _BIAS_SPREAD**2])
        for number, (logit, truth) in enumerate(zip(logits, truths, strict=True), start=1):
            calibrated = slope * logit + free[number]
            value += len(truth) * cross_entropy(calibrated, truth) / SLICES_PER_OPINION
            residual = (expit(calibrated) - truth) / SLICES_PER_OPINION
            gradient[0] += slope * (residual @ logit)
            gradient[number] += residual.sum()
        return value, gradient

    bounds = [(-3.0, 1.5), *[(-6.0, 6.0)] * len(logits)]
    return float(minimize(objective, np.zeros(len(logits) + 1), jac=True, method="L-BFGS-B", bounds=bounds).x[0])


def fit_blend(slices: LabelledSlices, log_slope: float, *, smoothing: bool = True, sequence: bool = True) -> LabelBlend:
    """Fit one label's blend on held-out slices.

    Args:
        slices: What to fit on.
        log_slope: What the logarithm of its slope is pulled to.
        smoothing: Allow the smoothed logit.
        sequence: Allow the sequence model's.

    Returns:
        A blend whose log loss on these slices is at most that of the calibrated encoder alone.
    """
    alone, _ = _fit(slices, log_slope, None, sequence=False)
    fits = [_fit(slices, log_slope, None, sequence=True)] if sequence else []
    if smoothing:
        fits += [_fit(slices, log_slope, sigma_mm, sequence=sequence) for sigma_mm in slices.smoothed]
    if not fits:
        return alone
    best = min(fits, key=lambda fit: fit[1])[0]
    return best if loss_of(best, slices) <= loss_of(alone, slices) else alone


def loss_of(blend: LabelBlend, slices: LabelledSlices) -> float:
    """Return a blend's mean log loss on slices."""
    return cross_entropy(_blended(blend, slices), slices.truth)


def _blended(blend: LabelBlend, slices: LabelledSlices) -> Floats:
    """Return a blend's calibrated logits of slices, shape (N,)."""
    mixed = blend.mix(slices.encoder, slices.sequence)
    smoothed = slices.smoothed.get(blend.sigma_mm)
    return blend.calibrate(mixed, mixed if smoothed is None else blend.mix(*smoothed))


def towards_prevalence(blend: LabelBlend, slices: LabelledSlices, prevalence: float, weight: float) -> LabelBlend:
    """Shift a blend's bias to the prevalence at the place of use, as the CNN's calibration does.

    Args:
        blend: A fitted blend.
        slices: What it was fitted on.
        prevalence: Share of positive slices at the place of use.
        weight: Number of slices that it counts for.
    """
    shift = prevalence_shift(_blended(blend, slices), prevalence, weight)
    return dataclasses.replace(blend, bias=blend.bias + shift)


def _fit(
    slices: LabelledSlices, log_slope: float, sigma_mm: float | None, *, sequence: bool
) -> tuple[LabelBlend, float]:
    """Fit with one width of smoothing, or none; return the penalised objective as well."""
    from scipy.optimize import minimize
    from scipy.special import expit

    encoder, truth = slices.encoder, slices.truth
    smoothed = (encoder, slices.sequence) if sigma_mm is None else slices.smoothed[sigma_mm]

    def objective(free: Floats) -> tuple[float, Floats]:
        slope, bias, share, weight = np.exp(free[0]), free[1], free[2], free[3]
        # Each model's logit with its share of smoothing, then mixed: the same as mixed first.
        own = encoder + share * (smoothed[0] - encoder)
        other = slices.sequence + share * (smoothed[1] - slices.sequence)
        mixed = own + weight * (other - own)
        by_share = (1 - weight) * (smoothed[0] - encoder) + weight * (smoothed[1] - slices.sequence)
        calibrated = slope * mixed + bias
        residual = (expit(calibrated) - truth) / SLICES_PER_OPINION
        value = len(truth) * cross_entropy(calibrated, truth) / SLICES_PER_OPINION
        value += (free[0] - log_slope) ** 2 / (2 * _SLOPE_SPREAD**2) + bias**2 / (2 * _BIAS_SPREAD**2)
        pulls = [(share, *_USUAL["smoothed"]), (weight, *_USUAL["sequence"])]
        value += sum((given - usual) ** 2 / (2 * spread**2) for given, usual, spread in pulls)
        pull = [(given - usual) / spread**2 for given, usual, spread in pulls]
        gradient = np.array(
            [
                slope * (residual @ mixed) + (free[0] - log_slope) / _SLOPE_SPREAD**2,
                residual.sum() + bias / _BIAS_SPREAD**2,
                slope * (residual @ by_share) + pull[0],
                slope * (residual @ (other - own)) + pull[1],
            ]
        )
        return value, gradient

    most = (0.0 if sigma_mm is None else 1.0, 1.0 if sequence else 0.0)
    bounds = [(-3.0, 1.5), (-6.0, 6.0), (0.0, most[0]), (0.0, most[1])]
    chosen = _STARTS if len(truth) <= _MANY_SLICES else _STARTS[:1]
    starts = sorted({(min(share, most[0]), min(weight, most[1])) for share, weight in chosen})
    fits = [
        minimize(objective, np.array([log_slope, 0.0, *start]), jac=True, method="L-BFGS-B", bounds=bounds)
        for start in starts
    ]
    best = min(fits, key=lambda fit: float(fit.fun))
    slope, bias, share, weight = np.exp(best.x[0]), best.x[1], best.x[2], best.x[3]
    return LabelBlend(float(slope), float(bias), sigma_mm or 0.0, float(share), float(weight)), float(best.fun)
