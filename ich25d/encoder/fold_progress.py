"""How far a fold's training is, on disk: what `--resume` goes on from."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from ich25d.errors import TrainingError
from ich25d.training.learner import Learner, load_state, save_state


@dataclasses.dataclass(slots=True)
class Course:
    """How far a fold's training is, beside its learner."""

    epoch: int = 0
    step_in_epoch: int = 0
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_log_loss: float = float("inf")
    kept_epoch: int = 0
    kept_score: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    def has_logged(self, line: dict[str, Any], step: int) -> bool:
        """Say whether a line of the log was written before the checkpoint of this course, at this step."""
        before_validation = self.step_in_epoch > 0
        return (
            line["step"] <= step
            and line["event"] != "end"
            and not (line["event"] == "epoch" and line["step"] == step and before_validation)
        )


def save_course(
    path: Path, learner: Learner, course: Course, shown: dict[str, torch.Tensor], *, data: str, processes: int
) -> None:
    """Write a checkpoint.

    Args:
        path: `last.pt`.
        learner: Model, average and optimiser.
        course: Counters and what was best so far.
        shown: Labels shown so far, over all processes.
        data: Hash of the store's tables.
        processes: How many train together.
    """
    state = {
        "learner": learner.state(),
        "course": dataclasses.asdict(course),
        "shown": shown,
        "data": data,
        "processes": processes,
    }
    save_state(path, state)


def load_course(path: Path, learner: Learner, *, data: str, processes: int) -> tuple[Course, dict[str, torch.Tensor]]:
    """Go on from a checkpoint: restores the learner, returns the counters and the labels shown.

    Raises:
        TrainingError: It is of another store or another number of processes, or damaged.
    """
    state = load_state(path)
    for name, rule, now in (("data", "the same store", data), ("processes", "as many processes", processes)):
        if state[name] != now:
            raise TrainingError(
                f"--resume needs {rule} (got {now!r} for {state[name]!r}) in {path.parent}; train into another folder"
            )
    learner.restore(state["learner"])
    return Course(**state["course"]), state["shown"]
