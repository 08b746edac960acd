"""What the finished folds of a CNN say of the slices that they didn't train on: score, calibration, thresholds."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.config import CalibrationConfig, matches
from ich25d.encoder.run import Run
from ich25d.encoder.validate import score
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import remark
from ich25d.studies.series_target import series_targets
from ich25d.studies.store import StudyStore
from ich25d.training.calibration import Calibration
from ich25d.training.thresholds import choose_thresholds


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What the finished folds say of the slices that they didn't train on."""

    logit: npt.NDArray[np.float64]
    target: npt.NDArray[np.float32]
    series_id: list[str]
    patient_id: list[str]


def read_held_out(out: Path, run: Run, store: StudyStore) -> HeldOut:
    """Read the out-of-fold logits of all finished folds, with labels and patients from the store."""
    tables = [pd.read_parquet(out / f"fold{number}" / "oof.parquet") for number in run.folds]
    table = pd.concat(tables, ignore_index=True)
    truth = store.slices.set_index("image_id").reindex(table["image_id"])
    return HeldOut(
        table[list(LABELS)].to_numpy(dtype=np.float64),
        truth[list(LABELS)].to_numpy(dtype=np.float32, na_value=np.nan),
        table["series_id"].astype(str).tolist(),
        truth["patient_id"].astype(str).tolist(),
    )


def calibration_of(held_out: HeldOut, config: CalibrationConfig) -> Calibration:
    """Fit what `predict` applies to a CNN alone; `train-rnn` starts from the bare logits and fits its own.

    Args:
        held_out: Out-of-fold logits.
        config: [calibration]; where `fit_on` matches no series, the logits stay as they are, and a remark says so.
    """
    rows = np.array([matches(name, config.fit_on) for name in held_out.series_id])
    if not rows.any():
        remark(f"calibration.fit_on {list(config.fit_on)} matches no held-out series: the CNN stays uncalibrated")
        return Calibration()
    prevalence = [config.prevalence.get(label, np.nan) for label in LABELS]
    return Calibration.fit(
        held_out.logit[rows],
        held_out.target[rows],
        prevalence=prevalence,
        prevalence_weight=config.prevalence_weight,
    )


def thresholds_of(held_out: HeldOut, calibration: Calibration) -> dict[str, Any]:
    """Choose thresholds for what `predict` makes of a CNN alone: a series is its largest slice."""
    probability = calibration.probability(held_out.logit)
    names, code = np.unique(held_out.series_id, return_inverse=True)
    whole = np.zeros((len(names), N_LABELS))
    np.maximum.at(whole, code, probability)
    return {
        "slice": choose_thresholds(held_out.target, probability),
        "series": choose_thresholds(series_targets(held_out.target, code), whole),
    }


def pooled_score(out: Path, run: Run, store: StudyStore) -> dict[str, Any]:
    """Score the out-of-fold logits of all finished folds together."""
    held_out = read_held_out(out, run, store)
    known = ~np.isnan(held_out.target).all(axis=1)
    if not known.any():
        return {}
    prior = np.array(run.content["prior"], dtype=np.float64)
    found = score(held_out.logit[known], held_out.target[known], np.log(prior / (1 - prior)))
    return {
        name: {key: _or_none(item) for key, item in value.items()} if isinstance(value, dict) else _or_none(value)
        for name, value in found.items()
    }


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
