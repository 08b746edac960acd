"""Steps whose numbers are read during the next one, as on CUDA: the same steps, and what isn't finite is left out."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from ich25d.errors import TrainingError
from ich25d.training.device import Precision
from ich25d.training.learner import Learner
from ich25d.training.loop import PendingNumbers, Schedule, train_steps
from ich25d.training.optim import make_optimizer, parameter_groups

CPU = torch.device("cpu")
SCHEDULE = Schedule(total_steps=100, warmup_steps=2, lr=0.1, min_lr=0.0, accumulate=2, clip_norm=0.5)


def _learner(*, late: bool, ema: float = 0.9) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.3), nn.Linear(4, 1))
    groups = parameter_groups(model, weight_decay=0.01, layer_decay=1.0, depth={}, max_depth=0)
    return Learner(
        model=model, optimizer=make_optimizer(groups, CPU), device=CPU, precision=Precision("fp32", ""),
        ema_decay=ema, reads_late=late,
    )  # fmt: skip


def _square(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    loss: torch.Tensor = (model(batch) ** 2).mean()
    return loss


def _batches(n_steps: int, bad: int | None = None) -> Iterator[torch.Tensor]:
    torch.manual_seed(1)
    data = [torch.randn(4, 3) for _ in range(2 * n_steps)]
    if bad is not None:
        data[2 * bad + 1][0, 0] = torch.nan
    return iter(data)


def _assert_same(one: dict[str, object], other: dict[str, object]) -> None:
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_takes_the_same_steps() -> None:
    """Weights, average, losses, norms and rates, to the bit."""
    now, late = _learner(late=False), _learner(late=True)

    reports = [list(train_steps(learner, _batches(7), _square, SCHEDULE, n_steps=7)) for learner in (now, late)]

    kept = [[(one.step, one.lr, one.loss, one.gradient_norm, one.skipped) for one in found] for found in reports]
    assert kept[0] == kept[1]
    _assert_same(now.model.state_dict(), late.model.state_dict())
    _assert_same(now.averaged.state_dict(), late.averaged.state_dict())


def test_leaves_out_the_same_step() -> None:
    """Weights, moments, their count and mended statistics are those of one who looks before stepping."""
    now, late = _learner(late=False), _learner(late=True)

    reports = [list(train_steps(learner, _batches(4, bad=2), _square, SCHEDULE, n_steps=4)) for learner in (now, late)]

    for found in reports:
        assert [report.skipped for report in found] == [False, False, True, False]
    assert (late.step, late.skipped_in_row) == (4, 0)
    _assert_same(now.model.state_dict(), late.model.state_dict())
    for one, other in zip(now.optimizer.state.values(), late.optimizer.state.values(), strict=True):
        _assert_same(one, other)
    assert all(value.isfinite().all() for value in late.averaged.state_dict().values())


def test_an_infinite_loss_with_finite_gradients_is_left_out() -> None:
    """Its gradients alone wouldn't tell, and they are all that the processes share."""
    learner = _learner(late=True)
    before = copy.deepcopy(dict(learner.model.named_parameters()))

    def infinite(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return _square(model, batch) + torch.inf

    (report,) = train_steps(learner, _batches(1), infinite, SCHEDULE, n_steps=1)

    assert report.skipped
    _assert_same(before, dict(learner.model.named_parameters()))


def test_gives_up_as_well() -> None:
    """After several such steps in a row, and at once where running statistics are lost."""
    bad = [torch.full((4, 3), torch.nan)] * 40

    with pytest.raises(TrainingError, match=r"6 steps in a row"):
        list(train_steps(_learner(late=True), iter(bad), _square, SCHEDULE, n_steps=20))
    for late in (True, False):
        with pytest.raises(TrainingError, match=r"running statistics must stay finite .* at step 0"):
            list(train_steps(_learner(late=late, ema=0.0), iter(bad), _square, SCHEDULE, n_steps=20))


def test_stops_and_saves_in_a_state_worth_saving() -> None:
    """With such a report the learner is where the report says, and nothing is outstanding."""
    learner = _learner(late=True)
    asked = {2: (False, True), 5: (True, False)}
    steps = train_steps(
        learner, _batches(9), _square, SCHEDULE, n_steps=9, requests=lambda: asked.get(learner.step + 1, (False, False))
    )

    seen = []
    for report in steps:
        seen.append((report.step, report.save, report.stop))
        if report.save or report.stop:
            assert learner.step == report.step
        if report.stop:
            break

    assert seen == [(1, False, False), (2, True, False), (3, False, False), (4, False, False), (5, False, True)]


def test_reports_all_steps_before_a_batch_that_cannot_be_had() -> None:
    """Who counts steps knows of all that were done, and may save them."""
    learner = _learner(late=True)
    seen = []

    def broken() -> Iterator[torch.Tensor]:
        yield from _batches(3)
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        seen.extend(report.step for report in train_steps(learner, broken(), _square, SCHEDULE, n_steps=9))
    assert (seen, learner.step) == ([1, 2, 3], 3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_nothing_waits_for_a_gpu(precision: str) -> None:
    """A step asks nothing of the device that would make this process wait, and the numbers arrive all the same."""
    cuda = torch.device("cuda")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).to(cuda)
    groups = parameter_groups(model, weight_decay=0.01, layer_decay=1.0, depth={}, max_depth=0)
    learner = Learner(
        model=model, optimizer=make_optimizer(groups, cuda), device=cuda, precision=Precision(precision, ""),
        ema_decay=0.9,
    )  # fmt: skip
    data = [torch.randn(4, 3, device=cuda) for _ in range(12)]
    list(train_steps(learner, iter(data[:2]), _square, SCHEDULE, n_steps=1))
    torch.cuda.set_sync_debug_mode("error")
    try:
        reports = list(train_steps(learner, iter(data[2:]), _square, SCHEDULE, n_steps=5))
    finally:
        torch.cuda.set_sync_debug_mode("default")

    assert [report.step for report in reports] == [2, 3, 4, 5, 6]
    assert all(report.loss > 0 for report in reports)


def test_numbers_are_read_as_they_are() -> None:
    """Off a GPU there is nothing to wait for."""
    assert PendingNumbers(torch.tensor([1.0, 2.5])).read() == [1.0, 2.5]
