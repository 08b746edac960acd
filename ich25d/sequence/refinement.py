"""What turns the networks' logits into probabilities: blend, calibration and series rules, fitted on held-out series.

It is a few numbers a label, kept in `model.json`.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.config import CalibrationConfig, matches
from ich25d.errors import ModelError, UsageError
from ich25d.labels import ANY_INDEX, LABELS, N_LABELS
from ich25d.sequence.aggregate import AGGREGATES, HEAD, SeriesRule, candidates, fit_rule
from ich25d.sequence.blend import (
    LabelBlend,
    LabelledSlices,
    fit_blend,
    fit_slope,
    towards_prevalence,
)
from ich25d.training.series_target import series_target
from ich25d.training.smoothing import SIGMAS_MM, smooth

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class HeldOutSeries:
    """The logits of one series of n slices, by networks that weren't trained on its patient, and its labels."""

    series_id: str
    patient_id: str
    fold: int
    slice_position_mm: Floats
    """Shape (n,), mm; NaN where unknown."""
    encoder_logit: Floats
    """Shape (n, 6), mean over the views of a slice."""
    sequence_logit: Floats
    """Shape (n, 6), mean over views, directions and seeds."""
    head_logit: Floats
    """Shape (6,), the series head's."""
    target: npt.NDArray[np.float32]
    """Shape (n, 6), NaN where unknown."""


@dataclasses.dataclass(frozen=True, slots=True)
class Refinement:
    """Blend and series rule of every label, in the order of `LABELS`."""

    blends: tuple[LabelBlend, ...]
    series_rules: tuple[SeriesRule, ...]

    def slice_logit(self, encoder_logit: Floats, sequence_logit: Floats, slice_position_mm: Floats) -> Floats:
        """Return calibrated slice logits of one series, shape (n, 6); `any` is at least the largest subtype.

        Args:
            encoder_logit: Shape (n, 6).
            sequence_logit: Shape (n, 6).
            slice_position_mm: Shape (n,), mm; NaN where unknown.
        """
        columns = []
        for label, blend in enumerate(self.blends):
            mixed = blend.mix(encoder_logit[:, label], sequence_logit[:, label])
            columns.append(blend.calibrate(mixed, smooth(mixed, slice_position_mm, blend.sigma_mm)))
        return at_least_subtypes(np.stack(columns, axis=1))

    def series_logit(self, slice_logit: Floats, head_logit: Floats) -> Floats:
        """Return calibrated logits of a whole series, shape (6,), from its calibrated slice logits and its head's."""
        sources = candidates(slice_logit, head_logit)
        logit = [rule.apply(sources[rule.source][label]) for label, rule in enumerate(self.series_rules)]
        return at_least_subtypes(np.array(logit))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return {
            label: {"blend": dataclasses.asdict(blend), "series": dataclasses.asdict(rule)}
            for label, blend, rule in zip(LABELS, self.blends, self.series_rules, strict=True)
        }

    @classmethod
    def from_dict(cls, content: Any, place: str) -> "Refinement":  # noqa: ANN401  # JSON from a file
        """Read it back.

        Raises:
            ModelError: A label or a number is missing, or out of range.
        """
        try:
            blends = tuple(LabelBlend(**_numbers(content[label]["blend"])) for label in LABELS)
            rules = tuple(
                SeriesRule(source=str(entry["source"]), slope=_number(entry["slope"]), bias=_number(entry["bias"]))
                for entry in (content[label]["series"] for label in LABELS)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"a model's refinement must be whole (got {type(error).__name__}: {error}) in {place}"
            ) from error
        for label, blend, rule in zip(LABELS, blends, rules, strict=True):
            sound = 0 <= blend.smoothed <= 1 and 0 <= blend.sequence <= 1 and blend.slope > 0 and blend.sigma_mm >= 0
            if not sound or rule.slope <= 0 or rule.source not in (*AGGREGATES, HEAD):
                raise ModelError(f"a model's refinement must be within its ranges (got others for {label}) in {place}")
        return cls(blends, rules)


def at_least_subtypes(logit: Floats) -> Floats:
    """Raise `any` to the largest subtype, shape (..., 6): it is true where one of them is."""
    logit = logit.copy()
    logit[..., ANY_INDEX] = logit.max(axis=-1)
    return logit


def matching(series: Sequence[HeldOutSeries], patterns: Sequence[str]) -> list[HeldOutSeries]:
    """Return the series whose id matches one of the glob patterns."""
    return [item for item in series if matches(item.series_id, patterns)]


def fit_refinement(
    series: Sequence[HeldOutSeries], calibration: CalibrationConfig, *, smoothing: bool = True, sequence: bool = True
) -> Refinement:
    """Fit blend, calibration and series rules on held-out series.

    Args:
        series: Held-out series; those that `calibration.fit_on` names are used.
        calibration: [calibration].
        smoothing: Allow smoothing along the scan.
        sequence: Allow the sequence model.

    Raises:
        UsageError: No series matches `fit_on`.
    """
    chosen = matching(series, calibration.fit_on)
    if not chosen:
        raise UsageError(
            f"calibration.fit_on must name labelled series (got {list(calibration.fit_on)}, which match none of "
            f"{len(series)})"
        )
    by_label = _labelled_slices(chosen)
    log_slope = fit_slope([slices.encoder for slices in by_label], [slices.truth for slices in by_label])
    blends = []
    for label, slices in zip(LABELS, by_label, strict=True):
        blend = fit_blend(slices, log_slope, smoothing=smoothing, sequence=sequence)
        prevalence = calibration.prevalence.get(label)
        if prevalence is not None:
            blend = towards_prevalence(blend, slices, prevalence, calibration.prevalence_weight)
        blends.append(blend)
    sliced = Refinement(tuple(blends), ())
    return dataclasses.replace(sliced, series_rules=_fit_rules(chosen, sliced, head=sequence))


def _labelled_slices(series: Sequence[HeldOutSeries]) -> list[LabelledSlices]:
    """Gather the slices whose label is known, for each label."""
    encoder = np.concatenate([item.encoder_logit for item in series])
    sequence = np.concatenate([item.sequence_logit for item in series])
    target = np.concatenate([item.target for item in series]).astype(np.float64)
    smoothed = {
        sigma: (
            np.concatenate([smooth(item.encoder_logit, item.slice_position_mm, sigma) for item in series]),
            np.concatenate([smooth(item.sequence_logit, item.slice_position_mm, sigma) for item in series]),
        )
        for sigma in SIGMAS_MM
    }
    by_label = []
    for label in range(N_LABELS):
        known = ~np.isnan(target[:, label])
        by_label.append(
            LabelledSlices(
                encoder=encoder[known, label],
                sequence=sequence[known, label],
                truth=target[known, label],
                smoothed={sigma: (own[known, label], other[known, label]) for sigma, (own, other) in smoothed.items()},
            )
        )
    return by_label


def _fit_rules(series: Sequence[HeldOutSeries], refinement: Refinement, *, head: bool) -> tuple[SeriesRule, ...]:
    sources: dict[str, list[Floats]] = {}
    for item in series:
        logit = refinement.slice_logit(item.encoder_logit, item.sequence_logit, item.slice_position_mm)
        for name, value in candidates(logit, item.head_logit).items():
            if head or name != HEAD:
                sources.setdefault(name, []).append(value)
    joined = {name: np.stack(values) for name, values in sources.items()}
    truth = np.stack([series_target(item.target) for item in series])
    rules = []
    for label in range(N_LABELS):
        known = ~np.isnan(truth[:, label])
        rules.append(fit_rule({name: values[known, label] for name, values in joined.items()}, truth[known, label]))
    return tuple(rules)


def _numbers(content: dict[str, Any]) -> dict[str, float]:
    return {str(name): _number(value) for name, value in content.items()}


def _number(value: Any) -> float:  # noqa: ANN401  # JSON from a file
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)
