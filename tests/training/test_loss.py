"""The loss is the competition's score."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.training.loss import score_loss
from ich25d.training.metrics import case_losses


def test_weighs_any_twice() -> None:
    """(2 L_any + the five others) / 7, worked by hand."""
    target = torch.tensor([[1.0, 0, 0, 0, 0, 1]])
    probability = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.5, 0.25]])

    loss = score_loss(torch.logit(probability), target)

    assert loss.item() == pytest.approx((5 * np.log(2) + 2 * np.log(4)) / 7)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), unknown=st.floats(0, 0.9))
def test_is_the_metric(seed: int, unknown: float) -> None:
    """Training and evaluation compute one number, with unknown labels as well."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 3, (9, 6))
    target = (rng.random((9, 6)) < 0.3).astype(float)
    target[rng.random((9, 6)) < unknown] = np.nan
    target[0, 0] = 1

    found = score_loss(torch.from_numpy(logit), torch.from_numpy(target)).item()
    loss, weight = case_losses(target, 1 / (1 + np.exp(-logit)))

    assert found == pytest.approx(loss.sum() / weight.sum(), rel=1e-9)


def test_unknown_labels_teach_nothing() -> None:
    """Their gradient is zero, even where the logit has run away."""
    logit = torch.tensor([[0.0, 1, 2, 3, float("inf"), 5]], requires_grad=True)
    target = torch.tensor([[1.0, 0, 1, 0, torch.nan, 1]])

    score_loss(logit, target).backward()

    assert logit.grad is not None
    assert logit.grad[0, 4] == 0
    assert logit.grad.isfinite().all()


def test_nothing_known_costs_nothing() -> None:
    """A batch without labels has loss 0 and no gradient."""
    logit = torch.randn(2, 6, requires_grad=True)

    loss = score_loss(logit, torch.full((2, 6), torch.nan))
    loss.backward()

    assert loss.item() == 0
    assert logit.grad is not None
    assert not logit.grad.any()
