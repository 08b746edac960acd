"""Out-of-fold logits of a CNN's finished folds: scores, calibration, thresholds, and the table that closes a training.

All of that joins logits of every fold with labels of one study store, so that a run belongs to one store.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ich25d.config import CalibrationConfig, matches
from ich25d.encoder.beside import kept_series_labels
from ich25d.encoder.change import Change, change_lines, read_changes
from ich25d.encoder.model_directory import Run, read_run
from ich25d.encoder.parent import count_rsna
from ich25d.encoder.series_judge import largest
from ich25d.encoder.validate import score, without_nan
from ich25d.files import read_parquet
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import remark
from ich25d.studies.store_dir.store import StudyStore
from ich25d.summary import as_json
from ich25d.training.calibration import Calibration
from ich25d.training.model_file import MODEL_FILE
from ich25d.training.sampling import LabelCount
from ich25d.training.series_target import series_targets
from ich25d.training.smoothing import SIGMAS_MM, USUAL_GAP_MM, smooth
from ich25d.training.threshold_choice import choose_points

Floats = npt.NDArray[np.float64]

_MEANING = (
    "of prior: the log loss as a share of that of a constant answer, the shares of positives among the slices that "
    "each fold was trained on; all labelled held-out slices count"
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Logits of the N slices that the finished folds held out and had never seen, with what the store knows of them."""

    logit: npt.NDArray[np.float64]
    """Shape (N, 6), in the order of `LABELS`."""
    target: npt.NDArray[np.float32]
    """Shape (N, 6), NaN where unknown."""
    series_id: list[str]
    split_unit: list[str]
    """The patient of each slice, or what stands in, as in `split_units`."""
    fold: npt.NDArray[np.int64]
    """Number of the fold that held a slice out, shape (N,)."""
    slice_position_mm: npt.NDArray[np.float64]
    """Shape (N,); 5 mm apart in a series where any of its slices has none."""

    def take(self, rows: npt.NDArray[np.bool_]) -> "HeldOut":
        """Return some of the slices; whole series, if they are to be smoothed."""
        kept = np.flatnonzero(rows)
        return HeldOut(
            self.logit[kept], self.target[kept], [self.series_id[row] for row in kept],
            [self.split_unit[row] for row in kept], self.fold[kept], self.slice_position_mm[kept],
        )  # fmt: skip

    def smoothed(self, sigma_mm: float) -> npt.NDArray[np.float64]:
        """Return the logits smoothed along each series, shape (N, 6)."""
        return self._by_series(lambda logit, position: smooth(logit, position, sigma_mm))

    def probability(self, calibration: Calibration) -> npt.NDArray[np.float64]:
        """Return calibrated probabilities of each series' slices, shape (N, 6)."""
        return self._by_series(calibration.probability)

    def _by_series(self, change: Callable[[Floats, Floats], Floats]) -> Floats:
        changed = np.empty_like(self.logit)
        _, code = np.unique(self.series_id, return_inverse=True)
        order = np.argsort(code, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(code[order])) + 1) if len(order) else ():
            changed[rows] = change(self.logit[rows], self.slice_position_mm[rows])
        return changed


def read_held_out(out: Path, run: Run, store: StudyStore) -> HeldOut:
    """Read the out-of-fold logits of all finished folds, with labels and split units from the store.

    Slices of patients whom a network knew from the run that it started from (column `seen`) are left out: they judge
    nothing.

    Args:
        out: The model directory.
        run: Its `model.json`.
        store: What it was trained on.
    """
    tables = [read_parquet(out / f"fold{number}" / "oof.parquet") for number in run.folds]
    tables = [table[~table["seen"]] if "seen" in table else table for table in tables]
    folds = np.repeat(np.array(list(run.folds), dtype=np.int64), [len(part) for part in tables])
    return held_out_of(pd.concat(tables, ignore_index=True), folds, store)


def held_out_of(table: pd.DataFrame, fold: npt.NDArray[np.int64], store: StudyStore) -> HeldOut:
    """Join out-of-fold logits with what the store knows of their slices.

    Args:
        table: A row a slice: `image_id`, `series_id` and six logits by label.
        fold: Which fold held each out, shape (N,).
        store: What was trained on.
    """
    truth = store.slices.set_index("image_id").reindex(table["image_id"])
    unknown = truth["slice_position_mm"].isna().groupby(truth["series_id"]).transform("any")
    position = truth["slice_position_mm"].mask(unknown, USUAL_GAP_MM * truth["slice_index"])
    return HeldOut(
        table[list(LABELS)].to_numpy(dtype=np.float64),
        truth[list(LABELS)].to_numpy(dtype=np.float32, na_value=np.nan),
        table["series_id"].astype(str).tolist(),
        truth["split_unit"].astype(str).tolist(),
        fold,
        position.to_numpy(dtype=np.float64),
    )


def whole_series(held_out: HeldOut, given: pd.DataFrame | None) -> HeldOut:
    """Put whole series in place of their slices: the largest logit, and the labels that their slices or reports tell.

    Args:
        held_out: Out-of-fold logits of slices.
        given: Labels of whole series that the run learnt from (`beside.kept_series_labels`).
    """
    names, first, code = np.unique(held_out.series_id, return_index=True, return_inverse=True)
    target = series_targets(held_out.target, code).astype(np.float32)
    if given is not None:
        told = given.set_index("series_id")[list(LABELS)].reindex(list(names)).to_numpy(dtype=np.float32)
        target = np.where(np.isnan(target), told, target)
    return HeldOut(
        largest(held_out.logit, code), target, [str(name) for name in names],
        [held_out.split_unit[row] for row in first], held_out.fold[first], np.zeros(len(names)),
    )  # fmt: skip


def calibration_of(held_out: HeldOut, config: CalibrationConfig) -> Calibration:
    """Fit the calibration that `predict` applies to a CNN alone; `train-rnn` starts from uncalibrated logits.

    Of the widths of smoothing along the scan, none among them, the one of the least log loss is taken.

    Args:
        held_out: Out-of-fold logits, of slices, or of whole series where no slice has a label.
        config: [calibration]; where `fit_on` matches no series, the logits stay as they are, and a remark says so.
    """
    rows = np.array([matches(name, config.fit_on) for name in held_out.series_id])
    if not rows.any():
        remark(f"calibration.fit_on {list(config.fit_on)} matches no held-out series: the CNN stays uncalibrated")
        return Calibration()
    used = held_out.take(rows)
    sigma_mm = min((0.0, *SIGMAS_MM), key=lambda sigma: _calibrated_loss(used.smoothed(sigma), used.target))
    prevalence = [config.prevalence.get(label, np.nan) for label in LABELS]
    found = Calibration.fit(
        used.smoothed(sigma_mm), used.target, prevalence=prevalence, prevalence_weight=config.prevalence_weight
    )
    return dataclasses.replace(found, sigma_mm=sigma_mm)


def _calibrated_loss(logit: Floats, target: npt.NDArray[np.float32]) -> float:
    """Return the competition's log loss of logits once they are calibrated on the same slices."""
    each = Calibration.fit(logit, target).apply(logit, np.zeros(0))
    return float(score(each, target, np.zeros_like(each))["log_loss"])


def points_of(held_out: HeldOut, whole: HeldOut, calibration: Calibration) -> dict[str, Any]:
    """Choose operating points for predictions of a CNN alone, as `choose_points` returns them.

    A series has the largest of its slices' probabilities before smoothing.

    Args:
        held_out: Out-of-fold logits of slices.
        whole: Of their series (`whole_series`).
        calibration: Fitted on them.
    """
    probability = held_out.probability(calibration)
    code = np.unique(held_out.series_id, return_inverse=True)[1]
    of_series = largest(held_out.probability(calibration.of_series), code)
    return choose_points(held_out.target, probability, code, whole.target, of_series)


def held_out_scores(out: Path, run: Run, store: StudyStore) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """Score the out-of-fold logits of each finished fold, and of all of them together, by one definition.

    All labelled slices that a fold held out count, also those that `train.exclude_from_validation` names. The constant
    answer for a slice is the share of positives among the slices that its fold's network was trained on.

    Args:
        out: The model directory.
        run: Its `model.json`.
        store: What it was trained on.

    Returns:
        By fold, and over all folds: the measures of `score`, None where not defined; empty without a labelled slice.
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


def series_scores(out: Path, run: Run, store: StudyStore) -> dict[str, Any]:
    """Score whole held-out series of all finished folds, by their largest slice logit, before the calibration.

    The constant answer is the share of positives among these very series.

    Returns:
        The measures of `score`; empty for a run without labels of whole series, or where no held-out series has one.
    """
    given = kept_series_labels(out)
    if given is None:
        return {}
    whole = whole_series(read_held_out(out, run, store), given)
    known = np.asarray(np.isfinite(whole.target).any(axis=1))
    if not known.any():
        return {}
    count = LabelCount(N_LABELS)
    count.add(torch.from_numpy(whole.target))
    return without_nan(score(whole.logit[known], whole.target[known], count.logit().numpy()))


def counts_of(store: StudyStore) -> dict[str, Any]:
    """Count patients, series (and those with ids of RSNA's form), slices and labels of a store, for `model.json`."""
    labels = store.slices[list(LABELS)]
    return {
        "n_rsna": count_rsna(store),
        "n_patients": int(store.series["split_unit"].nunique()),
        "n_series": len(store.series),
        "n_slices": len(store.slices),
        "n_labelled": int(labels.notna().any(axis=1).sum()),
        "positive_slices": {name: int(labels[name].fillna(0).sum()) for name in LABELS},
    }


@dataclasses.dataclass(frozen=True, slots=True)
class CnnSummary:
    """The state of a CNN's model directory after a call of `train-cnn`."""

    out: Path
    finished: tuple[int, ...]
    """Folds that are trained, in this call or before."""
    interrupted: bool
    scores: dict[int, dict[str, Any]]
    """By fold: `log_loss`, `of_prior`, `auc` and `average_precision` by label, of all labelled slices that it held out;
    empty where it held out none (`held_out_scores`)."""
    pooled: dict[str, Any]
    """The same over the held-out slices of all finished folds together."""
    series: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The same of whole held-out series, by their largest slice logit, where labels of whole series were given."""
    changes: dict[str, Change] = dataclasses.field(default_factory=dict)
    """What changed against the run that it goes on from, by part; empty without one."""
    is_first: bool = True
    """False in the processes of `torchrun` that leave the talking to the first one."""

    @property
    def exit_code(self) -> int:
        """Return 0, or 130 after an interruption."""
        return 130 if self.interrupted else 0

    def lines(self) -> list[str]:
        """Return the scores as a table for people."""
        lines = [f"{len(self.finished)} fold(s) trained in {self.out}"]
        if self.scores:
            lines.append(f"{'held-out slices':>16} {'log loss':>9} {'of prior':>9} {'AUC any':>9} {'AP any':>9}")
        rows = [*((f"fold {fold}", own) for fold, own in self.scores.items()), ("all", self.pooled)]
        for name, scores in [*rows, *([("whole series", self.series)] if self.series else [])]:
            if scores:
                values = [scores["log_loss"], scores["of_prior"]]
                values += [scores[measure]["any"] for measure in ("auc", "average_precision")]
                lines.append(f"{name:>16} " + " ".join(f"{_number(value):>9}" for value in values))
            elif self.scores:
                lines.append(f"{name:>16} no labelled slice")
        if self.pooled:
            lines.append(_MEANING)
            lines.append("AUC by label: " + ", ".join(f"{name} {_number(self.pooled['auc'][name])}" for name in LABELS))
        lines += change_lines(self.changes)
        if self.interrupted:
            lines.append("interrupted: the same command with --resume goes on where it stopped")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the same for machines."""
        return {
            "out": str(self.out),
            "finished": list(self.finished),
            "interrupted": self.interrupted,
            "folds": {str(fold): scores for fold, scores in self.scores.items()},
            "pooled": self.pooled,
            **({"series": self.series} if self.series else {}),
            **({"changes": as_json(self.changes)} if self.changes else {}),
        }


def summarise(out: Path, store: StudyStore, interrupted: bool) -> CnnSummary:
    """Score the finished folds of a model directory.

    Args:
        out: The model directory.
        store: What was trained on.
        interrupted: Whether this call was stopped before its end.
    """
    if not (out / MODEL_FILE).exists():
        return CnnSummary(out, (), interrupted, {}, {})
    run = read_run(out)
    scores, pooled = held_out_scores(out, run, store)
    series = series_scores(out, run, store)
    return CnnSummary(out, tuple(run.folds), interrupted, scores, pooled, series, read_changes(out, run.content))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
