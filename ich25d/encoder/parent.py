"""The run that a training goes on from: read, checked, and described for the card of its child.

Fold k of the child starts from network k mod n of the parent's n, in the order of their numbers. Where both have the
same folds of the same scans, each network so goes on holding out what it has never seen.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ich25d.config import Recipe
from ich25d.encoder.beforehand import EPOCHS, RATE
from ich25d.encoder.learnt_images import LearntImages
from ich25d.encoder.model import SlabEncoder
from ich25d.encoder.model_directory import Run, read_run
from ich25d.errors import ModelError, UsageError
from ich25d.files import inside, sha256_file
from ich25d.labels import LABELS
from ich25d.progress import remark
from ich25d.recipes import read_recipe
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.model_file import (
    CONFIG_FILE,
    ENCODER_FOLDER,
    MODEL_FILE,
    SEQUENCE,
    about_model,
    checked_entries,
    read_kind,
)
from ich25d.training.weights_file import load_weights

RSNA_SERIES = r"ID_[0-9a-f]{10}"
"""Form of the series ids of RSNA 2019."""

_SAME = {"encoder": ("name", "pool", "output_stride"), "pixels": ("channels",)}
"""Keys of a recipe, beside all of [slab], that decide what the parent's weights mean."""


@dataclasses.dataclass(frozen=True, slots=True)
class FoldStart:
    """What one fold of the child starts from."""

    folder: Path
    """The parent's model directory."""
    number: int
    """Number of the parent's fold."""
    entry: dict[str, Any]
    """That fold in the parent's `model.json`."""
    images: LearntImages
    """What the parent's network has learnt from."""

    def load(self, encoder: SlabEncoder) -> None:
        """Give an encoder the parent's weights as prediction uses them, heads included.

        Raises:
            ModelError: The weights are others than `model.json` names, or damaged.
        """
        load_weights(encoder, inside(self.folder, str(self.entry["weights"])), str(self.entry["sha256"]))

    def begin(self, encoder: SlabEncoder, *, as_shown: bool) -> None:
        """Give an encoder the parent's weights to learn on from.

        Args:
            encoder: Takes them.
            as_shown: Training shows positives more often than they occur (paint, balanced drawing): what the parent's
                last layer was corrected by after a training of that kind is taken back.
        """
        self.load(encoder)
        if as_shown and "prior_shown" in self.entry:
            shown, natural = (np.array(self.entry[name], dtype=np.float64) for name in ("prior_shown", "prior"))
            with torch.no_grad():
                encoder.head.bias.add_(torch.from_numpy(_logit(shown) - _logit(natural)).to(encoder.head.bias))


@dataclasses.dataclass(frozen=True, slots=True)
class Parent:
    """A finished run of a CNN that others may go on from."""

    run: Run
    name: str

    def start_of(self, fold: int) -> FoldStart:
        """Return what a fold of the child starts from.

        Raises:
            ModelError: The parent doesn't say which images it was trained on.
        """
        numbers = sorted(self.run.folds)
        number = numbers[fold % len(numbers)]
        entry = self.run.folds[number]
        return FoldStart(self.run.folder, number, entry, LearntImages.read(self.run.folder, entry))

    def describe(self) -> dict[str, Any]:
        """Return what the child's `model.json` and card say of it: name, hashes, counts and terms; no ids."""
        content = self.run.content
        return {
            "name": self.name,
            "model_sha256": sha256_file(self.run.folder / MODEL_FILE),
            "networks": {str(fold): str(entry["sha256"]) for fold, entry in sorted(self.run.folds.items())},
            "data": content.get("data", {}),
            "attribution": content.get("attribution"),
            "parent": content.get("parent"),
        }


def read_parent(folder: Path) -> Parent:
    """Read a run to go on from.

    Args:
        folder: A model directory of `train-cnn`, or of `train-rnn` or `train-joint`, whose encoders are taken.

    Raises:
        ModelError: It is absent, unfinished or damaged, or holds no encoder.
    """
    kind, content = read_kind(folder)
    if kind == SEQUENCE and not content.get("has_encoder"):
        raise ModelError(f"a run to go on from must hold an encoder (got one trained on features alone) in {folder}")
    run = read_run(folder / ENCODER_FOLDER if kind == SEQUENCE else folder)
    if not run.folds:
        raise ModelError(f"a run to go on from must have a finished fold (got none) in {folder}")
    with checked_entries(folder):
        _ = [(entry["weights"], entry["sha256"], entry["prior"]) for entry in run.folds.values()]
    return Parent(run, about_model(folder, content).name)


def child_recipe(parent: Parent, config: Path | None, overrides: tuple[str, ...] = ()) -> Recipe:
    """Return the recipe of a child: the one given, else the parent's with `RATE` of its learning rates and `EPOCHS`.

    A parent that is a child itself has learnt so already; its recipe stays.

    Raises:
        ConfigError: A recipe is damaged.
    """
    if config is not None:
        return read_recipe(config, overrides)
    own = parent.run.folder / CONFIG_FILE
    train = read_recipe(own).train
    gentler: list[str] = []
    if not parent.run.content.get("parent"):
        gentler = [f"train.{name}={getattr(train, name) * RATE:.4g}" for name in ("lr", "min_lr")]
        gentler.append(f"train.epochs={EPOCHS}")
    return read_recipe(own, (*gentler, *overrides))


def refuse_other_network(parent: Parent, recipe: Recipe, store: StudyStore) -> None:
    """Check that the child sees scans as the parent's weights expect.

    Raises:
        UsageError: A key of [slab], [encoder] or [pixels] that the weights depend on differs, or the store has slices
            of another size or crop.
    """
    run = parent.run
    names = [
        f"slab.{field.name}"
        for field in dataclasses.fields(recipe.slab)
        if getattr(recipe.slab, field.name) != getattr(run.slab, field.name)
    ]
    names += [
        f"{section}.{name}"
        for section, keys in _SAME.items()
        for name in keys
        if getattr(getattr(recipe, section), name) != getattr(getattr(run, section), name)
        and (section == "encoder" or run.pixels.weight)
    ]
    names += ["pixels.weight"] if bool(recipe.pixels.weight) != bool(run.pixels.weight) else []
    if names:
        raise UsageError(
            f"a run must see scans as the run it goes on from (got other values of {', '.join(names)} than "
            f"{parent.name}'s) in {run.folder}; leave --config out to take its recipe, or set them as there"
        )
    if (run.store_size, run.crop) != (store.size, str(store.marker["crop"])):
        raise UsageError(
            f"the study store must be of the kind that {parent.name} was trained on (size {run.store_size}, crop "
            f"{run.crop}; got size {store.size}, crop {store.marker['crop']}) in {store.root}; build one of that kind"
        )


def checked_parent(
    folder: Path,
    recipe: Recipe,
    store: StudyStore,
    folds: list[int],
    told: npt.NDArray[np.bool_] | None = None,
    *,
    least_folds: int = 1,
) -> Parent:
    """Read the run to go on from, and check that it fits and that something is left to judge its child by.

    Args:
        folder: The run.
        recipe: The child's recipe.
        store: What it will be trained on.
        folds: The folds to train.
        told: Slices of series that have a label as a whole, bool (slices,); None is none.
        least_folds: So many folds must be left to judge by.

    Raises:
        UsageError: It doesn't.
        ModelError: The run is damaged, or doesn't say which images it was trained on.
    """
    parent = read_parent(folder)
    refuse_other_network(parent, recipe, store)
    known = store.slices[list(LABELS)].notna().any(axis=1).to_numpy()
    known = known if told is None else known | told
    fold_of = store.slices["series_id"].map(store.series.set_index("series_id")["fold"]).to_numpy()
    n_known = n_left = n_judging = 0
    for fold in folds:
        here = known & (fold_of == fold)
        n_known += int(here.sum())
        left = int((here & ~parent.start_of(fold).images.seen(store)).sum())
        n_left, n_judging = n_left + left, n_judging + bool(left)
    if n_judging < least_folds:
        raise UsageError(
            f"a run that goes on from another one needs labelled slices of patients that it wasn't trained on (got "
            f"{n_left} of {n_known} held-out slices, in {n_judging} fold(s) for {least_folds} or more) in "
            f"{store.root}; add new scans, or give other folds"
        )
    if n_left < n_known:
        remark(
            f"{n_known - n_left} of {n_known} labelled slices are of patients whom {parent.name} was trained on: they "
            "are learnt from, but validate nothing in the folds that start from a network that knows them"
        )
    return parent


def count_rsna(store: StudyStore) -> int:
    """Count the series of a store with ids of RSNA 2019's form, whose terms are non-commercial."""
    return int(store.series["series_id"].astype(str).str.fullmatch(RSNA_SERIES).sum())


def terms_of(data: dict[str, Any], parent: dict[str, Any] | None) -> dict[str, Any]:
    """Gather what a run inherits from all runs before it, from teachers of pseudo-labels and from canvases.

    Args:
        data: The run's own `data` in `model.json`.
        parent: Its `parent` there.

    Returns:
        `n_rsna`: series with ids of RSNA's form that it, one before it or a teacher was trained on; `attributions`: of
        those before it, each once; `chain`: those that it goes on from, the nearest first.
    """
    chain: list[dict[str, Any]] = []
    while isinstance(parent, dict):
        chain.append(parent)
        parent = parent.get("parent")
    every = (data, *(one.get("data") or {} for one in chain))
    n_rsna = sum(int(found.get("n_rsna") or 0) + int((found.get("canvas") or {}).get("n_rsna") or 0) for found in every)
    attributions = [str(one["attribution"]) for one in chain if one.get("attribution")]
    for found in every:
        if teacher := (found.get("pseudo") or {}).get("teacher"):
            theirs = terms_of({}, teacher)
            n_rsna, attributions = n_rsna + theirs["n_rsna"], [*attributions, *theirs["attributions"]]
    return {"n_rsna": n_rsna, "attributions": list(dict.fromkeys(attributions)), "chain": chain}


def _logit(share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.log(share) - np.log1p(-share)
