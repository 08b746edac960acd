"""`train-joint`: from the two stages' run to one in which encoder and sequence model have learnt together.

RUN/  as a sequence model's model directory; `encoder/` is a CNN's, each network trained with the sequence model of its
      fold; parent.json says what it goes on from
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch

from ich25d.config import Recipe
from ich25d.encoder.fold_rows import data_digest, folds_of
from ich25d.encoder.loaded import load_encoder
from ich25d.encoder.model_directory import add_fold, read_run
from ich25d.encoder.parent import Parent, checked_parent
from ich25d.encoder.train import conclude_cnn, describe
from ich25d.errors import ModelError, UsageError
from ich25d.features.extract import extract_oof_features
from ich25d.files import locked, sha256_file, write_json, write_text
from ich25d.joint.beforehand import COMMAND, check_train_joint
from ich25d.joint.fold_training import ENTRY_FILE, JointFold
from ich25d.joint.model import JointModel
from ich25d.progress import remark
from ich25d.recipes import write_recipe
from ich25d.sequence.conclusion import RnnSummary, Trained, conclude
from ich25d.sequence.dataset import SequenceReader
from ich25d.sequence.division import divide
from ich25d.sequence.fold_training import read_held_out_series, write_held_out
from ich25d.sequence.model import SequenceModel, module_of
from ich25d.sequence.model_directory import FEATURES_FOLDER, LoadedSequence, load_sequence
from ich25d.sequence.ownership import features_digest
from ich25d.sequence.train import base_logit
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.device import choose_device
from ich25d.training.interrupt import Interrupted, asked_to_stop
from ich25d.training.model_file import CONFIG_FILE, ENCODER_FOLDER, PARENT_FILE, SEQUENCE, read_model_file
from ich25d.training.ownership import read_parent_file
from ich25d.training.processes import refuse_torchrun
from ich25d.training.progress_page import reporter


def train_joint(
    studies: Path,
    parent: Path,
    out: Path,
    *,
    config: Path | None = None,
    overrides: tuple[str, ...] = (),
    device: str = "auto",
) -> RnnSummary:
    """Train encoder and sequence model of every fold together on whole series, and judge them out of fold.

    Each fold starts from the run's encoder and first sequence model of fold k mod n. The same call goes on where a
    killed one stopped, to the step.

    Args:
        studies: A study store with labels: the one of the two stages, or new scans.
        parent: A run of `train-rnn` (or of this command), with its encoders.
        out: The model directory to make.
        config: A recipe; without it the run's own.
        overrides: `section.key=value` each.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        UsageError: The run has no encoder a fold, or sees scans otherwise than the recipe and store, or has seen all of
            them; `out` holds something else; or it runs under `torchrun`.
        ModelError: The run is damaged.
        TrainingError: Numbers that aren't finite, or no memory.
        KeyboardInterrupt: A signal asked to stop, and what is needed to go on is written.
    """
    begun = time.monotonic()
    refuse_torchrun(COMMAND)
    recipe = check_train_joint(studies, parent, out, config=config, overrides=overrides, device=device)
    sequence, store = load_sequence(parent), StudyStore.open(studies)
    digest, folds = data_digest(store), folds_of(store)
    origin = checked_parent(parent, recipe, store, folds, least_folds=2)
    place = choose_device(device)
    _open(out, recipe, origin, sequence, digest)
    try:
        with locked(out / ".joint.lock", f"trains in {out}", UsageError), asked_to_stop() as stop:
            for fold in folds:
                if _is_finished(out, fold):
                    remark(f"fold {fold}: trained already")
                    continue
                training = _fold_training(store, recipe, out, origin, sequence, fold, place, digest)
                remark(
                    f"fold {fold}: {training.n_series} series to train on, {training.steps_per_epoch} steps an epoch"
                )
                entry = training.run(stop, [reporter(out)])
                add_fold(out / ENCODER_FOLDER, describe(store, recipe, digest, origin), fold, entry)
                (out / ENCODER_FOLDER / f"fold{fold}" / "last.pt").unlink(missing_ok=True)
    except Interrupted:
        raise KeyboardInterrupt from None
    conclude_cnn(out / ENCODER_FOLDER, store, recipe)
    return _conclude(store, recipe, out, origin, sequence, folds, place, begun)


def _describe(origin: Parent, sequence: LoadedSequence, digest: str) -> dict[str, Any]:
    entries = read_model_file(sequence.folder, SEQUENCE)["folds"]
    refining = {str(fold): str(entry["sha256"]) for fold, entry in entries.items()}
    return {**origin.describe(), "command": COMMAND, "sequence": refining, "store": digest}


def _open(out: Path, recipe: Recipe, origin: Parent, sequence: LoadedSequence, digest: str) -> None:
    """Make the model directory, or check that this call may go on with it.

    Raises:
        UsageError: It was begun with another store, or from another run.
    """
    now, before = _describe(origin, sequence, digest), read_parent_file(out)
    if before is not None and (out / CONFIG_FILE).exists():
        for name, what in (("networks", "run"), ("sequence", "run"), ("store", "study store")):
            if before.get(name) != now[name]:
                raise UsageError(
                    f"a model directory goes on with the {what} that it was begun with (got another one) in {out}; "
                    "give that one, or choose another --out"
                )
        return
    write_json(out / PARENT_FILE, now)
    write_text(out / ENCODER_FOLDER / CONFIG_FILE, write_recipe(recipe))
    write_text(out / CONFIG_FILE, write_recipe(recipe))


def _is_finished(out: Path, fold: int) -> bool:
    """Return whether both weights of a fold are there as they were written."""
    entries = []
    try:
        own = json.loads((out / f"fold{fold}" / ENTRY_FILE).read_text(encoding="utf-8"))
        entries = [(out, own), (out / ENCODER_FOLDER, read_run(out / ENCODER_FOLDER).folds[fold])]
        return all(sha256_file(folder / str(entry["weights"])) == entry["sha256"] for folder, entry in entries)
    except (OSError, ValueError, KeyError, ModelError):
        return False


def _fold_training(
    store: StudyStore, recipe: Recipe, out: Path, origin: Parent, sequence: LoadedSequence, fold: int,
    device: torch.device, digest: str,
) -> JointFold:  # fmt: skip
    start = origin.start_of(fold)
    encoder = load_encoder(origin.run.folder, start.number).model
    encoder.dropout.p = recipe.encoder.dropout
    own = SequenceModel(sequence.dim, recipe.sequence)
    own.load_state_dict(module_of(sequence.models[sequence.folds.index(start.number)][0]).state_dict())
    key = str(start.number)
    model = JointModel(encoder, own, sequence.standardisation.mean[key], sequence.standardisation.spread[key])
    return JointFold(store, recipe, out, model, start, fold=fold, device=device, digest=digest)


def _conclude(
    store: StudyStore, recipe: Recipe, out: Path, origin: Parent, sequence: LoadedSequence, folds: list[int],
    device: torch.device, begun: float,
) -> RnnSummary:  # fmt: skip
    """Embed what was held out, let each fold's sequence model refine it, and close as `train-rnn` does."""
    cnn = out / ENCODER_FOLDER
    plain = dataclasses.replace(recipe.features, painted_copies=0)
    features = extract_oof_features(store, cnn, plain, out / FEATURES_FOLDER, device, seed=recipe.joint.seed)
    division = divide(features, recipe.joint.seed)
    keys = {str(fold): str(origin.start_of(fold).number) for fold in folds}
    reader = SequenceReader(features, sequence.standardisation.renamed(keys), base_logit(features, division))
    entries, series = {}, []
    for fold in folds:
        folder, held_out = out / f"fold{fold}", division.held_out(fold)
        entries[str(fold)] = json.loads((folder / ENTRY_FILE).read_text(encoding="utf-8"))
        if not held_out:
            continue
        own = SequenceModel(sequence.dim, recipe.sequence)
        own.load_state_dict(_sequence_weights(folder))
        write_held_out(reader, [own.eval().to(device)], held_out, folder, device)
        series += read_held_out_series(reader, held_out, folder, fold)
    digest = features_digest(features, with_content=False)
    trained = Trained(COMMAND, series, entries, 1, digest, division, store.root, cnn, begun)
    return conclude(trained, reader, recipe, out)


def _sequence_weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return {name.removeprefix("0."): value for name, value in load_file(folder / "weights.safetensors").items()}
