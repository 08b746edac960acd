"""How far a fold's training is."""

import dataclasses
from typing import Any


@dataclasses.dataclass(slots=True)
class Progress:
    """How far a fold's training is, beside its learner; a part of its checkpoint."""

    epoch: int = 0
    """Epochs that are done and validated."""
    step_in_epoch: int = 0
    """Steps done of the epoch that follows them."""
    loss_sum: float = 0.0
    """Of the losses of this epoch's steps that weren't left out."""
    loss_steps: int = 0
    best_log_loss: float = float("inf")
    kept_epoch: int = 0
    """Epoch, from 1, whose weights are on disk."""
    kept_score: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    """Time that this epoch's steps took."""

    def has_logged(self, line: dict[str, Any], step: int) -> bool:
        """Return whether a line of the log was written before the checkpoint at this step."""
        is_validated = self.step_in_epoch == 0
        return (
            line["step"] <= step
            and line["event"] != "end"
            and (line["event"] != "epoch" or line["step"] < step or is_validated)
        )
