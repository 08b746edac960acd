"""How much of the sequence model and of its neighbours a label's logit takes, and its calibration.

For each label one logit is made of three: the encoder's, the encoder's smoothed along the scan, and the
sequence model's; then slope and bias turn it into a calibrated one. Rare labels are shrunk to usual shares and to
the slope of all labels together: a free fit to a dozen positive slices damages them.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit
from scipy.special import logit as log_odds

from ich25d.labels import N_LABELS

Floats = npt.NDArray[np.float64]

SLICES_PER_OPINION = 30.0
"""Slices that tell as much as one independent slice, about a scan: they share a patient, a bleed and a mistake."""

_POOLED_SPREAD, _SLOPE_SPREAD, _BIAS_SPREAD = 0.7, 0.35, 1.0
"""Standard deviations of the penalties: log slope of all labels, of one label around it, and bias."""

_USUAL = {"smoothed": (0.5, 0.35), "sequence": (0.3, 0.3)}
"""Mean and standard deviation of the shares before any evidence: what neighbours tell helps nearly always (every
good solution of 2019 used it), a sequence model of few series less surely."""

_STARTS = ((0.1, 0.1), (0.1, 0.8), (0.8, 0.1))
_MANY_SLICES = 50_000
"""Above it the first start alone is tried: so many slices leave no second minimum worth the time."""


@dataclasses.dataclass(frozen=True, slots=True)
class LabelBlend:
    """One label's recipe: logit = slope * ((1 - w) * ((1 - s) * encoder + s * smoothed) + w * sequence) + bias."""

    slope: float
    """One over the temperature."""
    bias: float
    sigma_mm: float
    """Width of the smoothing."""
    smoothed: float
    """s: share of the smoothed logit in the encoder's part."""
    sequence: float
    """w: share of the sequence model."""

    def apply(self, encoder: Floats, smoothed: Floats, sequence: Floats) -> Floats:
        """Blend logits of any one shape; `smoothed` is the encoder's, smoothed by `sigma_mm`."""
        own = (1 - self.smoothed) * encoder + self.smoothed * smoothed
        return self.slope * ((1 - self.sequence) * own + self.sequence * sequence) + self.bias


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """Held-out slices of one label, none of them unknown; every array has shape (N,)."""

    encoder: Floats
    sequence: Floats
    truth: Floats
    smoothed: dict[float, Floats]
    """By width in mm."""


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


def fit_blend(evidence: Evidence, log_slope: float, *, smoothing: bool = True, sequence: bool = True) -> LabelBlend:
    """Fit one label's blend on held-out slices.

    Args:
        evidence: The slices.
        log_slope: What its slope is shrunk to.
        smoothing: Allow the smoothed logit.
        sequence: Allow the sequence model's.

    Returns:
        A blend whose log loss on these slices is at most that of the calibrated encoder alone.
    """
    alone, _ = _fit(evidence, log_slope, None, sequence=False)
    found = [_fit(evidence, log_slope, None, sequence=True)] if sequence else []
    if smoothing:
        found += [_fit(evidence, log_slope, sigma, sequence=sequence) for sigma in evidence.smoothed]
    if not found:
        return alone
    best = min(found, key=lambda item: item[1])[0]
    return best if loss_of(best, evidence) <= loss_of(alone, evidence) else alone


def loss_of(blend: LabelBlend, evidence: Evidence) -> float:
    """Return a blend's mean log loss on slices."""
    smoothed = evidence.smoothed.get(blend.sigma_mm, evidence.encoder)
    return cross_entropy(blend.apply(evidence.encoder, smoothed, evidence.sequence), evidence.truth)


def towards_prevalence(blend: LabelBlend, evidence: Evidence, prevalence: float, weight: float) -> LabelBlend:
    """Shift a blend's bias to where the model will be used.

    The shares of positives in the fit and in the place of use are averaged, each by its number of slices, and the
    logit is shifted by the difference of log odds: the images of either class stay what they are.

    Args:
        blend: A fitted blend.
        evidence: The slices it was fitted on.
        prevalence: Share of positive slices at the place of use.
        weight: Slices that it counts for.
    """
    n_slices = len(evidence.truth)
    if weight <= 0:
        return blend
    smoothed = evidence.smoothed.get(blend.sigma_mm, evidence.encoder)
    now = prevalence
    if n_slices:
        now = float(expit(blend.apply(evidence.encoder, smoothed, evidence.sequence)).mean())
    now = min(max(now, 1e-6), 1 - 1e-6)
    wanted = (n_slices * now + weight * prevalence) / (n_slices + weight)
    return dataclasses.replace(blend, bias=blend.bias + float(log_odds(wanted) - log_odds(now)))


def blend_all(blends: Sequence[LabelBlend], encoder: Floats, smoothed: Sequence[Floats], sequence: Floats) -> Floats:
    """Blend all labels of a series.

    Args:
        blends: One a label.
        encoder: Shape (n, 6).
        smoothed: For each label, the encoder's logits of that label smoothed by its blend's width, shape (n,).
        sequence: Shape (n, 6).

    Returns:
        Calibrated logits, shape (n, 6).
    """
    columns = [
        blend.apply(encoder[:, label], smoothed[label], sequence[:, label]) for label, blend in enumerate(blends)
    ]
    assert len(columns) == N_LABELS
    return np.stack(columns, axis=1)


def _fit(evidence: Evidence, log_slope: float, sigma_mm: float | None, *, sequence: bool) -> tuple[LabelBlend, float]:
    """Fit with one width of smoothing, or none; return the penalised objective as well."""
    encoder, truth = evidence.encoder, evidence.truth
    near = (evidence.smoothed[sigma_mm] if sigma_mm is not None else encoder) - encoder

    def objective(free: Floats) -> tuple[float, Floats]:
        slope, bias, share, weight = np.exp(free[0]), free[1], free[2], free[3]
        own = encoder + share * near
        mixed = own + weight * (evidence.sequence - own)
        calibrated = slope * mixed + bias
        residual = (expit(calibrated) - truth) / SLICES_PER_OPINION
        value = len(truth) * cross_entropy(calibrated, truth) / SLICES_PER_OPINION
        value += (free[0] - log_slope) ** 2 / (2 * _SLOPE_SPREAD**2) + bias**2 / (2 * _BIAS_SPREAD**2)
        pulls = [(free[2], *_USUAL["smoothed"]), (free[3], *_USUAL["sequence"])]
        value += sum((given - usual) ** 2 / (2 * spread**2) for given, usual, spread in pulls)
        pull = [(given - usual) / spread**2 for given, usual, spread in pulls]
        gradient = np.array(
            [
                slope * (residual @ mixed) + (free[0] - log_slope) / _SLOPE_SPREAD**2,
                residual.sum() + bias / _BIAS_SPREAD**2,
                slope * (1 - weight) * (residual @ near) + pull[0],
                slope * (residual @ (evidence.sequence - own)) + pull[1],
            ]
        )
        return value, gradient

    most = (0.0 if sigma_mm is None else 1.0, 1.0 if sequence else 0.0)
    bounds = [(-3.0, 1.5), (-6.0, 6.0), (0.0, most[0]), (0.0, most[1])]
    tries = _STARTS if len(truth) <= _MANY_SLICES else _STARTS[:1]
    starts = {(min(share, most[0]), min(weight, most[1])) for share, weight in tries}
    tried = [
        minimize(objective, np.array([log_slope, 0.0, *start]), jac=True, method="L-BFGS-B", bounds=bounds)
        for start in sorted(starts)
    ]
    best = min(tried, key=lambda item: float(item.fun))
    slope, bias, share, weight = np.exp(best.x[0]), best.x[1], best.x[2], best.x[3]
    return LabelBlend(float(slope), float(bias), sigma_mm or 0.0, float(share), float(weight)), float(best.fun)
