"""Series of a feature store as padded batches: standardised by encoder, augmented, masked.

Axes: V views, n slices, B batch, T padded length, E embedding, L labels (6).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from ich25d.config import SequenceConfig
from ich25d.encoder.teaching import teaching_of_slices
from ich25d.features.store import FeatureStore, SeriesFeatures
from ich25d.features.table import targets
from ich25d.labels import N_LABELS
from ich25d.sequence.item import SeriesItem, reverse
from ich25d.sequence.series_labels import SeriesLabels
from ich25d.sequence.standardisation import Standardisation
from ich25d.training.series_target import series_target, told_series_target
from ich25d.training.smoothing import known_position_mm

DROP_ABOVE = 10
"""Series of more slices than this may lose every second one in training."""

_CACHE_BYTES = 2 * 1024**3
"""Embeddings kept in memory: training reads every series in every epoch."""


@dataclasses.dataclass(frozen=True, slots=True)
class SequenceBatch:
    """Several series side by side."""

    embedding: torch.Tensor
    """Shape (B, T, E), float32, 0 beyond a series' length."""
    logit: torch.Tensor
    """Shape (B, T, 6), float32."""
    position_mm: torch.Tensor
    """Shape (B, T), float32."""
    length: torch.Tensor
    """Shape (B,), int64."""
    target: torch.Tensor
    """Shape (B, T, 6), float32; NaN where unknown and beyond a series' length."""
    series_target: torch.Tensor
    """Shape (B, 6), float32; NaN where unknown."""
    is_open: torch.Tensor | None
    """Slices of which one at least of the series has the label, shape (B, T, 6), bool; None where no series has any."""


class SequenceReader:
    """Reads the series of a feature store; those read first stay in memory, up to 2 GB.

    Args:
        store: The feature store.
        standardisation: Mean and spread of every encoder's embeddings.
        base_logit: Used as the encoder's logits where the store has none, shape (6,).
        series_labels: Labels of whole series, which teach beside those of slices.
    """

    def __init__(
        self,
        store: FeatureStore,
        standardisation: Standardisation,
        base_logit: npt.NDArray[np.float64],
        series_labels: SeriesLabels | None = None,
    ) -> None:
        self.store, self.standardisation, self.base_logit = store, standardisation, base_logit
        self.series_labels = series_labels
        groups = store.slices.groupby("series_id", sort=False)
        self._rows = {str(name): rows for name, rows in groups.indices.items()}
        self._target = targets(store.slices)
        self._teaching = None if series_labels is None else teaching_of_slices(store.slices, series_labels.table)
        self._counted = self._target if self._teaching is None else self._teaching.counted()
        self._kept: dict[str, SeriesFeatures] = {}
        self._kept_bytes = 0

    def target(self, series_id: str) -> npt.NDArray[np.float32]:
        """Return the labels of a series' slices, shape (n, 6), NaN where unknown: these alone judge."""
        return self._target[self._rows[series_id]]

    def counted(self, series_id: str) -> npt.NDArray[np.float32]:
        """Return what a series' slices are taught, with shares where a label is open, for counts, shape (n, 6)."""
        return self._counted[self._rows[series_id]]

    def features(self, series_id: str) -> SeriesFeatures:
        """Read a series, or take it from memory."""
        if series_id in self._kept:
            return self._kept[series_id]
        features = self.store.read(series_id)
        if self._kept_bytes + features.embedding.nbytes <= _CACHE_BYTES:
            self._kept[series_id] = features
            self._kept_bytes += features.embedding.nbytes
        return features

    def items(self, series_id: str) -> list[SeriesItem]:
        """Return every view of a series."""
        return [self.item(series_id, view) for view in range(len(self.store.views))]

    def logit(self, series_id: str) -> npt.NDArray[np.float32]:
        """Return the encoder's logits of a series in every view, shape (V, n, 6)."""
        features = self.features(series_id)
        if features.logit is not None:
            return features.logit
        shape = (*features.embedding.shape[:2], N_LABELS)
        return np.broadcast_to(self.base_logit.astype(np.float32), shape)

    def item(self, series_id: str, view: int) -> SeriesItem:
        """Return one view of a series."""
        features, rows, teaching = self.features(series_id), self._rows[series_id], self._teaching
        told = None if self.series_labels is None else self.series_labels.told.get(series_id)
        return SeriesItem(
            embedding=self.standardisation.apply(features.embedding[view], self.store.encoder_of(series_id)),
            logit=self.logit(series_id)[view],
            position_mm=known_position_mm(features.slice_position_mm).astype(np.float32),
            target=self._target[rows] if teaching is None else teaching.target[rows],
            told=told,
            is_open=None if teaching is None or told is None else teaching.is_open[rows],
        )


def augment(item: SeriesItem, config: SequenceConfig, rng: np.random.Generator) -> SeriesItem:
    """Augment a series for training: maybe drop every second slice and reverse the order, and add noise.

    Args:
        item: The series.
        config: [sequence].
        rng: Draws everything.
    """
    thin, first, turn = rng.random(), int(rng.integers(2)), rng.random()
    if len(item.position_mm) > DROP_ABOVE and thin < config.drop_second:
        item = item.take(np.arange(first, len(item.position_mm), 2))  # the same head at twice the gap
    if turn < config.reverse:
        item = reverse(item)
    if config.feature_noise > 0:
        noise = rng.standard_normal(item.embedding.shape, dtype=np.float32) * np.float32(config.feature_noise)
        item = dataclasses.replace(item, embedding=item.embedding + noise)
    return item


def collate(items: Sequence[SeriesItem]) -> SequenceBatch:
    """Pad series to the longest of them and put them in a batch."""
    length = [len(item.position_mm) for item in items]

    def padded(arrays: Sequence[npt.NDArray[np.float32]], fill: float) -> torch.Tensor:
        joined = np.full((len(arrays), max(length), *arrays[0].shape[1:]), fill, np.float32)
        for number, array in enumerate(arrays):
            joined[number, : len(array)] = array
        return torch.from_numpy(joined)

    opens = [np.zeros(item.target.shape, bool) if item.is_open is None else item.is_open for item in items]
    has_open = any(one.any() for one in opens)
    return SequenceBatch(
        embedding=padded([item.embedding for item in items], 0.0),
        logit=padded([item.logit for item in items], 0.0),
        position_mm=padded([item.position_mm for item in items], 0.0),
        length=torch.tensor(length),
        target=padded([item.target for item in items], np.nan),
        series_target=torch.from_numpy(np.stack([_series_target(item) for item in items]).astype(np.float32)),
        is_open=padded([one.astype(np.float32) for one in opens], 0.0).bool() if has_open else None,
    )


def _series_target(item: SeriesItem) -> npt.NDArray[np.float64]:
    return series_target(item.target) if item.told is None else told_series_target(item.target, item.told)
