"""Results on their way out: a folder that survives a restart, and a thread that sends until each has arrived."""

import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ich25d.node.health import Health
from ich25d.progress import many

FIRST_S, LONGEST_S = 2.0, 300.0
"""Pause after a failure: it doubles from the first to the longest."""
_COUNTED_S = 1.0
AT_ONCE = 100
"""Objects of one connection."""


class UndeliveredError(Exception):
    """The destination can't be reached, or doesn't take anything at all."""


class Destination(Protocol):
    """Where results go."""

    def deliver(self, paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        """Send objects.

        Yields:
            Each with an empty text where it arrived, else with what was said.

        Raises:
            UndeliveredError: There is no connection; what wasn't yielded hasn't arrived.
        """


class Outbox:
    """What is to be sent, on disk.

    Args:
        folder: A folder for each study, which appears whole.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._counted = (-_COUNTED_S, 0)

    def waiting(self) -> list[Path]:
        """Return the objects, the oldest study first."""
        folders = [path for path in self.folder.iterdir() if path.is_dir()]
        folders.sort(key=lambda path: (path.name.rpartition("-")[2].zfill(20), path.name))
        return [path for folder in folders for path in sorted(_objects(folder))]

    @property
    def n_bytes(self) -> int:
        """What it takes on disk, as it was a second ago at the latest."""
        now, (when, total) = time.monotonic(), self._counted
        if now - when < _COUNTED_S:
            return total
        total = 0
        for path in _objects(self.folder):
            try:
                total += path.stat().st_size
            except FileNotFoundError:  # sent just now
                continue
        self._counted = (now, total)
        return total

    def arrived(self, path: Path) -> None:
        """Remove an object that has arrived, and its study's folder with the last one."""
        path.unlink()
        study = self.folder / path.relative_to(self.folder).parts[0]
        if not _objects(study):
            shutil.rmtree(study)


def _objects(folder: Path) -> list[Path]:
    """Return the objects below a folder; another thread may send them and remove their folders meanwhile."""

    def unless_gone(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    found = os.walk(folder, onerror=unless_gone)
    return [Path(place, name) for place, _, names in found for name in names if name.endswith(".dcm")]


class Delivery:
    """Sends what is in an outbox, in a thread of its own.

    Args:
        outbox: The outbox.
        destination: Where to.
        health: Counts.
        first_s: Pause after a first failure.
    """

    def __init__(self, outbox: Outbox, destination: Destination, health: Health, *, first_s: float = FIRST_S) -> None:
        self._outbox, self._destination, self._health, self._first_s = outbox, destination, health, first_s
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="delivery")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something new."""
        self._wake.set()

    def close(self) -> None:
        """End after the object that is being sent."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self._first_s
        while not self._stop.is_set():
            self._wake.clear()
            if not self._outbox.waiting():
                self._wake.wait(60)
            elif self._send():
                pause = self._first_s
            else:
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_S)

    def _send(self) -> bool:
        """Send all that waits; return whether all has arrived."""
        waiting = self._outbox.waiting()
        refused = []
        try:
            for start in range(0, len(waiting), AT_ONCE):
                for path, said in self._destination.deliver(waiting[start : start + AT_ONCE]):
                    if said:
                        refused.append(said)
                    else:
                        self._outbox.arrived(path)
                        self._health.count("objects_sent")
                    if self._stop.is_set():
                        return False
        except (UndeliveredError, OSError) as error:
            self._health.trouble("destination", f"results can't be sent ({error}); they wait and are tried again")
            return False
        if refused:
            text = f"{many(len(refused), 'object')} refused, as: {refused[0]}; tried again"
            self._health.trouble("destination", text)
            return False
        self._health.mended("destination")
        return True
