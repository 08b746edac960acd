"""One fold of a sequence run: its models of all seeds are trained, and predict the series held out."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from ich25d.config import SequenceConfig
from ich25d.errors import ModelError
from ich25d.files import read_parquet, replacing, sha256_file, write_json
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import bar
from ich25d.sequence.dataset import SequenceBatch, SequenceReader, augment, collate
from ich25d.sequence.item import SeriesItem, logits_of_each
from ich25d.sequence.model import SequenceModel, TorchRunner
from ich25d.sequence.refinement import HeldOutSeries
from ich25d.training.device import Precision
from ich25d.training.learner import Learner
from ich25d.training.loop import Schedule, train_steps
from ich25d.training.loss import OpenBags, score_loss
from ich25d.training.optim import make_optimizer, parameter_groups
from ich25d.training.prefetch import prefetch
from ich25d.training.progress_page import reporter
from ich25d.training.runlog import LOG_FILE, Listener, RunLog
from ich25d.training.sampling import LabelCount, epoch_order, natural_shift, steps_in_epoch
from ich25d.training.weights_file import WEIGHTS_FILE, write_weights

_EMA_DECAY = 0.98
"""Averages about the last 50 steps: the winners of 2019 averaged their epochs."""

_WARMUP = 0.05
_CLIP_NORM = 1.0
_FP32 = Precision("fp32", "a sequence model is small")


def train_sequence_model(
    reader: SequenceReader,
    series_ids: Sequence[str],
    config: SequenceConfig,
    *,
    seed: int,
    device: torch.device,
    title: str = "sequence model",
    start: SequenceModel | None = None,
) -> tuple[SequenceModel, list[float]]:
    """Train one sequence model.

    Every epoch shows each series once, in one of its views, drawn at random and augmented; the draws depend on the
    seed, the epoch and the series alone. Painted series (for training only) raise the share of positives; what they
    add to the log odds is added to the logits in training, so that the model doesn't learn it.

    Args:
        reader: Reads standardised series.
        series_ids: Those to train on.
        config: [sequence].
        seed: Seed of everything.
        device: Where to train.
        title: Name of the progress bar.
        start: A model of the same form to start from.

    Returns:
        The averaged model in evaluation mode, and the mean loss of each epoch.

    Raises:
        TrainingError: The loss isn't finite for several steps.
    """
    torch.manual_seed(seed)
    model = SequenceModel(reader.store.dim, config).to(device)
    if start is not None:
        model.load_state_dict(start.state_dict())
    groups = parameter_groups(model, weight_decay=config.weight_decay, layer_decay=1.0, depth={}, max_depth=0)
    learner = Learner(
        model=model,
        optimizer=make_optimizer(groups, device),
        device=device,
        precision=_FP32,
        ema_decay=_EMA_DECAY,
        seed=seed,
    )
    surplus = -painted_shift(reader, series_ids).to(device)
    batch_size = min(config.batch_size, len(series_ids))
    per_epoch = steps_in_epoch(len(series_ids), batch_size)
    total = per_epoch * config.epochs
    schedule = Schedule(
        total_steps=total, warmup_steps=round(_WARMUP * total), lr=config.lr, min_lr=0.0, clip_norm=_CLIP_NORM
    )

    def loss_of(network: nn.Module, batch: SequenceBatch) -> torch.Tensor:
        logit_BTL, series_BL = network(  # noqa: N806  # axes as suffix
            batch.embedding.to(device), batch.logit.to(device), batch.position_mm.to(device), batch.length.to(device)
        )
        slices = slice_loss(logit_BTL + surplus, batch)
        return slices + config.series_weight * score_loss(series_BL, batch.series_target.to(device))

    def batches() -> Iterator[SequenceBatch]:
        for epoch in range(config.epochs):
            order = epoch_order(len(series_ids), per_epoch * batch_size, seed=seed, epoch=epoch)
            for places in order.reshape(per_epoch, batch_size):
                keys = [(seed, epoch, int(place)) for place in places]
                yield collate([_drawn(reader, series_ids[key[-1]], config, key) for key in keys])

    model.train()
    losses = []
    with bar(title, total, "steps") as advance:
        for report in train_steps(learner, prefetch(batches()), loss_of, schedule, n_steps=total):
            losses.append(report.loss)
            advance(note=f"loss {report.loss:.4f}")
    averaged = learner.averaged
    assert isinstance(averaged, SequenceModel)
    averaged.gru.flatten_parameters()  # the average is a copy, whose weights lie apart: cuDNN would warn at every call
    return averaged.eval(), [float(np.nanmean(part)) for part in np.reshape(losses, (config.epochs, per_epoch))]


def slice_loss(logit_BTL: torch.Tensor, batch: SequenceBatch) -> torch.Tensor:  # noqa: N803  # axes as suffix
    """Return the loss of a batch's slices; those of a series that leave a label open learn together that one has it.

    Args:
        logit_BTL: Shape (B, T, 6).
        batch: Their labels.
    """
    target_BTL = batch.target.to(logit_BTL.device)  # noqa: N806  # axes as suffix
    if batch.is_open is None:
        return score_loss(logit_BTL, target_BTL)
    whose = torch.arange(len(target_BTL)).repeat_interleave(target_BTL.shape[1])
    bags = OpenBags(whose.to(logit_BTL.device), batch.is_open.flatten(0, 1).to(logit_BTL.device))
    return score_loss(logit_BTL.flatten(0, 1), target_BTL.flatten(0, 1), bags)


def painted_shift(reader: SequenceReader, series_ids: Sequence[str]) -> torch.Tensor:
    """Return what is added to logits to take out the positives of painted series, shape (6,), float32."""
    natural, shown = LabelCount(N_LABELS), LabelCount(N_LABELS)
    train_only = reader.store.series["train_only"]
    for series_id in series_ids:
        target = torch.from_numpy(reader.counted(series_id))
        shown.add(target)
        if not train_only[series_id]:
            natural.add(target)
    return natural_shift(shown, natural).float()


def _drawn(reader: SequenceReader, series_id: str, config: SequenceConfig, key: tuple[int, int, int]) -> SeriesItem:
    rng = np.random.default_rng([*key, 0x73657175])
    view = int(rng.integers(len(reader.store.views)))
    return augment(reader.item(series_id, view), config, rng)


SLICES_FILE = "oof.parquet"
"""In a fold's folder: logits of the slices that it held out."""

_ENTRY_FILE, _SERIES_FILE = "fold.json", "oof_series.parquet"


def train_fold(
    reader: SequenceReader,
    train: Sequence[str],
    held_out: Sequence[str],
    config: SequenceConfig,
    folder: Path,
    *,
    fold: int,
    fingerprint: str,
    device: torch.device,
    listeners: Sequence[Listener] = (),
    start: Sequence[SequenceModel] = (),
    compare: Callable[[Sequence[SequenceModel]], None] | None = None,
) -> dict[str, Any]:
    """Train one fold's models, unless that is done already.

    Args:
        reader: Reads standardised series.
        train: Series to train on.
        held_out: Series to predict when the models are trained.
        config: [sequence].
        folder: `foldK/`.
        fold: Number of the fold.
        fingerprint: Hash of everything that training depends on.
        device: Where to train.
        listeners: Called with every line of the log.
        start: Models to start from: model s from number s mod n.
        compare: Called with the trained models before the fold counts as finished; its table `oof.parquet` is there.

    Returns:
        The fold's entry in `model.json`: weights, sha256, n_train, n_held_out.
    """
    finished = finished_entry(folder, fingerprint)
    if finished is not None:
        return finished
    (folder / _ENTRY_FILE).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    log = RunLog(folder / LOG_FILE, listeners=[reporter(folder.parent), *listeners])
    models: list[SequenceModel] = []
    for number in range(config.seeds):
        model, losses = train_sequence_model(
            reader, train, config, seed=config.seed + 1000 * fold + number, device=device,
            title=f"fold {fold}, model {number + 1}/{config.seeds}",
            start=start[number % len(start)] if start else None,
        )  # fmt: skip
        for epoch, loss in enumerate(losses, start=1):
            log.write("epoch", epoch, seed=number, loss=loss)
        models.append(model)
    log.write("end", config.epochs)
    sha256 = write_weights(nn.ModuleList(models).state_dict(), folder / WEIGHTS_FILE)
    write_held_out(reader, models, held_out, folder, device)
    if compare is not None:
        compare(models)
    entry = {
        "weights": f"{folder.name}/{WEIGHTS_FILE}",
        "sha256": sha256,
        "n_train": len(train),
        "n_held_out": len(held_out),
    }
    write_json(folder / _ENTRY_FILE, {"fingerprint": fingerprint, **entry})
    return entry


def read_held_out_series(
    reader: SequenceReader, held_out: Sequence[str], folder: Path, fold: int
) -> list[HeldOutSeries]:
    """Read the logits of a fold's held-out series, with the encoder's logits and the labels.

    Args:
        reader: Reads their features.
        held_out: The series.
        folder: `foldK/`, trained.
        fold: Number of the fold.

    Raises:
        ModelError: The fold's tables are absent, damaged, or of other series.
    """
    try:
        slices, whole = read_parquet(folder / SLICES_FILE), read_parquet(folder / _SERIES_FILE)
    except (OSError, ValueError) as error:
        raise ModelError(f"a fold's held-out logits must be readable (got {error}) in {folder}") from error
    whole = whole.set_index("series_id")
    by_series = {str(name): part for name, part in slices.groupby("series_id", sort=False)}
    series = []
    for series_id in held_out:
        features, encoder_logit = reader.features(series_id), reader.logit(series_id)
        if series_id not in by_series or len(by_series[series_id]) != encoder_logit.shape[1]:
            raise ModelError(f"held-out logits must be of the series trained on (not of {series_id}) in {folder}")
        series.append(
            HeldOutSeries(
                series_id, str(reader.store.series.at[series_id, "patient_id"]), fold, features.slice_position_mm,
                encoder_logit=encoder_logit.astype(np.float64).mean(axis=0),
                sequence_logit=_logits(by_series[series_id]), head_logit=_logits(whole.loc[[series_id]])[0],
                target=reader.target(series_id),
            )
        )  # fmt: skip
    return series


def fingerprint_of(
    reader: SequenceReader, config: SequenceConfig, fold_of: dict[str, int], parent: dict[str, Any] | None = None
) -> str:
    """Hash everything that the training of a fold depends on.

    Args:
        reader: Reads the feature store, whose tables and files count, and so do labels of whole series.
        config: [sequence].
        fold_of: Fold of every series, by id.
        parent: What is said of the run that it goes on from, whose `networks` count.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([dataclasses.asdict(config), *([] if parent is None else [parent["networks"]])]).encode())
    digest.update(reader.store.slices.to_csv(index=False).encode())
    for series_id, fold in sorted(fold_of.items()):
        status = reader.store.file_of(series_id).stat()
        digest.update(f"{series_id} {fold} {status.st_size} {status.st_mtime_ns}\n".encode())
    if reader.series_labels is not None:
        digest.update(reader.series_labels.digest.encode())
    return digest.hexdigest()


def write_held_out(
    reader: SequenceReader, models: Sequence[SequenceModel], held_out: Sequence[str], folder: Path, device: torch.device
) -> None:
    """Write the logits of a fold's held-out series, slice by slice and of the whole.

    Args:
        reader: Reads their features.
        models: The fold's models, in evaluation mode.
        held_out: The series.
        folder: `foldK/`.
        device: Where the models are.
    """
    image_ids = {
        str(name): part.to_numpy()
        for name, part in reader.store.slices.groupby("series_id", sort=False)["image_id"]
        if name in set(held_out)
    }
    slices, whole, runners = [], [], [TorchRunner(model, device) for model in models]
    for series_id in held_out:
        slice_logit, head_logit = (part.mean(axis=0) for part in logits_of_each(runners, reader.items(series_id)))
        table = pd.DataFrame({"image_id": image_ids[series_id], "series_id": series_id})
        table[list(LABELS)] = slice_logit.astype(np.float32)
        slices.append(table)
        whole.append([series_id, *head_logit.astype(np.float32)])
    with replacing(folder / SLICES_FILE) as part:
        pd.concat(slices, ignore_index=True).to_parquet(part, index=False)
    with replacing(folder / _SERIES_FILE) as part:
        pd.DataFrame(whole, columns=["series_id", *LABELS]).to_parquet(part, index=False)


def finished_entry(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the entry of a fold that was trained from the same data and settings, else None."""
    try:
        content = json.loads((folder / _ENTRY_FILE).read_text(encoding="utf-8"))
        whole = all((folder / name).is_file() for name in (SLICES_FILE, _SERIES_FILE))
        if content.pop("fingerprint") != fingerprint or not whole:
            return None
        return dict(content) if sha256_file(folder / WEIGHTS_FILE) == content["sha256"] else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _logits(table: pd.DataFrame) -> npt.NDArray[np.float64]:
    return table[list(LABELS)].to_numpy(dtype=np.float64)
