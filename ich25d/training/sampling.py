"""Which samples an epoch shows and in which order, and the log odds of labels as shown and as they are.

Painted bleeds and balanced drawing show positives more often than they occur. For the same images of either class the
logit under the true share is the learned one plus a constant for each label.
"""

import numpy as np
import numpy.typing as npt
import torch


def steps_in_epoch(n_samples: int, samples_per_step: int) -> int:
    """Return the optimiser steps of one epoch: whole steps only, at least one."""
    return max(1, n_samples // samples_per_step)


def epoch_order(
    n_samples: int, n_shown: int, *, seed: int, epoch: int, positive: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64]:
    """Draw the order of one epoch.

    Args:
        n_samples: Samples there are.
        n_shown: Samples shown; fewer than there are leaves some out, more begins again.
        seed: Seed of the run.
        epoch: Number of the epoch.
        positive: Draw samples where this is true and where it is false equally often; shape (n_samples,).
            None shows each once.

    Returns:
        Indices of samples, shape (n_shown,); the same for the same arguments.
    """
    rng = np.random.default_rng([seed, epoch, 0x6F72646572])
    if positive is None or positive.all() or not positive.any():
        return np.resize(rng.permutation(n_samples), n_shown).astype(np.int64)
    halves = []
    for side, n_drawn in (
        (np.flatnonzero(positive), n_shown - n_shown // 2),
        (np.flatnonzero(~positive), n_shown // 2),
    ):
        rounds = [rng.permutation(side) for _ in range(-(-n_drawn // len(side)))]
        halves.append(np.concatenate(rounds)[:n_drawn] if rounds else np.zeros(0, np.int64))
    return rng.permutation(np.concatenate(halves)).astype(np.int64)


def part_of_process(order: npt.NDArray[np.int64], *, batch_size: int, rank: int, count: int) -> npt.NDArray[np.int64]:
    """Return the samples of one process: every `count`-th batch of an order.

    Args:
        order: Indices of samples, shape (rounds * count * batch_size,).
        batch_size: Samples a batch.
        rank: Number of the process.
        count: Number of processes.
    """
    return order.reshape(-1, count, batch_size)[:, rank].reshape(-1)


class LabelCount:
    """Counts of positive and known labels.

    Args:
        n_labels: Length of the label axis.
    """

    def __init__(self, n_labels: int) -> None:
        self.positive = torch.zeros(n_labels, dtype=torch.float64)
        self.known = torch.zeros(n_labels, dtype=torch.float64)

    def add(self, target: torch.Tensor) -> None:
        """Count targets on the CPU, shape (B, labels), NaN where unknown."""
        self.positive += target.nansum(0).double()
        self.known += (~target.isnan()).sum(0)

    def logit(self, n_samples: torch.Tensor | None = None) -> torch.Tensor:
        """Return the log odds of each label, shape (labels,), float64.

        Half a sample is added to either side, so that a label never seen has finite odds.

        Args:
            n_samples: Samples to take the shares over, shape (labels,); None takes the known ones.
        """
        n_samples = self.known if n_samples is None else n_samples
        positive = n_samples * self.positive / self.known.clamp(min=1)
        return torch.log((positive + 0.5) / (n_samples - positive + 0.5))


def natural_shift(shown: LabelCount, natural: LabelCount) -> torch.Tensor:
    """Return what to add to the logits, shape (labels,), float64; zeros before anything was shown."""
    return torch.where(shown.known > 0, natural.logit() - shown.logit(natural.known), 0.0)
