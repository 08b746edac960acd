"""How common bleeds are where a model is used: stated, or estimated by EM; what that does to logits and thresholds.

A share is one of whole series. Logits of series move by the log odds from the share that the model's probabilities
stand for to the stated one; those of slices by the log odds that belong to the same factor on their share, as the
bleeding slices of a bleeding scan stay the same. Thresholds move along: what is flagged stays what it was, with the
sensitivity and specificity of validation, so that nothing is pushed over a threshold by a prevalence.

References:
    Saerens et al., Adjusting the outputs of a classifier to new a priori probabilities, 2002.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.errors import ModelError, UsageError
from ich25d.labels import ANY_INDEX, LABELS, N_LABELS
from ich25d.training.calibration import odds_between
from ich25d.training.operating_point import OperatingPoint

PREVALENCE = "prevalence"
"""Key in `model.json` of what `fit_shares` returns."""

EM = "em"
"""Word on the command line that has the share estimated."""

LEAST_SERIES = 20
"""With fewer series an estimate would say nothing."""

_DROP = 1.920729  # of the log likelihood at the ends of a 95 % interval: half the .95 quantile of chi squared, 1 d.f.
_MOST_STEPS, _SETTLED = 10_000, 1e-10
_SLOPE_SD, _BIAS_SD = 0.5, 1.0
_FARTHEST = 1e-6

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shares:
    """What a model says of its training: shares of positive series, and how its `any` of series is calibrated."""

    own_of_series: Floats
    """Shape (6,), of the held-out series; NaN where unknown."""
    of_series: Floats
    """The same times the recipe's factor: for which the probabilities of series stand."""
    of_slices: Floats
    """Shape (6,), for which the calibrated slices stand."""
    slope: float
    """Of the logit of `any` of a held-out series against its truth; with `bias` 1 and 0 where it is calibrated."""
    bias: float

    def any_of_series(self, probability: Floats) -> Floats:
        """Return calibrated probabilities of `any`, shape (N,), from the model's own of N series."""
        return _expit(self.slope * _logit(probability) + self.bias)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share of bleeding series, estimated without labels."""

    value: float
    low: float
    high: float
    """Ends of the 95 % interval of the likelihood; that the model's probabilities may be off isn't in it."""
    n: int
    """Series."""

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.n} series"


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """The place where a model is used."""

    share: float
    """Of series with any bleed; NaN where only subtypes are stated."""
    told: str
    """Where that is from, for people."""
    series_shift: Floats
    """Added to logits of series, shape (6,)."""
    slice_shift: Floats
    """Added to logits of slices, shape (6,)."""

    def series(self, probability: Floats) -> Floats:
        """Return the probabilities of series here, shape (..., 6)."""
        return _shifted(probability, self.series_shift)

    def slices(self, probability: Floats) -> Floats:
        """Return the probabilities of slices here, shape (..., 6)."""
        return _shifted(probability, self.slice_shift)

    def point(self, point: OperatingPoint) -> OperatingPoint:
        """Return an operating point that calls here what it called elsewhere."""
        moved = [
            {label: float(_expit(_logit(value) + shift[LABELS.index(label)])) for label, value in thresholds.items()}
            for thresholds, shift in ((point.of_slice, self.slice_shift), (point.of_series, self.series_shift))
        ]
        return replace(
            point, of_slice=moved[0], of_series=moved[1], share=None if math.isnan(self.share) else self.share
        )


def read_words(words: Sequence[str]) -> dict[str, float] | str:
    """Read what `--prevalence` was given: `em`, or `label=share` each.

    Raises:
        UsageError: It is neither.
    """
    if list(words) == [EM]:
        return EM
    stated: dict[str, float] = {}
    for word in words:
        label, _, text = word.partition("=")
        try:
            share = float(text)
        except ValueError:
            share = math.nan
        if label not in LABELS or not 0 < share < 1 or label in stated:
            raise UsageError(
                f"--prevalence must be {EM} alone, or a label and its share of series between 0 and 1, each once, as "
                f"any=0.05 (got {' '.join(words)!r}); labels: {', '.join(LABELS)}"
            )
        stated[label] = share
    return stated


def fit_shares(probability: Floats, target: Floats, of_slices: Floats) -> dict[str, Any]:
    """Return what `model.json` keeps of held-out series: counts by label, slope and bias of `any`.

    Args:
        probability: Of `any`, of series that weren't trained on, shape (N,).
        target: Labels, shape (N, 6), NaN where unknown.
        of_slices: Shares of positive slices for which the model's calibrated probabilities stand, shape (6,).
    """
    from scipy.optimize import minimize

    known = ~np.isnan(target[:, ANY_INDEX])
    x, truth = _logit(probability[known]), target[known, ANY_INDEX]

    def loss(free: Floats) -> float:
        scaled = math.exp(free[0]) * x + free[1]
        prior = (free[0] / _SLOPE_SD) ** 2 / 2 + (free[1] / _BIAS_SD) ** 2 / 2
        return float(np.logaddexp(0, scaled).sum() - (truth * scaled).sum() + prior)

    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-3, 3), (-10, 10)])
    return {
        "n_positive": {name: int(np.nansum(target[:, column] == 1)) for column, name in enumerate(LABELS)},
        "n": {name: int((~np.isnan(target[:, column])).sum()) for column, name in enumerate(LABELS)},
        "of_slices": dict(zip(LABELS, map(float, of_slices), strict=True)),
        "slope": math.exp(float(found.x[0])), "bias": float(found.x[1]),
    }  # fmt: skip


def read_shares(content: Mapping[str, Any], prior: Floats) -> Shares:
    """Read them from `model.json`.

    Args:
        content: All of it.
        prior: Share of positive slices a label in the training data, shape (6,).

    Raises:
        UsageError: The model says nothing of it.
        ModelError: It's damaged.
    """
    kept = content.get(PREVALENCE)
    if kept is None:
        raise UsageError(
            "--prevalence needs a model that says how common bleeds were among its held-out series (got no "
            f"{PREVALENCE!r} in its model.json); train it with this version"
        )
    try:
        keys = ("n_positive", "n", "of_slices")
        *counts, of_slices = np.array([[float(kept[key][label]) for label in LABELS] for key in keys])
        slope, bias = float(kept["slope"]), float(kept["bias"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"a model's prevalence must hold counts, slope and bias (got {error!r})") from error
    sound = np.isfinite(counts).all() and np.min(counts) >= 0 and (counts[0] <= counts[1]).all()
    sound = bool(sound and ((of_slices > 0) & (of_slices < 1)).all())
    if not sound or not (math.isfinite(bias) and math.isfinite(slope) and slope > 0):
        raise ModelError(f"a model's prevalence must be counts, a slope above 0 and a bias (got {kept})")
    has_both = (counts[0] > 0) & (counts[0] < counts[1])
    own = np.divide(counts[0], counts[1], out=np.full(N_LABELS, np.nan), where=has_both)
    return Shares(own, np.minimum(own * of_slices / prior, 0.99), of_slices, slope, bias)


def site_of(stated: Mapping[str, float], shares: Shares, told: str) -> Site:
    """Return what a prevalence does.

    Labels that aren't stated move by the log odds of `any`, if that is stated, else not at all.

    Args:
        stated: By label, the share of positive series, above 0 and below 1.
        shares: Of the model.
        told: Where they are from.

    Raises:
        UsageError: The model knows no share of a stated label.
    """
    series, slices = np.zeros(N_LABELS), np.zeros(N_LABELS)
    for label in sorted(stated, key=lambda name: name != "any"):
        column = LABELS.index(label)
        base, base_slices = float(shares.of_series[column]), float(shares.of_slices[column])
        if math.isnan(base):
            raise UsageError(f"the model's held-out series must hold both classes of a stated label (got {label!r})")
        of_slices = min(base_slices * stated[label] / base, 0.99)
        moved = odds_between(base, stated[label]), odds_between(base_slices, of_slices)
        where = slice(None) if label == "any" else column
        series[where], slices[where] = moved
    return Site(stated.get("any", math.nan), told, series, slices)


def estimate_share(probability: Floats, share: float) -> Estimate:
    """Estimate the share of positives among cases without labels, by EM.

    Args:
        probability: Calibrated where the share of positives was `share`, shape (N,).
        share: Above 0 and below 1.
    """
    from scipy.optimize import brentq

    ratio = np.exp(_logit(probability) - float(_logit(share)))  # of the likelihoods of a case
    found = share
    for _ in range(_MOST_STEPS):
        now = float(np.mean(found * ratio / (found * ratio + 1 - found)))
        if abs(now - found) < _SETTLED:
            break
        found = now
    found = min(max(found, 0.0), 1.0)

    def likelihood(value: float) -> float:
        return float(np.log1p(value * (ratio - 1)).sum())

    least = likelihood(found) - _DROP
    low = 0.0 if likelihood(0.0) >= least else brentq(lambda value: likelihood(value) - least, 0.0, found)
    top = 1 - 1e-9
    high = 1.0 if likelihood(top) >= least else brentq(lambda value: likelihood(value) - least, found, top)
    return Estimate(found, float(low), float(high), len(probability))


def usable_share(estimate: Estimate) -> float:
    """Return an estimate as a share that logits can be shifted to: half a series away from none and from all."""
    margin = 0.5 / (estimate.n + 1)
    return min(max(estimate.value, margin), 1 - margin)


def _shifted(probability: Floats, shift: Floats) -> Floats:
    """Shift logits; a subtype is at most `any`: so a shift of one label brings no other over its threshold."""
    moved = _expit(_logit(probability) + shift)
    return np.asarray(np.minimum(moved, moved[..., ANY_INDEX : ANY_INDEX + 1]), dtype=np.float64)


def _logit(probability: npt.ArrayLike) -> Floats:
    clipped = np.clip(np.asarray(probability, dtype=np.float64), _FARTHEST, 1 - _FARTHEST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def _expit(logit: npt.ArrayLike) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.asarray(logit, dtype=np.float64))))
