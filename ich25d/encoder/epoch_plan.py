"""Which slices an epoch shows, in which order: single ones, and bags of those of which only the series has labels.

A bag is a block of the order that never lies in two batches, as its loss is that of all its slices together. So are
pairs of a painted canvas and its original.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ich25d.config import TrainConfig
from ich25d.encoder.teaching import Teaching
from ich25d.training.sampling import epoch_order

Rows = npt.NDArray[np.int64]

BAG = 16
"""Slices of a bag, at most: of a usual series every second one."""


def bag_size(batch_size: int, *, even: bool = False) -> int:
    """Return the slices of a bag: the largest divisor of a batch up to `BAG`, and even where that is asked."""
    return max(size for size in range(1, BAG + 1) if batch_size % size == 0 and not (even and size % 2))


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class EpochPlan:
    """What an epoch draws from."""

    single: Rows
    """Slices that are shown by themselves, shape (N,)."""
    positive: npt.NDArray[np.bool_] | None
    """Which of them are drawn as often as all others together, shape (N,); None shows each once."""
    series: Sequence[Rows]
    """The slices of each series that is shown in bags, in scan order."""
    batch_size: int
    """Slabs a batch."""
    painted: Rows = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    """Painted canvases, each shown beside its original."""
    apart: int = 0
    """From a painted canvas's row to its original's."""
    most: float = 0.0
    """Slices of canvases that an epoch shows at most, as a share of all others."""

    @property
    def _size(self) -> int:
        return bag_size(self.batch_size, even=len(self.painted) > 0)

    @property
    def _n_others(self) -> int:
        return len(self.single) + sum(_n_bags(rows, self._size) * self._size for rows in self.series)

    @property
    def _n_pairs(self) -> int:
        """Pairs an epoch, in whole blocks."""
        most = min(len(self.painted), int(self.most * self._n_others / 2))
        half = self._size // 2
        return 0 if not len(self.painted) else max(1, most // half) * half

    @property
    def n_shown(self) -> int:
        """Slices of one epoch: every single one, every series in about as many slices as it has, and some canvases."""
        return self._n_others + 2 * self._n_pairs

    def order(self, n_shown: int, *, seed: int, epoch: int) -> Rows:
        """Draw the order of one epoch.

        Args:
            n_shown: Slices shown, a multiple of the batch's size.
            seed: Seed of the run.
            epoch: Number of the epoch.

        Returns:
            Rows, shape (n_shown,); the same for the same arguments. Without bags it is `epoch_order`'s.
        """
        if not self.series and not len(self.painted):
            return self.single[epoch_order(len(self.single), n_shown, seed=seed, epoch=epoch, positive=self.positive)]
        size = self._size
        rng = np.random.default_rng([seed, epoch, 0x62616773])
        blocks = [_spread(rows, size, rng) for rows in self.series for _ in range(_n_bags(rows, size))]
        if len(self.single):
            n_single = -(-len(self.single) // size) * size
            order = epoch_order(len(self.single), n_single, seed=seed, epoch=epoch, positive=self.positive)
            blocks += list(self.single[order].reshape(-1, size))
        if len(self.painted):
            pairs = np.resize(rng.permutation(self.painted), self._n_pairs)
            blocks += list(np.stack([pairs, pairs + self.apart], 1).reshape(-1, size))
        n_blocks = n_shown // size
        rounds = [rng.permutation(len(blocks)) for _ in range(-(-n_blocks // len(blocks)))]
        return np.concatenate([blocks[number] for number in np.concatenate(rounds)[:n_blocks]])


def plan_epochs(teaching: Teaching, rows: Rows, train: TrainConfig) -> EpochPlan:
    """Plan the epochs of a fold.

    Args:
        teaching: What the store's slices are taught.
        rows: Those that the fold trains on.
        train: [train].
    """
    in_bag = teaching.in_bag[rows]
    single, bagged = rows[~in_bag], rows[in_bag]
    positive = np.asarray((np.nan_to_num(teaching.target[single]) > 0.5).any(axis=1)) if train.balanced else None
    starts = np.flatnonzero(np.diff(teaching.whose[bagged])) + 1
    return EpochPlan(single, positive, np.split(bagged, starts) if len(bagged) else [], train.batch_size)


def _n_bags(rows: Rows, size: int) -> int:
    return max(1, round(len(rows) / size))


def _spread(rows: Rows, size: int, rng: np.random.Generator) -> Rows:
    """Draw one slice from each of `size` equal stretches of a series; a short series has some of them twice."""
    return rows[np.floor((np.arange(size) + rng.random(size)) * len(rows) / size).astype(np.int64)]
