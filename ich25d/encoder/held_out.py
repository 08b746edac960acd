"""What the finished folds of a CNN say of the slices that they didn't train on: score, calibration, thresholds.

All of that joins logits of every fold with labels of one study store, so that a run belongs to one store.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.config import CalibrationConfig, matches
from ich25d.encoder.model_directory import Run
from ich25d.encoder.validate import score, without_nan
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import remark
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.calibration import Calibration
from ich25d.training.operating_point import choose_thresholds
from ich25d.training.series_target import series_targets


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What the finished folds say of the slices that they didn't train on."""

    logit: npt.NDArray[np.float64]
    target: npt.NDArray[np.float32]
    series_id: list[str]
    split_unit: list[str]
    """The patient of each slice, or what stands in, as in `split_units`."""
    fold: npt.NDArray[np.int64]
    """Number of the fold that held a slice out, shape (N,)."""


def read_held_out(out: Path, run: Run, store: StudyStore) -> HeldOut:
    """Read the out-of-fold logits of all finished folds, with labels and patients from the store."""
    tables = [pd.read_parquet(out / f"fold{number}" / "oof.parquet") for number in run.folds]
    table = pd.concat(tables, ignore_index=True)
    truth = store.slices.set_index("image_id").reindex(table["image_id"])
    return HeldOut(
        table[list(LABELS)].to_numpy(dtype=np.float64),
        truth[list(LABELS)].to_numpy(dtype=np.float32, na_value=np.nan),
        table["series_id"].astype(str).tolist(),
        truth["split_unit"].astype(str).tolist(),
        np.repeat(np.array(list(run.folds), dtype=np.int64), [len(part) for part in tables]),
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


def held_out_scores(out: Path, run: Run, store: StudyStore) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """Score the out-of-fold logits of each finished fold, and of all of them together, by one definition.

    All labelled slices that a fold held out count, also those of series that the recipe leaves out of the score by
    which epochs are compared. The constant answer of a slice is the share of positives among the slices that its
    fold's network was trained on.

    Returns:
        By fold, and over all folds: what `score` gives, None for what isn't defined; empty without a labelled slice.
    """
    held_out = read_held_out(out, run, store)
    known = np.asarray(np.isfinite(held_out.target).any(axis=1))
    constant = np.zeros_like(held_out.logit)
    for fold, entry in run.folds.items():
        prior = np.array(entry["prior"], dtype=np.float64)
        constant[held_out.fold == fold] = np.log(prior / (1 - prior))

    def scored(rows: npt.NDArray[np.bool_]) -> dict[str, Any]:
        if not rows.any():
            return {}
        return without_nan(score(held_out.logit[rows], held_out.target[rows], constant[rows]))

    return {fold: scored(np.logical_and(known, held_out.fold == fold)) for fold in run.folds}, scored(known)


def counts_of(store: StudyStore) -> dict[str, Any]:
    """Count what a run says of its study store in `model.json`."""
    labels = store.slices[list(LABELS)]
    return {
        "n_patients": int(store.series["split_unit"].nunique()),
        "n_series": len(store.series),
        "n_slices": len(store.slices),
        "n_labelled": int(labels.notna().any(axis=1).sum()),
        "positive_slices": {name: int(labels[name].fillna(0).sum()) for name in LABELS},
    }
