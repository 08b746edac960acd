"""Which samples a pass shows, and in which order."""

import numpy as np
import numpy.typing as npt


def steps_in_epoch(n_samples: int, samples_per_step: int) -> int:
    """Return the optimiser steps of one pass: whole steps only, at least one."""
    return max(1, n_samples // samples_per_step)


def epoch_order(
    n_samples: int, n_shown: int, *, seed: int, epoch: int, positive: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64]:
    """Draw the order of one pass.

    Args:
        n_samples: Samples there are.
        n_shown: Samples shown; fewer than there are leaves some out, more begins again.
        seed: Seed of the run.
        epoch: Number of the pass.
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
    """Take one process's batches out of an order that holds whole rounds of `count` batches."""
    return order.reshape(-1, count, batch_size)[:, rank].reshape(-1)
