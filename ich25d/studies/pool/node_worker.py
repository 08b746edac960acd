"""What runs on a node of a cluster: a task, in a process beside Ray's worker that the task may kill.

Ray alone would say that a worker died, but not of which signal, and it has no time limit a task. So a task means the
same here as in `LocalPool`, whose very worker does it: the same tries, the same limit, the same error. Ray's own tries
are left for what only Ray can see: a node that is lost.
"""

import os
import pickle
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ich25d.studies.pool.local_pool import Workers, packed
from ich25d.studies.pool.pool import LIMIT_S, attempt
from ich25d.studies.pool.visible import Shared


class Packed(NamedTuple):
    """A task as it travels; Ray's worker doesn't look into it, so that it stays small."""

    function: bytes
    task: bytes
    """Empty to have the function loaded alone: its imports take seconds, and aren't the first task's fault."""
    limit_s: float
    folder: str
    """Working folder."""


class _OneProcess:
    """A worker of `LocalPool` that is kept for one task after the other, with what it has loaded."""

    def __init__(self) -> None:
        self._waiting: deque[Packed] = deque()
        self._workers = Workers(unpack_and_run, iter(self._waiting.popleft, None), 1, lambda task: task.limit_s)
        self._results = self._workers.results()
        self._loaded = b""

    def run(self, task: Packed) -> bytes:
        if task.function != self._loaded:
            self._done(task._replace(task=b"", limit_s=LIMIT_S))
            self._loaded = task.function
        return self._done(task)

    def _done(self, task: Packed) -> bytes:
        self._waiting.append(task)
        _, result = next(self._results)
        return packed(result) if isinstance(result, Exception) else result

    def close(self) -> None:
        self._workers.close()


_checked: set[Shared] = set()
_process: dict[str, _OneProcess] = {}
"""At most one, under the GPUs that it was started with."""
_functions: dict[bytes, Callable[[Any], Any]] = {}
"""In the process beside: the last function, with what it keeps in memory."""


def run_task(function: bytes, task: bytes, limit_s: float, shared: Shared) -> bytes:
    """Do one task: what Ray calls.

    Args:
        function: Pickled, as the task.
        task: What it is called with.
        limit_s: Its time limit in seconds.
        shared: What this node must see.

    Returns:
        The pickled result or exception.

    Raises:
        ClusterError: This node doesn't see the files.
    """
    check_node(shared)
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if gpus not in _process:
        for other in _process.values():
            other.close()
        _process.clear()
        _process[gpus] = _OneProcess()
    try:
        return _process[gpus].run(Packed(function, task, limit_s, shared.folder))
    except BaseException:
        _process.pop(gpus).close()
        raise


def check_node(shared: Shared) -> None:
    """Check once a process what its node sees; later nodes come without having been asked.

    Raises:
        ClusterError: It doesn't see the files.
    """
    if shared not in _checked:
        shared.check(platform_node())
        _checked.add(shared)


def platform_node() -> str:
    """Return this machine's name."""
    import platform

    return platform.node()


def unpack_and_run(task: Packed) -> bytes:
    """Do a task in the process beside Ray's worker."""
    if os.path.isdir(task.folder):  # noqa: PTH112
        os.chdir(task.folder)
    if task.function not in _functions:
        _functions.clear()
        _functions[task.function] = pickle.loads(task.function)
    if not task.task:
        return b""
    return packed(attempt(_functions[task.function], pickle.loads(task.task)))
