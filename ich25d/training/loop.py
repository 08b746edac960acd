"""The loop that both trainings share: accumulate, check, clip, step, average.

Functions on one `Learner`; what a batch is, and how it becomes a loss, is the caller's.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ich25d.errors import TrainingError
from ich25d.training.optim import learning_rate, set_learning_rate
from ich25d.training.precision import Precision, resumed_precision
from ich25d.training.processes import Processes

B = TypeVar("B")

MAX_SKIPPED = 5
"""Steps in a row whose loss isn't finite before the training gives up."""

EMA_WARMUP_POWER = 0.75
"""The average's decay is 1 - (1 + step) ** -0.75 until it reaches the recipe's: after 100 steps it spans
about 30, after 600 about 120, so that a short run doesn't average its random beginning in."""


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


@dataclasses.dataclass(kw_only=True)
class Learner:
    """A model and all that its steps change."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    precision: Precision
    ema_decay: float = 0.0
    seed: int = 0
    processes: Processes = dataclasses.field(default_factory=Processes)
    step: int = 0
    skipped_in_row: int = 0

    def __post_init__(self) -> None:
        """Begin the average and the loss scale."""
        self.scaler = self._scaler()
        self.ema: ModelEmaV3 | None = None
        if self.ema_decay > 0:
            self.ema = ModelEmaV3(self.model, decay=self.ema_decay, use_warmup=True, warmup_power=EMA_WARMUP_POWER)

    def _scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self.device.type, enabled=self.precision.name == "fp16")

    @property
    def averaged(self) -> nn.Module:
        """Return the model that is validated and kept: the average, or the model itself without one."""
        return self.model if self.ema is None else self.ema.module

    def state(self) -> dict[str, Any]:
        """Return all of it for a checkpoint."""
        return {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.precision.name,
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "skipped_in_row": self.skipped_in_row,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint, in the number format that it was begun in where this device computes in it."""
        self.precision = resumed_precision(state.get("precision"), self.precision, self.device)
        self.scaler = self._scaler()
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty where it was begun without a loss scale
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.skipped_in_row = state["step"], state["skipped_in_row"]


def train_steps(
    learner: Learner,
    batches: Iterator[B],
    loss_of: Callable[[nn.Module, B], torch.Tensor],
    schedule: Schedule,
    *,
    n_steps: int,
    wrapped: nn.Module | None = None,
    wishes: Callable[[], tuple[bool, bool]] = lambda: (False, False),
) -> Iterator[StepReport[B]]:
    """Do steps, yielding after each one, when the learner is in a state worth saving.

    Dropout and the like are seeded by (seed, step, batch, process) before every batch, so that a run
    continued from a checkpoint draws what the uninterrupted one draws.

    Args:
        learner: What learns.
        batches: At least `n_steps * accumulate` batches.
        loss_of: Takes the model and a batch, gives a scalar.
        schedule: Learning rate, accumulation, clipping.
        n_steps: Steps to do.
        wrapped: The model as wrapped for several processes; None is the model itself.
        wishes: Whether this process wants to stop, and whether to save, after the step.

    Raises:
        TrainingError: More than `MAX_SKIPPED` steps in a row had a loss or gradient that isn't finite.
    """
    model = learner.model if wrapped is None else wrapped
    for _ in range(n_steps):
        set_learning_rate(
            learner.optimizer,
            learning_rate(
                learner.step,
                peak=schedule.lr,
                low=schedule.min_lr,
                warmup_steps=schedule.warmup_steps,
                total_steps=schedule.total_steps,
            ),
        )
        learner.optimizer.zero_grad(set_to_none=True)
        # All of them first: where a batch can't be had, the step hasn't begun, and the state is worth saving.
        used, losses = [next(batches) for _ in range(schedule.accumulate)], []
        for number, batch in enumerate(used):
            last = number == schedule.accumulate - 1
            quiet = model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext()
            _seed_everything(learner.seed, learner.step, number, learner.processes.rank)
            with quiet:
                loss = loss_of(model, batch) / schedule.accumulate
                learner.scaler.scale(loss).backward()
            losses.append(loss.detach())
        learner.scaler.unscale_(learner.optimizer)
        norm = _clip(learner.model, schedule.clip_norm)
        loss_value, norm_value, stop, save = _agree(learner, torch.stack(losses).sum(), norm, wishes())
        # Loss scaling overflows on purpose to find its scale: then the scaler itself leaves the step out.
        overflow = learner.scaler.is_enabled() and math.isfinite(loss_value)
        skipped = not math.isfinite(loss_value) or (not math.isfinite(norm_value) and not overflow)
        if skipped:
            _note_skipped(learner)
        else:
            learner.skipped_in_row = 0
            learner.scaler.step(learner.optimizer)
        learner.scaler.update()
        learner.step += 1
        if not skipped and learner.ema is not None:
            learner.ema.update(learner.model, step=learner.step)
        yield StepReport(loss_value, norm_value, used, skipped, stop, save)


def _clip(model: nn.Module, limit: float) -> torch.Tensor:
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    return nn.utils.clip_grad_norm_(parameters, limit if limit > 0 else math.inf)


def _agree(
    learner: Learner, loss: torch.Tensor, norm: torch.Tensor, wishes: tuple[bool, bool]
) -> tuple[float, float, bool, bool]:
    """Bring a step's numbers to the CPU in one go, the same on every process."""
    processes = learner.processes
    asked = torch.tensor([float(wishes[0]), float(wishes[1] and processes.is_first)], device=loss.device)
    numbers = torch.cat([loss.float().reshape(1), norm.float().reshape(1), asked])
    loss_sum, norm_sum, stop, save = processes.sum(numbers).tolist()
    return loss_sum / processes.count, norm_sum / processes.count, stop > 0, save > 0


def _note_skipped(learner: Learner) -> None:
    """Leave a step out, and undo what its forward pass did to running statistics."""
    learner.skipped_in_row += 1
    cure = "lower train.lr, raise train.warmup or use train.precision=fp32, and go on with --resume"
    if learner.skipped_in_row > MAX_SKIPPED:
        raise TrainingError(
            f"loss and gradients must be finite (got NaN or infinity in {learner.skipped_in_row} steps in a row, "
            f"the last one step {learner.step}); {cure}"
        )
    sound = dict(learner.ema.module.named_buffers()) if learner.ema is not None else {}
    with torch.no_grad():
        for name, buffer in learner.model.named_buffers():
            if buffer.is_floating_point() and not bool(buffer.isfinite().all()):
                if name not in sound:
                    raise TrainingError(
                        f"running statistics must stay finite (got {name} at step {learner.step}); {cure}"
                    )
                buffer.copy_(sound[name])


def _seed_everything(seed: int, step: int, batch: int, rank: int) -> None:
    entropy = np.random.SeedSequence([seed, step, batch, rank])
    torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0]) >> 1)
