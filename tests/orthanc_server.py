"""A real PACS for tests: Debian's Orthanc, on loopback and a free port, with storage and configuration of its own."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = Path("/usr/sbin/Orthanc")
SLOWEST_S = 120  # a busy machine isn't a broken server


class Orthanc:
    """Orthanc's REST interface."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str) -> bytes:
        """GET a path."""
        with self._opener.open(self.root + path, timeout=SLOWEST_S) as answer:
            content: bytes = answer.read()
        return content

    def read(self, path: str) -> Any:
        """GET a path's JSON."""
        return json.loads(self.get(path))

    def post(self, path: str, body: bytes) -> Any:
        """POST bytes, and return the JSON that answers."""
        with self._opener.open(self.root + path, data=body, timeout=SLOWEST_S) as answer:
            return json.loads(answer.read())

    def store(self, content: bytes) -> dict[str, str]:
        """Store a DICOM file; return what Orthanc calls it, and its status: `Success` or `AlreadyStored`."""
        answer: dict[str, str] = self.post("/instances", content)
        return answer


@contextmanager
def running_orthanc(folder: Path, **settings: Any) -> Iterator[Orthanc]:
    """Run Orthanc until the block ends.

    Args:
        folder: For its storage, configuration and log.
        settings: Of its configuration, besides what keeps it to itself.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = {
        "Name": "tests", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
        "HttpPort": port, "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomServerEnabled": False,
        "Plugins": [], "SaveJobs": False, **settings,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    log = folder / "orthanc.log"
    with log.open("wb") as output:
        process = subprocess.Popen([PROGRAM, folder / "orthanc.json"], stdout=output, stderr=output, cwd=folder)
    try:
        server = Orthanc(port)
        end = time.monotonic() + SLOWEST_S
        while True:
            assert process.poll() is None, log.read_text(errors="replace")
            try:
                server.read("/system")
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.monotonic() < end, log.read_text(errors="replace")
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(SLOWEST_S)
