"""The owner of an output folder, and the checks that a model directory has one recipe and one study store."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from ich25d.config import Recipe
from ich25d.encoder.held_out import counts_of
from ich25d.encoder.model_directory import Run, read_run
from ich25d.errors import ConfigError, ModelError, TrainingError, UsageError, cause_of
from ich25d.labels import LABELS
from ich25d.recipes import check_recipe, read_recipe, write_recipe
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.learner import load_state
from ich25d.training.model_file import CNN, CONFIG_FILE, MODEL_FILE, SEQUENCE, read_kind
from ich25d.training.runlog import LOG_FILE, read_log

Owner = Literal["nobody", "encoder", "sequence", "begun", "other"]
"""Owner of a folder: nobody (absent or empty), a CNN's training, a sequence model's, one of either that stopped before
its first step, or another program or person."""

_FEATURES, _ANATOMIES, _BOARD = "features", ".anatomies", "tensorboard"


def owner_of(folder: Path) -> Owner:
    """Return the owner of a folder, so that a training never replaces files of others.

    A finished run has a `model.json` of its kind, an unfinished one logs and checkpoints of folds beside a recipe. One
    that stopped before its first step has a recipe in the form of `write_recipe`, and only files made until then.

    Args:
        folder: The folder of --out.
    """
    if folder.exists() and not folder.is_dir():
        return "other"
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    # Hidden files are a desktop's, a network disk's, or left by a kill.
    there = {name for name in names if name == _ANATOMIES or not name.startswith(".")}
    if not there:
        return "nobody"
    if MODEL_FILE in there:
        return _kind_of(folder)
    if there == {_FEATURES}:  # a sequence model's recipe is written after its features
        return "sequence"
    return _owner_of_unfinished(folder, there)


def _owner_of_unfinished(folder: Path, there: set[str]) -> Owner:
    try:
        recipe = read_recipe(folder / CONFIG_FILE)
    except ConfigError:
        return "other"
    logged = [log[0] for path in folder.glob(f"fold*/{LOG_FILE}") if (log := read_log(path))]
    if any(folder.glob("fold*/last.pt")) or any(line.get("event") == "begin" for line in logged):
        return "encoder"
    if logged:
        return "sequence"
    ours = {CONFIG_FILE, _FEATURES, _ANATOMIES, _BOARD, *(path.name for path in folder.glob("fold*"))}
    if there - ours or (folder / CONFIG_FILE).read_text(encoding="utf-8") != write_recipe(recipe):
        return "other"
    return "sequence" if _FEATURES in there else "begun"


def _kind_of(folder: Path) -> Owner:
    try:
        kind, _ = read_kind(folder)
    except ModelError:
        return "other"
    return "encoder" if kind == CNN else "sequence" if kind == SEQUENCE else "other"


def refuse_other_recipe(out: Path, recipe: Recipe, sections: Sequence[str]) -> None:
    """Check that a run goes on with the recipe that it was begun with.

    Args:
        out: The model directory.
        recipe: The recipe of this call.
        sections: Its sections that decide what the model becomes.

    Raises:
        UsageError: A setting of these sections differs.
    """
    before = read_recipe(out / CONFIG_FILE)
    # Through TOML and back, as the file was: a window may be a table in one and an object in the other.
    now = check_recipe(
        {section.name: dataclasses.asdict(getattr(recipe, section.name)) for section in dataclasses.fields(recipe)}, ""
    )
    names = [
        f"{section}.{field.name}"
        for section in sections
        for field in dataclasses.fields(getattr(now, section))
        if field.name != "loader_workers"
        and getattr(getattr(before, section), field.name) != getattr(getattr(now, section), field.name)
    ]
    if names:
        raise UsageError(
            f"a model directory holds one recipe (got other values of {', '.join(names)}) in {out}; "
            "choose another --out"
        )


def refuse_other_store(out: Path, store: StudyStore, digest: str) -> None:
    """Check that a run goes on with the study store that its finished and unfinished folds are of.

    With other folds, networks would be tested on series that they were trained on, and a series could count twice; with
    other labels, calibration and thresholds would be fitted to labels that the networks never saw.

    Args:
        out: The model directory.
        store: The store of this call.
        digest: Its hash (`data_digest`).

    Raises:
        UsageError: The run is of another store.
    """
    run = read_run(out) if (out / MODEL_FILE).exists() else None
    if run is not None:
        is_other = run.content.get("data", {}).get("digest", "") not in ("", digest)
        # Older versions let two stores into one run: only the folds' tables name the first one.
        if is_other or any(_holds_others(out, store, number) for number in run.folds):
            raise _other_store(out, store, _difference(out, run, store))
    finished = set() if run is None else {f"fold{number}" for number in run.folds}
    for path in sorted(out.glob("fold*/last.pt")):
        if path.parent.name in finished:
            continue
        with contextlib.suppress(TrainingError):  # unreadable: an error when that fold is resumed
            if load_state(path).get("data", digest) != digest:
                raise _other_store(out, store, f"other series, images, labels or folds than {path.parent.name}'s")


def _other_store(out: Path, store: StudyStore, difference: str) -> UsageError:
    return UsageError(
        f"all folds of a model directory must be of the same study store (got another one, with {difference}, in "
        f"{store.root}) in {out}; give the store that it was begun with, or choose another --out"
    )


def _difference(out: Path, run: Run, store: StudyStore) -> str:
    """Name the differences of a run's store and this one that `model.json` and the folds' tables show."""
    before, now = run.content.get("data", {}), counts_of(store)
    found = [
        f"{now[f'n_{name}']} {name} for {before[f'n_{name}']}"
        for name in ("patients", "series", "slices")
        if before.get(f"n_{name}", now[f"n_{name}"]) != now[f"n_{name}"]
    ]
    positive = {**now["positive_slices"], **before.get("positive_slices", {})}
    labels = [name for name in LABELS if now["positive_slices"][name] != positive[name]]
    if labels or now["n_labelled"] != before.get("n_labelled", now["n_labelled"]):
        found.append(f"other labels ({', '.join(labels) or 'known ones'})")
    folds = [number for number in run.folds if _holds_others(out, store, number)]
    if folds:
        found.append(f"other series in fold(s) {folds}")
    return ", ".join(found) or "other labels of single slices, images or positions"


def _holds_others(out: Path, store: StudyStore, fold: int) -> bool:
    """Return whether a fold's table is of other series than the store has in that fold."""
    path = out / f"fold{fold}" / "oof.parquet"
    if not path.is_file():
        return False
    try:
        before = pd.read_parquet(path, columns=["series_id"])["series_id"].astype(str)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"a fold's held-out logits must be readable (got {cause_of(error)}) in {path}; move fold{fold} away and "
            "train it anew"
        ) from error
    return set(before) != set(store.series.loc[store.series["fold"] == fold, "series_id"].astype(str))
