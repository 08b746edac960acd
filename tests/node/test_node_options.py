"""`ich25d node` from the front door: what is refused before work, what --dry-run says, and Ctrl-C."""

import json
from pathlib import Path

import pytest
from node_walk import free_port
from typer.testing import CliRunner, Result

from ich25d.cli.app import app
from ich25d.errors import UsageError
from ich25d.files import locked


def call(model: Path, *words: str) -> Result:
    """Call the command."""
    return CliRunner().invoke(app, ["node", "--model", str(model), "--device", "cpu", "--engine", "torch", *words])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], r"must know who may send \(got --host 0.0.0.0 and no --allow\)"),
        (["--aet", "A" * 17], "--aet must be an AE title"),
        (["--allow", "back\\slash"], "--allow must be an AE title"),
        (["--send-to", "PACS"], "--send-to must be AET@HOST:PORT"),
        (["--send-to", "PACS@host:70000"], "--send-to must be AET@HOST:PORT"),
        (["--dicomweb", "ftp://x"], "--dicomweb must be the root of a service"),
        (["--dicomweb", "https://me:secret@x"], "mustn't hold a password"),
        (["--dicomweb", "https://x", "--since", "20241301"], "--since must be a date"),
        (["--since", "20241201"], "--since is for --dicomweb"),
        (["--port", "8025"], "--port and --page-port must differ"),
        (["--dicom-heat"], "add to what is sent"),
        (["--accept", "NOTHING"], "--accept must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(model: Path, tmp_path: Path, words: list[str], message: str) -> None:
    """In one sentence, and nothing is written."""
    done = call(model, "--out", str(tmp_path / "out"), *words)

    assert isinstance(done.exception, UsageError)
    with pytest.raises(UsageError, match=message):
        raise done.exception
    assert not any(tmp_path.iterdir())


def test_folders_of_others_are_left_alone(model: Path, tmp_path: Path) -> None:
    """A model directory, and a folder that holds another's `studies`."""
    (tmp_path / "studies").mkdir()
    for folder in (model, tmp_path):
        assert isinstance(call(model, "--out", str(folder)).exception, UsageError)


def test_a_dry_run_says_what_would_be_done(model: Path, tmp_path: Path) -> None:
    """Listen, ask, send, model; nothing is written."""
    words = ["--out", str(tmp_path / "out"), "--host", "0.0.0.0", "--allow", "CT1", "--port", "104", "--dry-run",
             "--send-to", "PACS@192.0.2.7:4242", "--dicom-captures"]  # fmt: skip
    text = call(model, *words).stdout
    found = json.loads(call(model, *words, "--json").stdout)

    assert "listens as ICH25D on 0.0.0.0:104 for CT images of CT1" in text
    assert "sends structured reports, key objects, captures to PACS@192.0.2.7:4242" in text
    assert found["listens"] == "ICH25D on 0.0.0.0:104"
    assert found["n_waiting"] == 0
    web = call(
        model, "--out", str(tmp_path / "out"), "--dicomweb", "https://pacs.example/dicom-web", "--dry-run"
    ).stdout
    assert "asks https://pacs.example/dicom-web for new studies" in web
    assert "listens" not in web
    assert not any(tmp_path.iterdir())


def test_ctrl_c_ends_it_and_one_node_has_a_folder(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 130, all ports free again; a second node is refused while the first runs."""
    words = ["--out", str(tmp_path / "out"), "--port", str(free_port()), "--page-port", str(free_port())]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ich25d.node.run.time.sleep", interrupt)
    for _ in range(2):
        done = call(model, *words)
        assert done.exit_code == 130
        assert done.stderr.endswith("interrupted; run the same command again to go on\n")
    with locked(tmp_path / "out" / "node.lock", "tests"):
        assert "one process at a time runs a node in" in str(call(model, *words).exception)
