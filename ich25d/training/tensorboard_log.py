"""TensorBoard beside the run's log (extra `[tensorboard]`): the same numbers, as its event files."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ich25d.errors import UsageError
from ich25d.training.runlog import Listener

_ABSENT = "--tensorboard needs TensorBoard (not installed); pip install 'ich25d[tensorboard]'"


def check_board() -> None:
    """Say at once whether TensorBoard is missing, and not after the first epoch.

    Raises:
        UsageError: It isn't installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401  # only whether it can be
    except ImportError as error:
        raise UsageError(_ABSENT) from error


def board(folder: Path) -> Listener:
    """Return a listener of a run's log that writes every number as a scalar; texts and lists are left out.

    Args:
        folder: Where the event files go; it is made with the first number.

    Raises:
        UsageError: TensorBoard isn't installed.
    """
    check_board()
    from torch.utils.tensorboard import SummaryWriter

    writers: list[Any] = []

    def listen(line: dict[str, Any]) -> None:
        if not writers:
            writers.append(SummaryWriter(str(folder)))
        seed = f"/seed {line['seed']}" if "seed" in line else ""
        for name, value in scalars(line).items():
            writers[0].add_scalar(f"{line['event']}/{name}{seed}", value, line["step"])
        writers[0].flush()

    return listen


def scalars(line: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a line by name, those inside by `outer/inner`; what isn't finite is left out."""
    found: dict[str, float] = {}
    for name, value in line.items():
        if not prefix and name in {"event", "step", "seed", "epoch"}:
            continue
        if isinstance(value, Mapping):
            found |= scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[f"{prefix}{name}"] = float(value)
    return found
