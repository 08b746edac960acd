"""The run's log, and TensorBoard's files beside it."""

import json
import sys
from pathlib import Path

import pytest

from ich25d.errors import UsageError
from ich25d.training.runlog import RunLog, check_tensorboard, read_log, scalars, tensorboard_listener


def test_drops_what_a_resumed_run_does_again(tmp_path: Path) -> None:
    """Lines that aren't kept go, and a line cut off by a kill as well."""
    path = tmp_path / "metrics.jsonl"
    log = RunLog(path)
    for step in (1, 2, 3):
        log.write("step", step, loss=0.5)
    path.write_text(path.read_text() + '{"event": "st')

    RunLog(path, keep=lambda line: line["step"] <= 2).write("step", 3, loss=0.25)

    assert [(line["step"], line["loss"]) for line in read_log(path)] == [(1, 0.5), (2, 0.5), (3, 0.25)]


def test_writes_json_that_others_read(tmp_path: Path) -> None:
    """A metric that doesn't exist is null: JSON has no NaN."""
    path = tmp_path / "metrics.jsonl"

    RunLog(path).write("epoch", 1, auc={"any": float("nan")}, values=[1.0, float("inf")])

    assert json.loads(path.read_text()) == {"event": "epoch", "step": 1, "auc": {"any": None}, "values": [1.0, None]}


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    """Only the first process has a file."""
    RunLog(None).write("epoch", 1)

    assert read_log(tmp_path / "none.jsonl") == []


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
        check_tensorboard()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_event_files_are_written(tmp_path: Path) -> None:
    """The log's numbers can be read back from them."""
    pytest.importorskip("tensorboard", reason="the extra [tensorboard] isn't installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path / "metrics.jsonl", listeners=[tensorboard_listener(tmp_path / "board")])
    log.write("epoch", 1, loss=0.5, seed=0)
    log.write("epoch", 2, loss=0.25, seed=0)
    found = EventAccumulator(str(tmp_path / "board"))
    found.Reload()

    assert [(one.step, one.value) for one in found.Scalars("epoch/loss/seed 0")] == [(1, 0.5), (2, 0.25)]
