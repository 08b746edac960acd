"""Runs commands of `ich25d` whose file functions fail at a chosen call, or which are killed at one, or after a time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("faults.c")
LIMIT_S = 900.0
BUILD = ("cli.app", "studies.build")
ALL = (*BUILD, "predict.run", "encoder.train", "sequence.train", "view.report.run", "view.info")
"""Modules that are imported before commands are run."""
KILL = -signal.SIGKILL


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    """Exit code; negative is the signal that ended it."""
    count: int
    """Calls that changed files below the folder; -1 where it was killed."""
    failed: str
    """Which kind of call was made to fail; empty where none was."""
    output: str
    seconds: float


def has_compiler() -> bool:
    """Say whether there is a C compiler: the layer of failing file functions is C."""
    return shutil.which("cc") is not None


class Runner:
    """Holds the process that forks."""

    def __init__(self, process: "subprocess.Popen[str]", scratch: Path) -> None:
        self._process = process
        self._scratch = scratch

    def run(
        self, arguments: Sequence[str], *, folder: Path, k: int = 0, fault: int = 0, kill_after_s: float = 0.0,
        clock_s: float = 0.0,
    ) -> Ran:  # fmt: skip
        """Run a command.

        Args:
            arguments: Of `ich25d`.
            folder: Calls that change files below it are counted.
            k: Which of them fails; 0 is none.
            fault: How: an errno, or `KILL` for the end of the process.
            kill_after_s: Kill it after so many seconds; 0 doesn't.
            clock_s: Let the clock jump by so many seconds; 0 doesn't.
        """
        output = self._scratch / "output"
        job = {
            "arguments": [str(word) for word in arguments], "folder": str(folder), "k": k, "fault": fault,
            "kill_after_s": kill_after_s, "limit_s": LIMIT_S, "output": str(output), "cwd": str(self._scratch),
            "clock_s": clock_s,
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(job), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        return Ran(output=output.read_text(errors="replace"), **answer)


@contextmanager
def running(modules: Sequence[str]) -> Iterator[Runner]:
    """Start the process that forks; it ends with the block.

    Args:
        modules: `BUILD` where nothing else is run, else `ALL`.
    """
    with tempfile.TemporaryDirectory() as folder:
        layer = Path(folder) / "faults.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", layer, SOURCE, "-ldl"], check=True)
        environment = {**os.environ, "LD_PRELOAD": str(layer), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hard_to_break.serving", *modules],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "{}\n", "the process that runs commands must start"
            yield Runner(process, Path(folder))
        finally:
            process.kill()
            process.communicate()
