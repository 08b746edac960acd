"""From a study store and a CNN's run to a feature store, every series embedded by the encoder that never saw it."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open

import ich25d
from ich25d.bleeds.paint import paint
from ich25d.bleeds.plan import plan_bleeds
from ich25d.config import FeaturesConfig, SlabConfig
from ich25d.encoder.loaded import LoadedEncoder, load_encoder
from ich25d.encoder.model_directory import Run, read_run
from ich25d.encoder.teaching import teaching_of
from ich25d.errors import ModelError, StoreError, TrainingError, UsageError
from ich25d.features.embedded import Embedded
from ich25d.features.store import JSON_FILE, FeatureStore, write_series, write_tables
from ich25d.features.table import targets
from ich25d.features.task import PAINTED, Task, check_held_out, without_seen
from ich25d.files import file_key
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import bar, remark
from ich25d.slabs.dataset import brain_hu_of, series_batches
from ich25d.slabs.painting import Painter
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.prefetch import prefetch

BATCH_SIZE = 64
"""Slabs that an encoder takes at once."""


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A series read and, where asked for, painted."""

    task: Task
    hu: npt.NDArray[np.int16]
    position_mm: npt.NDArray[np.float64]
    window: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]
    brain_hu: float
    """Of the series as scanned; NaN where unknown."""


@dataclasses.dataclass(slots=True)
class AtOnce:
    """How many slabs an encoder takes at once; once they were too many, fewer for all series that follow."""

    n: int = BATCH_SIZE


def embed_series(
    encoder: LoadedEncoder,
    hu: npt.NDArray[np.int16],
    slice_position_mm: npt.NDArray[np.float64],
    window: npt.NDArray[np.float32] | None,
    *,
    views: Sequence[str],
    brain_hu: float = float("nan"),
    at_once: AtOnce | None = None,
) -> Embedded:
    """Embed every slice of a series in every view; where the device's memory is too small, again with half the batch.

    Args:
        encoder: One fold's encoder.
        hu: Shape (n, H, W), int16, in scan order, as the study store crops and scales it.
        slice_position_mm: Shape (n,), mm; NaN where unknown.
        window: The files' own level and width, shape (n, 2), or None.
        views: `plain` or `flip` (mirrored left to right) each.
        brain_hu: HU of the series' brain tissue; NaN where unknown.
        at_once: Slabs at a time, for this series and those after it.

    Raises:
        ModelError: Not even one slab fits into the device's memory.
    """
    at_once = at_once or AtOnce()
    while True:
        try:
            return _embed(encoder, hu, slice_position_mm, window, views, brain_hu, at_once.n)
        except torch.OutOfMemoryError as error:
            if at_once.n == 1:
                raise ModelError(
                    f"a series and one slab of it must fit into the device's memory (got too little for "
                    f"{encoder.slab.size} px on {encoder.device}); free it of other programs, or use --device cpu"
                ) from error
            at_once.n //= 2
        # After the handler: the error's traceback holds the tensors that filled the memory.
        torch.cuda.empty_cache()


def _embed(
    encoder: LoadedEncoder,
    hu: npt.NDArray[np.int16],
    slice_position_mm: npt.NDArray[np.float64],
    window: npt.NDArray[np.float32] | None,
    views: Sequence[str],
    brain_hu: float,
    batch_size: int,
) -> Embedded:
    by_view: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = [([], []) for _ in views]
    pixels: list[torch.Tensor] = []
    for batch in series_batches(
        hu, slice_position_mm, window, encoder.slab, batch_size, brain_hu=brain_hu, device=encoder.device
    ):
        maps = []
        for view, (embeddings, logits) in zip(views, by_view, strict=True):
            found = encoder(batch, flip=view == "flip")
            embeddings.append(found.embedding.float().cpu())
            logits.append(found.logit.float().cpu())
            if found.pixel is not None:
                maps.append(found.pixel.sigmoid())
        if maps:
            pixels.append(torch.stack(maps).mean(dim=0).half().cpu())
    embedding = torch.stack([torch.cat(embeddings) for embeddings, _ in by_view]).numpy()
    logit = torch.stack([torch.cat(logits) for _, logits in by_view]).numpy()
    return Embedded(embedding, logit, torch.cat(pixels).numpy() if pixels else None)


def extract_oof_features(
    store: StudyStore,
    cnn_run: Path,
    features: FeaturesConfig,
    out: Path,
    device: torch.device | str = "cpu",
    *,
    seed: int = 0,
    series_labels: pd.DataFrame | None = None,
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
        series_labels: Labels of whole series: these series are embedded too, whatever is known of their slices.

    Raises:
        UsageError: No labelled series is in a finished fold, one is in a fold whose encoder didn't hold it out, or
            `out` holds the features of another CNN.
        ModelError: A fold is damaged, or not even one slab fits into the device's memory.
        TrainingError: An encoder gives embeddings that don't fit into 16 bits.
    """
    run = read_run(cnn_run)
    if run.store_size != store.size or run.crop != str(store.marker["crop"]):
        raise UsageError(
            f"the study store must be of the kind that the CNN was trained on (size {run.store_size}, crop {run.crop}; "
            f"got size {store.size}, crop {store.marker['crop']}) in {store.root}"
        )
    if not store.slices["any"].notna().any():
        raise UsageError(
            f"the study store must have labels of slices, which alone judge a sequence model (got none for "
            f"{len(store.series)} series) in {store.root}; run build-studies again with --labels"
        )
    weights = {fold: str(entry["sha256"]) for fold, entry in run.folds.items()}
    tasks = without_seen(tasks_of(store, weights, run.slab, features, seed, series_labels), cnn_run)
    judging = set(store.slices.loc[store.slices[list(LABELS)].notna().any(axis=1), "series_id"])
    if not any(task.series_id in judging for task in tasks):
        raise UsageError(
            f"a labelled series must be in a finished fold (got folds {sorted(run.folds)} of {cnn_run}, "
            f"{len(store.series)} series in {store.root}); finish `ich25d train-cnn`"
        )
    check_held_out(tasks, cnn_run, store.root)
    shas = {str(fold): str(entry["sha256"]) for fold, entry in sorted(run.folds.items())}
    _check_encoders(out, shas, cnn_run)
    (out / JSON_FILE).unlink(missing_ok=True)  # unfinished until the tables are written again
    targets_of = {task.name: target for task in tasks if (target := _finished(out, task)) is not None}
    todo = [task for task in tasks if task.name not in targets_of]
    if n_other := sum(_file_of(out, task).exists() for task in todo):
        remark(f"{n_other} series are embedded anew: their features are damaged or of other weights or settings")
    _embed_all(todo, store, run, features, out, device, seed, targets_of)
    embedded = [task for task in tasks if len(targets_of[task.name])]
    slices = _table(store, embedded, targets_of)
    write_tables(out, slices, dim=_dim(out, embedded[0]), views=features.views, encoder=shas, size=run.slab.size)
    return FeatureStore.open(out)


def _check_encoders(out: Path, shas: dict[str, str], cnn_run: Path) -> None:
    """Refuse features that another CNN made: a training that stopped before its end would go on with other ones."""
    try:
        before = FeatureStore.open(out).encoder if (out / JSON_FILE).exists() else {}
    except StoreError:
        return  # a damaged store is made again
    if others := [fold for fold, sha256 in before.items() if shas.get(fold) != sha256]:
        raise UsageError(
            f"a model directory holds what was made of one CNN (got other weights of fold(s) {', '.join(others)} in "
            f"{cnn_run}) in {out}; choose another --out, or give the --cnn that it was made of"
        )


def _embed_all(
    tasks: Sequence[Task],
    store: StudyStore,
    run: Run,
    features: FeaturesConfig,
    out: Path,
    device: torch.device | str,
    seed: int,
    targets_of: dict[str, npt.NDArray[np.float32]],
) -> None:
    """Embed series and enter their labels in `targets_of`; a copy that nothing could be painted into has none."""
    if not tasks:
        return
    counts = dict(zip(store.series["series_id"], store.series["n_slices"], strict=True))
    encoder: LoadedEncoder | None = None
    at_once = AtOnce()
    with bar("embedding", int(sum(counts[task.series_id] for task in tasks)), "slices") as advance:
        for item in prefetch(map(TaskReader(store, seed, run.slab).read, tasks)):
            task = item.task
            if len(item.hu):
                if encoder is None or encoder.fold != task.fold:
                    encoder = load_encoder(run.folder, task.fold, device)
                embedding, logit, _ = embed_series(
                    encoder, item.hu, item.position_mm, item.window,
                    views=features.views, brain_hu=item.brain_hu, at_once=at_once,
                )  # fmt: skip
                if not np.isfinite(embedding).all() or not np.isfinite(logit).all():
                    raise TrainingError(
                        f"embeddings must be finite (got NaN or infinity from fold {task.fold} of {run.folder}) "
                        f"for series {task.series_id}"
                    )
                write_series(
                    out, task.name, embedding=embedding, logit=logit, slice_position_mm=item.position_mm,
                    extra={"target": item.target.astype(np.float32)}, metadata={"made_from": task.made_from},
                )  # fmt: skip
            targets_of[task.name] = item.target
            advance(int(counts[task.series_id]), note=f"fold {task.fold}")
    n_empty = sum(not len(target) for target in targets_of.values())
    if n_empty:
        remark(f"{n_empty} painted copies are left out: no bleed could be painted into them")


def _file_of(out: Path, task: Task) -> Path:
    return out / f"{file_key(task.name)}.safetensors"


def _finished(out: Path, task: Task) -> npt.NDArray[np.float32] | None:
    """Return the labels of a task that an earlier call has finished, else None."""
    try:
        with safe_open(_file_of(out, task), framework="numpy") as file:
            if (file.metadata() or {}).get("made_from") != task.made_from:
                return None
            target: npt.NDArray[np.float32] = file.get_tensor("target")
    except (OSError, SafetensorError):
        return None
    return target if target.ndim == 2 and target.shape[1] == N_LABELS else None


def _dim(out: Path, task: Task) -> int:
    path = _file_of(out, task)
    try:
        with safe_open(path, framework="numpy") as file:
            return int(file.get_slice("embedding").get_shape()[2])
    except (OSError, SafetensorError) as error:
        raise StoreError(f"a series' features must be readable (got {error}) in {path}") from error


def _table(store: StudyStore, tasks: Sequence[Task], targets_of: dict[str, npt.NDArray[np.float32]]) -> pd.DataFrame:
    """Make the slice table of the feature store; labels that aren't painted are the study store's of now."""
    groups = store.slices.groupby("series_id", sort=False)
    rows_of = {str(name): rows for name, rows in groups.indices.items()}
    tables = []
    for task in tasks:
        slices = store.slices.iloc[rows_of[task.series_id]]
        kept = ("image_id", "study_id", "slice_position_mm", "source")
        table = pd.DataFrame({name: slices[name].to_numpy() for name in kept if name in slices}).assign(
            series_id=task.name, patient_id=slices["split_unit"].to_numpy(), fold=task.fold, train_only=task.copy > 0
        )
        if task.copy:
            table["image_id"] += f"{PAINTED}{task.copy}"
        table[list(LABELS)] = targets_of[task.name] if task.copy else targets(slices)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def tasks_of(
    store: StudyStore,
    encoders: dict[int, str],
    slab: SlabConfig,
    features: FeaturesConfig,
    seed: int,
    series_labels: pd.DataFrame | None = None,
) -> list[Task]:
    """List what is to be embedded, by fold, so that every encoder is loaded once.

    Args:
        store: The study store.
        encoders: SHA-256 of the weights by finished fold.
        slab: What the encoders see of a scan.
        features: [features].
        seed: Seed of the painted bleeds.
        series_labels: Labels of whole series. Those that these deny all labels are painted as other negatives.
    """
    taught = pd.DataFrame(teaching_of(store, series_labels).target, columns=list(LABELS))
    labels = taught.groupby(store.slices["series_id"].to_numpy(), sort=False)
    named = set() if series_labels is None else set(series_labels["series_id"])
    known, positive = labels.count().sum(axis=1), labels.sum().sum(axis=1)
    complete = labels.count().min(axis=1) == labels.size()
    tasks = []
    series = store.series
    folds = series["fold"].fillna(-1).astype(int)
    for series_id, fold, file_hash in zip(series["series_id"], folds, series["file_hash"], strict=True):
        if fold not in encoders or (known[series_id] == 0 and series_id not in named):
            continue
        n_copies = features.painted_copies if complete[series_id] and positive[series_id] == 0 else 0
        for copy in range(n_copies + 1):
            depends_on = [ich25d.__version__, encoders[fold], str(file_hash), list(features.views),
                     dataclasses.asdict(slab), series_id, copy, seed if copy else None]  # fmt: skip
            made_from = hashlib.sha256(json.dumps(depends_on, default=str).encode()).hexdigest()
            tasks.append(Task(series_id, fold, copy, made_from))
    return sorted(tasks, key=lambda task: task.fold)


class TaskReader:
    """Reads a series of the study store for a task, and paints it."""

    def __init__(self, store: StudyStore, seed: int, slab: SlabConfig) -> None:
        self._store, self._seed = store, seed
        ids = [str(name) for name in store.series["series_id"]]
        self._brain_hu = dict(zip(ids, brain_hu_of(store, slab, ids).tolist(), strict=True))
        self._painter, self._last = Painter(store, 1.0, seed), ""
        groups = store.slices.groupby("series_id", sort=False)
        self._rows = {str(name): rows for name, rows in groups.indices.items()}
        self._target = targets(store.slices)
        self._window = store.slices[["window_level", "window_width"]].to_numpy(dtype=np.float32, na_value=np.nan)
        self._position = store.slices["slice_position_mm"].to_numpy(dtype=np.float64, na_value=np.nan)

    def read(self, task: Task) -> Prepared:
        """Read a task's slices; none where nothing could be painted."""
        rows = self._rows[task.series_id]
        hu, target = self._store.hu(task.series_id), self._target[rows]
        if task.series_id != self._last:
            self._painter.forget(self._last)
            self._last = task.series_id
        if task.copy:
            anatomy = self._painter.anatomy(task.series_id)
            digest = hashlib.blake2b(task.series_id.encode(), digest_size=8).digest()
            rng = np.random.default_rng([self._seed, int.from_bytes(digest, "little"), task.copy])
            bleeds = plan_bleeds(anatomy, rng)
            if bleeds:
                hu, painted, _ = paint(hu, range(len(hu)), bleeds)
                target = painted.astype(np.float32)
            if not bleeds or not target.any():
                hu, target = hu[:0], target[:0]
        position = orderly_position_mm(self._position[rows])
        return Prepared(task, hu, position, self._window[rows], target, self._brain_hu[task.series_id])


def orderly_position_mm(slice_position_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return positions as a feature store takes them: never falling, or all NaN."""
    sound = np.isfinite(slice_position_mm).all() and (np.diff(slice_position_mm) >= 0).all()
    return slice_position_mm if sound else np.full(len(slice_position_mm), np.nan)
