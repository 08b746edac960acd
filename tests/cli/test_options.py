"""What the command line refuses before a command begins."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ich25d.cli.app import app
from ich25d.errors import UsageError


@pytest.mark.parametrize("command", ["synth", "demo", "build-studies"])
def test_seeds_are_not_negative(tmp_path: Path, command: str) -> None:
    """A generator would refuse it with a traceback."""
    found = CliRunner().invoke(app, [command, "--out", str(tmp_path / "out"), "--seed", "-1"])

    assert found.exit_code == 2
    assert "--seed" in found.output
    assert not (tmp_path / "out").exists()


def test_report_and_csv_want_folders_of_their_own(tmp_path: Path) -> None:
    """Both write a qc.csv: a run that was killed between the two couldn't go on."""
    words = ["predict", "in", "--model", "run", "--out", str(tmp_path / "s.csv"), "--report", str(tmp_path)]
    found = CliRunner().invoke(app, words)

    assert isinstance(found.exception, UsageError)
    assert "--report must be another folder than the CSV's" in str(found.exception)
