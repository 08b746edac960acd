"""The run's log."""

import json
from pathlib import Path

from ich25d.training.runlog import RunLog, read_log


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
