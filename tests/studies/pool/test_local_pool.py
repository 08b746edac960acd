"""Work is done once, whatever dies; a task that kills is named and nobody else's is lost."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from ich25d.errors import DicomError
from ich25d.studies.pool.local_pool import LocalPool
from ich25d.studies.pool.pool import TaskTimeoutError, WorkerLostError, n_workers


def double_or_die(task: int, *, folder: Path) -> int:
    """Double a number; 3 kills its process the first time, 5 every time, 7 refuses."""
    with (folder / str(task)).open("a") as file:
        file.write("x")
    if task == 3 and (folder / "3").stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if task == 5:
        os.abort()
    if task == 7:
        raise DicomError("BLANK", "constant")
    return 2 * task


def sleep(task: float) -> float:
    """Sleep so many seconds."""
    time.sleep(task)
    return task


def unpicklable(task: int) -> object:
    """Return what can't travel."""
    return lambda: task


def test_every_task_comes_back_once_though_workers_die(tmp_path):
    """A task that kills is tried twice and named; after a single death it succeeds; its error is its result."""
    results = dict(LocalPool(2).map(partial(double_or_die, folder=tmp_path), range(12)))
    assert sorted(results) == list(range(12))
    lost, refused = results.pop(5), results.pop(7)
    assert isinstance(lost, WorkerLostError)
    assert lost.exit_code == -signal.SIGABRT
    assert isinstance(refused, DicomError)
    assert refused.code == "BLANK"
    assert results == {task: 2 * task for task in range(12) if task not in {5, 7}}
    tried = {int(path.name): path.stat().st_size for path in tmp_path.iterdir()}
    assert tried == {task: 2 if task in {3, 5} else 1 for task in range(12)}


def test_a_task_past_its_time_is_stopped_and_the_others_go_on():
    """A decoder that hangs costs its own file alone."""
    results = dict(LocalPool(1).map(sleep, [0.0, 60.0, 0.01], timeout_s=lambda task: 1.0 if task else 30.0))
    assert isinstance(results.pop(60.0), TaskTimeoutError)
    assert results == {0.0: 0.0, 0.01: 0.01}


def test_a_result_that_cannot_travel_is_an_answer():
    """What doesn't pickle comes back as a TypeError: the caller never waits for it."""
    ((_, result),) = LocalPool(1).map(unpicklable, [1])
    assert isinstance(result, TypeError)


def test_tasks_are_drawn_as_they_are_needed(tmp_path):
    """Memory doesn't grow with the number of tasks: a closed generator has drawn hardly more than one a worker."""
    drawn = []

    def tasks():
        for task in range(100):
            drawn.append(task)
            yield task

    results = LocalPool(1).map(partial(double_or_die, folder=tmp_path), tasks())
    next(results)
    results.close()
    assert len(drawn) <= 3


@pytest.mark.parametrize("in_process", [True, False])
def test_no_task_no_result(in_process):
    """An empty store or folder starts no process that would be waited for."""
    assert list(LocalPool(2).map(sleep, [], in_process=in_process)) == []


def test_in_process_keeps_order_and_gives_exceptions_as_results(tmp_path):
    """One worker needs no processes; callers rely on the order of tasks there."""
    results = list(LocalPool(1).map(partial(double_or_die, folder=tmp_path), [1, 7, 2], in_process=True))
    assert [task for task, _ in results] == [1, 7, 2]
    assert [results[0][1], results[2][1]] == [2, 4]
    assert isinstance(results[1][1], DicomError)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system binds no process to cores")
def test_zero_workers_is_one_a_core_that_this_process_may_use():
    """A container or `taskset` may give fewer than the machine has."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from ich25d.studies.pool.pool import n_workers"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(n_workers(0), n_workers(3))"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 3\n"
    assert n_workers(0) == len(os.sched_getaffinity(0))


def test_a_script_without_a_guard_runs_once(tmp_path):
    """Workers don't import the caller's script: its top runs once, and its tasks come back."""
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib\n"
        "from ich25d.labels import row_ids\n"
        "from ich25d.studies.pool.local_pool import LocalPool\n"
        "with pathlib.Path(__file__).with_suffix('.log').open('a') as file:\n"
        "    file.write('x')\n"
        "print(sorted(len(rows) for _, rows in LocalPool(2).map(row_ids, [['a'], ['b', 'c']])))\n"
    )

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stdout) == (0, "[6, 12]\n"), done.stderr
    assert script.with_suffix(".log").read_text() == "x"
