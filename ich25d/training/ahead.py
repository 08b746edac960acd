"""Work done in a thread, some items ahead of where they are used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def done_ahead(function: Callable[[T], R], tasks: Iterable[T], *, depth: int = 2) -> Iterator[R]:
    """Yield `function(task)` of every task in order, computed in one thread at most `depth` tasks ahead.

    Errors are raised where the result is asked for. Leaving the loop early waits for the running task alone.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(1, "ahead") as pool:
        try:
            for task in tasks:
                waiting.append(pool.submit(function, task))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
