"""What a training of sequence models that goes on from another run changed: the same series by both runs' networks.

`encoder/change.py` measures it. Both sides are the sequence models' slice logits as they come, before blend and
calibration; each side's models read the embeddings of their own encoder.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ich25d.encoder.change import CHANGE_FILE, change_rows, write_change
from ich25d.encoder.learnt_images import LearntImages, image_hashes
from ich25d.encoder.loaded import LoadedEncoder, load_encoder
from ich25d.encoder.model_directory import read_run
from ich25d.features.extract import TaskReader, embed_series
from ich25d.features.store import FeatureStore
from ich25d.features.task import Task
from ich25d.files import read_parquet
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import track
from ich25d.sequence.fold_training import SLICES_FILE
from ich25d.sequence.item import SeriesItem, logits_of_each
from ich25d.sequence.model import SequenceModel, TorchRunner
from ich25d.sequence.parent import SequenceParent
from ich25d.sequence.standardisation import Standardisation
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.smoothing import known_position_mm

Rows = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class _Pair:
    """An encoder and the sequence models of its fold."""

    encoder: LoadedEncoder
    models: Sequence[SequenceModel]
    statistics: Standardisation
    key: str
    views: Sequence[str]

    def logit(self, store: StudyStore, rows: Rows, title: str) -> npt.NDArray[np.float64]:
        """Return the sequence models' logits of some slices of a store, shape (N, 6); their whole series are read."""
        reader, names = TaskReader(store, 0, self.encoder.slab), store.slices["series_id"].astype(str).to_numpy()
        found = np.full((len(names), N_LABELS), np.nan)
        for series_id in track(list(dict.fromkeys(names[rows].tolist())), title, unit="series"):
            found[names == series_id] = self._refined(reader, series_id)
        return found[rows]

    def _refined(self, reader: TaskReader, series_id: str) -> npt.NDArray[np.float64]:
        read = reader.read(Task(series_id, self.encoder.fold, 0, ""))
        seen = embed_series(
            self.encoder, read.hu, read.position_mm, read.window, views=self.views, brain_hu=read.brain_hu
        )
        position = known_position_mm(read.position_mm).astype(np.float32)
        items = [
            SeriesItem(self.statistics.apply(embedding, self.key), logit, position, read.target)
            for embedding, logit in zip(seen.embedding, seen.logit, strict=True)
        ]
        runners = [TorchRunner(model, self.encoder.device) for model in self.models]
        return np.asarray(logits_of_each(runners, items)[0].mean(axis=0))


@dataclasses.dataclass(frozen=True, slots=True)
class BeforeAfter:
    """Compares each fold with what it started from, on its held-out series and on old scans."""

    parent: SequenceParent
    cnn: Path
    """The new encoders' model directory."""
    features: FeatureStore
    studies: StudyStore
    old: StudyStore | None
    device: torch.device

    def compare(self, models: Sequence[SequenceModel], held_out: Sequence[str], folder: Path) -> None:
        """Write `change.parquet` of a fold, whose `oof.parquet` is there.

        Args:
            models: Its sequence models, in evaluation mode.
            held_out: The series that it held out.
            folder: `foldK/`.
        """
        run, key = self.parent.run, self.features.encoder_of(held_out[0])
        start, number = self.parent.start_of(key), self.parent.from_fold[int(key)]
        first = load_encoder(self.parent.encoders.run.folder, number, self.device)
        before = _Pair(first, start.models, run.standardisation, str(number), run.views)
        rows = _labelled(self.studies, self.studies.slices["series_id"].isin(held_out).to_numpy())
        table = read_parquet(folder / SLICES_FILE).set_index("image_id")
        after = table.loc[self.studies.slices["image_id"].iloc[rows], list(LABELS)].to_numpy(dtype=np.float64)
        tables = [
            change_rows(
                self.studies, rows, start.encoder.images.unseen(self.studies)[rows],
                before.logit(self.studies, rows, "before"), after,
            )
        ]  # fmt: skip
        if self.old is not None:
            own = load_encoder(self.cnn, int(key), self.device)
            now = _Pair(own, models, self.parent.standardisation(self.features), key, self.features.views)
            rows = self._old_rows(self.old, start.encoder.images, int(key))
            sides = [pair.logit(self.old, rows, "old scans") for pair in (before, now)]
            tables.append(change_rows(self.old, rows, np.ones(len(rows), bool), *sides))
        write_change(folder / CHANGE_FILE, tables)

    def _old_rows(self, old: StudyStore, before: LearntImages, number: int) -> Rows:
        """Return labelled slices that the parent held out, and that neither this run has learnt nor its store holds."""
        learnt = LearntImages.read(self.cnn, read_run(self.cnn).folds[number])
        twice = np.isin(image_hashes(old), image_hashes(self.studies))
        return _labelled(old, before.unseen(old) & ~learnt.seen(old) & ~twice)


def _labelled(store: StudyStore, rows: npt.NDArray[np.bool_]) -> Rows:
    known = store.slices[list(LABELS)].notna().any(axis=1).to_numpy()
    return np.flatnonzero(known & rows)
