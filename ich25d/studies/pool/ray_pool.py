"""Work on the nodes of a Ray cluster: each task is a Ray task, submitted a few a worker ahead, gathered as they end."""

import os
import pickle
import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ich25d.errors import ClusterError, UsageError
from ich25d.progress import many, remark
from ich25d.studies.pool.node_worker import check_node, run_task
from ich25d.studies.pool.pool import LIMIT_S, Limit, Result, Task, WorkerLostError, attempt, n_workers
from ich25d.studies.pool.visible import Shared, shared

RETRIES = 2
"""Ray does a task of a lost node again, so often."""

AHEAD = 2
"""Tasks under way a worker: one that is done, one that is at its node already."""

GPU_SHARE = 0.25
"""Of a GPU a task: while one process computes, three read."""

LOOK_S = 10.0
"""Seconds until the nodes are counted again: some come, some go."""

_NODE_S = 60.0
"""Seconds that a node has to answer at the start."""

_OBJECT_BYTES = 100 * 2**20
"""Of a cluster that `local` starts: results are rows, and no pixels."""

_ADDRESS = re.compile(r"auto|local|[\w.\-\[\]:]+:\d+")

_NO_REPORTS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_task_oom_retries": "2"}
"""Nothing is sent to Ray's makers; a task that is always too large for its node ends, which by default it doesn't."""


class RayPool:
    """The nodes of a cluster; `ray_pool` opens it.

    Args:
        wanted: Tasks at a time; 0 is one a core of the cluster.
        shared: What every node must see.
        device: `auto`, `cuda` or `cpu`.
    """

    is_remote = True
    is_single = False

    def __init__(self, wanted: int, shared: Shared, device: str = "cpu") -> None:
        self._device = device
        self.wanted = wanted
        self._shared = shared
        self._counted: dict[str, float] = {}
        self._counted_at = -LOOK_S

    @property
    def has_gpus(self) -> bool:
        """A node has one, and it may be used."""
        return self._device != "cpu" and self._resources().get("GPU", 0) > 0

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
        if in_process:
            for task in tasks:
                yield task, attempt(function, task)
            return
        import ray

        limit = timeout_s if callable(timeout_s) else lambda _: timeout_s
        remote = ray.remote(max_retries=RETRIES, num_cpus=1, num_gpus=GPU_SHARE if gpu else 0)(run_task)
        packed = ray.put(pickle.dumps(function))
        rest = iter(tasks)
        under_way: dict[Any, Task] = {}
        is_drawn = False
        try:
            while True:
                while not is_drawn and len(under_way) < AHEAD * self._slots(gpu):
                    try:
                        task = next(rest)
                    except StopIteration:
                        is_drawn = True
                    else:
                        under_way[remote.remote(packed, pickle.dumps(task), limit(task), self._shared)] = task
                if not under_way:
                    return
                ready, _ = ray.wait(list(under_way), num_returns=1, timeout=LOOK_S, fetch_local=False)
                if ready:  # those that ended meanwhile come with it
                    ready, _ = ray.wait(list(under_way), num_returns=len(under_way), timeout=0, fetch_local=False)
                for reference in ready:
                    yield under_way.pop(reference), _result(reference)
        finally:
            for reference in under_way:
                ray.cancel(reference, force=True)

    def check_nodes(self) -> None:
        """Ask every node at once whether it sees the files.

        Raises:
            ClusterError: One doesn't, or none can do tasks.
        """
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if self._resources().get("CPU", 0) < 1:
            raise ClusterError("the cluster must have a node with a CPU for tasks (got none); start one: ray start")
        if self._device == "cuda" and not self.has_gpus:
            raise ClusterError("--device cuda needs a node with a GPU in the cluster (got none); try --device auto")
        check = ray.remote(max_retries=RETRIES, num_cpus=0)(check_node)
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        asked = {
            check.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
                self._shared
            ): node["NodeManagerHostname"]
            for node in nodes
        }
        ready, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_NODE_S)
        for reference in ready:
            _get(reference)
        if silent:
            names = ", ".join(sorted({asked[reference] for reference in silent})[:5])
            raise ClusterError(f"every node must answer within {_NODE_S:.0f} s (got nothing from {names}); restart it")
        remark(f"Ray: {many(len(nodes), 'node')}, {many(self._slots(False), 'task')} at a time")

    def _slots(self, gpu: bool) -> int:
        there = self._resources()
        n = int(there.get("CPU", 0))
        if gpu:
            n = min(n, int(there.get("GPU", 0) / GPU_SHARE))
        return max(1, min(n, self.wanted) if self.wanted else n)

    def _resources(self) -> dict[str, float]:
        import ray

        if time.monotonic() - self._counted_at > LOOK_S:
            self._counted, self._counted_at = ray.cluster_resources(), time.monotonic()
        return self._counted


def _result(reference: Any) -> Any:  # noqa: ANN401  # whatever the task's function returns
    from ray.exceptions import RayError

    try:
        return pickle.loads(_get(reference))
    except RayError:  # its node or Ray's worker was lost each time
        return WorkerLostError(None)


def _get(reference: Any) -> Any:  # noqa: ANN401  # likewise
    """Return what a Ray task returned.

    Raises:
        ClusterError: Its node can't do tasks.
        RayError: The node is lost.
    """
    import ray
    from ray.exceptions import RayTaskError, RuntimeEnvSetupError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, ClusterError):
            raise ClusterError(str(cause.args[0])) from None
        if isinstance(cause, ImportError):
            raise ClusterError(f"every node must have ich25d installed (got {cause}); install it there") from None
        raise
    except RuntimeEnvSetupError as error:
        raise ClusterError(f"every node must be able to start tasks (got {error}); see Ray's logs there") from None


@contextmanager
def ray_pool(address: str, workers: int, *, reads: Sequence[Path], out: Path | None, device: str) -> Iterator[RayPool]:
    """Join or start a cluster, look at once whether its nodes see the files, and leave it at the end.

    Args:
        address: `auto` is the cluster that runs on this machine (or RAY_ADDRESS), `local` one that is started for this
            block, on this machine's cores; else HOST:PORT.
        workers: Tasks at a time; 0 is one a core.
        reads: What is read.
        out: What is written.
        device: See `opened_pool`.

    Raises:
        UsageError: No such address or device.
        ClusterError: No cluster is there, or a node doesn't fit.
    """
    if not _ADDRESS.fullmatch(address):
        raise UsageError(f"--cluster must be auto, local or HOST:PORT of a Ray cluster (got {address!r})")
    if device not in ("auto", "cuda", "cpu"):
        raise UsageError(f"--device must be auto, cuda or cpu with --cluster, which shares GPUs out (got {device!r})")
    with ExitStack() as stack:
        noted = stack.enter_context(shared(reads, out))
        stack.enter_context(_joined(address, workers))
        pool = RayPool(workers, noted, device)
        pool.check_nodes()
        yield pool


@contextmanager
def _joined(address: str, workers: int) -> Iterator[None]:
    """Be connected to a cluster, unless this process is already."""
    os.environ.update({name: value for name, value in _NO_REPORTS.items() if name not in os.environ})
    token = {}
    if address == "local" and "ray" not in sys.modules:  # it reads them when it is imported
        # Whoever reaches a cluster's ports can run code: this one's answer to its own processes alone.
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        os.environ.update(token)
    import ray

    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    folder = None
    if address == "local":
        folder = tempfile.mkdtemp(prefix="ich25d-ray-")
        options |= {
            "num_cpus": n_workers(workers), "include_dashboard": False, "object_store_memory": _OBJECT_BYTES,
            "_temp_dir": folder,
        }  # fmt: skip
    try:
        with _own_signals(), _elsewhere():
            ray.init(address=address, **options)
        yield
    except (ConnectionError, RuntimeError, ValueError) as error:
        if ray.is_initialized():
            raise
        raise ClusterError(
            f"--cluster must name a running Ray cluster of this Ray and Python (got {address!r}: "
            f"{str(error).strip().partition(chr(10))[0]}); start one with: ray start --head"
        ) from None
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Work in the folder that holds this package, whose modules Ray lets its workers import.

    By default that would be the working folder, which may be a stranger's CD with a `json.py` of its own.
    """
    before = Path.cwd()
    os.chdir(Path(__file__).parents[3])
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's answer to SIGTERM, which Ray replaces: what is finished is kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
