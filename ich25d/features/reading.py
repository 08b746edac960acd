"""What is to be embedded of a study store: every labelled series, and painted copies of the negative ones."""

import dataclasses
import hashlib
import json

import numpy as np
import numpy.typing as npt

import ich25d
from ich25d.bleeds.paint import paint
from ich25d.bleeds.plan import plan_bleeds
from ich25d.config import FeaturesConfig, SlabConfig
from ich25d.features.table import targets
from ich25d.labels import LABELS
from ich25d.slabs.painting import Painter
from ich25d.studies.store_dir.store import StudyStore

PAINTED = "~painted"
"""Between a series' id and the number of a copy of it with painted bleeds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """One series to embed, as it is or as a painted copy."""

    series_id: str
    fold: int
    copy: int
    """0 is the series itself."""
    made_from: str
    """Hash of all that the features depend on."""

    @property
    def name(self) -> str:
        """Return the id under which it stands in the feature store."""
        return f"{self.series_id}{PAINTED}{self.copy}" if self.copy else self.series_id


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """A series read and, where asked for, painted."""

    task: Task
    hu: npt.NDArray[np.int16]
    position_mm: npt.NDArray[np.float64]
    window: npt.NDArray[np.float32]
    target: npt.NDArray[np.float32]


def tasks_of(
    store: StudyStore, encoders: dict[int, str], slab: SlabConfig, features: FeaturesConfig, seed: int
) -> list[Task]:
    """List what is to be embedded, by fold, so that every encoder is loaded once."""
    labels = store.slices.groupby("series_id", sort=False)[list(LABELS)]
    known, positive = labels.count().sum(axis=1), labels.sum().sum(axis=1)
    complete = labels.count().min(axis=1) == labels.size()
    tasks = []
    series = store.series
    folds = series["fold"].fillna(-1).astype(int)
    for series_id, fold, file_hash in zip(series["series_id"], folds, series["file_hash"], strict=True):
        if fold not in encoders or known[series_id] == 0:
            continue
        n_copies = features.painted_copies if complete[series_id] and positive[series_id] == 0 else 0
        for copy in range(n_copies + 1):
            about = [ich25d.__version__, encoders[fold], str(file_hash), list(features.views),
                     dataclasses.asdict(slab), series_id, copy, seed if copy else None]  # fmt: skip
            made_from = hashlib.sha256(json.dumps(about, default=str).encode()).hexdigest()
            tasks.append(Task(series_id, fold, copy, made_from))
    return sorted(tasks, key=lambda task: task.fold)


class TaskReader:
    """Reads a series of the study store for a task, and paints it."""

    def __init__(self, store: StudyStore, seed: int) -> None:
        self._store, self._seed = store, seed
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
                hu, painted = paint(hu, range(len(hu)), bleeds)
                target = painted.astype(np.float32)
            if not bleeds or not target.any():
                hu, target = hu[:0], target[:0]
        return Prepared(task, hu, orderly_position_mm(self._position[rows]), self._window[rows], target)


def orderly_position_mm(slice_position_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return positions as a feature store takes them: never falling, or all NaN."""
    sound = np.isfinite(slice_position_mm).all() and (np.diff(slice_position_mm) >= 0).all()
    return slice_position_mm if sound else np.full(len(slice_position_mm), np.nan)
