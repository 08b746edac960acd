"""The CNN alone, with smoothing along the scan and with the sequence model, measured on the same held-out patients.

Blend, calibration and series rules of each system are fitted on the folds that a series isn't in, so that no
number is measured on what it was fitted on.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ich25d.config import CalibrationConfig
from ich25d.labels import LABEL_WEIGHTS, LABELS, N_LABELS
from ich25d.sequence.aggregate import SeriesRule
from ich25d.sequence.blend import LabelBlend
from ich25d.sequence.refinement import HeldOutSeries, Refinement, fit_refinement, matching
from ich25d.training.calibration import enforce_any
from ich25d.training.card import with_interval
from ich25d.training.intervals import REPLICATES, Measure, patient_weights, percentiles, replicates_for
from ich25d.training.metrics import auc, average_precision, case_losses
from ich25d.training.ranking import ratio
from ich25d.training.series_target import series_target

Floats = npt.NDArray[np.float64]

RAW, ALONE, SMOOTHED, FULL = "CNN, uncalibrated", "CNN alone", "CNN + smoothing", "CNN + GRU"
"""The systems, as the table names them. The last one is what predict uses: encoder, smoothing and sequence model."""

_ALLOWED = {ALONE: (False, False), SMOOTHED: (True, False), FULL: (True, True)}
"""Whether smoothing and the sequence model may be used."""

_IDENTITY = Refinement(
    (LabelBlend(slope=1.0, bias=0.0, sigma_mm=0.0, smoothed=0.0, sequence=0.0),) * N_LABELS,
    (SeriesRule(source="max", slope=1.0, bias=0.0),) * N_LABELS,
)
"""Leaves the encoder's logits as they are; a series is its largest slice."""

_CONSTANT = "constant"
"""Beside the systems: the same answer for every slice, the shares of positives among these very slices."""


class Probabilities(NamedTuple):
    """The probabilities that one system gives one series of n slices."""

    slices: Floats
    """Shape (n, 6)."""
    series: Floats
    """Of the series as a whole, shape (6,)."""


def cross_fitted(
    series: Sequence[HeldOutSeries], calibration: CalibrationConfig
) -> dict[str, dict[str, Probabilities]]:
    """Predict every series by every system, each fold with what was fitted on the others.

    Where no series of the other folds matches `calibration.fit_on`, all of them are used.

    Returns:
        By system, then by series id.
    """
    predicted = {RAW: _apply(_IDENTITY, series), **{name: {} for name in _ALLOWED}}
    for fold in sorted({item.fold for item in series}):
        own = [item for item in series if item.fold == fold]
        others = [item for item in series if item.fold != fold]
        used = calibration if matching(others, calibration.fit_on) else dataclasses.replace(calibration, fit_on=("*",))
        for name, (smoothing, sequence) in _ALLOWED.items():
            predicted[name] |= _apply(fit_refinement(others, used, smoothing=smoothing, sequence=sequence), own)
    return predicted


def _apply(refinement: Refinement, series: Sequence[HeldOutSeries]) -> dict[str, Probabilities]:
    predicted = {}
    for item in series:
        logit = refinement.slice_logit(item.encoder_logit, item.sequence_logit, item.slice_position_mm)
        whole = refinement.series_logit(logit, item.head_logit)
        predicted[item.series_id] = Probabilities(enforce_any(expit(logit)), enforce_any(expit(whole)))
    return predicted


def compare(
    series: Sequence[HeldOutSeries],
    predicted: Mapping[str, Mapping[str, Probabilities]],
    *,
    replicates: int = REPLICATES,
) -> dict[str, Any]:
    """Measure all systems on some series.

    Args:
        series: Held-out series.
        predicted: By system, then by series id: these series and maybe others.
        replicates: Resamplings of the patients, the same for all systems, so that their differences are paired;
            `replicates_for` many slices may draw fewer.

    Returns:
        `n_series`, `n_patients`, `n_slices`, `n_positive` (slices by label), `n_positive_series`, `replicates`, and
        by system: `log_loss` (the competition's), `of_prior` (it as a share of the log loss of the best constant
        answer, the shares of positives among these very slices), `against_alone` (its difference to the CNN alone),
        `auc` and `average_precision` by label, `series_log_loss`, `series_of_prior`, `series_auc` by label. Every
        measure is a `Measure`, its interval over resampled patients.
    """
    target = np.concatenate([item.target for item in series]).astype(np.float64)
    whole_target = np.stack([series_target(item.target) for item in series])
    whole_patient = np.array([item.patient_id for item in series])
    patient = np.repeat(whole_patient, [len(item.target) for item in series])
    probability = {
        name: np.concatenate([found[item.series_id].slices for item in series]) for name, found in predicted.items()
    }
    whole = {name: np.stack([found[item.series_id].series for item in series]) for name, found in predicted.items()}
    replicates = replicates_for(len(target), replicates)
    of_slices = _measures(target, probability, patient, replicates)
    of_series = _measures(whole_target, whole, whole_patient, replicates)
    systems = {
        name: of_slices[name]
        | {f"series_{measure}": of_series[name][measure] for measure in ("log_loss", "of_prior", "auc")}
        for name in predicted
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


def _measures(
    target: Floats, probability: dict[str, Floats], patient: npt.NDArray[np.str_], replicates: int
) -> dict[str, dict[str, Any]]:
    """Measure every system on slices (or series), shape (N, 6)."""
    losses = _losses(target, probability, patient, replicates)
    measures = {}
    for name, values in probability.items():
        area, precision = _ranking(target, values, patient, replicates)
        measures[name] = {
            "log_loss": _measured(losses[name]),
            "of_prior": _measured(losses[name] / losses[_CONSTANT]),
            "against_alone": _measured(losses[name] - losses[ALONE]),
            "auc": _by_label(area),
            "average_precision": _by_label(precision),
        }
    return measures


def _losses(
    target: Floats, probability: dict[str, Floats], patient: npt.NDArray[np.str_], replicates: int
) -> dict[str, Floats]:
    """Return the weighted log loss of each system and of the best constant, shape (1 + R,): of all, then resampled."""
    names, code = np.unique(patient, return_inverse=True)
    draws = patient_weights(np.arange(len(names)), replicates=replicates)
    weight = np.concatenate([np.ones((1, len(names))), *draws])

    def drawn(values: Floats) -> Floats:
        by_patient = np.zeros((len(names), *values.shape[1:]))
        np.add.at(by_patient, code, values)
        return np.asarray(weight @ by_patient)

    losses = {name: ratio(*map(drawn, case_losses(target, values))) for name, values in probability.items()}
    # The best constant answer of a resampling is its own shares: their entropy is its loss.
    n_known = drawn((~np.isnan(target)).astype(np.float64))
    share = np.clip(drawn(np.nan_to_num(target)) / np.maximum(n_known, 1), 1e-15, 1 - 1e-15)
    entropy = -(share * np.log(share) + (1 - share) * np.log1p(-share))
    case_weight = n_known * np.array(LABEL_WEIGHTS)
    losses[_CONSTANT] = ratio((case_weight * entropy).sum(axis=1), case_weight.sum(axis=1))
    return losses


def _ranking(
    target: Floats, probability: Floats, patient: npt.NDArray[np.str_], replicates: int
) -> tuple[Floats, Floats]:
    """Return AUC and average precision by label, shape (1 + R, 6) each: of all, then resampled."""
    parts: tuple[list[Floats], list[Floats]] = ([], [])
    for weight in [np.ones((1, len(target))), *patient_weights(patient, replicates=replicates)]:
        for measure, part in zip((auc, average_precision), parts, strict=True):
            columns = [measure(target[:, label], probability[:, label], weight) for label in range(N_LABELS)]
            part.append(np.stack([np.atleast_1d(column) for column in columns], axis=1))
    return np.concatenate(parts[0]), np.concatenate(parts[1])


def _measured(values: Floats) -> Measure:
    """Take the first value as it is and the others as its resamplings, shape (1 + R,)."""
    low, high = percentiles(values[1:])
    return Measure(float(values[0]), float(low), float(high))


def _by_label(values: Floats) -> dict[str, Measure]:
    return {name: _measured(values[:, column]) for column, name in enumerate(LABELS)}


def comparison_lines(scope: str, content: dict[str, Any]) -> list[str]:
    """Return the comparison on some series as tables.

    Args:
        scope: Which series these are, as `all held-out series`.
        content: What `compare` returned.
    """
    systems = content["systems"]
    overall = [["", "log loss", "of prior's", "AUC any", "AP any", "series AUC any"]]
    slices = [["", *(f"{label} ({content['n_positive'][label]})" for label in LABELS)]]
    series = [["", *(f"{label} ({content['n_positive_series'][label]})" for label in LABELS)]]
    for name, system in systems.items():
        by_label = system["auc"], system["average_precision"], system["series_auc"]
        measures = [system["log_loss"], system["of_prior"], *(values["any"] for values in by_label)]
        overall.append([name, *(with_interval(one.value, one.low, one.high) for one in measures)])
        pairs = [(system["auc"][label], system["average_precision"][label]) for label in LABELS]
        slices.append([name, *(f"{_plain(area)} / {_plain(precision)}" for area, precision in pairs)])
        series.append([name, *(_plain(system["series_auc"][label]) for label in LABELS)])
    differences = [
        f"{name} {difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
        for name in (SMOOTHED, FULL)
        for difference in [systems[name]["against_alone"]]
    ]
    return [
        f"{scope}: {content['n_slices']} slices of {content['n_series']} series of {content['n_patients']} patients "
        "(95 % intervals over patients)",
        *_aligned(overall),
        "",
        "AUC / average precision of slices, by label",
        *_aligned(slices),
        "",
        "AUC of series, by label",
        *_aligned(series),
        "",
        "log loss against CNN alone, same patients: " + ", ".join(differences),
    ]


def _plain(measure: Measure) -> str:
    return "-" if math.isnan(measure.value) else f"{measure.value:.3f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    """Join the cells of each row to a line: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *padded]))
    return lines
