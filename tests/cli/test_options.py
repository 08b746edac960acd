"""What the command line refuses before a command begins."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ich25d.cli.app import app


@pytest.mark.parametrize("command", ["synth", "demo", "build-studies"])
def test_seeds_are_not_negative(tmp_path: Path, command: str) -> None:
    """A generator would refuse it with a traceback."""
    found = CliRunner().invoke(app, [command, "--out", str(tmp_path / "out"), "--seed", "-1"])

    assert found.exit_code == 2
    assert "--seed" in found.output
    assert not (tmp_path / "out").exists()
