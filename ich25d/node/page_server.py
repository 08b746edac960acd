"""The worklist on a page that can only be read, and only on this machine.

GET /                     index.html of the report
GET /studies/SERIES.html  a page of it; likewise /worklist.csv, /qc.csv
GET /health               how the node is doing, as JSON
"""

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ich25d.errors import Ich25dError, UsageError
from ich25d.files import inside
from ich25d.view.report.beforehand import INDEX_FILE, PAGES, QC_FILE, TABLE_FILE

LOOPBACK = "127.0.0.1"
_PAGE = re.compile(rf"/{PAGES}/[0-9A-Za-z@][0-9A-Za-z._@-]*\.html")
_FILES = {"/": INDEX_FILE, f"/{INDEX_FILE}": INDEX_FILE, f"/{TABLE_FILE}": TABLE_FILE, f"/{QC_FILE}": QC_FILE}
_KINDS = {".html": "text/html; charset=utf-8", ".csv": "text/csv; charset=utf-8"}
_SILENCE_S = 30


@contextmanager
def serving(report: Path, port: int, health: Callable[[], dict[str, object]]) -> Iterator[int]:
    """Serve a report until the block ends.

    Args:
        report: Its folder.
        port: On loopback; 0 is a free one.
        health: Tells how the node is doing.

    Yields:
        The port.

    Raises:
        UsageError: The port can't be had.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENCE_S
        server_version, sys_version = "ich25d", ""

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def log_message(self, format: str, *args: object) -> None:  # its name in the library
            """Keep paths, which hold ids, out of the log."""

        def _answer(self) -> None:
            path = self.path.partition("?")[0]
            host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            if host not in {LOOPBACK, "localhost"}:  # a page of a stranger that calls itself this machine's
                self._send(HTTPStatus.FORBIDDEN, "text/plain", b"only for this machine\n")
            elif path == "/health":
                text = json.dumps(health()) + "\n"
                self._send(HTTPStatus.OK, "application/json", text.encode())
            elif (content := read_page(report, path)) is None:
                self._send(HTTPStatus.NOT_FOUND, "text/plain", b"not here\n")
            else:
                self._send(HTTPStatus.OK, _KINDS[Path(_FILES.get(path, path)).suffix], content)

        def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("X-Frame-Options", "DENY")
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Keep silent where a browser has gone; other errors are told as usual."""
            if not isinstance(sys.exception(), ConnectionError):
                super().handle_error(request, client_address)  # type: ignore[arg-type]  # the base class names sockets

    try:
        server = Server((LOOPBACK, port), Handler)
    except OSError as error:
        raise UsageError(
            f"the page's port must be free (got {error.strerror} for {port}); name another --page-port"
        ) from (error)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True, name="page")
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def read_page(report: Path, path: str) -> bytes | None:
    """Return a file of a report by the path of its address; None where there is none.

    Args:
        report: The folder.
        path: Of the address, as it came, without what stands after a question mark.
    """
    name = _FILES.get(path) or (path[1:] if _PAGE.fullmatch(path) else None)
    if name is None:
        return None
    try:
        return inside(report, name).read_bytes()
    except (OSError, Ich25dError):  # it isn't there, or a link leads out of the folder
        return None
