"""From files to the CSV: every id answered in the sample's order, killed and gone on with, whatever the source is."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_plane_forms import FORMS, stored_in
from toy_walk import N_SLICES, Walk, toy_hu, write_sample, write_series

from ich25d.errors import ModelError, StoreError, UsageError
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.phantom.dicom import dicom_bytes
from ich25d.predict import answer as answer_module
from ich25d.predict.answer import predict_series
from ich25d.predict.run import predict
from ich25d.predict.submission import check_submission


def _table(csv: Path) -> pd.DataFrame:
    return pd.read_parquet(csv.with_name("predictions.parquet")).set_index("image_id")


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_every_id_of_the_sample_is_answered_in_its_order(walk: Walk, tmp_path: Path, kind: str) -> None:
    """Both kinds of model directory; nothing refused, exit code 0."""
    out = tmp_path / "s.csv"
    summary = predict((walk.test,), getattr(walk, kind), out, sample=walk.sample, device="cpu")

    assert summary.exit_code == 0
    assert (summary.n_series, summary.n_answered, summary.n_by_prior) == (3, 3 * N_SLICES, 0)
    assert check_submission(out, walk.sample).exit_code == 0
    assert [line.split(",")[0] for line in out.read_text().splitlines()] == [
        line.split(",")[0] for line in walk.sample.read_text().splitlines()
    ]
    table = _table(out)
    for ids in walk.ids.values():
        assert table.loc[ids, "slice_index"].tolist() == list(range(N_SLICES))
        assert (np.diff(table.loc[ids, "slice_position_mm"]) == 5).all()
    values = table[list(LABELS)].to_numpy()
    assert (values[:, ANY_INDEX, None] >= values).all()
    series = pd.read_csv(out.with_name("studies.csv"))
    assert series["n_slices"].tolist() == [N_SLICES] * 3
    assert (series[list(LABELS)].max(axis=1) == series["any"]).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions.parquet", "qc.csv", "s.csv", "studies.csv"]


def test_zip_store_and_folder_agree(walk: Walk, tmp_path: Path) -> None:
    """The same files from a folder, from an archive and from a study store give the same probabilities."""
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in walk.test.parent.joinpath("train").iterdir():
            file.write(path, f"rsna/{path.name}")
    tables = []
    for number, source in enumerate((walk.test.parent / "train", archive, walk.store)):
        predict((source,), walk.rnn, tmp_path / str(number) / "s.csv", device="cpu")
        tables.append(_table(tmp_path / str(number) / "s.csv").sort_index()[list(LABELS)])

    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])


def test_reading_in_processes_gives_the_same(walk: Walk, tmp_path: Path) -> None:
    """Two reading processes and a thread of this one write the same CSV."""
    csv = [tmp_path / name / "submission.csv" for name in ("processes", "thread")]
    predict((walk.test,), walk.rnn, csv[0], sample=walk.sample, device="cpu", workers=2)
    predict((walk.test,), walk.rnn, csv[1], sample=walk.sample, device="cpu")

    assert csv[0].read_bytes() == csv[1].read_bytes()


def test_unreadable_and_absent_images_get_the_prior(walk: Walk, tmp_path: Path) -> None:
    """A cut file and an id without a file are answered by the training data's shares, flagged, exit code 1."""
    folder = shutil.copytree(walk.test, tmp_path / "in")
    cut = walk.ids[21][1]
    whole = (folder / f"{cut}.dcm").read_bytes()
    (folder / f"{cut}.dcm").write_bytes(whole[: len(whole) - 3000])
    ids = [*walk.ids[21], "ID_absent", *walk.ids[22]]
    sample = write_sample(tmp_path / "sample.csv", ids)
    out = tmp_path / "out" / "s.csv"
    summary = predict((folder,), walk.rnn, out, sample=sample, device="cpu")

    assert summary.exit_code == 1
    assert (summary.n_by_prior, summary.n_not_wanted) == (2, 1)
    assert check_submission(out, sample).exit_code == 0
    table = _table(out)
    assert table.index[table["flags"].str.contains("SUB_PRIOR")].tolist() == [cut, "ID_absent"]
    assert "TRUNCATED" in table.loc[cut, "flags"] or "PIXEL_SHORT" in table.loc[cut, "flags"]
    assert table.loc[cut, "any"] == pytest.approx(table.loc["ID_absent", "any"])
    assert 0.02 < table.loc["ID_absent", "any"] < 0.5
    assert "not in the sources" in out.with_name("qc.csv").read_text()
    assert any("2 images of the sample" in line for line in summary.lines())


def test_a_killed_run_goes_on(walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was predicted before the kill isn't predicted again; the result is that of a run at one go."""
    seen = []

    def killed_after_two(series, network, **options):
        for number, found in enumerate(predict_series(series, network, **options)):
            if number == 2:
                raise KeyboardInterrupt
            seen.append(found[0].series_id)
            yield found

    out = tmp_path / "s.csv"
    out.write_text("old")
    monkeypatch.setattr(answer_module, "predict_series", killed_after_two)
    with pytest.raises(KeyboardInterrupt):
        predict((walk.test,), walk.rnn, out, sample=walk.sample, device="cpu")
    assert out.read_text() == "old"
    monkeypatch.undo()
    summary = predict((walk.test,), walk.rnn, out, sample=walk.sample, device="cpu")
    predict((walk.test,), walk.rnn, tmp_path / "whole" / "s.csv", sample=walk.sample, device="cpu")

    assert summary.n_resumed == len(seen) == 2
    assert out.read_bytes() == (tmp_path / "whole" / "s.csv").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_finished_series_of_another_model_are_not_used(walk: Walk, tmp_path: Path, monkeypatch) -> None:
    """After a kill, another model starts anew."""

    def killed(series, network, **options):
        yield next(iter(predict_series(series, network, **options)))
        raise KeyboardInterrupt

    monkeypatch.setattr(answer_module, "predict_series", killed)
    with pytest.raises(KeyboardInterrupt):
        predict((walk.test,), walk.rnn, tmp_path / "s.csv", device="cpu")
    monkeypatch.undo()

    assert predict((walk.test,), walk.cnn, tmp_path / "s.csv", device="cpu").n_resumed == 0


def test_images_in_two_sources_are_predicted_once(walk: Walk, tmp_path: Path) -> None:
    """A store and the files that it was made from: the store comes first."""
    train = walk.test.parent / "train"
    summary = predict((train, walk.store), walk.rnn, tmp_path / "s.csv", device="cpu")

    assert summary.n_series == 10
    assert check_submission(tmp_path / "s.csv").exit_code == 0


def test_what_does_not_fit_is_refused_and_nothing_written(walk: Walk, tmp_path: Path) -> None:
    """Wrong sources, samples, stores and models are named; the folder stays empty."""
    out = tmp_path / "out" / "s.csv"
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "note.txt").write_text("no image")
    other = write_sample(tmp_path / "other.csv", ["ID_x"])
    cases = [
        (((), walk.rnn), {}, UsageError, "something to read"),
        (((tmp_path / "none",), walk.rnn), {}, UsageError, "must exist"),
        (((tmp_path / "empty",), walk.rnn), {}, UsageError, "1 NOT_DICOM"),
        (((walk.test,), walk.rnn), {"sample": other}, UsageError, "images of the sample"),
        (((walk.store,), walk.rnn), {"only": ("*",)}, UsageError, "--only"),
        (((walk.test,), tmp_path), {}, ModelError, "model.json"),
        (((walk.test,), walk.rnn), {"device": "tpu0"}, UsageError, "--device"),
    ]
    for arguments, options, error, message in cases:
        with pytest.raises(error, match=message):
            predict(*arguments, out, **({"device": "cpu"} | options))
    with pytest.raises(UsageError, match="CSV file"):
        predict((walk.test,), walk.rnn, tmp_path, device="cpu")
    store = shutil.copytree(walk.store, tmp_path / "store")
    marker = (store / "store.json").read_text()
    (store / "store.json").write_text(marker.replace('"crop": "head"', '"crop": "none"'))
    with pytest.raises(StoreError, match="--crop head"):
        predict((store,), walk.rnn, out, device="cpu")
    assert not out.parent.exists()


def test_a_single_slice_is_predicted(walk: Walk, tmp_path: Path) -> None:
    """One slice has no neighbours and still gets its six probabilities."""
    ids = write_series(tmp_path / "in", 31, 1)
    summary = predict((tmp_path / "in",), walk.rnn, tmp_path / "s.csv", device="cpu")

    assert summary.n_answered == 1
    assert _table(tmp_path / "s.csv").index.tolist() == ids


def test_an_unfinished_store_is_named(walk: Walk, tmp_path: Path) -> None:
    """A build that was stopped leaves no DICOM to look through, but a store to finish."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "build.sqlite").touch()

    with pytest.raises(StoreError, match=r"must be a study store \(got an unfinished one\)"):
        predict([store], walk.rnn, tmp_path / "out" / "submission.csv", device="cpu")


def test_a_store_is_no_place_for_predictions(walk: Walk) -> None:
    """Its own qc.csv would be replaced: refused before anything is read or written."""
    before = (walk.store / "qc.csv").read_bytes()
    with pytest.raises(UsageError, match="--out mustn't lie in a study store"):
        predict((walk.store,), walk.cnn, walk.store / "submission.csv", device="cpu")
    assert (walk.store / "qc.csv").read_bytes() == before
    assert not (walk.store / "submission.csv").exists()


@pytest.mark.real
def test_the_real_sample_is_answered(walk: Walk, real_data: Path, tmp_path: Path) -> None:
    """Five real test series: id for id, from the folder and from the archive alike."""
    root = real_data / "rsna-intracranial-hemorrhage-detection"
    sample = root / "stage_2_sample_submission.csv"
    csv = [tmp_path / name / "submission.csv" for name in ("folder", "archive")]
    summary = predict((root / "stage_2_test",), walk.cnn, csv[0], sample=sample, device="cpu")
    archive = real_data / "rsna-intracranial-hemorrhage-detection.zip"
    predict((archive,), walk.cnn, csv[1], only=("*stage_2_test/*",), sample=sample, device="cpu")

    assert (summary.exit_code, summary.n_series, summary.n_answered) == (0, 5, 190)
    assert csv[0].read_bytes() == csv[1].read_bytes()


def test_a_scan_has_the_same_probabilities_however_the_patient_lay(walk: Walk, tmp_path: Path) -> None:
    """Stored in each of the eight in-plane forms, a scan is brought to the one that the model knows."""
    usual = np.array([1.0, 0, 0, 0, 1, 0])
    tables = []
    for number, form in enumerate(FORMS):
        folder = tmp_path / f"in{number}"
        folder.mkdir()
        for index, hu in enumerate(toy_hu(21)):
            hu[20:24, 16:20] = 90  # on the patient's right, in front
            turned, geometry = stored_in(form, hu, np.array([-120.0, -120.0, 5.0 * index]), usual, (3.75, 3.75))
            (folder / f"{index}.dcm").write_bytes(dicom_bytes(turned, image_id=f"ID_{index}", **geometry))
        predict((folder,), walk.rnn, tmp_path / str(number) / "s.csv", device="cpu")
        tables.append(_table(tmp_path / str(number) / "s.csv"))

    for table in tables[1:]:
        pd.testing.assert_frame_equal(table[list(LABELS)], tables[0][list(LABELS)], check_exact=True)
