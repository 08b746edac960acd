"""A training's report is drawn from the log alone: whole, half done, of an older version, or of a sequence model."""

import json
from pathlib import Path

import pytest

from ich25d.labels import LABELS
from ich25d.training.model_file import REPORT_FILE
from ich25d.training.progress_page import read_folds, reporter, write_report
from ich25d.training.runlog import RunLog


def _begin(log: RunLog) -> None:
    log.write(
        "begin", 0, epochs=2, total_steps=100, slices_per_step=8, encoder="resnet", device="cpu", precision="fp32"
    )


def _epoch(log: RunLog, epoch: int, **more: object) -> None:
    validation = {"log_loss": 0.2, "of_prior": 0.9, "auc": dict.fromkeys(LABELS, 0.8) | {"epidural": float("nan")}}
    log.write("epoch", 50 * epoch, epoch=epoch, loss=0.3, validation=validation, seconds=60.0, slices_per_s=4.0, **more)


def test_a_half_done_run(tmp_path: Path) -> None:
    """Fifty steps of eight slices are left at four a second: 100 s; the worst case is named, with no markup of its."""
    log = RunLog(tmp_path / "fold0" / "metrics.jsonl")
    _begin(log)
    log.write("step", 25, epoch=1, loss=0.5, lr=1e-3, slices_per_s=5.0)
    case = {"image_id": "ID_<b>x</b>", "series_id": "S", "loss": 2.5}
    case |= {
        "probability": dict.fromkeys(LABELS, 0.9),
        "truth": dict.fromkeys(LABELS, 0.0) | {"epidural": float("nan")},
    }
    _epoch(log, 1, worst=[case])
    (fold,) = read_folds(tmp_path)
    write_report(tmp_path)
    text = (tmp_path / REPORT_FILE).read_text()

    assert fold.seconds_left() == pytest.approx(50 * 8 / 4)
    assert (fold.is_finished, fold.last_step) == (False, 50)
    assert "2 min" in text
    assert "0 of 1 finished" in text
    assert "ID_&lt;b&gt;x&lt;/b&gt;" in text
    assert "<b>x" not in text


def test_a_finished_fold_has_no_time_left(tmp_path: Path) -> None:
    """And a log without its first line, as older versions wrote, says nothing of it."""
    log = RunLog(tmp_path / "fold0" / "metrics.jsonl")
    _begin(log)
    _epoch(log, 1)
    log.write("end", 100, kept_epoch=1)
    _epoch(RunLog(tmp_path / "fold1" / "metrics.jsonl"), 1)
    first, second = read_folds(tmp_path)
    write_report(tmp_path)

    assert first.seconds_left() == 0
    assert second.seconds_left() is None
    assert "1 of 2 finished" in (tmp_path / REPORT_FILE).read_text()


def test_a_sequence_models_log(tmp_path: Path) -> None:
    """Losses by seed and nothing else: no validation, no speed."""
    log = RunLog(tmp_path / "fold0" / "metrics.jsonl")
    for seed in (0, 1):
        for epoch in (1, 2):
            log.write("epoch", epoch, seed=seed, loss=0.5 / epoch)
    write_report(tmp_path)
    text = (tmp_path / REPORT_FILE).read_text()

    assert "fold0, model 2" in text
    assert "Worst cases" not in text


def test_a_cut_line_and_an_empty_folder(tmp_path: Path) -> None:
    """A run may be killed while it writes, and the page asked for before anything is there."""
    write_report(tmp_path)
    path = tmp_path / "fold0" / "metrics.jsonl"
    _begin(RunLog(path))
    path.write_text(path.read_text() + json.dumps({"event": "epoch", "step": 1})[:-5])
    write_report(tmp_path)

    assert (tmp_path / REPORT_FILE).is_file()


def test_the_reporter_writes_epochs_at_once_and_steps_now_and_then(tmp_path: Path) -> None:
    """Between epochs a report a minute is enough."""
    now = [0.0]
    log = RunLog(tmp_path / "fold0" / "metrics.jsonl", listeners=[reporter(tmp_path, every_s=60, clock=lambda: now[0])])
    report = tmp_path / REPORT_FILE

    def is_written() -> bool:
        there = report.exists()
        report.unlink(missing_ok=True)
        return there

    _begin(log)
    assert is_written()
    log.write("step", 1, loss=0.5)
    assert not is_written()
    now[0] = 61
    log.write("step", 2, loss=0.5)
    assert is_written()
    _epoch(log, 1)
    assert is_written()
