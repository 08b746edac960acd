"""`train-cnn`: one encoder per fold, tested on the patients held out."""

import contextlib
import dataclasses
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import timm
import torch

import ich25d
from ich25d.config import Recipe
from ich25d.encoder.beforehand import check_begun, check_train_cnn
from ich25d.encoder.beside import BESIDE_FILES, Beside, kept_series_labels
from ich25d.encoder.canvas import Canvas, open_canvas
from ich25d.encoder.card import write_cnn_card
from ich25d.encoder.fold_rows import data_digest, folds_of
from ich25d.encoder.fold_training import FoldTraining
from ich25d.encoder.held_out import (
    CnnSummary,
    calibration_of,
    counts_of,
    points_of,
    read_held_out,
    summarise,
    whole_series,
)
from ich25d.encoder.model import normalisation
from ich25d.encoder.model_directory import add_fold, read_run, set_decision
from ich25d.encoder.ownership import refuse_other_parent, refuse_other_store
from ich25d.encoder.parent import Parent, checked_parent, refuse_other_network
from ich25d.encoder.pseudo_labels import read_pseudo_labels
from ich25d.encoder.teaching import checked_series_labels, teaching_of
from ich25d.errors import UsageError
from ich25d.files import locked, sha256_file, write_json, write_text
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import remark, set_quiet
from ich25d.recipes import write_recipe
from ich25d.slabs.anatomies import MEMORY_BYTES
from ich25d.slabs.painting import Painter
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.device import choose_device
from ich25d.training.interrupt import Interrupted, asked_to_stop
from ich25d.training.model_file import (
    CNN,
    CONFIG_FILE,
    FORMAT,
    MODEL_FILE,
    PARENT_FILE,
    REPORT_FILE,
)
from ich25d.training.processes import Processes, joined
from ich25d.training.progress_page import reporter
from ich25d.training.runlog import LOG_FILE, check_tensorboard, read_log, tensorboard_listener
from ich25d.training.sampling import LabelCount

ANATOMIES = ".anatomies"
"""Folder in the model directory that keeps, during training, the anatomies found for painting."""


def train_cnn(
    store: Path,
    recipe: Recipe,
    out: Path,
    *,
    fold: Literal["all"] | int = "all",
    device: str = "auto",
    resume: bool = False,
    tensorboard: bool = False,
    parent: Path | None = None,
    old: Path | None = None,
    series_labels: Path | None = None,
    canvas: Path | None = None,
    pseudo_labels: Path | None = None,
) -> CnnSummary:
    """Train the encoder on a study store, leaving one fold out at a time.

    Finished folds are never trained again; an interrupted one goes on from its last checkpoint. Under
    `torchrun` every process calls this alike, and the first one writes.

    Args:
        store: A study store with labels.
        recipe: The recipe; [slab], [augment], [encoder] and [train] are used.
        out: The model directory to make.
        fold: Number of the fold to hold out, or all of them in turn.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        resume: Go on where a run in `out` stopped.
        tensorboard: Also write event files into `out/tensorboard/foldK`.
        parent: A run whose weights to start from, heads included; fold k starts from its network k mod n
            (`encoder/parent.py`). Patients that network has learnt from never validate the fold.
        old: A store of scans of the parent's, on whose held-out slices it is measured what is forgotten.
        series_labels: A table with labels of whole series or studies, for those without labels of slices
            (`studies/series_labels.py`).
        canvas: A store of further scans to paint into (`encoder/canvas.py`).
        pseudo_labels: A folder with what another run is sure of (`encoder/pseudo_labels.py`).

    Raises:
        UsageError: No such fold or device, nothing to train on, `out` holds another run or one of another store or
            parent, another call trains the fold, or the parent sees scans otherwise or has seen all of these.
        ModelError: The parent is damaged, or doesn't say which images it was trained on.
        WeightsError: The pretrained weights can't be had.
        TrainingError: Numbers that aren't finite, no memory, or a checkpoint of other data.
    """
    check_train_cnn(
        store, recipe, out, fold=fold, device=device, resume=resume, parent=parent, old=old,
        series_labels=series_labels, canvas=canvas, pseudo_labels=pseudo_labels,
    )  # fmt: skip
    studies = StudyStore.open(store)
    folds = folds_of(studies)
    if fold != "all" and fold not in folds:
        raise UsageError(f"--fold must be one of the store's, {folds}, or all (got {fold!r})")
    chosen = folds if fold == "all" else [fold]
    digest = data_digest(studies)
    scans = None if canvas is None else StudyStore.open(canvas)
    whole = None if series_labels is None else checked_series_labels(series_labels, studies, scans)
    teaching = teaching_of(studies, whole)
    beside = Beside(
        whole,
        None if scans is None else _canvas(scans, recipe, studies, whole, out),
        None if pseudo_labels is None else read_pseudo_labels(pseudo_labels, [one for one in (studies, scans) if one]),
    )
    interrupted, is_made_here = False, not out.exists()
    origin = None if parent is None else checked_parent(parent, recipe, studies, chosen, teaching.is_told)
    old_studies = None if old is None or origin is None else _checked_old(old, origin, recipe)
    if tensorboard:
        check_tensorboard()
    with joined(choose_device(device)) as (processes, place), asked_to_stop() as stop:
        if not processes.is_first:
            set_quiet(True)
        is_new = _open(out, recipe, studies, digest, chosen, origin, beside, resume=resume, processes=processes)
        try:
            painter = _painter(studies, recipe, out, processes, has_canvas=beside.canvas is not None)
            for number in chosen:
                with _alone_with(out, number) if processes.is_first else contextlib.nullcontext():
                    if _is_finished(out, number):
                        remark(f"fold {number}: trained already")
                        continue
                    listeners = [reporter(out)]
                    if tensorboard:
                        listeners.append(tensorboard_listener(out / "tensorboard" / f"fold{number}"))
                    taught, further, known = beside.for_fold(studies, teaching, number)
                    training = FoldTraining(
                        studies, recipe, out / f"fold{number}", fold=number, device=place,
                        processes=processes, painter=painter, data_digest=digest, teaching=taught,
                        canvas=further, known=known,
                        start=None if origin is None else origin.start_of(number), old=old_studies,
                        listeners=listeners,
                    )  # fmt: skip
                    if processes.is_first:
                        _announce(training, number, place, recipe)
                    try:
                        entry = training.run(stop, resume=resume)
                    except Interrupted:
                        interrupted = True
                        break
                    if processes.is_first:
                        add_fold(out, describe(studies, recipe, digest, origin, beside.describe()), number, entry)
                    processes.wait()
        except BaseException:
            if is_new and processes.is_first:
                _remove_unbegun(out, chosen, with_folder=is_made_here)
            raise
    if processes.is_first and not interrupted:
        # A call that trains other folds here at the same time makes the folder again; the last one removes it.
        shutil.rmtree(out / ANATOMIES, ignore_errors=True)
        conclude_cnn(out, studies, recipe)
    return dataclasses.replace(summarise(out, studies, interrupted), is_first=processes.is_first)


def _checked_old(folder: Path, parent: Parent, recipe: Recipe) -> StudyStore:
    """Open the store of old scans.

    Raises:
        UsageError: The store is of another kind.
    """
    store = StudyStore.open(folder)
    refuse_other_network(parent, recipe, store)
    return store


def _canvas(canvas: StudyStore, recipe: Recipe, store: StudyStore, labels: pd.DataFrame | None, out: Path) -> Canvas:
    """Check a store of canvases; its two painters share the half of the memory that the store's own leaves."""
    memory = MEMORY_BYTES // (4 * max(1, recipe.train.loader_workers))
    return open_canvas(canvas, recipe, store, labels=labels, anatomies=out / ANATOMIES, memory_bytes=memory)


def _painter(store: StudyStore, recipe: Recipe, out: Path, processes: Processes, *, has_canvas: bool) -> Painter | None:
    """Make the painter, where the recipe asks for one; all readers of a machine share its memory, and canvases half."""
    painted, decoys = recipe.augment.painted, recipe.augment.decoys
    if painted + decoys == 0:
        return None
    n_readers = max(1, recipe.train.loader_workers) * processes.local_count * (2 if has_canvas else 1)
    return Painter(
        store, painted, recipe.train.seed,
        decoys=decoys, folder=out / ANATOMIES, memory_bytes=MEMORY_BYTES // n_readers,
    )  # fmt: skip


def conclude_cnn(out: Path, store: StudyStore, recipe: Recipe) -> None:
    """Calibrate and choose thresholds on the held-out slices of all finished folds, and write the model card.

    Args:
        out: The model directory.
        store: What was trained on.
        recipe: How.
    """
    held_out = read_held_out(out, read_run(out), store)
    whole = whole_series(held_out, kept_series_labels(out))
    has_slices, settings = bool(np.isfinite(held_out.target).any()), recipe.calibration
    if not has_slices:  # the recipe's shares are of slices
        settings = dataclasses.replace(settings, prevalence={}, prevalence_weight=0.0)
    judged = held_out if has_slices else whole
    known = np.flatnonzero(~np.isnan(judged.target).all(axis=1))
    if not len(known):
        return
    calibration = calibration_of(judged, settings)
    set_decision(out, calibration, points_of(held_out, whole, calibration))
    write_cnn_card(
        out, read_run(out), store, recipe, judged.logit[known], judged.target[known].astype(np.float64),
        [judged.split_unit[row] for row in known], of_series=not has_slices,
    )  # fmt: skip


def _open(
    out: Path,
    recipe: Recipe,
    store: StudyStore,
    digest: str,
    folds: list[int],
    parent: Parent | None,
    beside: Beside,
    *,
    resume: bool,
    processes: Processes,
) -> bool:
    """Make the model directory, or check that this call may go on with it.

    Returns:
        Whether no fold had been begun in it.

    Raises:
        UsageError: It holds other files, a run of another recipe, study store or parent, or these folds and no
            `--resume`.
    """
    begun = check_begun(out, recipe, folds, resume=resume)
    if begun:
        refuse_other_store(out, store, digest)
        refuse_other_parent(out, None if parent is None else parent.describe())
        beside.refuse_other(out)
    processes.wait()
    if processes.is_first:
        if not begun:  # a run that never began (for lack of weights, say) may take another recipe
            write_text(out / CONFIG_FILE, write_recipe(recipe))
            (out / PARENT_FILE).unlink(missing_ok=True)
            if parent is not None:
                write_json(out / PARENT_FILE, parent.describe())
            beside.write(out)
        for number in folds:
            (out / f"fold{number}").mkdir(exist_ok=True)
            for part in (out / f"fold{number}").glob(".*.part"):  # a kill cut this file off
                part.unlink()
    processes.wait()
    return not begun


@contextlib.contextmanager
def _alone_with(out: Path, fold: int) -> Iterator[None]:
    """Hold the lock of a fold, so that one call at a time trains it: two would write one log and one checkpoint.

    Raises:
        UsageError: Another call holds it.
    """
    path = out / f".fold{fold}.lock"
    with locked(path, f"trains fold {fold} in {out}", UsageError):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _remove_unbegun(out: Path, folds: list[int], *, with_folder: bool) -> None:
    """Remove the files of a training that failed before its first step, which would look like a run."""
    with contextlib.suppress(UsageError, OSError), contextlib.ExitStack() as held:
        for number in folds:  # what another call trains by now is that call's
            held.enter_context(_alone_with(out, number))
        _remove_files(out, folds)
    if with_folder:
        with contextlib.suppress(OSError):  # not empty
            out.rmdir()


def _remove_files(out: Path, folds: list[int]) -> None:
    """Remove what was made for folds of which none has begun."""
    for number in folds:
        log = read_log(out / f"fold{number}" / LOG_FILE)
        if (out / f"fold{number}" / "last.pt").exists() or any(line.get("event") != "begin" for line in log):
            return
    for name in (f"{parent}fold{number}" for number in folds for parent in ("", "tensorboard/")):
        shutil.rmtree(out / name, ignore_errors=True)
    if any(out.glob("fold*")):  # another call trains other folds here
        return
    shutil.rmtree(out / ANATOMIES, ignore_errors=True)
    for name in (CONFIG_FILE, PARENT_FILE, *BESIDE_FILES, REPORT_FILE):
        (out / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty, or never made
        (out / "tensorboard").rmdir()


def _is_finished(out: Path, fold: int) -> bool:
    if not (out / MODEL_FILE).exists():
        return False
    entry = read_run(out).folds.get(fold)
    if entry is None or not (out / f"fold{fold}" / "oof.parquet").exists():
        return False
    weights = out / str(entry["weights"])
    return weights.is_file() and sha256_file(weights) == entry["sha256"]


def _announce(training: FoldTraining, fold: int, device: torch.device, recipe: Recipe) -> None:
    rows = training.rows
    remark(
        f"fold {fold}: {len(rows.train)} slices to train on, {len(rows.held_out)} held out, {len(rows.validated)} "
        f"validated; {training.steps_per_epoch} steps an epoch; {recipe.encoder.name} on {device}, "
        f"{training.precision.name} ({training.precision.reason})"
    )
    absent = [name for name, count in zip(LABELS, training.natural.positive.tolist(), strict=True) if count == 0]
    if absent:
        remark(f"fold {fold}: no positive slice to train on for {', '.join(absent)}")


def describe(
    store: StudyStore,
    recipe: Recipe,
    digest: str,
    parent: Parent | None = None,
    beside: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return all of `model.json` but the folds; counts only, no identifiers.

    Args:
        store: The study store.
        recipe: The recipe.
        digest: Hash of the store's tables.
        parent: The run that it goes on from.
        beside: What it learns from beside the store's labels of slices.
    """
    mean, std = normalisation(recipe.encoder, recipe.slab)
    return {
        "format": FORMAT,
        "kind": CNN,
        "encoder": dataclasses.asdict(recipe.encoder),
        "slab": dataclasses.asdict(recipe.slab),
        "pixels": dataclasses.asdict(recipe.pixels),
        "labels": list(LABELS),
        "normalisation": {"mean": mean, "std": std, "of": "grey values 0 to 1, one a channel, inside the model"},
        "store": {"size": int(store.size), "crop": str(store.marker["crop"])},
        "prior": _whole_prior(store.slices[list(LABELS)]),
        "calibration": None,
        "thresholds": None,
        "versions": {
            "ich25d": ich25d.__version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
            "python": platform.python_version(),
        },
        "data": {"digest": digest, **counts_of(store), **(beside or {})},
        **({} if parent is None else {"parent": parent.describe()}),
    }


def _whole_prior(labels: pd.DataFrame) -> list[float]:
    count = LabelCount(N_LABELS)
    count.add(torch.from_numpy(labels.to_numpy(dtype=np.float32, na_value=np.nan)))
    return [float(value) for value in torch.sigmoid(count.logit())]
