"""The order of a pass, and shares of labels as shown against shares as they are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.training.sampling import LabelCount, epoch_order, natural_shift, part_of_process, steps_in_epoch


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


def _count(positive: int, n: int) -> LabelCount:
    count = LabelCount(1)
    count.add(torch.tensor([[1.0]] * positive + [[0.0]] * (n - positive)))
    return count


def test_undoes_doubling() -> None:
    """A model that saw one in two where one in ten is true says 1/10 after the shift."""
    shift = natural_shift(_count(50_000, 100_000), _count(10_000, 100_000))

    assert torch.sigmoid(shift).item() == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("positive", [0, 3, 10])
def test_is_zero_where_the_shares_agree(positive: int) -> None:
    """However many passes were counted, and with no positive at all."""
    shift = natural_shift(_count(positive * 7, 70), _count(positive, 10))

    assert shift.item() == pytest.approx(0, abs=1e-12)


def test_is_zero_before_training() -> None:
    """Nothing shown, nothing shifted."""
    assert natural_shift(LabelCount(1), _count(1, 10)).item() == 0


def test_unknown_labels_are_not_counted() -> None:
    """NaN is neither positive nor negative."""
    count = LabelCount(1)

    count.add(torch.tensor([[1.0], [torch.nan], [0.0]]))

    assert (count.positive.item(), count.known.item()) == (1, 2)
