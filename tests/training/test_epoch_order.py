"""The order of a pass."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.training.epoch_order import epoch_order, part_of_process, steps_in_epoch


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 50), shown=st.integers(1, 80), epoch=st.integers(0, 5))
def test_shows_each_sample_once_before_any_twice(n: int, shown: int, epoch: int) -> None:
    """Counts differ by one at most, and the same arguments give the same order."""
    order = epoch_order(n, shown, seed=1, epoch=epoch)

    counts = np.bincount(order, minlength=n)
    assert len(order) == shown
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(order, epoch_order(n, shown, seed=1, epoch=epoch))


def test_passes_differ() -> None:
    """Another pass or seed, another order."""
    orders = [tuple(epoch_order(20, 20, seed=seed, epoch=epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0))]

    assert len(set(orders)) == 3


@pytest.mark.parametrize("n_positive", [1, 3, 17])
def test_balances(n_positive: int) -> None:
    """Half of what is shown is positive, and rare positives take turns."""
    positive = np.arange(20) < n_positive

    order = epoch_order(20, 20, seed=0, epoch=0, positive=positive)

    assert positive[order].sum() == 10
    counts = np.bincount(order, minlength=20)[positive]
    assert counts.max() - counts.min() <= 1


def test_cannot_balance_one_class() -> None:
    """With no positives every sample is shown once, as without balancing."""
    order = epoch_order(8, 8, seed=0, epoch=0, positive=np.zeros(8, bool))

    assert sorted(order) == list(range(8))


def test_processes_share_the_order_out() -> None:
    """Together they do each batch once, and each step's batches are neighbours in the order."""
    order = np.arange(24)

    parts = [part_of_process(order, batch_size=3, rank=rank, count=2) for rank in range(2)]

    assert parts[0][:6].tolist() == [0, 1, 2, 6, 7, 8]
    assert sorted(np.concatenate(parts)) == list(range(24))


@pytest.mark.parametrize(("n", "per_step", "steps"), [(100, 32, 3), (31, 32, 1), (32, 32, 1)])
def test_counts_whole_steps(n: int, per_step: int, steps: int) -> None:
    """A last step of a few samples would move batch norm's statistics."""
    assert steps_in_epoch(n, per_step) == steps
