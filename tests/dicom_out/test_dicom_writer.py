"""`predict --dicom` and `Prediction.to_dicom`: files, resumption, and what is refused before any work."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import pytest
from dicom_study import IMAGES, SERIES, write_study
from pydicom.dataset import Dataset
from toy_model import SIZE, head_hu, positions
from typer.testing import CliRunner

from ich25d import load_model
from ich25d.cli.app import app
from ich25d.dicom_out import writer as writer_module
from ich25d.dicom_out.writer import DicomWriter
from ich25d.errors import UsageError
from ich25d.predict.network import Network
from ich25d.predict.run import predict
from ich25d.studies.build import build_studies
from ich25d.training.operating_point import OperatingPoint


def run(sources: list[Path], toy: Network, out: Path) -> DicomWriter:
    """Predict with a writer, as the command does."""
    writer = DicomWriter(out / "dicom", toy.folder, sources)
    predict(tuple(sources), toy.folder, out / "s.csv", device="cpu", watchers=(writer,))
    return writer


def uids(folder: Path) -> dict[str, str]:
    """Return the SOP instance of every file."""
    return {path.relative_to(folder).as_posix(): pydicom.dcmread(path).SOPInstanceUID for path in folder.rglob("*.dcm")}


def test_the_command_writes_objects_and_their_table(study: Path, toy: Network, tmp_path: Path) -> None:
    """Beside the CSV; standard output holds the result alone."""
    options = ["--model", toy.folder, "--device", "cpu", "--out", tmp_path / "s.csv", "--dicom", tmp_path / "dicom"]
    done = CliRunner().invoke(app, ["predict", str(study), *map(str, options)])
    table = pd.read_csv(tmp_path / "dicom" / "objects.csv", dtype=str)
    files = uids(tmp_path / "dicom")

    assert done.exit_code == 0, done.stderr
    assert f"{SERIES}/report.dcm" in files
    assert dict(zip(table["file"], table["sop_instance_uid"], strict=True)) == files
    assert set(table["series_id"]) == {SERIES}
    assert "DICOM object" in done.stderr
    assert "DICOM object" not in done.stdout
    assert len(pd.read_csv(tmp_path / "s.csv")) == 6 * len(IMAGES)


def test_a_report_says_how_sure_the_answer_is(study: Path, toy: Network, tmp_path: Path) -> None:
    """In the words of a page; a model that has no states says nothing of them."""

    def texts(model: Path, out: Path) -> list[str]:
        predict((study,), model, out / "s.csv", device="cpu", watchers=(DicomWriter(out / "dicom", model, (study,)),))
        report = pydicom.dcmread(out / "dicom" / SERIES / "report.dcm")
        return [item.TextValue for item in report.ContentSequence if "TextValue" in item]

    model = tmp_path / "model"
    shutil.copytree(toy.folder, model)
    content = json.loads((model / "model.json").read_text())
    content["confidence"] = {"usual": {}, "limit": 1.0, "clear": 99.0, "common": [], "reached": None}
    (model / "model.json").write_text(json.dumps(content))

    said = [text for text in texts(model, tmp_path / "a") if text.startswith("Confidence")]
    assert said == [
        "Confidence: unsure: look. Somebody should look: "
        "the answer is close to a threshold, or networks and views differ."
    ]
    assert not any(text.startswith("Confidence") for text in texts(toy.folder, tmp_path / "b"))


def test_a_second_run_replaces_the_first(study: Path, toy: Network, tmp_path: Path) -> None:
    """The same instances; an object that isn't made any more goes, a stranger's file stays."""
    first = run([study], toy, tmp_path)
    known = uids(tmp_path / "dicom")
    folder = tmp_path / "dicom" / SERIES
    (folder / "key-objects.dcm").write_bytes(b"of an earlier run")
    (folder / "own.dcm").write_bytes(b"a stranger's")
    second = run([study], toy, tmp_path)
    (folder / "own.dcm").unlink()

    assert first.files == second.files
    assert uids(tmp_path / "dicom") == known


def test_a_killed_run_goes_on(study: Path, toy: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written isn't made again; the table names all."""
    other = write_study(tmp_path / "other", study_id="2.25.201", series_id="2.25.202",
                        image_ids=[f"2.25.203.{n}" for n in range(len(IMAGES))])  # fmt: skip
    made: list[str] = []
    whole = writer_module.dicom_objects

    def killed(network: Network, series: Any, *arguments: Any, **options: Any) -> Any:
        made.append(series.series_id)
        if len(made) == 2:
            raise KeyboardInterrupt
        return whole(network, series, *arguments, **options)

    monkeypatch.setattr(writer_module, "dicom_objects", killed)
    with pytest.raises(KeyboardInterrupt):
        run([study, other], toy, tmp_path)
    assert not (tmp_path / "dicom" / "objects.csv").exists()
    run([study, other], toy, tmp_path)

    assert made == [made[0], made[1], made[1]]
    assert set(pd.read_csv(tmp_path / "dicom" / "objects.csv", dtype=str)["series_id"]) == {SERIES, "2.25.202"}
    assert not (tmp_path / "dicom" / ".rows").exists()


def test_a_file_that_went_costs_its_series_the_objects(
    tmp_path: Path, toy: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prediction stays, qc.csv says why, and the exit code is 1."""
    folder = write_study(tmp_path / "study")
    whole = writer_module.dicom_objects

    def late(*arguments: Any, **options: Any) -> Any:
        (folder / "05.dcm").unlink()
        return whole(*arguments, **options)

    monkeypatch.setattr(writer_module, "dicom_objects", late)
    writer = DicomWriter(tmp_path / "dicom", toy.folder, [folder])
    summary = predict((folder,), toy.folder, tmp_path / "s.csv", device="cpu", watchers=(writer,))

    assert summary.exit_code == 1
    assert summary.refusals == {"NO_OBJECTS": 1}
    assert writer.files == []
    assert "NO_OBJECTS" in (tmp_path / "qc.csv").read_text()


def test_python_writes_the_same(study: Path, toy: Network, tmp_path: Path) -> None:
    """`Prediction.to_dicom` makes the instances of the command."""
    run([study], toy, tmp_path)
    files = load_model(toy.folder, device="cpu").predict(study).to_dicom(tmp_path / "python")

    assert sorted(files) == sorted((tmp_path / "python").rglob("*.dcm"))
    assert uids(tmp_path / "python") == uids(tmp_path / "dicom")


def test_what_is_no_dicom_is_refused_before_work(study: Path, toy: Network, tmp_path: Path) -> None:
    """A study store and an array; nothing is written, nothing is predicted."""
    build_studies((study,), tmp_path / "store", size=SIZE, crop="none", folds=2, workers=1)
    prediction = load_model(toy.folder, device="cpu").predict(
        head_hu(), slice_position_mm=positions(), pixel_spacing_mm=(2.0, 2.0)
    )

    with pytest.raises(UsageError, match="must come from such"):
        run([tmp_path / "store"], toy, tmp_path / "out")
    with pytest.raises(UsageError, match="1 of 1 from a table of pictures, NIfTI, a study store or an array"):
        prediction.to_dicom(tmp_path / "dicom")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "dicom").exists()


@pytest.mark.parametrize("where", [".", "within", ".."])
def test_objects_lie_apart_from_the_scans(study: Path, toy: Network, where: str) -> None:
    """The next run would read them, and a series' folder might be a source's."""
    with pytest.raises(UsageError, match="must lie apart from what is read"):
        DicomWriter(study / where, toy.folder, [study])


def test_folders_of_others_are_left_alone(toy: Network, tmp_path: Path) -> None:
    """A table of that name that this command hasn't written, and a model directory."""
    (tmp_path / "objects.csv").write_text("mine")

    with pytest.raises(UsageError, match="--dicom must hold nothing"):
        DicomWriter(tmp_path, toy.folder)
    with pytest.raises(UsageError, match="--dicom must be a folder of its own"):
        DicomWriter(toy.folder, toy.folder)


def test_without_the_extra_one_sentence_says_so(toy: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read."""
    there = importlib.util.find_spec
    monkeypatch.setattr("ich25d.dicom_out.extra.find_spec", lambda name: None if name == "highdicom" else there(name))

    with pytest.raises(UsageError, match=r"pip install 'ich25d\[dicom\]'"):
        DicomWriter(tmp_path / "dicom", toy.folder)
    assert not (tmp_path / "dicom").exists()


def test_pictures_are_refused_without_a_folder(study: Path, toy: Network, tmp_path: Path) -> None:
    """They add to `--dicom`."""
    command = ["predict", str(study), "--model", str(toy.folder), "--out", str(tmp_path / "s.csv"), "--dicom-heat"]
    done = CliRunner().invoke(app, command)

    assert isinstance(done.exception, UsageError)
    assert "add to --dicom" in str(done.exception)
    assert not any(tmp_path.iterdir())


@pytest.mark.real
def test_real_scans_make_sound_objects(
    real_data: Path, toy: Network, tmp_path: Path, dciodvfy: Callable[[Dataset], list[str]]
) -> None:
    """A scan of a clinic, whose patient was removed: all four kinds, without an error."""
    writer = DicomWriter(tmp_path / "dicom", toy.folder, captures=True, heat=True)
    writer.point = OperatingPoint("f1", {"any": 0.0}, {"any": 0.0})  # whatever the toy's probability is
    source = real_data / "dicom" / "ge_head"
    predict((source,), toy.folder, tmp_path / "s.csv", device="cpu", watchers=(writer,))
    made = [pydicom.dcmread(path) for path in writer.files]

    assert {one.Modality for one in made} == {"SR", "KO", "OT"}
    assert [dciodvfy(one) for one in (*made[:3], made[-1])] == [[]] * 4
    assert {one.StudyInstanceUID for one in made} == {pydicom.dcmread(source / "01.dcm").StudyInstanceUID}
