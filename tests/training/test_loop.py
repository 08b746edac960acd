"""Steps: accumulation, skipping, averaging."""

import copy
import dataclasses
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from ich25d.errors import TrainingError
from ich25d.training.device import Precision
from ich25d.training.learner import Learner
from ich25d.training.loop import MAX_SKIPPED, Schedule, train_steps
from ich25d.training.optim import make_optimizer, parameter_groups

CPU = torch.device("cpu")


def _learner(model: nn.Module, ema: float = 0.0) -> Learner:
    groups = parameter_groups(model, weight_decay=0.0, layer_decay=1.0, depth={}, max_depth=0)
    optimizer = make_optimizer(groups, CPU)
    return Learner(model=model, optimizer=optimizer, device=CPU, precision=Precision("fp32", ""), ema_decay=ema)


def _schedule(accumulate: int = 1, lr: float = 0.1) -> Schedule:
    return Schedule(total_steps=100, warmup_steps=0, lr=lr, min_lr=lr, accumulate=accumulate)


def _square(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    loss: torch.Tensor = (model(batch) ** 2).mean()
    return loss


def _model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def test_accumulating_is_a_larger_batch() -> None:
    """Two batches of four, summed, step as one of eight does."""
    data = torch.randn(8, 3)
    one, two = _learner(_model()), _learner(_model())

    list(train_steps(one, iter([data]), _square, _schedule(), n_steps=1))
    list(train_steps(two, iter([data[:4], data[4:]]), _square, _schedule(accumulate=2), n_steps=1))

    torch.testing.assert_close(one.model.weight, two.model.weight)


def test_learns() -> None:
    """Repeated steps lower the loss."""
    data = torch.randn(8, 3)
    learner = _learner(_model())

    losses = [report.loss for report in train_steps(learner, iter([data] * 30), _square, _schedule(), n_steps=30)]

    assert losses[-1] < 0.1 * losses[0]


def test_leaves_out_a_step_that_is_not_finite() -> None:
    """Weights stay as they were, and the next step goes on."""
    learner = _learner(_model(), ema=0.9)
    before = copy.deepcopy(learner.model.state_dict())
    bad, good = torch.full((2, 3), torch.nan), torch.randn(2, 3)

    steps = train_steps(learner, iter([bad, good]), _square, _schedule(), n_steps=2)
    first = next(steps)

    assert first.skipped
    assert all(torch.equal(before[name], value) for name, value in learner.model.state_dict().items())
    assert not next(steps).skipped
    assert learner.skipped_in_row == 0


def test_gives_up_after_several() -> None:
    """A training that only makes NaN says so, and how to go on."""
    learner = _learner(_model())
    bad = iter([torch.full((2, 3), torch.nan)] * 20)

    with pytest.raises(TrainingError, match=r"finite.*6 steps in a row.*--resume"):
        list(train_steps(learner, bad, _square, _schedule(), n_steps=20))

    assert learner.step == MAX_SKIPPED


def test_running_statistics_are_mended() -> None:
    """Batch norm took the NaN in before the loss showed it; the average's statistics stand in."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    learner = _learner(model, ema=0.9)
    batches = iter([torch.randn(4, 3), torch.full((4, 3), torch.nan), torch.randn(4, 3)])

    reports = list(train_steps(learner, batches, _square, _schedule(), n_steps=3))

    assert [report.skipped for report in reports] == [False, True, False]
    assert all(buffer.isfinite().all() for buffer in model.buffers())


def test_the_average_follows_at_once() -> None:
    """After its first step it is the model; a short run doesn't keep its random beginning."""
    learner = _learner(_model(), ema=0.999)

    list(train_steps(learner, iter([torch.randn(4, 3)]), _square, _schedule(), n_steps=1))

    averaged = learner.averaged.state_dict()
    assert all(torch.equal(averaged[name], value) for name, value in learner.model.state_dict().items())


def test_a_continued_run_is_the_uninterrupted_one() -> None:
    """Dropout included, to the bit."""
    data = [torch.randn(4, 3) for _ in range(6)]

    def fresh() -> Learner:
        torch.manual_seed(0)
        return _learner(nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1)), ema=0.9)

    whole, first, second = fresh(), fresh(), fresh()
    list(train_steps(whole, iter(data), _square, _schedule(), n_steps=6))
    list(train_steps(first, iter(data), _square, _schedule(), n_steps=2))
    second.restore(copy.deepcopy(first.state()))
    torch.manual_seed(12345)
    list(train_steps(second, iter(data[2:]), _square, _schedule(), n_steps=4))

    for one, other in ((whole.model, second.model), (whole.averaged, second.averaged)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_asks_after_every_step() -> None:
    """A wish to stop is reported with the step, when the state may be saved."""

    def batches() -> Iterator[torch.Tensor]:
        while True:
            yield torch.randn(2, 3)

    learner = _learner(_model())
    steps = train_steps(
        learner, batches(), _square, _schedule(), n_steps=5, requests=lambda: (learner.step == 1, learner.step == 0)
    )

    assert [(report.save, report.stop) for report in steps][:2] == [(True, False), (False, True)]


def test_goes_on_from_a_checkpoint_without_a_loss_scale() -> None:
    """Begun in fp32 on one machine, chosen fp16 on the next: it goes on in fp32, or with a fresh scale."""
    begun = _learner(_model())
    list(train_steps(begun, iter([torch.randn(4, 3)]), _square, _schedule(), n_steps=1))
    state = begun.state()
    assert state["precision"] == "fp32"
    assert state["scaler"] == {}
    other, foreign = (dataclasses.replace(_learner(_model()), precision=Precision("fp16", "")) for _ in range(2))
    assert other.scaler.is_enabled()

    other.restore(copy.deepcopy(state))
    foreign.restore({name: value for name, value in copy.deepcopy(state).items() if name != "precision"})

    assert (other.precision.name, other.scaler.is_enabled(), other.step) == ("fp32", False, 1)
    assert (foreign.precision.name, foreign.scaler.is_enabled(), foreign.step) == ("fp16", True, 1)
