"""What runs a function over tasks in processes that may die: the seam between all work and the machines that do it.

with opened_pool(workers, cluster) as pool: pool.map(function, tasks) -> each task with its result, as they come
"""

import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from ich25d.errors import StoreError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

ATTEMPTS = 2
"""A task whose worker died is tried once more: memory may have run out for another reason."""

LIMIT_S = 600.0
"""Time limit of a task that names none."""

Limit = float | Callable[[Task], float]
"""Seconds a task may take, or how to find them."""


class WorkerLostError(Exception):
    """A task took its worker process down with it, each time it was tried.

    Args:
        exit_code: The worker's; negative is the signal's number; None where the machine was lost with it.
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


class Pool(Protocol):
    """Processes that do tasks: `LocalPool` on this machine, `RayPool` on many."""

    @property
    def wanted(self) -> int:
        """Processes that were asked for; 0 left the choice."""

    @property
    def is_single(self) -> bool:
        """One process of this machine: what needs no isolation is done as fast in this one."""

    @property
    def is_remote(self) -> bool:
        """Other machines take part: what a task makes stays there, in files that all see, and little comes back."""

    @property
    def has_gpus(self) -> bool:
        """Other machines bring GPUs, which are wanted; `map(gpu=True)` gives them to tasks."""

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Iterable[Task],
        *,
        timeout_s: Limit[Task] = LIMIT_S,
        in_process: bool = False,
        gpu: bool = False,
    ) -> Iterator[tuple[Task, Result | Exception]]:
        """Run a function over tasks and yield each task with its result, as they come.

        Tasks are drawn one by one, and no more are under way than a few a worker: memory doesn't grow with the number
        of tasks. An exception that the function raises is the task's result, and so is `WorkerLostError` or
        `TaskTimeoutError`; what to make of it is the caller's business.

        Args:
            function: A function that pickles (of a module, or a `functools.partial` of one). It may run twice for one
                task, where its worker died: it writes files whole or not at all, and the same ones.
            tasks: What pickles.
            timeout_s: Limit a task in seconds, or how to find it.
            in_process: Run here, one after the other: no isolation, no time limit, nothing to start.
            gpu: Give each task a share of a GPU; only where the pool has some.

        Yields:
            The task and its result or exception, in the order of completion.

        Raises:
            ClusterError: A node can't do tasks at all.
        """


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


def attempt(function: Callable[[Task], Result], task: Task) -> Result | Exception:
    """Return the function's result for a task, or what it raised."""
    try:
        return function(task)
    except Exception as error:  # noqa: BLE001  # the border around one task: its failure is its result
        return error


@contextmanager
def opened_pool(
    workers: int,
    cluster: str | None = None,
    *,
    reads: Sequence[Path] = (),
    out: Path | None = None,
    device: str = "cpu",
) -> Iterator[Pool]:
    """Open the pool that a command's options name.

    Args:
        workers: Processes; 0 leaves the choice: one a core.
        cluster: None is this machine; else as `--cluster`: `auto`, `local` or HOST:PORT of a Ray cluster.
        reads: What the command reads; every node must see it.
        out: Where it writes, a file or folder that needn't be there; likewise.
        device: Where networks compute on a cluster: `auto` on GPUs where it has some, `cuda` only there, `cpu` on none.

    Raises:
        UsageError: `cluster` is no address, `device` is none of a cluster's, or Ray isn't installed.
        ClusterError: There is no such cluster, or a node can't see the files or has another version.
    """
    if cluster is None:
        from ich25d.studies.pool.local_pool import LocalPool

        yield LocalPool(workers)
        return
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--cluster needs Ray (it isn't installed); pip install 'ich25d[ray]'")
    from ich25d.studies.pool.ray_pool import ray_pool

    with ray_pool(cluster, workers, reads=reads, out=out, device=device) as pool:
        yield pool
