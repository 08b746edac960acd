"""From a study store and a CNN's run to a feature store, every series embedded by the encoder that never saw it."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open

from ich25d.config import FeaturesConfig
from ich25d.encoder.model_directory import LoadedEncoder, load_encoder, read_run
from ich25d.errors import ModelError, StoreError, TrainingError, UsageError
from ich25d.features.reading import PAINTED, Task, TaskReader, tasks_of
from ich25d.features.store import JSON_FILE, FeatureStore, write_series, write_tables
from ich25d.features.table import targets
from ich25d.files import file_key
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import bar, remark
from ich25d.slabs.dataset import series_batches
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.prefetch import ahead

BATCH_SIZE = 64
"""Slabs that an encoder takes at once."""


@dataclasses.dataclass(slots=True)
class AtOnce:
    """How many slabs an encoder takes at once: fewer for all series that follow, once they were too many."""

    n: int = BATCH_SIZE

    def halve(self, encoder: LoadedEncoder, cause: torch.OutOfMemoryError) -> None:
        """Take half as many.

        Raises:
            ModelError: It was one already.
        """
        if self.n == 1:
            raise ModelError(
                f"a series and one slab of it must fit into the device's memory (got too little for "
                f"{encoder.slab.size} px on {encoder.device}); free it of other programs, or use --device cpu"
            ) from cause
        self.n //= 2


def embed_series(
    encoder: LoadedEncoder,
    hu: npt.NDArray[np.int16],
    slice_position_mm: npt.NDArray[np.float64],
    window: npt.NDArray[np.float32] | None,
    *,
    views: Sequence[str],
    at_once: AtOnce | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Embed every slice of a series in every view; where the device's memory is too small, again with half the batch.

    Args:
        encoder: One fold's encoder.
        hu: Shape (n, H, W), int16, in scan order, as the study store crops and scales it.
        slice_position_mm: Shape (n,), mm; NaN where unknown.
        window: The files' own level and width, shape (n, 2), or None.
        views: `plain` or `flip` (mirrored left to right) each.
        at_once: Slabs at a time, for this series and those after it.

    Returns:
        Embedding, shape (V, n, E), and logit, shape (V, n, 6), float32.

    Raises:
        ModelError: Not even one slab fits into the device's memory.
    """
    at_once = at_once or AtOnce()
    while True:
        try:
            return _embed(encoder, hu, slice_position_mm, window, views, at_once.n)
        except torch.OutOfMemoryError as error:
            at_once.halve(encoder, error)
        # Not before the error is forgotten: its traceback holds the tensors that filled the memory.
        torch.cuda.empty_cache()


def _embed(
    encoder: LoadedEncoder,
    hu: npt.NDArray[np.int16],
    slice_position_mm: npt.NDArray[np.float64],
    window: npt.NDArray[np.float32] | None,
    views: Sequence[str],
    batch_size: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    parts: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = [([], []) for _ in views]
    for batch in series_batches(hu, slice_position_mm, window, encoder.slab, batch_size, device=encoder.device):
        for view, (embeddings, logits) in zip(views, parts, strict=True):
            embedding_BE, logit_BL = encoder(batch, flip=view == "flip")  # noqa: N806  # axes as suffix
            embeddings.append(embedding_BE.float().cpu())
            logits.append(logit_BL.float().cpu())
    embedding = torch.stack([torch.cat(embeddings) for embeddings, _ in parts]).numpy()
    logit = torch.stack([torch.cat(logits) for _, logits in parts]).numpy()
    return embedding, logit


def extract_oof_features(
    store: StudyStore,
    cnn_run: Path,
    features: FeaturesConfig,
    out: Path,
    device: torch.device | str = "cpu",
    *,
    seed: int = 0,
) -> FeatureStore:
    """Embed the labelled series of a study store out of fold; what is there already is kept.

    Painted copies of the negative series get ids `<series id>~painted1` and so on, the patient and fold of their
    original and labels of their own; they are marked `train_only`.

    Args:
        store: The study store that the CNN was trained on.
        cnn_run: The CNN's run; series of folds that it hasn't finished are left out.
        features: [features].
        out: The feature store to make.
        device: Where to embed.
        seed: Seed of the painted bleeds.

    Raises:
        UsageError: No labelled series is in a finished fold, or one is in a fold whose encoder didn't hold it out.
        ModelError: A fold is damaged, or not even one slab fits into the device's memory.
        TrainingError: An encoder gives embeddings that don't fit into 16 bits.
    """
    run = read_run(cnn_run)
    if run.store_size != store.size or run.crop != str(store.marker["crop"]):
        raise UsageError(
            f"the study store must be of the kind that the CNN was trained on (size {run.store_size}, crop {run.crop}; "
            f"got size {store.size}, crop {store.marker['crop']}) in {store.root}"
        )
    tasks = tasks_of(store, {fold: str(entry["sha256"]) for fold, entry in run.folds.items()}, run.slab, features, seed)
    if not store.slices["any"].notna().any():
        raise UsageError(
            f"the study store must have labels (got none for {len(store.series)} series) in {store.root}; run "
            "build-studies again with --labels"
        )
    if not tasks:
        raise UsageError(
            f"a labelled series must be in a finished fold (got folds {sorted(run.folds)} of {cnn_run}, "
            f"{len(store.series)} series in {store.root}); finish `ich25d train-cnn`"
        )
    _check_held_out(tasks, cnn_run, store.root)
    (out / JSON_FILE).unlink(missing_ok=True)  # unfinished until the tables are written again
    made = {task.name: found for task in tasks if (found := _made(out, task)) is not None}
    _embed_all([task for task in tasks if task.name not in made], store, cnn_run, features, out, device, seed, made)
    there = [task for task in tasks if len(made[task.name])]
    slices = _table(store, there, made)
    shas = {str(fold): str(entry["sha256"]) for fold, entry in sorted(run.folds.items())}
    write_tables(out, slices, dim=_dim(out, there[0]), views=features.views, encoder=shas, size=run.slab.size)
    return FeatureStore.open(out)


def _check_held_out(tasks: Sequence[Task], cnn_run: Path, root: Path) -> None:
    """Refuse a store whose folds were dealt otherwise: an encoder would embed, as unseen, what it was trained on."""
    held_out: dict[int, set[str]] = {}
    for fold in {task.fold for task in tasks}:
        path = cnn_run / f"fold{fold}" / "oof.parquet"
        try:
            held_out[fold] = set(pd.read_parquet(path, columns=["series_id"])["series_id"].astype(str))
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"a finished fold must say what it held out (got {type(error).__name__}) in {path}; "
                "train this fold again"
            ) from error
    wrong = sorted({task.series_id for task in tasks if task.series_id not in held_out[task.fold]})
    if wrong:
        raise UsageError(
            f"every series must have been held out by its fold's encoder (got {len(wrong)} that weren't, e.g. "
            f"{wrong[0]}) in {root}; give the study store that {cnn_run} was trained on, with the same folds"
        )


def _embed_all(
    tasks: Sequence[Task],
    store: StudyStore,
    cnn_run: Path,
    features: FeaturesConfig,
    out: Path,
    device: torch.device | str,
    seed: int,
    made: dict[str, npt.NDArray[np.float32]],
) -> None:
    """Embed what is missing and note its labels in `made`; a copy that nothing could be painted into has none."""
    if not tasks:
        return
    counts = dict(zip(store.series["series_id"], store.series["n_slices"], strict=True))
    encoder: LoadedEncoder | None = None
    at_once = AtOnce()
    with bar("embedding", int(sum(counts[task.series_id] for task in tasks)), "slices") as advance:
        for item in ahead(map(TaskReader(store, seed).read, tasks)):
            task = item.task
            if len(item.hu):
                if encoder is None or encoder.fold != task.fold:
                    encoder = load_encoder(cnn_run, task.fold, device)
                embedding, logit = embed_series(
                    encoder, item.hu, item.position_mm, item.window, views=features.views, at_once=at_once
                )
                if not np.isfinite(embedding).all() or not np.isfinite(logit).all():
                    raise TrainingError(
                        f"embeddings must be finite (got NaN or infinity from fold {task.fold} of {cnn_run}) "
                        f"for series {task.series_id}"
                    )
                write_series(
                    out, task.name, embedding=embedding, logit=logit, slice_position_mm=item.position_mm,
                    extra={"target": item.target.astype(np.float32)}, metadata={"made_from": task.made_from},
                )  # fmt: skip
            made[task.name] = item.target
            advance(int(counts[task.series_id]), note=f"fold {task.fold}")
    n_bare = sum(not len(target) for target in made.values())
    if n_bare:
        remark(f"{n_bare} painted copies are left out: no bleed could be painted into them")


def _made(out: Path, task: Task) -> npt.NDArray[np.float32] | None:
    """Return the labels of a task that an earlier call has finished, else None."""
    path = out / f"{file_key(task.name)}.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("made_from") != task.made_from:
                return None
            target: npt.NDArray[np.float32] = file.get_tensor("target")
    except (OSError, SafetensorError):
        return None
    return target if target.ndim == 2 and target.shape[1] == N_LABELS else None


def _dim(out: Path, task: Task) -> int:
    path = out / f"{file_key(task.name)}.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            return int(file.get_slice("embedding").get_shape()[2])
    except (OSError, SafetensorError) as error:
        raise StoreError(f"a series' features must be readable (got {error}) in {path}") from error


def _table(store: StudyStore, tasks: Sequence[Task], made: dict[str, npt.NDArray[np.float32]]) -> pd.DataFrame:
    """Make the slice table of the feature store; labels of the series themselves are the study store's of today."""
    groups = store.slices.groupby("series_id", sort=False)
    rows_of = {str(name): rows for name, rows in groups.indices.items()}
    parts = []
    for task in tasks:
        part = store.slices.iloc[rows_of[task.series_id]]
        kept = ("image_id", "study_id", "slice_position_mm", "source")
        columns = {name: part[name].to_numpy() for name in kept if name in part}
        frame = pd.DataFrame(columns).assign(
            series_id=task.name, patient_id=part["split_unit"].to_numpy(), fold=task.fold, train_only=task.copy > 0
        )
        labels = made[task.name] if task.copy else targets(part)
        if task.copy:
            frame["image_id"] = frame["image_id"] + f"{PAINTED}{task.copy}"
        for column, label in enumerate(LABELS):
            frame[label] = labels[:, column]
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)
