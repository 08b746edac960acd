"""The training loop of both networks: accumulate, check, clip, step, average.

The caller makes the batches and computes their loss.
"""

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ich25d.errors import TrainingError
from ich25d.training.device import to_device
from ich25d.training.learner import Learner
from ich25d.training.optim import learning_rate, set_learning_rate

B = TypeVar("B")

MAX_SKIPPED = 5
"""Steps in a row that may be left out, as their loss isn't finite, before the training ends with an error."""

_CURE = "lower train.lr, raise train.warmup or use train.precision=fp32, and go on with --resume"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Lengths and limits of a training, in optimiser steps."""

    total_steps: int
    warmup_steps: int
    lr: float
    min_lr: float
    accumulate: int = 1
    clip_norm: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class StepReport(Generic[B]):
    """What one step did."""

    step: int
    """Number of the step, from 1."""
    lr: float
    """Learning rate of the layers that learn fastest."""
    loss: float
    """Mean over the step's batches and the processes; not finite when the step was skipped."""
    gradient_norm: float
    batches: Sequence[B]
    """The batches of this process."""
    skipped: bool
    stop: bool
    """Some process asked to stop after this step."""
    save: bool
    """The first process asked to save after this step."""


def train_steps(
    learner: Learner,
    batches: Iterator[B],
    loss_of: Callable[[nn.Module, B], torch.Tensor],
    schedule: Schedule,
    *,
    n_steps: int,
    wrapped: nn.Module | None = None,
    requests: Callable[[], tuple[bool, bool]] = lambda: (False, False),
) -> Iterator[StepReport[B]]:
    """Do optimiser steps and yield a report of each, in order.

    With a report that says stop or save, the learner is in the state after that step; with others it may be a step
    ahead. Dropout is seeded by (seed, step, batch, process): a resumed run draws what an uninterrupted one draws.

    Args:
        learner: The model and its optimiser.
        batches: At least `n_steps * accumulate` batches.
        loss_of: From the model and a batch to a scalar loss.
        schedule: Learning rate, accumulation, clipping.
        n_steps: Steps to do.
        wrapped: The model as wrapped for several processes; None is the model itself.
        requests: Returns whether this process asks to stop, and to save, after the step.

    Raises:
        TrainingError: More than `MAX_SKIPPED` steps in a row had a loss or gradient that isn't finite.
    """
    model = learner.model if wrapped is None else wrapped
    waiting: deque[_Done[B]] = deque()
    for _ in range(n_steps):
        try:
            # All batches first: where one fails the step hasn't begun, and the state can be saved.
            used = [next(batches) for _ in range(schedule.accumulate)]
        except Exception:
            yield from _reports(learner, waiting, keep=0)
            raise
        waiting.append(_do_step(learner, model, used, loss_of, schedule, requests))
        yield from _reports(learner, waiting, keep=1 if learner.reads_late else 0)
    yield from _reports(learner, waiting, keep=0)


class PendingNumbers:
    """Numbers that a device is still computing, copied to the CPU without waiting for it.

    Args:
        values: Shape (n,), on any device.
    """

    def __init__(self, values: torch.Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        self._values = values
        if values.is_cuda:
            self._values = values.to("cpu", non_blocking=True)  # to pinned memory of its own
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(values.device))

    def read(self) -> list[float]:
        """Wait for these numbers, and for no work queued after them."""
        if self._copied is not None:
            self._copied.synchronize()
        found: list[float] = self._values.tolist()
        return found


@dataclasses.dataclass(frozen=True, slots=True)
class _Done(Generic[B]):
    """A step done, or queued on the device."""

    step: int
    lr: float
    batches: Sequence[B]
    numbers: PendingNumbers
    """Loss, norm, whether running statistics are lost, whether some process asks to stop, and the first to save."""
    asked: bool
    """This process asks to stop or to save, and is the only one."""


def _do_step(
    learner: Learner,
    model: nn.Module,
    used: list[B],
    loss_of: Callable[[nn.Module, B], torch.Tensor],
    schedule: Schedule,
    requests: Callable[[], tuple[bool, bool]],
) -> _Done[B]:
    rate = learning_rate(
        learner.step,
        peak=schedule.lr,
        low=schedule.min_lr,
        warmup_steps=schedule.warmup_steps,
        total_steps=schedule.total_steps,
    )
    set_learning_rate(learner.optimizer, rate)
    learner.optimizer.zero_grad(set_to_none=True)
    losses = []
    for number, batch in enumerate(used):
        last = number == schedule.accumulate - 1
        quiet = model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext()
        _seed_everything(learner.seed, learner.step, number, learner.processes.rank)
        with quiet:
            loss = loss_of(model, batch) / schedule.accumulate
            learner.scaler.scale(_nan_where_nonfinite(loss) if learner.reads_late else loss).backward()
        losses.append(loss.detach())
    learner.scaler.unscale_(learner.optimizer)
    norm = _clip(learner.model, schedule.clip_norm)
    lost = _step_on_device(learner, norm) if learner.reads_late else torch.zeros_like(norm)
    asked = requests()
    numbers = _agreed(learner, torch.stack(losses).sum(), norm, lost, asked)
    if not learner.reads_late:
        _step_or_undo(learner, *numbers.read()[:2])
    learner.step += 1
    if learner.ema is not None and (learner.reads_late or not learner.skipped_in_row):
        learner.ema.update(learner.model, step=learner.step)
    peak: float = learner.optimizer.param_groups[-1]["lr"]
    return _Done(learner.step, peak, used, numbers, any(asked) and learner.processes.count == 1)


def _step_or_undo(learner: Learner, loss: float, norm: float) -> None:
    """Step, or leave the step out and restore the running statistics that its forward pass changed."""
    if not _is_skipped(learner, loss, norm):
        learner.skipped_in_row = 0
        learner.scaler.step(learner.optimizer)
    else:
        _count_skipped(learner, learner.step)
        if _restore_statistics(learner, torch.zeros(())) > 0:
            raise TrainingError(
                f"running statistics must stay finite (got NaN or infinity at step {learner.step}); {_CURE}"
            )
    learner.scaler.update()


def _reports(learner: Learner, waiting: deque[_Done[B]], *, keep: int) -> Iterator[StepReport[B]]:
    """Yield reports, oldest first, but for the last `keep` steps; stop and save are reported with the last one read."""
    stop = save = False
    if any(done.asked for done in waiting):
        keep = 0
    while len(waiting) > keep:
        done = waiting.popleft()
        loss, norm, lost, wants_stop, wants_save = done.numbers.read()
        stop, save = stop or wants_stop > 0, save or wants_save > 0
        if stop or save:
            keep = 0
        skipped = _is_skipped(learner, loss, norm)
        if learner.reads_late:
            if not skipped:
                learner.skipped_in_row = 0
            else:
                _count_skipped(learner, done.step - 1)
            if skipped and lost > 0:
                raise TrainingError(
                    f"running statistics must stay finite (got NaN or infinity at step {done.step - 1}); {_CURE}"
                )
        is_last = not waiting
        yield StepReport(
            done.step, done.lr, loss, norm, done.batches, skipped, stop=stop and is_last, save=save and is_last
        )


def _is_skipped(learner: Learner, loss: float, norm: float) -> bool:
    # A loss scale grows until it overflows: the scaler itself leaves such a step out.
    overflow = learner.scaler.is_enabled() and math.isfinite(loss)
    return not math.isfinite(loss) or (not math.isfinite(norm) and not overflow)


def _clip(model: nn.Module, limit: float) -> torch.Tensor:
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    return nn.utils.clip_grad_norm_(parameters, limit if limit > 0 else math.inf)


def _agreed(
    learner: Learner, loss: torch.Tensor, norm: torch.Tensor, lost: torch.Tensor, asked: tuple[bool, bool]
) -> PendingNumbers:
    """Copy a step's numbers to the CPU in one go, averaged over the processes."""
    processes = learner.processes
    requests = to_device(torch.tensor([float(asked[0]), float(asked[1] and processes.is_first)]), loss.device)
    own = torch.stack([loss.float(), norm.float(), lost.float()])
    numbers = processes.sum(torch.cat([own, requests]))
    return PendingNumbers(numbers / processes.count)


def _count_skipped(learner: Learner, step: int) -> None:
    learner.skipped_in_row += 1
    if learner.skipped_in_row > MAX_SKIPPED:
        raise TrainingError(
            f"loss and gradients must be finite (got NaN or infinity in {learner.skipped_in_row} steps in a row, "
            f"the last one step {step}); {_CURE}"
        )


def _seed_everything(seed: int, step: int, batch: int, rank: int) -> None:
    entropy = np.random.SeedSequence([seed, step, batch, rank])
    torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0]) >> 1)


def _nan_where_nonfinite(loss: torch.Tensor) -> torch.Tensor:
    """Return the loss, with gradients of NaN where it isn't finite and unchanged bits elsewhere.

    An infinite loss may have finite gradients. As gradients are averaged, NaN tells every process.
    """
    return loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan)


def _step_on_device(learner: Learner, norm: torch.Tensor) -> torch.Tensor:
    """Let a fused optimiser leave out a step whose gradients aren't finite, and restore running statistics.

    Args:
        learner: Its gradients are unscaled.
        norm: Of the gradients, a scalar; not finite where one of them isn't.

    Returns:
        A scalar on the device: 1 where running statistics are lost, else 0.
    """
    optimizer, scaler = learner.optimizer, learner.scaler
    if scaler.is_enabled():
        scaler.step(optimizer)
    else:
        # What a loss scaler hands to a fused optimiser: torch.amp.GradScaler.step.
        optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]  # set and removed by scalers
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf  # type: ignore[attr-defined]  # the same
    scaler.update()
    return _restore_statistics(learner, norm)


@torch.no_grad()
def _restore_statistics(learner: Learner, like: torch.Tensor) -> torch.Tensor:
    """Replace what isn't finite of the running statistics by the average's; return 1 where there is no average."""
    own = {name: buffer for name, buffer in learner.model.named_buffers() if buffer.is_floating_point()}
    if not own:
        return torch.zeros_like(like)
    flat = torch.cat([buffer.flatten() for buffer in own.values()])  # few launches, where each alone would be hundreds
    finite = flat.isfinite()
    if learner.ema is None:
        return (~finite.all()).to(like.dtype)
    averaged = dict(learner.ema.module.named_buffers())
    restored = torch.where(finite, flat, torch.cat([averaged[name].flatten() for name in own]))
    parts = restored.split([buffer.numel() for buffer in own.values()])
    torch._foreach_copy_(
        list(own.values()), [part.view_as(buffer) for part, buffer in zip(parts, own.values(), strict=True)]
    )
    return torch.zeros_like(like)
