"""Ctrl-C and SIGTERM: the first one asks to stop after the step, the second one stops at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ich25d.progress import remark


class Interrupted(BaseException):
    """The training was asked to stop and has saved what it needs to go on.

    A BaseException like KeyboardInterrupt, so that no handler of errors takes it for one.
    """


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether a signal asked to stop; signals are as before afterwards."""
    asked = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        remark("stopping after this batch; once more stops at once and loses what came after the last checkpoint")

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # signals go to the main thread alone
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def until_stopped(advance: Callable[[int], None], stop: Callable[[], bool]) -> Callable[[int], None]:
    """Wrap what counts units of work that is done again when it's begun again: a wish to stop ends it there.

    Raises:
        Interrupted: From the function that is returned, after a unit.
    """

    def count(n_units: int) -> None:
        advance(n_units)
        if stop():
            raise Interrupted

    return count
