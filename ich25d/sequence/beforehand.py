"""What `train-rnn` refuses before torch is loaded."""

import dataclasses
from pathlib import Path
from typing import Any

from ich25d.config import Recipe
from ich25d.encoder.beforehand import RATE, check_old, refuse_itself
from ich25d.errors import UsageError
from ich25d.features.store import JSON_FILE, read_description
from ich25d.recipes import find_recipe, read_recipe
from ich25d.studies.store_dir.store import finished_marker
from ich25d.training.device_name import check_device_name
from ich25d.training.model_file import (
    CNN,
    CONFIG_FILE,
    ENCODER_FOLDER,
    MODEL_FILE,
    SEQUENCE,
    checked_entries,
    read_model_file,
)
from ich25d.training.ownership import check_owner, refuse_other_recipe

_SECTIONS = ("features", "sequence", "calibration")
"""Sections of a recipe that decide what a sequence model becomes; the first one only where features are made."""

_SHAPE = ("project", "hidden", "layers", "deltas")
"""Keys of [sequence] that the sequence model's weights depend on."""


def check_train_rnn(
    studies: Path | None,
    cnn: Path | None,
    out: Path,
    *,
    features: Path | None,
    config: Path | None,
    overrides: tuple[str, ...],
    device: str,
    parent: Path | None,
    old: Path | None,
) -> Recipe:
    """Check all that needs no torch, and return the recipe; the arguments are those of `train_rnn`.

    Raises:
        UsageError: Arguments that don't fit together, a path that isn't there, a device's name, a folder that is
            another's or of another recipe, or a run to go on from that has other encoders or another form.
        ConfigError: The recipe has mistakes.
        StoreError: There is no finished study store.
        ModelError: There is no finished run of `train-cnn`, or none to go on from.
    """
    if (features is None) == (studies is None or cnn is None) or (features is not None and (studies or cnn)):
        raise UsageError("train-rnn takes a study store and --cnn, or --features alone")
    if features is not None and parent is not None:
        raise UsageError(
            f"--from goes on with the encoders of a run (got --features {features}); give a study store and --cnn"
        )
    check_device_name(device)
    if studies is not None and cnn is not None:
        finished_marker(studies)
        read_model_file(cnn, CNN)
    check_old(old, parent)
    form: dict[str, Any] = {}
    if parent is not None and cnn is not None:
        form = form_of(parent, "train-rnn --from")
        came_from(cnn, parent)
        refuse_itself(out, parent)
    recipe = _recipe(cnn, parent, None if config is None else find_recipe(config), overrides)
    if parent is not None:
        refuse_other_form(form, recipe, parent)
    check_begun(out, recipe, has_cnn=cnn is not None)
    if features is not None:
        read_description(features / JSON_FILE)
    return recipe


def _recipe(cnn: Path | None, parent: Path | None, config: Path | None, overrides: tuple[str, ...]) -> Recipe:
    """Return the recipe given, else the CNN's; of a child its parent's, with `RATE` of its learning rate.

    A parent that is a child itself has learnt at such a rate already; it stays.

    Raises:
        ConfigError: A recipe is damaged.
    """
    if config is not None or cnn is None:
        return read_recipe(config, overrides)
    recipe = read_recipe(cnn / CONFIG_FILE, overrides)
    if parent is None:
        return recipe
    own = parent / CONFIG_FILE
    share = 1.0 if read_model_file(parent, SEQUENCE).get("parent") else RATE
    slower = f"sequence.lr={read_recipe(own).sequence.lr * share:.4g}"
    before = read_recipe(own, (slower, *overrides))
    return dataclasses.replace(recipe, **{name: getattr(before, name) for name in _SECTIONS})


def form_of(parent: Path, command: str) -> dict[str, Any]:
    """Return the [sequence] of a run whose folds have an encoder and sequence models each.

    Args:
        parent: A run of `train-rnn` or `train-joint`.
        command: What goes on from it, for the message.

    Raises:
        UsageError: A fold has one of both alone, so that what its sequence models have learnt from isn't known.
        ModelError: It's no such run, or damaged.
    """
    content = read_model_file(parent, SEQUENCE)
    with checked_entries(parent):
        folds, has_encoder = [int(fold) for fold in content["folds"]], bool(content["has_encoder"])
        form, embedded = dict(content["sequence"]), [int(fold) for fold in content["encoders"]]
    encoders = sorted(_networks(read_model_file(parent / ENCODER_FOLDER, CNN), parent)) if has_encoder else []
    if not has_encoder or not folds == embedded == [int(fold) for fold in encoders]:
        raise UsageError(
            f"{command} needs a run with an encoder for each fold of its sequence model (got encoders of "
            f"{', '.join(encoders) if has_encoder else 'none'} for folds {folds}) in {parent}; train all folds with "
            "train-cnn, then train-rnn"
        )
    return form


def refuse_other_form(form: dict[str, Any], recipe: Recipe, parent: Path) -> None:
    """Check that a recipe's sequence model is of the form that a run's weights have.

    Args:
        form: The run's [sequence] (`form_of`).
        recipe: The recipe now.
        parent: The run.

    Raises:
        UsageError: A key of [sequence] that the weights depend on differs.
    """
    if names := [f"sequence.{name}" for name in _SHAPE if form.get(name) != getattr(recipe.sequence, name)]:
        raise UsageError(
            f"the sequence model must be of the form of the run's (got other values of {', '.join(names)}) in {parent}"
            "; leave --config out to take its recipe, or set them as there"
        )


def came_from(cnn: Path, parent: Path) -> dict[int, int]:
    """Return, by number, which of a run's encoders each network of a CNN is, or started from.

    A sequence model reads the numbers of one embedding by their place; those of an encoder that was trained apart mean
    something else at every place. Only the run's own encoders, and networks that `train-cnn --from` or `train-joint`
    made of them, speak the language that its sequence models have learnt.

    Args:
        cnn: The CNN's run.
        parent: The run of `train-rnn` or `train-joint` to go on from.

    Raises:
        UsageError: The CNN's networks are neither.
        ModelError: A run is damaged.
    """
    content = read_model_file(cnn, CNN)
    before, now = _networks(read_model_file(parent / ENCODER_FOLDER, CNN), parent), _networks(content, cnn)
    if now == before:
        return {int(fold): int(fold) for fold in now}
    with checked_entries(cnn):
        if (content.get("parent") or {}).get("networks") == before:
            return {int(fold): int(entry["from_fold"]) for fold, entry in content["folds"].items()}
    raise UsageError(
        "a sequence model goes on with the encoders that it was trained with, or with those that train-cnn --from made "
        f"of them (got networks of another origin in {cnn} than those of {parent}): embeddings of other encoders mean "
        f"something else; train the CNN with --from {parent}, or leave --from out"
    )


def _networks(content: dict[str, Any], folder: Path) -> dict[str, str]:
    with checked_entries(folder):
        return {str(int(fold)): str(entry["sha256"]) for fold, entry in content["folds"].items()}


def check_begun(out: Path, recipe: Recipe, *, has_cnn: bool) -> bool:
    """Check that --out is new, or a sequence run of this recipe.

    Args:
        out: The model directory.
        recipe: The recipe now.
        has_cnn: The features are made with a CNN, not given.

    Returns:
        Whether something has been trained in it.

    Raises:
        UsageError: It is somebody else's, or the run is of other settings.
    """
    begun = (out / MODEL_FILE).exists() or any(out.glob("fold*/fold.json"))
    check_owner(out, SEQUENCE, begun=begun)
    if begun:
        refuse_other_recipe(out, recipe, _SECTIONS if has_cnn else _SECTIONS[1:])
    return begun
