"""Ctrl-C and SIGTERM: the first one asks to stop after the step, the second one stops at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ich25d.progress import remark


class Interrupted(BaseException):
    """The training was asked to stop and has saved what it needs to go on.

    A BaseException as KeyboardInterrupt is, so that no `except Exception` catches it.
    """


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether a signal asked to stop; restore the handlers afterwards.

    Raises:
        KeyboardInterrupt: A second signal came.
    """
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
    """Let a progress function end work that needs no checkpoint as soon as a signal asks to stop.

    Args:
        advance: Called with the number of units done.
        stop: Returns whether a signal asked to stop.

    Raises:
        Interrupted: From the function that is returned, after a unit.
    """

    def count(n_units: int) -> None:
        advance(n_units)
        if stop():
            raise Interrupted

    return count
