"""Shares shown against shares as they are."""

import pytest
import torch

from ich25d.training.prior import LabelCount, natural_shift


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
