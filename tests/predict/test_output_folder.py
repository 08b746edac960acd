"""A prediction's tables have fixed names: they replace nobody's files, and say what a store's own tables say."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from toy_walk import SIZE, Walk, write_sample, write_series

from ich25d.errors import SubmissionError, UsageError
from ich25d.evaluate.run import evaluate
from ich25d.explain.run import explain
from ich25d.predict import output
from ich25d.predict.found import each_once
from ich25d.predict.run import predict
from ich25d.predict.series import FoundSeries, StoredSeries
from ich25d.studies.build import build_studies
from ich25d.studies.qc import HEADER, QcRow, read_qc, write_qc
from ich25d.view.report.run import report


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_second_prediction_takes_another_folder(walk: Walk, tmp_path: Path) -> None:
    """Under another name it would leave the first CSV with tables that aren't its own; under the same name it's new."""
    predict((walk.test,), walk.rnn, tmp_path / "a.csv", device="cpu")
    before = _content(tmp_path)
    with pytest.raises(UsageError, match=r"studies\.csv, qc\.csv, those of a\.csv.*as .*b/b\.csv"):
        predict((walk.test,), walk.cnn, tmp_path / "b.csv", device="cpu")
    assert _content(tmp_path) == before

    predict((walk.test,), walk.cnn, tmp_path / "a.csv", device="cpu")
    assert set(_content(tmp_path)) == set(before)
    assert _content(tmp_path)["studies.csv"] != before["studies.csv"]


@pytest.mark.parametrize("name", ["predictions.parquet", "studies.csv", "qc.csv"])
def test_files_of_other_origin_stay(walk: Walk, tmp_path: Path, name: str) -> None:
    """A file that has a table's name by chance is somebody's work."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=f"{name}, of no prediction's"):
        predict((walk.test,), walk.rnn, tmp_path / "s.csv", device="cpu")
    assert _content(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("predictions", r"a CSV file .*name .*predictions/submission\.csv"),
        ("qc.csv", "name of a table beside it"),
        ("sample.csv", "mustn't be what is read"),
    ],
)
def test_a_path_that_cannot_be_meant_is_refused(walk: Walk, tmp_path: Path, name: str, message: str) -> None:
    """A folder's name, a table's, and the sample's own."""
    sample = write_sample(tmp_path / "sample.csv", walk.ids[21])
    before = _content(tmp_path)
    with pytest.raises(UsageError, match=message):
        predict((walk.test,), walk.rnn, tmp_path / name, sample=sample, device="cpu")
    assert _content(tmp_path) == before


def test_an_unsound_csv_replaces_no_table(walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files are those of one prediction, also where the new one fails at the end."""
    predict((walk.test,), walk.cnn, tmp_path / "s.csv", device="cpu")
    before = _content(tmp_path)
    fill = output.fill_submission
    monkeypatch.setattr(
        output, "fill_submission", lambda part, ids, probability, *rest: fill(part, [], probability[:0], *rest)
    )
    sample = write_sample(tmp_path.parent / f"{tmp_path.name}.csv", walk.ids[21])
    with pytest.raises(SubmissionError, match="nothing was replaced"):
        predict((walk.test,), walk.rnn, tmp_path / "s.csv", sample=sample, device="cpu")
    assert _content(tmp_path) == before


def test_a_store_says_what_its_files_say(walk: Walk, tmp_path: Path) -> None:
    """A cut file, a hole and a notice on labels: the same remarks, refusals and exit code from both."""
    source = tmp_path / "in"
    ids = write_series(source, 21, 9)
    write_series(source, 22, 2)
    cut = source / f"{ids[4]}.dcm"
    cut.write_bytes(cut.read_bytes()[:-3000])
    labels = tmp_path / "labels.csv"
    write_sample(labels, [ids[0], "ID_absent"], "0")
    build_studies((source,), tmp_path / "store", labels=labels, size=SIZE, folds=2)
    found = {
        name: predict((path,), walk.rnn, tmp_path / name / "s.csv", device="cpu")
        for name, path in (("of_files", source), ("of_store", tmp_path / "store"))
    }
    tables = [pd.read_csv(tmp_path / name / "studies.csv", keep_default_na=False) for name in found]
    rows = [read_qc(tmp_path / name / "qc.csv") for name in found]
    whole = report((tmp_path / "store",), walk.rnn, tmp_path / "report", device="cpu", heat=False)

    pd.testing.assert_frame_equal(tables[0], tables[1], rtol=1e-4)
    assert tables[0]["remarks"].tolist()[0].endswith("GAP_HOLE;GAP_MIXED;1 slice refused")
    assert rows[0] == rows[1]
    assert [summary.exit_code for summary in found.values()] == [1, 1]
    assert whole.exit_code == 1
    assert "GAP_HOLE" in (tmp_path / "report" / "worklist.csv").read_text()
    assert "L_NO_IMAGE" in (tmp_path / "store" / "qc.csv").read_text()


def test_pages_go_into_a_folder_of_their_own(walk: Walk, tmp_path: Path) -> None:
    """A report, an explanation and an evaluation replace no store, no prediction and not each other."""
    predict((walk.test,), walk.rnn, tmp_path / "p" / "s.csv", device="cpu")
    store = shutil.copytree(walk.store, tmp_path / "store")
    report((walk.test,), walk.rnn, tmp_path / "report", device="cpu", heat=False)
    commands = {
        "report": lambda out: report((walk.test,), walk.rnn, out, device="cpu", heat=False),
        "explain": lambda out: explain((walk.test,), walk.rnn, out, device="cpu"),
        "evaluate": lambda out: evaluate(tmp_path / "p" / "s.csv", walk.labels, out, figures=False),
    }
    taken = {store: "the study store", walk.rnn: "the model directory", tmp_path / "p": "qc.csv"}
    taken[tmp_path / "report"] = "index.html"
    for name, command in commands.items():
        for folder, reason in taken.items():
            before = _content(folder)
            if (name, folder.name) == ("report", "report"):
                command(folder)
                continue
            with pytest.raises(UsageError, match=reason):
                command(folder)
            assert _content(folder) == before


def test_refusals_are_read_as_they_were_written(tmp_path: Path) -> None:
    """What a spreadsheet could run stays defused; what isn't such a table is refused."""
    rows = [QcRow("a,b\n.dcm", "ID_1", "S", "file", "TRUNCATED", '"cut"'), QcRow("=1", "", "", "file", "EMPTY", "")]
    write_qc(tmp_path / "qc.csv", rows)
    read = read_qc(tmp_path / "qc.csv")
    write_qc(tmp_path / "again.csv", read)

    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "qc.csv").read_bytes()
    assert [row.source for row in read] == ["'=1", "a,b\\x0a.dcm"]
    for text, message in (
        ("", "columns"), ("a,b\n", "columns"), (",".join(HEADER) + "\n,,,,WHAT,\n", r"known ones \(got \['WHAT'\]\)"),
    ):  # fmt: skip
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(UsageError, match=message):
            read_qc(tmp_path / "bad.csv")
    with pytest.raises(UsageError, match="No such file"):
        read_qc(tmp_path / "none.csv")


def test_stores_that_call_different_series_alike_are_refused() -> None:
    """Pages, heat maps and tables go by the series' name; two stores may both have numbered theirs from 1."""
    series = [StoredSeries(Path(name), "1", "", "", (f"ID_{name}",), "") for name in "ab"]
    with pytest.raises(UsageError, match=r"a name of its own among all sources \(got '1' twice"):
        each_once(FoundSeries(list(series)))
    assert each_once(FoundSeries([series[0], series[0]])).series == [series[0]]
