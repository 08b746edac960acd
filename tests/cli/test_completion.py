"""Completion of the shell: what it offers, and that it stays as light as --help."""

import os
import subprocess
import sys

CODE = """
import sys
from ich25d.cli.app import app
try:
    app(prog_name="ich25d")
finally:
    heavy = {"torch", "numpy", "pandas", "pydicom"} & set(sys.modules)
    assert not heavy, heavy
"""


def _completed(line: str) -> list[str]:
    words = {"_ICH25D_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**os.environ, **words}, capture_output=True, text=True, check=False
    )
    assert "Error" not in done.stderr, done.stderr
    return done.stdout.split()


def test_completes_commands_options_and_recipes() -> None:
    """Without a heavy library: a key of the keyboard can't wait for it."""
    assert _completed("ich25d tra") == ["train-cnn", "train-rnn", "train-joint"]
    assert "--dry-run" in _completed("ich25d predict --d")
    assert _completed("ich25d recipe classic/r") == ["classic/resnet50"]
