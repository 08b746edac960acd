"""Ctrl-C in a command: exit code 130 and a line that says how to go on, which typer alone wouldn't print."""

import pytest
import typer
from typer.testing import CliRunner

from ich25d.cli import app as front
from ich25d.cli.options import command


def _called(name: str) -> tuple[int, str]:
    def long_work(out: str = "") -> None:
        """Do something long."""
        raise KeyboardInterrupt

    long_work.__name__ = name
    app = typer.Typer()
    app.command()(command()(long_work))
    done = CliRunner().invoke(app, ["--out", "x"])
    return done.exit_code, done.stderr


def test_an_interrupted_command_says_how_to_go_on() -> None:
    """By the same command; train-cnn needs --resume."""
    assert _called("demo") == (130, "interrupted; run the same command again to go on\n")
    assert _called("train_cnn") == (130, "interrupted; run the same command with --resume to go on\n")


def test_every_command_is_interruptible(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the front door: info, interrupted where it begins its work."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ich25d.view.info.describe", interrupt)
    done = CliRunner().invoke(front.app, ["info"])

    assert (done.exit_code, done.stderr) == (130, "interrupted; run the same command again to go on\n")
    assert all(hasattr(one.callback, "__wrapped__") for one in front.app.registered_commands)
