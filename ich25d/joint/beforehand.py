"""What `train-joint` refuses before torch is loaded."""

import dataclasses
from pathlib import Path

from ich25d.config import Recipe
from ich25d.recipes import find_recipe, read_recipe
from ich25d.sequence.beforehand import form_of, refuse_other_form
from ich25d.studies.store_dir.store import finished_marker
from ich25d.training.device_name import check_device_name
from ich25d.training.model_file import CONFIG_FILE, ENCODER_FOLDER
from ich25d.training.ownership import JOINT, check_owner, owner_of, refuse_other_recipe

COMMAND = "train-joint"

_SECTIONS = ("slab", "augment", "encoder", "pixels", "features", "sequence", "joint", "calibration")
"""Sections of a recipe that decide what a joint model becomes."""


def check_train_joint(
    studies: Path, parent: Path, out: Path, *, config: Path | None, overrides: tuple[str, ...], device: str
) -> Recipe:
    """Check all that needs no torch, and return the recipe; the arguments are those of `train_joint`.

    Raises:
        UsageError: A run without an encoder a fold, a sequence model of another form than the recipe's, a device's
            name, or a folder that is another's or of another recipe.
        ConfigError: The recipe has mistakes.
        StoreError: There is no finished study store.
        ModelError: There is no finished run of `train-rnn`.
    """
    check_device_name(device)
    finished_marker(studies)
    form = form_of(parent, COMMAND)
    recipe = _recipe(parent, None if config is None else find_recipe(config), overrides)
    refuse_other_form(form, recipe, parent)
    begun = owner_of(out) == JOINT and (out / CONFIG_FILE).exists()
    if owner_of(out) != "nobody":
        check_owner(out, JOINT, begun=begun)
    if begun:
        refuse_other_recipe(out, recipe, _SECTIONS)
    return recipe


def _recipe(parent: Path, config: Path | None, overrides: tuple[str, ...] = ()) -> Recipe:
    """Return the recipe of a joint training: the one given, else that of the run's encoder with the run's [sequence].

    Raises:
        ConfigError: A recipe is damaged.
    """
    if config is not None:
        return read_recipe(config, overrides)
    own, of_encoder = read_recipe(parent / CONFIG_FILE, overrides), read_recipe(parent / ENCODER_FOLDER / CONFIG_FILE)
    changed = {override.partition(".")[0].strip() for override in overrides}
    kept = {name: getattr(of_encoder, name) for name in ("slab", "encoder", "pixels", "augment") if name not in changed}
    return dataclasses.replace(own, **kept)
