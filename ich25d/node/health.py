"""How a node is doing, as numbers and sentences without ids, for its page and for people."""

import threading
import time
from collections import Counter
from collections.abc import Callable

_SHOWN_S = 3600.0


class Health:
    """Counts and troubles; every thread of a node writes into it.

    Args:
        clock: Tells seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock, self._clock = threading.Lock(), clock
        self._counts: Counter[str] = Counter()
        self._troubles: dict[str, tuple[float, str]] = {}
        self._began = clock()
        self.state = "starting"

    def count(self, what: str, n: int = 1) -> None:
        """Count something that happened."""
        with self._lock:
            self._counts[what] += n

    def counts(self) -> dict[str, int]:
        """Return what was counted."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def trouble(self, where: str, sentence: str) -> bool:
        """Note that something doesn't work, in place of what was noted of it before.

        Returns:
            Whether that is new.
        """
        with self._lock:
            before = self._troubles.get(where)
            self._troubles[where] = (self._clock(), sentence)
            return before is None or before[1] != sentence

    def mended(self, where: str) -> None:
        """Note that it works."""
        with self._lock:
            self._troubles.pop(where, None)

    def to_dict(self) -> dict[str, object]:
        """Return all as JSON takes it."""
        with self._lock:
            now = self._clock()
            troubles = {where: text for where, (when, text) in self._troubles.items() if now - when < _SHOWN_S}
            return {
                "state": self.state, "up_s": round(now - self._began), "counts": dict(sorted(self._counts.items())),
                "troubles": troubles,
            }  # fmt: skip
