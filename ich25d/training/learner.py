"""A model in training: its moving average, optimiser and loss scale, and their checkpoints on disk."""

import dataclasses
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import nn

from ich25d.errors import TrainingError
from ich25d.files import write_bytes
from ich25d.training.device import Precision, resumed_precision
from ich25d.training.processes import Processes

_CHECKPOINT_FORMAT = 1

EMA_WARMUP_POWER = 0.75
"""The average's decay is 1 - (1 + step) ** -0.75 until it reaches the recipe's: after 100 steps it spans about 30,
after 600 about 120, so that the random start has no part in a short run's average."""


@dataclasses.dataclass(kw_only=True)
class Learner:
    """A model and everything that its steps change."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    precision: Precision
    ema_decay: float = 0.0
    seed: int = 0
    processes: Processes = dataclasses.field(default_factory=Processes)
    step: int = 0
    skipped_in_row: int = 0
    reads_late: bool | None = None
    """Whether loss and norm of a step are read during the next one, so that a GPU's queue never runs empty; the fused
    optimiser then leaves out steps that aren't finite. None: on CUDA."""

    def __post_init__(self) -> None:
        """Make the average and the loss scale."""
        if self.reads_late is None:
            self.reads_late = self.device.type == "cuda"
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
        """Return the state for a checkpoint."""
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
        """Go on from a checkpoint, in its number format where this device computes in it."""
        self.precision = resumed_precision(state.get("precision"), self.precision, self.device)
        self.scaler = self._scaler()
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty where it was begun without a loss scale
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.skipped_in_row = state["step"], state["skipped_in_row"]


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        path: `last.pt`.
        state: Tensors, numbers, texts and containers of them, so that it loads with `weights_only`.
    """
    content = BytesIO()  # torch's own writer hides what the disk refused
    torch.save({"format": _CHECKPOINT_FORMAT, **state}, content)
    write_bytes(path, content.getbuffer())


def load_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU; nothing in it is executed.

    Not to the device that saved it: another one may lack its number formats.

    Raises:
        TrainingError: It isn't one, or of another format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, ImportError) as error:
        raise TrainingError(f"a checkpoint must be readable (got {error}) in {path}; train this fold anew") from error
    except Exception as error:  # border around one foreign file: unpickling raises what the file makes it raise
        raise TrainingError(
            f"a checkpoint must hold tensors and plain values in {path}; train this fold anew"
        ) from error
    if not isinstance(state, dict) or state.get("format") != _CHECKPOINT_FORMAT:
        raise TrainingError(f"a checkpoint must be of format {_CHECKPOINT_FORMAT} in {path}; train this fold anew")
    return state
