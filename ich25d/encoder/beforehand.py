"""What `train-cnn` refuses before torch is loaded."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from ich25d.config import Recipe
from ich25d.errors import UsageError
from ich25d.studies.store_dir.store import finished_marker
from ich25d.training.device_name import check_device_name
from ich25d.training.model_file import CNN, ENCODER_FOLDER, read_kind
from ich25d.training.ownership import check_owner, refuse_other_recipe

RATE, EPOCHS = 0.1, 1
"""Share of the parent's learning rates at which its child learns, and its epochs, where no recipe is given: the weights
are no longer new, and large or many steps forget what they hold (docs/measured.md has the figures)."""

SECTIONS = ("slab", "augment", "encoder", "pixels", "train")
"""Sections of a recipe that decide the weights of a CNN."""


def check_train_cnn(
    store: Path,
    recipe: Recipe | None,
    out: Path,
    *,
    fold: Literal["all"] | int,
    device: str,
    resume: bool,
    parent: Path | None,
    old: Path | None,
    series_labels: Path | None,
    canvas: Path | None,
    pseudo_labels: Path | None,
) -> None:
    """Check all that needs neither the store's tables nor torch; the arguments are those of `train_cnn`.

    The recipe is None where it isn't known yet: a parent's, which torch reads.

    Raises:
        UsageError: A device's name, or a folder that is another's or of another recipe, or folds that are there.
        StoreError: There is no finished study store.
        ModelError: There is no finished run to go on from.
    """
    check_device_name(device)
    if series_labels is not None and not series_labels.is_file():
        raise UsageError(f"--series-labels must be a table, CSV, parquet or feather (got no file) in {series_labels}")
    if pseudo_labels is not None and not pseudo_labels.is_dir():
        raise UsageError(
            f"--pseudo-labels must be a folder of `ich25d pseudo-labels` (got no folder) in {pseudo_labels}; make one"
        )
    for one in (store, canvas):
        if one is not None:
            finished_marker(one)
    check_old(old, parent)
    if parent is not None:
        read_kind(parent)
        refuse_itself(out, parent)
    check_begun(out, recipe, None if fold == "all" else [fold], resume=resume)


def check_old(old: Path | None, parent: Path | None) -> None:
    """Check that the store of old scans is one, and that there is a run to go on from that knows them.

    Raises:
        UsageError: There is no such run.
        StoreError: It's no finished study store.
    """
    if old is None:
        return
    if parent is None:
        raise UsageError("--old measures what a run forgets of the one that it goes on from (got no --from); name one")
    finished_marker(old)


def refuse_itself(out: Path, parent: Path) -> None:
    """Check that a run doesn't go on from itself.

    Raises:
        UsageError: It does.
    """
    if out.exists() and out.resolve() in (parent.resolve(), (parent / ENCODER_FOLDER).resolve()):
        raise UsageError(f"--out must be another folder than the run that it goes on from (got {out} for both)")


def check_begun(out: Path, recipe: Recipe | None, folds: Collection[int] | None, *, resume: bool) -> bool:
    """Check that a call may make a model directory or go on with it.

    Args:
        out: The model directory.
        recipe: The recipe of this call; None where it isn't known yet.
        folds: Numbers of the folds that it trains; None is all.
        resume: It goes on with folds that were begun.

    Returns:
        Whether a fold has been begun in it.

    Raises:
        UsageError: It holds other files, a run of another recipe, or these folds and no `--resume`.
    """
    begun = sorted(path.name for path in out.glob("fold*") if any(path.glob("[!.]*")))
    check_owner(out, CNN, begun=True)
    if begun:
        if recipe is not None:
            refuse_other_recipe(out, recipe, SECTIONS)
        again = [int(name.removeprefix("fold")) for name in begun if name.removeprefix("fold").isdigit()]
        again = [number for number in again if folds is None or number in folds]
        if again and not resume:
            raise UsageError(
                f"{out} holds fold(s) {again} already; --resume goes on with them, or choose another --out"
            )
    return bool(begun)
