"""A report in the pass that predicts: a page a series, whole or not at all, and an index that hides no refusal."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from toy_walk import Walk, write_series

from ich25d.errors import UsageError
from ich25d.predict.network import Network
from ich25d.predict.run import predict
from ich25d.summary import as_json
from ich25d.view.report import writer as writer_module
from ich25d.view.report.run import report
from ich25d.view.report.writer import ReportWriter


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


WHOLE = {
    ".ich25d",
    "index.html",
    "worklist.csv",
    "qc.csv",
    *(f"studies/ID_{number:010d}.html" for number in (21, 22, 23)),
}


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_every_series_has_a_page(walk: Walk, tmp_path: Path, kind: str) -> None:
    """Both kinds of model; the numbers in the table are those of predict; nothing else is left lying there."""
    out = tmp_path / "report"
    summary = report((walk.test,), getattr(walk, kind), out, device="cpu", heat=False)
    predict((walk.test,), getattr(walk, kind), tmp_path / "s.csv", device="cpu")
    table, series = (
        pd.read_csv(path).set_index("series_id").sort_index()
        for path in (out / "worklist.csv", tmp_path / "studies.csv")
    )

    assert summary.exit_code == 0
    assert summary.n_pages == 3
    assert _files(out) == WHOLE
    assert table["any"].to_numpy() == pytest.approx(series["any"].to_numpy(), rel=1e-4)
    assert all(f'href="{page}"' in (out / "index.html").read_text() for page in table["page"])


def test_predict_reports_in_one_pass(walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CSV and the pages come from one run of the network a series."""
    calls = []
    once = Network.predict

    def counted(self: Network, *arguments: Any) -> Any:
        calls.append(1)
        return once(self, *arguments)

    monkeypatch.setattr(Network, "predict", counted)
    watcher = ReportWriter(tmp_path / "report", walk.rnn)
    predict((walk.test,), walk.rnn, tmp_path / "s.csv", device="cpu", watchers=(watcher,))

    assert len(calls) == 3
    assert _files(tmp_path / "report") == WHOLE
    assert watcher.n_pages == 3


def test_a_killed_run_goes_on_with_whole_pages(walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page that was being written isn't there; the others are, and aren't written again."""
    out, made = tmp_path / "report", []
    whole = writer_module.study_page

    def killed(series: Any, **options: Any) -> Any:
        made.append(series.listed.series_id)
        if len(made) == 2:
            raise KeyboardInterrupt
        return whole(series, **options)

    monkeypatch.setattr(writer_module, "study_page", killed)
    with pytest.raises(KeyboardInterrupt):
        report((walk.test,), walk.rnn, out, device="cpu", heat=False)
    left = {name for name in _files(out) if name.endswith(".html")}
    assert left == {f"studies/{made[0]}.html"}

    made = ["", "", ""]
    report((walk.test,), walk.rnn, out, device="cpu", heat=False)
    assert len(made) == 3 + 2
    assert _files(out) == WHOLE


def test_pages_lost_since_are_written_without_predicting_again(
    walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the prediction that outlived its page is enough for a new one."""
    out = tmp_path / "report"
    finish = ReportWriter.finish
    monkeypatch.setattr(ReportWriter, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        report((walk.test,), walk.rnn, out, device="cpu", heat=False)
    shutil.rmtree(out / "studies")
    monkeypatch.setattr(ReportWriter, "finish", finish)
    monkeypatch.setattr(Network, "predict", lambda *_: pytest.fail("predicted again"))
    report((walk.test,), walk.rnn, out, device="cpu", heat=False)

    assert _files(out) == WHOLE


def test_pages_of_an_earlier_report_are_named(walk: Walk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another source into the same folder: its index doesn't lead to the old pages, which stay."""
    write_series(tmp_path / "in", 31)
    for source in (walk.test, tmp_path / "in"):
        report((source,), walk.cnn, tmp_path / "report", device="cpu", heat=False)

    assert "also holds 3 pages of an earlier report" in capsys.readouterr().err
    assert len(list((tmp_path / "report" / "studies").iterdir())) == 4


def test_what_was_refused_is_in_the_index(walk: Walk, tmp_path: Path, visit: Any) -> None:
    """A series without a readable slice has a row and its reason; a file of a hostile name can't run."""
    source = tmp_path / "in"
    write_series(source, 21)
    ids = write_series(source, 22)
    for name in ids:
        path = source / f"{name}.dcm"
        path.write_bytes(path.read_bytes()[:-3000])
    (source / "=1+1<img src=x onerror=alert(1)>.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 64)
    out = tmp_path / "report"
    summary = report((source,), walk.rnn, out, device="cpu", heat=False)
    page = visit(out / "index.html")

    assert summary.exit_code == 1
    assert (summary.n_pages, summary.n_refused) == (1, 1)
    row = page.locator("#worklist tr.refused")
    assert "Not read" in row.inner_text()
    assert "ID_0000000022" in row.inner_text()
    assert row.locator("abbr").count() >= 1
    assert page.locator("#worklist tr:not(.refused) a").count() == 1
    assert page.locator("img[src=x]").count() == 0
    page.click("#worklist a")
    page.wait_for_selector("#stage[data-ready]")
    page.click("text=Back to the worklist")
    page.wait_for_selector("#worklist")
    assert "'=1+1" in (out / "qc.csv").read_text()


def test_nothing_to_report_writes_nothing(walk: Walk, tmp_path: Path) -> None:
    """No CT at all, or a file where the folder should be."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(UsageError, match=r"there must be a head CT series .*1 NOT_DICOM"):
        report((tmp_path / "empty",), walk.rnn, tmp_path / "report", device="cpu")
    with pytest.raises(UsageError, match="must be a folder"):
        report((walk.test,), walk.rnn, tmp_path / "empty" / "notes.txt", device="cpu")

    assert not (tmp_path / "report").exists()


def test_the_summary_says_what_was_refused(walk: Walk, tmp_path: Path) -> None:
    """For people and for machines."""
    summary = report((walk.test,), walk.rnn, tmp_path / "report", device="cpu", heat=False)

    assert json.loads(json.dumps(as_json(summary)))["n_pages"] == 3
    assert "3 studies" in summary.lines()[0]
