"""`train-rnn`: from a CNN's run, or a feature store, to a model directory that `predict` can use."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ich25d.config import Recipe
from ich25d.encoder.model_directory import read_run
from ich25d.encoder.ownership import refuse_other_parent
from ich25d.features.extract import extract_oof_features
from ich25d.features.store import FeatureStore
from ich25d.files import inside, replacing, sha256_file, write_bytes, write_json, write_text
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import remark
from ich25d.recipes import write_recipe
from ich25d.sequence.before_after import BeforeAfter
from ich25d.sequence.beforehand import check_begun, check_train_rnn
from ich25d.sequence.conclusion import RnnSummary, Trained, conclude
from ich25d.sequence.dataset import SequenceReader
from ich25d.sequence.division import Division, divide
from ich25d.sequence.fold_training import fingerprint_of, read_held_out_series, train_fold
from ich25d.sequence.model_directory import FEATURES_FOLDER
from ich25d.sequence.ownership import check_run, features_digest, refuse_other_features
from ich25d.sequence.parent import read_sequence_parent
from ich25d.sequence.refinement import HeldOutSeries
from ich25d.sequence.series_labels import series_labels_of
from ich25d.sequence.standardisation import fit_standardisation
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.device import choose_device
from ich25d.training.model_file import CONFIG_FILE, ENCODER_FOLDER, MODEL_FILE, PARENT_FILE
from ich25d.training.processes import refuse_torchrun
from ich25d.training.runlog import check_tensorboard, tensorboard_listener
from ich25d.training.sampling import LabelCount


def train_rnn(
    studies: Path | None,
    cnn: Path | None,
    out: Path,
    *,
    features: Path | None = None,
    config: Path | None = None,
    overrides: tuple[str, ...] = (),
    device: str = "auto",
    tensorboard: bool = False,
    parent: Path | None = None,
    old: Path | None = None,
) -> RnnSummary:
    """Train the sequence models on out-of-fold features, fit blend and calibration, and compare with the CNN alone.

    The same call goes on where a killed one stopped: embedded series and trained folds are kept while what they were
    made from stays the same.

    Args:
        studies: The study store that the CNN was trained on.
        cnn: The CNN's run; labels of whole series that it keeps teach the sequence models too.
        out: The model directory to make.
        features: A feature store, instead of studies and CNN.
        config: A recipe, of which [features], [sequence] and [calibration] are used; without it the CNN's own, or
            the defaults.
        overrides: `section.key=value` each.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        tensorboard: Also write event files into `out/tensorboard/foldK`.
        parent: A run of `train-rnn` or `train-joint` whose sequence models and statistics to start from; the CNN's
            networks must be its encoders, or have started from them (`sequence/parent.py`).
        old: A store of scans of the parent's, on whose held-out slices it is measured what is forgotten.

    Raises:
        UsageError: The arguments don't fit together, it runs under `torchrun`, `out` holds something else or a run of
            other settings, weights or features, the parent has other encoders, or there is too little data.
        StoreError: The study store or feature store is damaged.
        ModelError: The CNN's run is damaged.
        TrainingError: The loss isn't finite for several steps.
    """
    begun = time.monotonic()
    refuse_torchrun("train-rnn")
    recipe = check_train_rnn(
        studies, cnn, out, features=features, config=config, overrides=overrides, device=device, parent=parent, old=old
    )
    chosen_device = choose_device(device)
    if tensorboard:
        check_tensorboard()
    scans = None if studies is None else StudyStore.open(studies)
    labels = None if cnn is None or scans is None else series_labels_of(cnn, scans)
    check_run(out, recipe, cnn, labels)
    origin, old_scans = None, None if old is None else StudyStore.open(old)
    if parent is not None:
        assert cnn is not None
        assert scans is not None
        origin = read_sequence_parent(parent, cnn, scans, old_scans, chosen_device)
    described = None if origin is None else origin.describe()
    if check_begun(out, recipe, has_cnn=cnn is not None):
        refuse_other_parent(out, described)
    if features is not None:
        store = FeatureStore.open(features)
    else:
        assert scans is not None
        assert cnn is not None
        store = extract_oof_features(
            scans, cnn, recipe.features, out / FEATURES_FOLDER, chosen_device,
            seed=recipe.sequence.seed, series_labels=None if labels is None else labels.table,
        )  # fmt: skip
    digest = features_digest(store, with_content=cnn is None)
    refuse_other_features(out, store, digest)
    write_text(out / CONFIG_FILE, write_recipe(recipe))
    (out / PARENT_FILE).unlink(missing_ok=True)
    if described is not None:
        write_json(out / PARENT_FILE, described)
    division = divide(store, recipe.sequence.seed, () if labels is None else labels.told)
    statistics = fit_standardisation(store) if origin is None else origin.standardisation(store)
    reader, change = SequenceReader(store, statistics, base_logit(store, division), labels), None
    if origin is not None:
        assert scans is not None
        assert cnn is not None
        change = BeforeAfter(origin, cnn, store, scans, old_scans, chosen_device)
    series, entries = _train(reader, division, recipe, out, chosen_device, tensorboard, change, described)
    if cnn is not None:
        _copy_encoder(cnn, out / ENCODER_FOLDER)
    trained = Trained(
        "train-rnn", series, entries, recipe.sequence.seeds, digest, division, studies, cnn, begun, described,
        None if labels is None else labels.describe(store, division),
    )  # fmt: skip
    return conclude(trained, reader, recipe, out)


def base_logit(store: FeatureStore, division: Division) -> npt.NDArray[np.float64]:
    """Return the log odds of the labels among the judged slices, shape (6,)."""
    count = LabelCount(N_LABELS)
    judged = store.slices["series_id"].isin(division.judged)
    count.add(torch.from_numpy(store.slices.loc[judged, list(LABELS)].to_numpy(dtype=np.float32, na_value=np.nan)))
    return np.asarray(count.logit().numpy())


def _train(
    reader: SequenceReader, division: Division, recipe: Recipe, out: Path, device: torch.device, tensorboard: bool,
    change: BeforeAfter | None, parent: dict[str, Any] | None,
) -> tuple[list[HeldOutSeries], dict[str, Any]]:  # fmt: skip
    """Train all folds; return the held-out series and the folds' entries in `model.json`."""
    how = "new folds" if division.made_here else "the CNN's folds"
    told = f", and {len(division.told)} series of which only the whole has a label" if division.told else ""
    n_judged, n_folds = len(division.judged), len(division.folds)
    remark(f"{n_judged} series and {division.n_copies} painted copies in {n_folds} folds ({how}){told}")
    fingerprint = fingerprint_of(reader, recipe.sequence, division.fold, parent)
    series: list[HeldOutSeries] = []
    entries: dict[str, Any] = {}
    for fold in division.folds:
        folder, held_out = out / f"fold{fold}", division.held_out(fold)
        start = () if change is None else change.parent.start_of(reader.store.encoder_of(held_out[0])).models
        entries[str(fold)] = train_fold(
            reader, division.train(fold), held_out, recipe.sequence, folder,
            fold=fold, fingerprint=fingerprint, device=device,
            listeners=[tensorboard_listener(out / "tensorboard" / f"fold{fold}")] if tensorboard else [],
            start=start, compare=None if change is None else partial(change.compare, held_out=held_out, folder=folder),
        )  # fmt: skip
        series += read_held_out_series(reader, held_out, folder, fold)
    return series, entries


def _copy_encoder(cnn: Path, target: Path) -> None:
    """Copy what prediction needs of a CNN's run, `model.json` last."""
    run = read_run(cnn)
    images = [str(entry["images"]["file"]) for entry in run.folds.values() if entry.get("images")]
    for name in [CONFIG_FILE, *(str(entry["weights"]) for entry in run.folds.values()), *images]:
        source, copy = inside(cnn, name), inside(target, name)
        if copy.is_file() and sha256_file(copy) == sha256_file(source):
            continue
        with replacing(copy) as part:
            part.write_bytes(source.read_bytes())
    write_bytes(target / MODEL_FILE, (cnn / MODEL_FILE).read_bytes())
