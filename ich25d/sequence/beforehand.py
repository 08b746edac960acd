"""What `train-rnn` refuses before torch is loaded."""

from pathlib import Path

from ich25d.config import Recipe
from ich25d.errors import UsageError
from ich25d.features.store import JSON_FILE, read_description
from ich25d.recipes import find_recipe, read_recipe
from ich25d.studies.store_dir.store import finished_marker
from ich25d.training.device_name import check_device_name
from ich25d.training.model_file import CNN, CONFIG_FILE, MODEL_FILE, SEQUENCE, read_model_file
from ich25d.training.ownership import check_owner, refuse_other_recipe

_SECTIONS = ("features", "sequence", "calibration")
"""Sections of a recipe that decide what a sequence model becomes; the first one only where features are made."""


def check_train_rnn(
    studies: Path | None,
    cnn: Path | None,
    out: Path,
    *,
    features: Path | None,
    config: Path | None,
    overrides: tuple[str, ...],
    device: str,
) -> Recipe:
    """Check all that needs no torch, and return the recipe; the arguments are those of `train_rnn`.

    Raises:
        UsageError: Arguments that don't fit together, a path that isn't there, a device's name, or a folder that is
            another's or of another recipe.
        ConfigError: The recipe has mistakes.
        StoreError: There is no finished study store.
        ModelError: There is no finished run of `train-cnn`.
    """
    if (features is None) == (studies is None or cnn is None) or (features is not None and (studies or cnn)):
        raise UsageError("train-rnn takes a study store and --cnn, or --features alone")
    check_device_name(device)
    if studies is not None and cnn is not None:
        finished_marker(studies)
        read_model_file(cnn, CNN)
    if config is not None:
        config = find_recipe(config)
    elif cnn is not None:
        config = cnn / CONFIG_FILE
    recipe = read_recipe(config, overrides)
    check_begun(out, recipe, has_cnn=cnn is not None)
    if features is not None:
        read_description(features / JSON_FILE)
    return recipe


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
