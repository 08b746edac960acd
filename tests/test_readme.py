"""What the README shows, works: its Python runs, its commands and options exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = sorted(
    {
        line.split("#")[0].strip()
        for kind, block in BLOCKS
        if kind == "bash"
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("ich25d ")
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_and_options_exist(command: str) -> None:
    """Every option that the README shows is one that the command's help names."""
    words = shlex.split(command)
    shown = subprocess.run(
        [sys.executable, "-m", "ich25d", words[1], "--help"], capture_output=True, text=True, check=False
    )

    assert shown.returncode == 0, shown.stderr
    for word in words:
        if word.startswith("--"):
            assert word in shown.stdout


def test_there_are_commands() -> None:
    """The walk is there, whole."""
    verbs = {command.split()[1] for command in COMMANDS}

    assert {"build-studies", "train-cnn", "train-rnn", "predict", "evaluate", "info"} <= verbs


@pytest.mark.slow
def test_a_feature_store_by_hand_trains_a_sequence_model(tmp_path: Path) -> None:
    """The lines of NumPy write a feature store that `train-rnn --features` takes."""
    block = next(block for kind, block in BLOCKS if kind == "python" and "save_file" in block)
    subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "ich25d", "train-rnn", "--features", "features", "--out", "runs/own", "--device", "cpu",
         "--set", "sequence.epochs=1"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "own" / "model.json").is_file()


def test_rooms_of_the_map_are_there() -> None:
    """The map names every room, and no other."""
    block = next(block for _, block in BLOCKS if block.startswith("ich25d/\n"))
    named = set(re.findall(r"^  (\w+)/ ", block, re.MULTILINE))

    assert named == {path.parent.name for path in (ROOT / "ich25d").glob("*/__init__.py")}
