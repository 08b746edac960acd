"""Work in a thread: in order, at most so far ahead, with its errors, and never outliving its loop."""

import threading
import time
from collections.abc import Iterator

import pytest

from ich25d.training.prefetch import prefetch


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_items_come_in_order_from_another_thread() -> None:
    """The iterator runs beside its reader, so that reading and computing overlap."""
    found = list(prefetch((number, threading.current_thread().name) for number in range(20)))

    assert found == [(number, "prefetch") for number in range(20)]
    assert not _threads()


@pytest.mark.parametrize("error", [ValueError("third"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_an_error_comes_after_the_items_before_it(error: BaseException) -> None:
    """It is raised in the thread that reads, as it was raised; nothing that was ready before it is lost."""

    def items() -> Iterator[int]:
        yield from (1, 2)
        raise error

    found = []
    with pytest.raises(type(error)) as caught:
        found.extend(prefetch(items(), depth=5))
    assert caught.value is error
    assert found == [1, 2]
    assert not _threads()


def test_depth_is_a_limit() -> None:
    """Memory holds the item in use, `depth` that wait, and one that waits for a place."""
    begun: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            begun.append(number)
            yield number

    reading = prefetch(items(), depth=3)
    assert next(reading) == 0
    time.sleep(0.5)
    assert begun == [0, 1, 2, 3, 4]
    reading.close()


def test_leaving_early_stops_the_thread() -> None:
    """A loop left by break, or by an error of its own, leaves no thread that reads on."""
    begun: list[int] = []

    def items() -> Iterator[int]:
        while True:
            begun.append(len(begun))
            yield len(begun)

    for item in prefetch(items()):
        if item == 5:
            break
    deadline = time.monotonic() + 5
    while _threads() and time.monotonic() < deadline:
        time.sleep(0.01)

    assert not _threads()
    n_begun = len(begun)
    time.sleep(0.2)
    assert len(begun) == n_begun <= 9
