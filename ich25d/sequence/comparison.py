"""CNN alone, with smoothing along the scan, with the sequence model: measured on the same held-out patients.

Blend, calibration and series rules of each system are fitted on the folds that a series isn't in, so that no
number is measured on what it was fitted on.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ich25d.config import CalibrationConfig
from ich25d.labels import LABEL_WEIGHTS, LABELS, N_LABELS
from ich25d.sequence.aggregate import SeriesRule
from ich25d.sequence.blend import LabelBlend
from ich25d.sequence.refinement import HeldOut, Refinement, fit_refinement, matching
from ich25d.training.calibration import enforce_any
from ich25d.training.intervals import REPLICATES, patient_weights, percentiles, replicates_for
from ich25d.training.metrics import auc, average_precision, case_losses
from ich25d.training.ranking import ratio
from ich25d.training.series_target import series_target

Floats = npt.NDArray[np.float64]

RAW, ALONE, SMOOTHED, FULL = "CNN, uncalibrated", "CNN alone", "CNN + smoothing", "CNN + GRU"
SYSTEMS = (RAW, ALONE, SMOOTHED, FULL)
"""Names in the table. The last one is what predict uses: blend of encoder, smoothing and sequence model."""

_ALLOWED = {ALONE: (False, False), SMOOTHED: (True, False), FULL: (True, True)}
"""Whether smoothing and the sequence model may be used."""


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """A number and its 95 % interval over resampled patients; NaN where it isn't defined."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """Return it for JSON, undefined numbers as null."""
        return {
            name: value if math.isfinite(value := getattr(self, name)) else None for name in ("value", "low", "high")
        }

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return "-"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclasses.dataclass(frozen=True, slots=True)
class Answers:
    """What one system says of all held-out series."""

    slices: list[Floats]
    """Probabilities of each series, shape (n, 6)."""
    series: list[Floats]
    """Probabilities of each whole series, shape (6,)."""


def identity_refinement() -> Refinement:
    """Return the refinement that leaves the encoder's logits as they are; a series is its largest slice."""
    return Refinement(
        (LabelBlend(slope=1.0, bias=0.0, sigma_mm=0.0, smoothed=0.0, sequence=0.0),) * N_LABELS,
        (SeriesRule(source="max", slope=1.0, bias=0.0),) * N_LABELS,
    )


def answer(refinement: Refinement, series: Sequence[HeldOut]) -> Answers:
    """Apply a refinement to held-out series."""
    slices, whole = [], []
    for item in series:
        logit = refinement.slice_logit(item.encoder_logit, item.sequence_logit, item.slice_position_mm)
        slices.append(enforce_any(expit(logit)))
        whole.append(enforce_any(expit(refinement.series_logit(logit, item.head_logit))))
    return Answers(slices, whole)


def cross_fitted(series: Sequence[HeldOut], calibration: CalibrationConfig) -> dict[str, Answers]:
    """Answer for every series under every system, each fold with what was fitted on the others.

    Where no series of the other folds matches `calibration.fit_on`, all of them are used.
    """
    answers: dict[str, dict[str, tuple[Floats, Floats]]] = {name: {} for name in SYSTEMS}

    def note(name: str, refinement: Refinement, items: Sequence[HeldOut]) -> None:
        found = answer(refinement, items)
        for item, slices, whole in zip(items, found.slices, found.series, strict=True):
            answers[name][item.series_id] = (slices, whole)

    note(RAW, identity_refinement(), series)
    for fold in sorted({item.fold for item in series}):
        inside = [item for item in series if item.fold == fold]
        others = [item for item in series if item.fold != fold]
        used = calibration if matching(others, calibration.fit_on) else dataclasses.replace(calibration, fit_on=("*",))
        for name, (smoothing, sequence) in _ALLOWED.items():
            refinement = fit_refinement(others, used, smoothing=smoothing, sequence=sequence)
            note(name, refinement, inside)
    return {
        name: Answers([found[item.series_id][0] for item in series], [found[item.series_id][1] for item in series])
        for name, found in answers.items()
    }


def compare(
    series: Sequence[HeldOut], answers: dict[str, Answers], *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Any]:
    """Measure all systems on some series.

    Args:
        series: Held-out series.
        answers: By system, in the order of `series`.
        replicates: Resamplings of the patients; `replicates_for` many slices may draw fewer.
        seed: Seed of the draws; the same for all systems, so that their differences are paired.

    Returns:
        `n_series`, `n_patients`, `n_slices`, `n_positive` (slices by label), and by system: `log_loss` (the
        competition's), `of_prior` (it as a share of the log loss of the best constant answer, the shares of
        positives among these very slices), `against_alone` (its difference to the CNN alone), `auc` and
        `average_precision` by label, `series_log_loss`, `series_auc` by label. Every number is a `Measured`.
    """
    target = np.concatenate([item.target for item in series]).astype(np.float64)
    whole_target = np.stack([series_target(item.target) for item in series])
    patient = np.array([item.patient_id for item in series for _ in range(len(item.target))])
    whole_patient = np.array([item.patient_id for item in series])
    slices = {name: np.concatenate(found.slices) for name, found in answers.items()}
    whole = {name: np.stack(found.series) for name, found in answers.items()}
    replicates = replicates_for(len(target), replicates)
    drawn = {name: _ranking(target, found, patient, replicates, seed) for name, found in slices.items()}
    drawn_whole = {
        name: _ranking(whole_target, found, whole_patient, replicates, seed) for name, found in whole.items()
    }
    losses = _losses(target, slices, patient, replicates, seed)
    whole_losses = _losses(whole_target, whole, whole_patient, replicates, seed)
    systems = {
        name: {
            "log_loss": _measured(losses[name]),
            "of_prior": _measured(losses[name] / losses[_CONSTANT]),
            "against_alone": _measured(losses[name] - losses[ALONE]),
            "auc": _by_label(drawn[name][0]),
            "average_precision": _by_label(drawn[name][1]),
            "series_log_loss": _measured(whole_losses[name]),
            "series_of_prior": _measured(whole_losses[name] / whole_losses[_CONSTANT]),
            "series_auc": _by_label(drawn_whole[name][0]),
        }
        for name in slices
    }
    return {
        "n_series": len(series),
        "n_patients": len(set(whole_patient)),
        "n_slices": len(target),
        "n_positive": dict(zip(LABELS, np.nansum(target, axis=0).astype(int).tolist(), strict=True)),
        "n_positive_series": dict(zip(LABELS, np.nansum(whole_target, axis=0).astype(int).tolist(), strict=True)),
        "replicates": replicates,
        "systems": systems,
    }


def take(answers: dict[str, Answers], rows: Sequence[int]) -> dict[str, Answers]:
    """Return the answers for some of the series."""
    return {
        name: Answers([found.slices[row] for row in rows], [found.series[row] for row in rows])
        for name, found in answers.items()
    }


_CONSTANT = "constant"


def _losses(
    target: Floats, probability: dict[str, Floats], patient: npt.NDArray[np.str_], replicates: int, seed: int
) -> dict[str, Floats]:
    """Return the weighted log loss of each system and of the best constant: as it is first, then resampled."""
    names, code = np.unique(patient, return_inverse=True)
    draws = patient_weights(np.arange(len(names)), replicates=replicates, seed=seed)
    weight = np.concatenate([np.ones((1, len(names))), *draws])

    def drawn(values: Floats) -> Floats:
        by_patient = np.zeros((len(names), *values.shape[1:]))
        np.add.at(by_patient, code, values)
        total: Floats = weight @ by_patient
        return total

    losses = {name: ratio(*map(drawn, case_losses(target, found))) for name, found in probability.items()}
    # The best constant answer of a resampling is its own shares: their entropy is its loss.
    n_known = drawn((~np.isnan(target)).astype(np.float64))
    share = np.clip(drawn(np.nan_to_num(target)) / np.maximum(n_known, 1), 1e-15, 1 - 1e-15)
    entropy = -(share * np.log(share) + (1 - share) * np.log1p(-share))
    evidence = n_known * np.array(LABEL_WEIGHTS)
    losses[_CONSTANT] = ratio((evidence * entropy).sum(axis=1), evidence.sum(axis=1))
    return losses


def _ranking(
    target: Floats, probability: Floats, patient: npt.NDArray[np.str_], replicates: int, seed: int
) -> tuple[Floats, Floats]:
    """Return AUC and average precision by label, shape (1 + R, 6) each: as they are first, then resampled."""
    parts: tuple[list[Floats], list[Floats]] = ([], [])
    one = np.ones((1, len(target)))
    for weight in [one, *patient_weights(patient, replicates=replicates, seed=seed)]:
        for measure, found in zip((auc, average_precision), parts, strict=True):
            columns = [measure(target[:, label], probability[:, label], weight) for label in range(N_LABELS)]
            found.append(np.stack([np.atleast_1d(column) for column in columns], axis=1))
    return np.concatenate(parts[0]), np.concatenate(parts[1])


def _measured(values: Floats) -> Measured:
    """Take the first value as it is and the others as its resamplings, shape (1 + R,)."""
    low, high = percentiles(values[1:])
    return Measured(float(values[0]), float(low), float(high))


def _by_label(values: Floats) -> dict[str, Measured]:
    return {name: _measured(values[:, column]) for column, name in enumerate(LABELS)}
