"""What a disk refuses is one line with its cure; a mistake of ours stays a traceback."""

import errno
import os
from pathlib import Path

import pytest

from ich25d.cli import app
from ich25d.cli.failures import sentence_for


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line in this process; return its exit code."""
    monkeypatch.setattr("sys.argv", ["ich25d", *words])
    with pytest.raises(SystemExit) as caught:
        app.main()
    return int(caught.value.code or 0)


def test_a_file_in_the_way_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--out afile/x`: exit code 2, the path and what to do."""
    (tmp_path / "afile").write_text("here")

    assert run(monkeypatch, "synth", "--studies", "1", "--out", str(tmp_path / "afile" / "x")) == 2
    said = capsys.readouterr().err.strip()
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("folders must lead to a path (got 'Not a directory') in ")
    assert "choose another path" in said


@pytest.mark.parametrize(
    ("number", "rule"),
    [(errno.ENOSPC, "the disk must have room"), (errno.EACCES, "files must be readable"), (errno.EIO, "the disk must")],
)
def test_says_rule_place_and_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, rule: str
) -> None:
    """And that a training goes on with --resume."""

    def refuse(**_: object) -> None:
        raise OSError(number, os.strerror(number), "runs/cnn/fold0/last.pt")

    monkeypatch.setattr(app, "app", refuse)

    assert run(monkeypatch, "train-cnn") == 2
    said = capsys.readouterr().err
    assert said.startswith(rule)
    assert " in runs/cnn/fold0/last.pt; " in said
    assert said.endswith("run the same command again (with --resume, where it had begun)\n")
    assert said.count("\n") == 1
    assert run(monkeypatch, "predict") == 2
    assert capsys.readouterr().err.endswith("run the same command again\n")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a mistake of ours"),
        ConnectionResetError(errno.ECONNRESET, "reset by peer"),
        OSError("a library's own, without a number"),
        FileNotFoundError(errno.ENOENT, "gone", str(Path(app.__file__).parents[1] / "pages" / "templates" / "absent")),
    ],
    ids=["ours", "connection", "library", "our file"],
)
def test_mistakes_of_ours_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Only what a user or a disk can cure becomes a line."""

    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(app, "app", fail)
    with pytest.raises(type(error)):
        app.main()
    assert not isinstance(error, OSError) or sentence_for(error) is None
