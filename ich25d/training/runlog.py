"""The run's log: one JSON object a line, of epochs, validations and events; TensorBoard's event files beside it."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ich25d.errors import UsageError
from ich25d.files import write_text

Listener = Callable[[dict[str, Any]], None]
"""Called with every line after it is written: the report page, TensorBoard."""

LOG_FILE = "metrics.jsonl"


class RunLog:
    """Appends lines to `metrics.jsonl`; every line holds `event` and `step`.

    Args:
        path: The file; None logs nothing (processes other than the first).
        keep: Returns whether a line of an earlier run stays; a resumed run writes the others again. None keeps none.
        listeners: Called with every line after it is written.
    """

    def __init__(
        self,
        path: Path | None,
        keep: Callable[[dict[str, Any]], bool] | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._path, self._listeners = path, listeners
        if path is None:
            return
        lines = [] if keep is None else [line for line in read_log(path) if keep(line)]
        write_text(path, "".join(_spell(line) for line in lines))

    def write(self, event: str, step: int, **values: Any) -> None:  # noqa: ANN401  # whatever JSON takes
        """Append one line."""
        if self._path is None:
            return
        line = {"event": event, "step": step, **values}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_spell(line))
        for listener in self._listeners:
            listener(line)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read a log; a last line cut off by a kill is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


def check_tensorboard() -> None:
    """Refuse at once, not after the first epoch, where TensorBoard is missing.

    Raises:
        UsageError: It isn't installed.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401  # only whether it can be
    except ImportError as error:
        raise UsageError(
            "--tensorboard needs TensorBoard (not installed); pip install 'ich25d[tensorboard]'"
        ) from error


def tensorboard_listener(folder: Path) -> Listener:
    """Return a listener that writes every number of a log's lines as a scalar, without texts and lists.

    Args:
        folder: Where the event files go; it is made with the first number.

    Raises:
        UsageError: TensorBoard isn't installed.
    """
    check_tensorboard()
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
    """Return the finite numbers of a line by name, nested ones as `outer/inner`."""
    found: dict[str, float] = {}
    for name, value in line.items():
        if not prefix and name in {"event", "step", "seed", "epoch"}:
            continue
        if isinstance(value, Mapping):
            found |= scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[f"{prefix}{name}"] = float(value)
    return found


def _spell(line: dict[str, Any]) -> str:
    return json.dumps({key: _finite(value) for key, value in line.items()}, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:  # noqa: ANN401  # whatever JSON takes
    """Replace numbers that JSON lacks (a metric of a label without positives) by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return round(value, 8) if math.isfinite(value) else None
    return value
