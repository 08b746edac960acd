"""Checkpoints: what is read from a disk that others can write to."""

import pickle
from pathlib import Path

import pytest
import torch

from ich25d.errors import TrainingError
from ich25d.training.learner import load_state, save_state


class _Foreign:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("executed",))


def test_gives_back_what_was_saved(tmp_path: Path) -> None:
    """Tensors, numbers, texts."""
    save_state(tmp_path / "last.pt", {"weight": torch.arange(3), "step": 7, "name": "x"})

    state = load_state(tmp_path / "last.pt")

    assert (state["weight"].tolist(), state["step"], state["name"]) == ([0, 1, 2], 7, "x")


def test_executes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that would run code when it is unpickled is refused."""
    torch.save({"format": 1, "state": _Foreign()}, tmp_path / "last.pt")

    with pytest.raises(TrainingError, match="plain values"):
        load_state(tmp_path / "last.pt")

    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04cut off", b"not a checkpoint", pickle.dumps({"format": 1})])
def test_refuses_damage(tmp_path: Path, content: bytes) -> None:
    """A cut or foreign file is named, with what to do."""
    (tmp_path / "last.pt").write_bytes(content)

    with pytest.raises(TrainingError, match="train this fold anew"):
        load_state(tmp_path / "last.pt")


def test_refuses_another_format(tmp_path: Path) -> None:
    """A checkpoint of another version isn't guessed at."""
    torch.save({"format": 99}, tmp_path / "last.pt")

    with pytest.raises(TrainingError, match="format 1"):
        load_state(tmp_path / "last.pt")
