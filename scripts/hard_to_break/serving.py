"""A process that has imported the package and runs commands in forks of itself, with failing file functions or killed.

A fork starts in milliseconds, where `ich25d` itself takes seconds to import torch. It reads jobs as lines of JSON.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
import time
from typing import Any


def main() -> None:
    """Serve until the other end closes."""
    for name in sys.argv[1:]:  # what the commands would import
        importlib.import_module(f"ich25d.{name}")
    sys.addaudithook(_no_network)
    faults = ctypes.CDLL(None)
    faults.faults_count.restype = ctypes.c_long
    faults.faults_failed.restype = ctypes.c_char_p
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line), faults)), file=answers, flush=True)


def _no_network(event: str, _: tuple[Any, ...]) -> None:
    """Let every use of the network fail; no command needs any."""
    if event in {"socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        raise RuntimeError(f"no command may use the network (got {event})")


def _run(job: dict[str, Any], faults: ctypes.CDLL) -> dict[str, Any]:
    ours, theirs = os.pipe()
    started = time.monotonic()
    pid = os.fork()
    if not pid:
        os.close(ours)
        _command(job, faults, theirs)
    os.close(theirs)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        late = time.monotonic() - started
        if late > (job["kill_after_s"] or job["limit_s"]):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
    with os.fdopen(ours) as told:
        count, _, failed = told.read().partition(" ")
    seconds = time.monotonic() - started
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "count": int(count or -1), "failed": failed, "seconds": seconds}


def _command(job: dict[str, Any], faults: ctypes.CDLL, told: int) -> None:
    """Be the command; this process ends here."""
    code = 1
    try:
        output = os.open(job["output"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for handle, source in ((0, nothing), (1, output), (2, output)):
            os.dup2(source, handle)
        os.chdir(job["cwd"])
        sys.argv = ["ich25d", *job["arguments"]]
        if job["clock_s"]:
            _let_the_clock_jump(job["clock_s"])
        faults.faults_arm(job["folder"].encode(), ctypes.c_long(job["k"]), job["fault"])
        try:
            importlib.import_module("ich25d.cli.app").main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001  # as the interpreter would: a traceback and 1
            sys.excepthook(*sys.exc_info())
            code = 1
        os.write(told, f"{faults.faults_count()} {faults.faults_failed().decode()}".encode())
        faults.faults_arm(b"", ctypes.c_long(0), 0)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code)


def _let_the_clock_jump(by_s: float) -> None:
    """Let `time.time` jump there and back from call to call, as a clock that is set while a command runs."""
    real, calls = time.time, iter(range(1 << 62))
    time.time = lambda: real() + (by_s if next(calls) % 2 else -by_s)


if __name__ == "__main__":
    main()
