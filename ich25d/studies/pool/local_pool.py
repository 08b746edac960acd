"""Work in other processes of this machine, in workers that may die.

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
from typing import Any, Generic

from ich25d.studies.pool.pool import (
    ATTEMPTS,
    LIMIT_S,
    Limit,
    Result,
    Task,
    TaskTimeoutError,
    WorkerLostError,
    attempt,
    n_workers,
)

STEP_S = 3600.0
"""Longest single wait for any worker; no clock takes infinity."""

SPAWN = multiprocessing.get_context("spawn")
"""A fork of a process that holds a CUDA device or threads isn't safe."""

_main_lock = threading.Lock()


class LocalPool:
    """Processes of this machine; they start with the first task and end with the last.

    Args:
        workers: Processes; 0 is one a core.
    """

    is_remote = False
    has_gpus = False

    def __init__(self, workers: int) -> None:
        self.wanted = workers

    @property
    def is_single(self) -> bool:
        """It has one process."""
        return n_workers(self.wanted) == 1

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        *,
        timeout_s: Limit[Task] = LIMIT_S,
        in_process: bool = False,
        gpu: bool = False,
    ) -> Iterator[tuple[Task, Result | Exception]]:
        """See `Pool.map`."""
        assert not gpu  # this machine's GPU is the caller's own
        if in_process:
            for task in tasks:
                yield task, attempt(function, task)
            return
        workers = Workers(function, iter(tasks), n_workers(self.wanted), timeout_s)
        try:
            yield from workers.results()
        finally:
            workers.close()


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


ONE_PROCESS, ONE_A_CORE = LocalPool(1), LocalPool(0)
"""The pools of functions that are called without one."""


class Workers(Generic[Task, Result]):
    """Processes that do tasks, one at a time each.

    Args:
        function: What they do; pickles.
        tasks: Drawn one by one, when a worker is free.
        size: Number of processes.
        timeout_s: Limit a task in seconds, or how to find it.
    """

    def __init__(
        self, function: Callable[[Task], Result], tasks: Iterator[Task], size: int, timeout_s: Limit[Task]
    ) -> None:
        self._function = function
        self._tasks = tasks
        self._size = size
        self._limit = timeout_s if callable(timeout_s) else lambda _: timeout_s
        self._again: deque[_Job[Task]] = deque()
        self._workers: list[_Worker[Task]] = []

    def results(self) -> Iterator[tuple[Task, Result | Exception]]:
        """Yield each task with its result, in the order of completion."""
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
        """End all processes."""
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
    """Serve tasks until the other end is closed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Ctrl-C reaches the whole group of processes; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _silence_libraries()
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
        try:
            pipe.send_bytes(packed(attempt(function, task)))
        except OSError:
            return


def _end_with_parent() -> None:
    """End this process when its parent has died, also in the middle of a task that nobody waits for any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def packed(result: object) -> bytes:
    """Return the pickle of a task's result; of one that doesn't pickle, that of a TypeError, which is an answer too."""
    try:
        return pickle.dumps(travelling(result) if isinstance(result, Exception) else result)
    except Exception as error:  # noqa: BLE001  # whatever a foreign result's pickling raises
        return pickle.dumps(TypeError(f"the result of a task must pickle (got {type(error).__name__})"))


def _silence_libraries() -> None:
    """Drop what libraries of C and Rust print on stderr, as a codec's panic does; Python's own messages still appear.

    What a damaged file made of a decoder is said in `qc.csv`.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no stderr to speak of: there is nothing to drop
        sys.stderr.flush()
        own = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        sys.stderr = os.fdopen(own, "w", encoding="utf-8", errors="backslashreplace", buffering=1)


def travelling(error: Exception) -> Exception:
    """Return the error, or one that says its class where it wouldn't arrive: many don't unpickle."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001  # whatever a foreign error's own unpickling raises
        return RuntimeError(type(error).__name__)
    return error
