"""One fold of a sequence run: its models of all seeds, and their logits of the series held out."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from ich25d.config import SequenceConfig
from ich25d.errors import ModelError
from ich25d.files import replacing, sha256_file, write_json
from ich25d.labels import LABELS
from ich25d.sequence.dataset import SequenceReader
from ich25d.sequence.fit import refine, train_sequence_model
from ich25d.sequence.model import SequenceModel
from ich25d.sequence.refinement import HeldOutSeries
from ich25d.training.model_file import WEIGHTS_FILE, write_weights
from ich25d.training.progress_page import reporter
from ich25d.training.runlog import LOG_FILE, Listener, RunLog

_ENTRY_FILE, _SLICES_FILE, _SERIES_FILE = "fold.json", "oof.parquet", "oof_series.parquet"


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
        )  # fmt: skip
        for epoch, loss in enumerate(losses, start=1):
            log.write("epoch", epoch, seed=number, loss=loss)
        models.append(model)
    log.write("end", config.epochs)
    sha256 = write_weights(nn.ModuleList(models).state_dict(), folder / WEIGHTS_FILE)
    _write_held_out(reader, models, held_out, folder, device)
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
        slices, whole = pd.read_parquet(folder / _SLICES_FILE), pd.read_parquet(folder / _SERIES_FILE)
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
                series_id=series_id,
                patient_id=str(reader.store.series.at[series_id, "patient_id"]),
                fold=fold,
                slice_position_mm=features.slice_position_mm,
                encoder_logit=encoder_logit.astype(np.float64).mean(axis=0),
                sequence_logit=_logits(by_series[series_id]),
                head_logit=_logits(whole.loc[[series_id]])[0],
                target=reader.target(series_id),
            )
        )
    return series


def fingerprint_of(reader: SequenceReader, config: SequenceConfig, fold_of: dict[str, int]) -> str:
    """Hash everything that the training of a fold depends on.

    Args:
        reader: Reads the feature store, whose tables and files count.
        config: [sequence].
        fold_of: Fold of every series, by id.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps([dataclasses.asdict(config)]).encode())
    digest.update(reader.store.slices.to_csv(index=False).encode())
    for series_id, fold in sorted(fold_of.items()):
        status = reader.store.file_of(series_id).stat()
        digest.update(f"{series_id} {fold} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _write_held_out(
    reader: SequenceReader, models: Sequence[SequenceModel], held_out: Sequence[str], folder: Path, device: torch.device
) -> None:
    image_ids = {
        str(name): part.to_numpy()
        for name, part in reader.store.slices.groupby("series_id", sort=False)["image_id"]
        if name in set(held_out)
    }
    slices, whole = [], []
    for series_id in held_out:
        slice_logit, head_logit = refine(models, reader.items(series_id), device=device)
        table = pd.DataFrame({"image_id": image_ids[series_id], "series_id": series_id})
        table[list(LABELS)] = slice_logit.astype(np.float32)
        slices.append(table)
        whole.append([series_id, *head_logit.astype(np.float32)])
    with replacing(folder / _SLICES_FILE) as part:
        pd.concat(slices, ignore_index=True).to_parquet(part, index=False)
    with replacing(folder / _SERIES_FILE) as part:
        pd.DataFrame(whole, columns=["series_id", *LABELS]).to_parquet(part, index=False)


def finished_entry(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Return the entry of a fold that was trained from the same data and settings, else None."""
    try:
        content = json.loads((folder / _ENTRY_FILE).read_text(encoding="utf-8"))
        whole = all((folder / name).is_file() for name in (_SLICES_FILE, _SERIES_FILE))
        if content.pop("fingerprint") != fingerprint or not whole:
            return None
        return dict(content) if sha256_file(folder / WEIGHTS_FILE) == content["sha256"] else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _logits(table: pd.DataFrame) -> npt.NDArray[np.float64]:
    return table[list(LABELS)].to_numpy(dtype=np.float64)
