"""The owner of an output folder, and the checks that a model directory has one kind and one recipe."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ich25d.config import Recipe
from ich25d.errors import ConfigError, ModelError, UsageError, cause_of
from ich25d.recipes import check_recipe, read_recipe, write_recipe
from ich25d.training.model_file import (
    CANVAS_FILE,
    CNN,
    CONFIG_FILE,
    MODEL_FILE,
    PARENT_FILE,
    PSEUDO_FILE,
    REPORT_FILE,
    SEQUENCE,
    SERIES_LABELS_FILE,
    read_kind,
)
from ich25d.training.runlog import LOG_FILE, read_log

Owner = Literal["nobody", "encoder", "sequence", "joint", "begun", "other"]
"""Owner of a folder: nobody (absent or empty), a CNN's training, a sequence model's, that of both together, one of the
first two that stopped before its first step, or another program or person."""

JOINT = "joint"
"""A run of `train-joint`: its `parent.json` says so from the beginning."""

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
    if (read_parent_file(folder) or {}).get("command") == "train-joint":
        return "joint"
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
    ours = {
        CONFIG_FILE,
        PARENT_FILE,
        SERIES_LABELS_FILE,
        CANVAS_FILE,
        PSEUDO_FILE,
        _FEATURES,
        _ANATOMIES,
        _BOARD,
        *(path.name for path in folder.glob("fold*")),
    }
    if any(folder.glob(f"fold*/{LOG_FILE}")):
        ours.add(REPORT_FILE)  # of a call before, whose log the next one has just emptied
    if there - ours or (folder / CONFIG_FILE).read_text(encoding="utf-8") != write_recipe(recipe):
        return "other"
    return "sequence" if _FEATURES in there else "begun"


def _kind_of(folder: Path) -> Owner:
    try:
        kind, _ = read_kind(folder)
    except ModelError:
        return "other"
    return "encoder" if kind == CNN else "sequence" if kind == SEQUENCE else "other"


def read_parent_file(folder: Path) -> dict[str, Any] | None:
    """Return what a folder's run goes on from (`parent.json`); None where it names nothing.

    Raises:
        ModelError: The file is damaged.
    """
    try:
        content = json.loads((folder / PARENT_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{PARENT_FILE} must be readable JSON (got {cause_of(error)}) in {folder}") from error
    return content if isinstance(content, dict) else None


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


_OF = {CNN: "a CNN's model directory", SEQUENCE: "a sequence model's directory", JOINT: "a run of train-joint"}
_RUN = {CNN: "a CNN's run", SEQUENCE: "a sequence model's run", JOINT: "a run of train-joint"}


def check_owner(out: Path, kind: str, *, begun: bool) -> None:
    """Check that --out is a new folder or a run of a kind.

    Args:
        out: The model directory to make.
        kind: `CNN`, `SEQUENCE` or `JOINT`.
        begun: It holds something trained, which has a recipe.

    Raises:
        UsageError: It is somebody else's.
    """
    owner = owner_of(out)
    if owner in ("nobody", "begun") or (owner == kind and ((out / CONFIG_FILE).exists() or not begun)):
        return
    what = _RUN[owner] if owner in _RUN and owner != kind else "other files"
    raise UsageError(f"--out must be a new folder or {_OF[kind]} (got {out}, with {what} in it)")
