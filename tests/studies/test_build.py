"""A build accounts for every file, hides patients, goes on after a kill, and does nothing twice."""

import base64
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from ich25d.dicom.interpret import own_name
from ich25d.errors import LabelError, StoreError, UsageError
from ich25d.labels import LABELS
from ich25d.studies.build import build_studies
from ich25d.studies.headers.notebook import READER_VERSION, Done
from ich25d.studies.sources.opened import Sources
from ich25d.studies.store_dir.store import StudyStore
from ich25d.studies.volumes.read_many import Outcome, build_all


def build(source: Path, out: Path, **options):
    """Build a small store."""
    return build_studies((source,), out, **({"size": 32, "workers": 1, "folds": 2} | options))


def write_labels(path: Path, image_ids, positive=()) -> Path:
    """Write a label table in the long form."""
    rows = [f"{image_id}_{label},{int(image_id in positive)}" for image_id in image_ids for label in LABELS]
    path.write_text("ID,Label\n" + "\n".join(rows) + "\n")
    return path


def content_of(root: Path) -> dict[str, bytes]:
    """Every file that a reader uses."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith("build.")
    }


@pytest.fixture
def scans(tmp_path, write_scan) -> Path:
    """Three scans of four slices, and two files that are none."""
    folder = tmp_path / "scans"
    for number in (1, 2, 3):
        write_scan(folder / f"patient{number}", number, n=4)
    (folder / "notes.txt").write_text("not an image")
    (folder / "empty.dcm").touch()
    return folder


def test_every_file_ends_in_one_place(scans, write_scan, tmp_path):
    """Seen is used, refused or no DICOM; qc.csv has every file that isn't used."""
    write_scan(scans / "mr", 8, n=2, extra={(0x0008, 0x0060): ("CS", "MR")})
    (path,) = write_scan(scans / "short", 9, n=1)
    path.write_bytes(path.read_bytes()[:-2000])
    summary = build(scans, tmp_path / "studies")
    n_files = sum(path.is_file() for path in scans.rglob("*"))
    assert summary.n_seen == n_files == 17
    assert (summary.n_used, summary.n_refused, summary.n_not_dicom) == (12, 3, 2)
    assert summary.exit_code == 1
    qc = pd.read_csv(tmp_path / "studies/qc.csv", keep_default_na=False)
    assert set(qc["source"]) == {str(path.relative_to(scans)) for path in scans.rglob("*") if path.is_file()} - set(
        StudyStore.open(tmp_path / "studies").slices["source"]
    )
    assert summary.lines()
    assert json.loads(json.dumps(summary.to_dict()))["seen"] == 17


def test_what_is_no_dicom_does_not_count_as_refused(scans, tmp_path):
    """A README beside the scans is no failure."""
    assert build(scans, tmp_path / "studies").exit_code == 0


def test_store_is_the_same_for_any_order_of_names_and_any_number_of_workers(scans, tmp_path):
    """Paths and processes leave no trace but `source`."""
    build(scans, tmp_path / "a")
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for index, path in enumerate(sorted(scans.rglob("*.dcm"), reverse=True)):
        shutil.copy(path, renamed / f"{index:03d}")
    build(renamed, tmp_path / "b", workers=2)
    first, second = StudyStore.open(tmp_path / "a"), StudyStore.open(tmp_path / "b")
    pd.testing.assert_frame_equal(first.slices.drop(columns="source"), second.slices.drop(columns="source"))
    pd.testing.assert_frame_equal(first.series, second.series)


def test_a_second_run_opens_no_file(scans, tmp_path, monkeypatch):
    """Sizes and times of change are enough."""
    build(scans, tmp_path / "studies")
    before = content_of(tmp_path / "studies")

    def refuse(*_):
        raise AssertionError("an unchanged file was opened")

    monkeypatch.setattr(Sources, "head", refuse)
    monkeypatch.setattr(Sources, "content", refuse)
    summary = build(scans, tmp_path / "studies")
    assert summary.n_series_read == 0
    assert summary.n_used == 12
    assert content_of(tmp_path / "studies") == before


def test_a_changed_file_has_its_series_read_again_and_no_other(scans, tmp_path, write_scan, monkeypatch):
    """Its time of change tells."""
    build(scans, tmp_path / "studies")
    before = StudyStore.open(tmp_path / "studies").hu("ID_0000000002")
    changed = write_scan(scans / "patient2", 2, hu=np.full((4, 64, 64), 30, np.int16) + np.arange(64, dtype=np.int16))
    opened = []
    head = Sources.head
    monkeypatch.setattr(Sources, "head", lambda self, entry, n: opened.append(entry.source) or head(self, entry, n))
    assert build(scans, tmp_path / "studies").n_series_read == 1
    assert sorted(set(opened)) == sorted(f"patient2/{path.name}" for path in changed)
    assert not np.array_equal(StudyStore.open(tmp_path / "studies").hu("ID_0000000002"), before)
    assert StudyStore.open(tmp_path / "studies").verify() == []


@pytest.mark.parametrize("read_by", [3, [READER_VERSION, "image_id"]], ids=["older number", "other fields"])
def test_what_another_version_read_is_read_again(scans, tmp_path, read_by):
    """Headers are kept without the names of their fields: other fields make other headers, or none."""
    build(scans, tmp_path / "studies")
    before = content_of(tmp_path / "studies")
    with closing(sqlite3.connect(tmp_path / "studies/build.sqlite")) as notebook:
        notebook.execute("UPDATE shared SET text = '[1, 2, ' || id || ']'")
        notebook.execute("UPDATE setting SET value = ? WHERE name = 'reader_version'", (json.dumps(read_by),))
        notebook.commit()
    assert build(scans, tmp_path / "studies").n_series_read == 3
    assert content_of(tmp_path / "studies") == before


def test_a_new_series_joins_and_a_missing_one_goes(scans, tmp_path, write_scan):
    """The store holds what the last call named."""
    build(scans, tmp_path / "studies")
    write_scan(scans / "patient4", 4, n=3)
    shutil.rmtree(scans / "patient1")
    assert build(scans, tmp_path / "studies").n_series_read == 1
    store = StudyStore.open(tmp_path / "studies")
    assert sorted(store.series["series_id"]) == ["ID_0000000002", "ID_0000000003", "ID_0000000004"]
    assert len(list((tmp_path / "studies/hu").rglob("*.b2nd"))) == 3
    build(scans, tmp_path / "fresh")
    assert content_of(tmp_path / "fresh") == content_of(tmp_path / "studies")


def test_a_damaged_volume_is_made_again(scans, tmp_path):
    """Its size tells."""
    build(scans, tmp_path / "studies")
    before = content_of(tmp_path / "studies")
    next((tmp_path / "studies/hu").rglob("*.b2nd")).write_bytes(b"short")
    assert build(scans, tmp_path / "studies").n_series_read == 1
    assert content_of(tmp_path / "studies") == before


def test_other_sources_by_mistake_do_not_empty_a_store(scans, tmp_path, write_scan):
    """A call that would drop most of a store is a slip."""
    build(scans, tmp_path / "studies")
    write_scan(tmp_path / "other", 7, n=2)
    with pytest.raises(UsageError, match=r"would drop 3 of its 3 series.*another --out"):
        build(tmp_path / "other", tmp_path / "studies")
    assert len(StudyStore.open(tmp_path / "studies").series) == 3


@pytest.mark.parametrize("change", [{"size": 48}, {"crop": "none"}])
def test_a_store_of_another_size_or_crop_is_refused(scans, tmp_path, change):
    """One store holds one kind of slices."""
    build(scans, tmp_path / "studies")
    with pytest.raises(StoreError, match=r"made with --size 32 --crop head.*another --out"):
        build(scans, tmp_path / "studies", **change)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"crop": "brain"}, "--crop must be one of head, none"),
        ({"labels": Path("nowhere.csv")}, "must exist .got nowhere.csv"),
        ({"only": ("*.tif",)}, "only"),
    ],
)
def test_wrong_use_writes_nothing(scans, tmp_path, options, match):
    """Not even the folder."""
    with pytest.raises(UsageError, match=match):
        build(scans, tmp_path / "studies", **options)
    assert not (tmp_path / "studies").exists()


def test_no_series_at_all_is_wrong_use(tmp_path):
    """Exit code 2 and no folder."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/notes.txt").write_text("nothing")
    with pytest.raises(UsageError, match="must be a head CT series"):
        build(tmp_path / "in", tmp_path / "studies")
    assert not (tmp_path / "studies").exists()


def test_two_builders_at_once_are_one_too_many(scans, tmp_path):
    """The second is refused while the first holds the lock."""
    (tmp_path / "studies").mkdir()
    with (tmp_path / "studies/build.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="one process at a time"):
            build(scans, tmp_path / "studies")


def test_labels_are_joined_and_gaps_are_listed(scans, tmp_path):
    """On both sides: images without labels, labels without an image."""
    ids = [path.stem for path in sorted(scans.rglob("ID_*.dcm"))]
    labels = write_labels(tmp_path / "labels.csv", [*ids[1:], "ID_elsewhere"], positive=ids[2:4])
    summary = build(scans, tmp_path / "studies", labels=labels)
    slices = StudyStore.open(tmp_path / "studies").slices.set_index("image_id")
    assert slices.loc[ids[0], list(LABELS)].isna().all()
    assert slices["any"].sum() == 2
    assert {str(slices[label].dtype) for label in LABELS} == {"Int8"}
    assert summary.n_labelled == 11
    assert summary.remarks["L_NO_IMAGE"] == summary.remarks["NO_LABEL"] == 1
    assert summary.exit_code == 0


def test_labels_of_other_images_stop_the_build(scans, tmp_path):
    """Before any pixel is read."""
    labels = write_labels(tmp_path / "labels.csv", [f"ID_x{index}" for index in range(12)])
    with pytest.raises(LabelError, match=r"got 0 of 12 images and 12 labels.*ID_0.*, .*ID_x0, ID_x1, ID_x10"):
        build(scans, tmp_path / "studies", labels=labels)
    assert not (tmp_path / "studies/store.json").exists()


def test_patients_never_split_and_identical_pixels_stay_together(tmp_path, write_scan):
    """Else the score of a held-out fold is that of its training data."""
    for number in range(1, 9):
        patient = f"ID_{(number + 1) // 2:08d}"
        write_scan(tmp_path / "in" / str(number), number, n=3, patient_id=patient)
    same = np.random.default_rng(5).integers(-100, 100, (3, 64, 64)).astype(np.int16)
    for number in (11, 12):
        write_scan(tmp_path / "in" / str(number), number, hu=same)
    summary = build(tmp_path / "in", tmp_path / "studies", folds=3)
    series = StudyStore.open(tmp_path / "studies").series.set_index("series_id")
    assert summary.n_patients == 6
    assert (series.groupby("patient_id")["fold"].nunique() == 1).all()
    assert series.at["ID_0000000011", "fold"] == series.at["ID_0000000012", "fold"]
    assert summary.remarks["DUP_CONTENT"] == 3


def test_names_dates_and_foreign_ids_never_get_in(tmp_path, write_scan):
    """Planted canaries are in no file of the store."""
    canary = "ZZPHI"
    planted = {
        (0x0010, 0x0010): ("PN", f"{canary}^NAME"), (0x0010, 0x0030): ("DA", "19550505"),
        (0x0008, 0x0020): ("DA", "20190405"), (0x0008, 0x0032): ("TM", "134711.375"),
        (0x0008, 0x0050): ("SH", f"{canary}ACC"), (0x0008, 0x0080): ("LO", f"{canary}HOSP"),
        (0x0008, 0x1030): ("LO", f"{canary}DESC"), (0x0018, 0x1210): ("SH", f"{canary}KERN"),
    }  # fmt: skip
    write_scan(tmp_path / "in", 1, n=3, patient_id=f"{canary}4711", extra=planted)
    build(tmp_path / "in", tmp_path / "studies")
    for path in (tmp_path / "studies").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for text in (canary, "4711", "19550505", "20190405", "134711", "49631.375"):
                assert text.encode() not in content, f"{text} in {path.name}"
    (patient,) = set(StudyStore.open(tmp_path / "studies").series["patient_id"])
    assert patient.startswith("P")
    build(tmp_path / "in", tmp_path / "other")
    (other,) = set(StudyStore.open(tmp_path / "other").series["patient_id"])
    assert other != patient, "a pseudonym means something in its own store alone"


def test_notebook_is_private(scans, tmp_path):
    """It holds the key of the pseudonyms."""
    build(scans, tmp_path / "studies")
    assert (tmp_path / "studies/build.sqlite").stat().st_mode & 0o077 == 0


def undecodable(path: Path) -> None:
    """Declare a transfer syntax that nothing here reads; headers don't tell."""
    content = path.read_bytes()
    known, unread = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"
    assert content.count(known) == 1
    path.write_bytes(content.replace(known, unread))


def test_what_is_refused_at_its_pixels_alone_makes_no_store(tmp_path, write_scan):
    """It ends as `predict` does: wrong use, and nothing is left; where there was a folder before, it stays."""
    for path in write_scan(tmp_path / "in", 1, n=3):
        undecodable(path)
    with pytest.raises(UsageError, match="3 files or images: 3 "):
        build(tmp_path / "in", tmp_path / "studies")
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize("lost", [(), ("patient3",)])
def test_where_nothing_new_can_be_used_the_store_stays_as_it_was(scans, tmp_path, lost):
    """Files that can't be decoded any more are told, by every further call too; mended, they make the store again."""
    out = tmp_path / "studies"
    build(scans, out)
    content = content_of(out)
    whole = {path: path.read_bytes() for path in scans.glob("*/*.dcm")}
    for path in whole:
        if path.parent.name in lost:
            path.unlink()
        else:
            undecodable(path)
    for _ in range(2):
        with pytest.raises(UsageError, match="NO_DECODER"):
            build(scans, out)
        assert content_of(out) == content
        StudyStore.open(out).verify()
    for path, data in whole.items():
        path.write_bytes(data)
    assert build(scans, out).n_series == 3
    assert {**content_of(out), "store.json": b""} == {**content, "store.json": b""}  # which knows the files' times


def test_unchanged_are_the_stores_series_that_were_not_read(tmp_path, write_scan, monkeypatch):
    """A series whose process died isn't in the store and is read at each call: it takes nothing off the others."""

    def lose_third(plans, out, **options):
        for outcome in build_all(plans, out, **options):
            lost = outcome.plan.series_id == "ID_0000000003"
            yield Outcome(outcome.plan, Done(None, {}, []), False) if lost else outcome

    monkeypatch.setattr("ich25d.studies.build.build_all", lose_third)
    for number in (1, 2, 3):
        write_scan(tmp_path / "in", number, n=3)
    counts = [
        (built.n_series, built.n_series_read, built.n_unchanged)
        for built in (build(tmp_path / "in", tmp_path / "studies") for _ in range(2))
    ]
    assert counts == [(2, 3, 0), (2, 1, 2)]


def test_a_lost_notebook_means_reading_again(scans, tmp_path):
    """The store itself doesn't need it."""
    build(scans, tmp_path / "studies")
    before = content_of(tmp_path / "studies")
    (tmp_path / "studies/build.sqlite").unlink()
    assert build(scans, tmp_path / "studies").n_series_read == 3
    assert content_of(tmp_path / "studies") == before


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_store(tmp_path, write_scan):
    """SIGKILL after some milliseconds, again and again."""
    for number in range(1, 13):
        write_scan(tmp_path / "in" / str(number), number, n=3)
    build(tmp_path / "in", tmp_path / "whole")
    expected = content_of(tmp_path / "whole")
    code = (
        "import sys; from pathlib import Path; from ich25d.studies.build import build_studies\n"
        "print('go', flush=True)\n"
        "build_studies((Path(sys.argv[1]),), Path(sys.argv[2]), size=32, workers=1, folds=2)\n"
    )
    rng = np.random.default_rng(0)
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "in"), str(tmp_path / "killed")], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0.02, 0.35))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        if (tmp_path / "killed/store.json").exists():
            assert StudyStore.open(tmp_path / "killed").verify() == []
    build(tmp_path / "in", tmp_path / "killed")
    assert content_of(tmp_path / "killed") == expected
    assert not list((tmp_path / "killed").rglob("*.part"))


@pytest.mark.real
def test_real_folder_and_archive_make_the_same_store(real_data, shared_data, tmp_path):
    """RSNA as unpacked and as Kaggle's zip."""
    folder = real_data / "rsna-intracranial-hemorrhage-detection"
    labels = shared_data / "rsna" / "stage_2_train.csv"
    options = {"only": ("*stage_2_train/*.dcm",), "labels": labels, "size": 64, "folds": 5}
    first = build(folder, tmp_path / "a", **options)
    second = build(folder.with_suffix(".zip"), tmp_path / "b", **options)
    assert first.n_used == second.n_used == first.n_seen == 416
    assert first.exit_code == 0
    a, b = StudyStore.open(tmp_path / "a"), StudyStore.open(tmp_path / "b")
    pd.testing.assert_frame_equal(a.slices.drop(columns="source"), b.slices.drop(columns="source"))
    pd.testing.assert_frame_equal(a.series, b.series)
    assert a.slices["any"].sum() == 48


@pytest.mark.real
def test_real_odd_files_are_all_accounted_for(real_data, tmp_path):
    """The files that pydicom tests itself with."""
    folder = real_data / "dicom"
    summary = build(folder, tmp_path / "studies", workers=2)
    assert summary.n_seen == sum(path.is_file() for path in folder.rglob("*"))
    assert summary.n_seen == summary.n_used + summary.n_refused + summary.n_not_dicom
    assert summary.exit_code == 1


def test_accepted_series_are_used_with_a_remark_and_asked_for_again(tmp_path, write_scan):
    """A refused angiography joins the store with --accept, and leaves it without; the marker says which was given."""
    source = tmp_path / "in"
    write_scan(source, 1)
    for path in write_scan(source, 2):
        dataset = pydicom.dcmread(path)
        dataset.SeriesDescription = "CTA HEAD"
        dataset.save_as(path)
    out = tmp_path / "studies"
    assert build(source, out).n_series == 1
    for accept, n_series in ((("CONTRAST", "PERFUSION"), 2), ((), 1)):
        assert build(source, out, accept=accept).n_series == n_series
        assert StudyStore.open(out).marker.get("accept", []) == list(accept)
        remarks = [row.detail for row in StudyStore.open(out).qc() if row.code == "ACCEPTED"]
        assert remarks == ["would be refused as CONTRAST: the description speaks of angiography"] * bool(accept)
    with pytest.raises(UsageError, match="CONTRAST, LOCALIZER, NOT_AXIAL, PERFUSION"):
        build(source, tmp_path / "other", accept=("BAD_UID",))
    assert not (tmp_path / "other").exists()


def test_ids_that_were_hashed_go_by_their_own_names(tmp_path, write_scan):
    """Ids of base64 in all three UIDs: one series of good names, and labels by the original ids."""
    source, labels = tmp_path / "in", {}
    for path in write_scan(source, 1):
        dataset = pydicom.dcmread(path)
        for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            dataset[name].value = f"{base64.b64encode(str(dataset[name].value).encode()).decode()}+/=="
        labels[str(dataset.SOPInstanceUID)] = path
        dataset.save_as(path)
    table = write_labels(tmp_path / "labels.csv", list(labels), positive=list(labels)[:1])
    out = tmp_path / "studies"
    summary = build(source, out, labels=table)
    store = StudyStore.open(out)
    assert (summary.n_series, summary.n_labelled, summary.n_refused) == (1, len(labels), 0)
    assert set(store.slices["image_id"]) == {own_name(image_id) for image_id in labels}
    assert all(any(image_id in row.detail for row in store.qc()) for image_id in labels)
