"""Images that never became files: the rows that they leave in `qc.csv`."""

import json
import threading
from collections import deque
from dataclasses import asdict
from pathlib import Path

from ich25d.files import write_text
from ich25d.studies.qc import QcRow

_MOST = 1000


class Refusals:
    """The latest rows, on disk, in the order in which they came; older ones go.

    Args:
        path: A file of one JSON object a line.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self._rows: deque[QcRow] = deque(maxlen=_MOST)
        self.n = 0
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                self._rows.append(QcRow(**json.loads(line)))
            except (ValueError, TypeError):
                continue  # the last line, cut by a kill
        write_text(path, "".join(map(_line, self._rows)))

    def add(self, row: QcRow) -> None:
        """Note a refusal.

        Raises:
            OSError: The disk is full or fails; the row is known until the node ends.
        """
        with self._lock:
            self._rows.append(row)
            self.n += 1
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(row))

    def rows(self) -> list[QcRow]:
        """Return the latest rows, each once."""
        with self._lock:
            return list(dict.fromkeys(self._rows))


def _line(row: QcRow) -> str:
    return json.dumps(asdict(row)) + "\n"
