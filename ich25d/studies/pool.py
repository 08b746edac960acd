"""The one place that runs work in other processes: a function over tasks, in workers that may die.

A codec that aborts or the kernel's out-of-memory killer can end a worker at any time. Every worker has one task at a
time and a pipe of its own, so that it's known which task died, and no other is lost.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import ModuleType
from typing import Any, Generic, TypeVar

from ich25d.errors import StoreError

Task = TypeVar("Task")
Result = TypeVar("Result")

ATTEMPTS = 2
"""A task whose worker died is tried once more: memory may have run out for another reason."""

STEP_S = 3600.0
"""Longest single wait for any worker; no clock takes infinity."""

SPAWN = multiprocessing.get_context("spawn")
"""A fork of a process that holds a CUDA device or threads isn't safe."""


_main_lock = threading.Lock()


class WorkerLostError(Exception):
    """A task took its worker process down with it, each time it was tried.

    Args:
        exit_code: The worker's; negative is the signal's number.
    """

    def __init__(self, exit_code: int | None) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class TaskTimeoutError(Exception):
    """A task was stopped because it ran past the time limit.

    Args:
        timeout_s: The limit in seconds.
    """

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self.timeout_s = timeout_s


def reason_of(error: Exception) -> tuple[str, str]:
    """Return the reason code of what came instead of a result, and a sentence."""
    if isinstance(error, WorkerLostError):
        return "DECODER_CRASH", f"reading ended its process ({error.exit_code})"
    if isinstance(error, TaskTimeoutError):
        return "TIMEOUT", f"reading took more than {error.timeout_s:.0f} s"
    if isinstance(error, StoreError):
        return "READ_FAILED", f"the store's volume can't be read: {error}"
    return "READ_FAILED", f"reading raised {type(error).__name__}"


def n_workers(wanted: int) -> int:
    """Return how many processes to use: as many as wanted, or one a core that this process may use for 0."""
    if wanted > 0:
        return wanted
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_series(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    *,
    timeout_s: float | Callable[[Task], float] = 600.0,
    in_process: bool = False,
) -> Iterator[tuple[Task, Result | Exception]]:
    """Run a function over tasks and yield each task with its result, as they come.

    Tasks are drawn one by one, and no more results wait than there are workers: memory doesn't grow with
    the number of tasks. An exception that the function raises is the task's result, and so is
    `WorkerLostError` or `TaskTimeoutError`; what to make of it is the caller's business.

    Args:
        function: A function that pickles (of a module, or a `functools.partial` of one).
        tasks: What pickles.
        workers: Processes; 0 is one a core.
        timeout_s: Limit a task in seconds, or how to find it.
        in_process: Run here, one after the other: no isolation, no time limit, nothing to start.

    Yields:
        The task and its result or exception, in the order of completion.
    """
    if in_process:
        for task in tasks:
            yield task, _attempt(function, task)
        return
    limit = timeout_s if callable(timeout_s) else lambda _: timeout_s
    pool = _Pool(function, iter(tasks), n_workers(workers), limit)
    try:
        yield from pool.results()
    finally:
        pool.close()


def _attempt(function: Callable[[Task], Result], task: Task) -> Result | Exception:
    try:
        return function(task)
    except Exception as error:  # noqa: BLE001  # the border around one task: its failure is its result
        return error


@dataclass(eq=False)
class _Job(Generic[Task]):
    task: Task
    attempts: int = 0


@dataclass(eq=False)
class _Worker(Generic[Task]):
    process: SpawnProcess
    pipe: Connection
    job: _Job[Task] | None = None
    is_ready: bool = False
    """Has started: a process that imports half the package on a busy machine isn't late with its task yet."""
    deadline: float = float("inf")


class _Pool(Generic[Task, Result]):
    def __init__(
        self, function: Callable[[Task], Result], tasks: Iterator[Task], size: int, limit: Callable[[Task], float]
    ) -> None:
        self._function = function
        self._tasks = tasks
        self._size = size
        self._limit = limit
        self._again: deque[_Job[Task]] = deque()
        self._workers: list[_Worker[Task]] = []

    def results(self) -> Iterator[tuple[Task, Result | Exception]]:
        while self._fill():
            busy = [worker for worker in self._workers if worker.job is not None]
            rest = min(worker.deadline for worker in busy) - time.monotonic()
            ready = wait([worker.pipe for worker in busy], timeout=max(0.0, rest) if rest < STEP_S else STEP_S)
            for worker in busy:
                if worker.pipe in ready:
                    finished = self._receive(worker)
                elif time.monotonic() > worker.deadline:
                    finished = self._stop_late(worker)
                else:
                    continue
                if finished is not None:
                    yield finished

    def _fill(self) -> bool:
        """Give every idle worker a job, starting workers as needed; say whether anything is under way."""
        while sum(worker.job is not None for worker in self._workers) < self._size:
            job = self._next_job()
            if job is None:
                break
            worker = next((worker for worker in self._workers if worker.job is None), None) or self._start()
            job.attempts += 1
            worker.job = job
            if worker.is_ready:
                self._send(worker, job)
        return any(worker.job is not None for worker in self._workers)

    def _send(self, worker: _Worker[Task], job: _Job[Task]) -> None:
        worker.deadline = time.monotonic() + self._limit(job.task)
        with contextlib.suppress(OSError):
            # Where it was killed while idle its end of the pipe is closed, which results() will notice.
            worker.pipe.send(job.task)

    def _next_job(self) -> _Job[Task] | None:
        if self._again:
            return self._again.popleft()
        for task in self._tasks:
            return _Job(task)
        return None

    def _start(self) -> _Worker[Task]:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=_work, args=(self._function, theirs), daemon=True)
        with _without_main():
            process.start()
        # Our copy of the worker's end must go, or its death would never close the pipe.
        theirs.close()
        worker: _Worker[Task] = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _receive(self, worker: _Worker[Task]) -> tuple[Task, Result | Exception] | None:
        job = worker.job
        assert job is not None
        try:
            result = worker.pipe.recv()
        except (EOFError, OSError):
            exit_code = self._discard(worker)
            if job.attempts < ATTEMPTS:
                self._again.append(job)
                return None
            return job.task, WorkerLostError(exit_code)
        if not worker.is_ready:
            worker.is_ready = True
            self._send(worker, job)
            return None
        worker.job, worker.deadline = None, float("inf")
        return job.task, result

    def _stop_late(self, worker: _Worker[Task]) -> tuple[Task, Exception]:
        job = worker.job
        assert job is not None
        self._discard(worker)
        return job.task, TaskTimeoutError(self._limit(job.task))

    def _discard(self, worker: _Worker[Task]) -> int | None:
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        return worker.process.exitcode

    def close(self) -> None:
        for worker in list(self._workers):
            self._discard(worker)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the caller's script from a process that is being started.

    A spawned process imports the script again; one that has no `if __name__ == "__main__"` would start the whole
    work anew in every worker. Workers run functions of this package, which need nothing of the script.
    """
    with _main_lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _work(function: Callable[[Any], Any], pipe: Connection) -> None:
    """Serve tasks until the other end is closed, which the parent's death does too."""
    # Ctrl-C reaches the whole group of processes; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(1)
    try:
        pipe.send(None)  # ready
    except OSError:
        return
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        result = _attempt(function, task)
        try:
            pipe.send(_travelling(result) if isinstance(result, Exception) else result)
        except OSError:
            return
        except Exception as error:  # noqa: BLE001  # a result that doesn't pickle is an answer too
            pipe.send(TypeError(f"the result of a task must pickle (got {type(error).__name__})"))


def _travelling(error: Exception) -> Exception:
    """Return the error, or one that says its class where it wouldn't arrive: many don't unpickle."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # whatever a foreign error's own unpickling raises
        return RuntimeError(type(error).__name__)
    return error
