"""TensorBoard gets the numbers of the log, and is asked for by name where it is missing."""

import sys
from pathlib import Path

import pytest

from ich25d.errors import UsageError
from ich25d.training.runlog import RunLog
from ich25d.training.tensorboard_log import board, check_board, scalars


def test_numbers_of_a_line() -> None:
    """Inner ones by their path; texts, lists, flags and what isn't finite are left out."""
    line = {
        "event": "epoch", "step": 3, "epoch": 1, "loss": 0.5, "worst": [{"loss": 1.0}], "device": "cpu", "flag": True,
        "validation": {"auc": {"any": 0.9, "epidural": float("nan")}},
    }  # fmt: skip

    assert scalars(line) == {"loss": 0.5, "validation/auc/any": 0.9}


def test_its_absence_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra to install."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'ich25d\[tensorboard\]'"):
        check_board()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_event_files_are_written(tmp_path: Path) -> None:
    """The log's numbers can be read back from them."""
    pytest.importorskip("tensorboard", reason="the extra [tensorboard] isn't installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path / "metrics.jsonl", listeners=[board(tmp_path / "board")])
    log.write("epoch", 1, loss=0.5, seed=0)
    log.write("epoch", 2, loss=0.25, seed=0)
    found = EventAccumulator(str(tmp_path / "board"))
    found.Reload()

    assert [(one.step, one.value) for one in found.Scalars("epoch/loss/seed 0")] == [(1, 0.5), (2, 0.25)]
