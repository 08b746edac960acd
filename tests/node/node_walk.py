"""Studies for a node, and a node that runs: in a thread of the test, or in a process that can be killed."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthanc_server import Orthanc
from toy_model import GAP_MM, head_hu

from ich25d.node.run import NodeSummary, node
from ich25d.node.settings import NodeSettings
from ich25d.phantom.dicom import CT_IMAGE_STORAGE, Element, Tag, dicom_bytes

NODE = "NODE"
SLOWEST_S = 120  # a busy machine isn't a broken node
N_IMAGES = 4


@dataclass(frozen=True, slots=True)
class Pacs:
    """A running Orthanc that knows a node."""

    server: Orthanc
    port: int
    """Where it listens for DICOM."""
    node_port: int
    """Where it expects the node."""
    root: str
    """Of its DICOMweb service."""


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def images(number: int, *, n: int = N_IMAGES, first: int = 0) -> list[bytes]:
    """Return the files of a study: its UIDs follow from its number, and its date from 10 on is later."""
    extra: dict[Tag, Element | None] = {
        (0x0008, 0x0016): ("UI", CT_IMAGE_STORAGE), (0x0008, 0x0020): ("DA", "20240229" if number < 10 else "20250301"),
        (0x0010, 0x0010): ("PN", "CANARY^NAME"), (0x0010, 0x0020): ("LO", f"P-{number}"),
    }  # fmt: skip
    return [
        dicom_bytes(
            hu, image_id=f"2.25.{number}.3.{first + index + 1}", series_id=f"2.25.{number}.2",
            study_id=study_uid(number), origin_mm=(-96.0, -96.0, GAP_MM * (first + index)),
            pixel_spacing_mm=(2.0, 2.0), extra=extra,
        )
        for index, hu in enumerate(head_hu()[first : first + n])
    ]  # fmt: skip


def study_uid(number: int) -> str:
    """Return a study's UID."""
    return f"2.25.{number}.1"


def wait_for(what: Callable[[], Any], why: str) -> Any:
    """Return the first true answer."""
    end = time.monotonic() + SLOWEST_S
    while not (found := what()):
        assert time.monotonic() < end, why
        time.sleep(0.1)
    return found


def ask(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    """GET a path of a node's page; return status and content."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with opener.open(request, timeout=SLOWEST_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def health(port: int) -> dict[str, Any]:
    """Return what a node says of itself; empty while it doesn't answer."""
    try:
        found: dict[str, Any] = json.loads(ask(port, "/health")[1])
    except OSError:
        return {}
    return found


@contextmanager
def running_node(settings: NodeSettings, model: Path) -> Iterator[list[NodeSummary]]:
    """Run a node in a thread; when the block has ended, the list holds what it did."""
    stop, done = threading.Event(), []
    thread = threading.Thread(target=lambda: done.append(node(settings, model, until=stop.is_set)))
    thread.start()
    try:
        wait_for(lambda: health(settings.page_port).get("state") == "waiting" or not thread.is_alive(), "it starts")
        assert thread.is_alive()
        yield done
    finally:
        stop.set()
        thread.join()


@contextmanager
def node_process(out: Path, model: Path, log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `ich25d node` as users do, until the block ends."""
    command = [sys.executable, "-m", "ich25d", "node", "--out", str(out), "--model", str(model), "--device", "cpu"]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, "--engine", "torch", "--aet", NODE, *options], stdout=output, stderr=output,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
