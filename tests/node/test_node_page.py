"""The node's page: read-only, on loopback, and nothing outside the report's folder."""

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_walk import ask, free_port

from ich25d.errors import UsageError
from ich25d.node.page_server import read_page, serving


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """A served folder beside a secret; a link in it leads there."""
    root = tmp_path_factory.mktemp("page")
    report = root / "report"
    (report / "studies").mkdir(parents=True)
    (report / "index.html").write_text("<p>worklist")
    (report / "worklist.csv").write_text("rank\n")
    (report / "studies" / "1.2.html").write_text("<p>study")
    (root / "secret.html").write_text("secret")
    (report / "studies" / "link.html").symlink_to(root / "secret.html")
    (report / "studies" / ".hidden.html").write_text("secret")
    with serving(report, 0, lambda: {"state": "waiting"}) as port:
        yield port, report


def test_what_is_shown(page: tuple[int, Path]) -> None:
    """Index, tables, pages and health, by their kinds."""
    port, _ = page

    assert ask(port, "/") == ask(port, "/index.html") == (200, b"<p>worklist")
    assert ask(port, "/worklist.csv?x=1") == (200, b"rank\n")
    assert ask(port, "/studies/1.2.html") == (200, b"<p>study")
    assert ask(port, "/health") == (200, b'{"state": "waiting"}\n')
    assert ask(port, "/qc.csv")[0] == 404


@pytest.mark.parametrize(
    "path",
    ["/../secret.html", "/studies/../../secret.html", "/studies/%2e%2e/%2e%2e/secret.html", "/studies/link.html",
     "/studies/.hidden.html", "//etc/passwd", "/studies/..%2f..%2fsecret.html", "/studies/", "/studies",
     "/studies/1.2.html/", "/.ich25d", "/studies/\0.html", "/studies/..\\..\\secret.html"],
)  # fmt: skip
def test_no_path_leaves_the_folder(page: tuple[int, Path], path: str) -> None:
    """Neither by dots, escapes or links; a raw request, since clients tidy paths."""
    port, report = page
    assert read_page(report, path) is None
    if "\0" in path or "\\" in path:
        return
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", "localhost")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 404
    assert b"secret" not in answer.read()
    connection.close()


def test_only_this_machine_and_only_reading(page: tuple[int, Path]) -> None:
    """A name of a stranger's page, and methods that change something, are refused."""
    port, _ = page
    assert ask(port, "/", Host="evil.example")[0] == 403
    for method in ("POST", "PUT", "DELETE"):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request(method, "/")
        assert connection.getresponse().status == 501
        connection.close()


def test_a_taken_port_is_a_sentence(tmp_path: Path) -> None:
    """With the option that helps."""
    with serving(tmp_path, free_port(), dict) as port, pytest.raises(UsageError, match=r"must be free.*--page-port"):  # noqa: SIM117
        with serving(tmp_path, port, dict):
            pass
