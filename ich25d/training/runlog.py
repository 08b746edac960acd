"""The run's log: one JSON object a line, of epochs, validations and events."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ich25d.files import write_text

Listener = Callable[[dict[str, Any]], None]
"""What is told of every line, after it is written: a report, a board."""

LOG_FILE = "metrics.jsonl"


class RunLog:
    """Appends lines to `metrics.jsonl`; every line holds `event` and `step`.

    Args:
        path: The file; None logs nothing (processes other than the first).
        keep: Which lines of an earlier run stay: a resumed run writes the others again. None starts afresh.
        listeners: Told of every line after it is written.
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
