"""Which slices of a series a step shows, and in which order: drawn by (seed, epoch, series) alone."""

import dataclasses

import numpy as np
import numpy.typing as npt
import torch

from ich25d.config import JointConfig, SequenceConfig
from ich25d.sequence.dataset import DROP_ABOVE
from ich25d.slabs.dataset import SlabBatch
from ich25d.training.smoothing import known_position_mm


@dataclasses.dataclass(frozen=True, slots=True)
class DrawnSeries:
    """A series as one step shows it."""

    rows: npt.NDArray[np.int64]
    """Rows of the slice table, in the order in which the sequence model reads them, shape (T,)."""
    position_mm: npt.NDArray[np.float32]
    """Shape (T,); falling in a reversed series."""


def draw_series(
    rows: npt.NDArray[np.int64],
    slice_position_mm: npt.NDArray[np.float64],
    joint: JointConfig,
    sequence: SequenceConfig,
    *,
    epoch: int,
    number: int,
) -> DrawnSeries:
    """Draw what an epoch shows of a series: maybe every second slice, a stretch of a long one, maybe reversed.

    Args:
        rows: All its rows, in scan order, shape (n,).
        slice_position_mm: Shape (n,), mm; NaN where unknown.
        joint: [joint].
        sequence: [sequence]; `drop_second` and `reverse`.
        epoch: Number of the epoch.
        number: Number of the series.
    """
    rng = np.random.default_rng([joint.seed, epoch, number, 0x6A6F696E])
    thin, first, turn, start = rng.random(), int(rng.integers(2)), rng.random(), rng.random()
    kept = np.arange(len(rows))
    if len(kept) > DROP_ABOVE and thin < sequence.drop_second:
        kept = kept[first::2]
    if len(kept) > joint.most_slices:
        begin = int(start * (len(kept) - joint.most_slices + 1))
        kept = kept[begin : begin + joint.most_slices]
    if turn < sequence.reverse:
        kept = kept[::-1]
    return DrawnSeries(rows[kept], known_position_mm(slice_position_mm)[kept].astype(np.float32))


def augmented_alike(batch: SlabBatch) -> SlabBatch:
    """Give all slabs of a series the key of one, so that augmentation moves the whole head alike."""
    return dataclasses.replace(batch, key=torch.full_like(batch.key, int(batch.key.min())))
