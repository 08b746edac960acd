"""A scan in one file of many frames makes the store that its single images make."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from enhanced_ct import join, to_bytes

from ich25d.studies.build import BuildSummary, build_studies
from ich25d.studies.sources import opened as source_module
from ich25d.studies.sources.listing import list_entries
from ich25d.studies.sources.opened import Sources
from ich25d.studies.store_dir.store import StudyStore
from ich25d.view.eda.header_table import kept_headers, read_headers

RLE = "1.2.840.10008.1.2.5"


def build(source: Path, out: Path, **options) -> BuildSummary:
    """Build a small store."""
    return build_studies((source,), out, **({"size": 32, "workers": 1, "folds": 2} | options))


def write_joined(paths: list[Path], out: Path, order: list[int], syntax: str = "") -> Path:
    """Write the images of a scan as frames of one file."""
    images = [pydicom.dcmread(paths[index]) for index in order]
    whole = join(images, ("PixelMeasuresSequence", "PlaneOrientationSequence"), syntax)
    whole.SOPInstanceUID = "ID_whole"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(to_bytes(whole))
    return out


@pytest.fixture
def singles(tmp_path, write_scan) -> list[Path]:
    """A scan of five single images, in the order of space."""
    return write_scan(tmp_path / "singles", 1, n=5)


@pytest.mark.parametrize("packed", ["loose", "zip", "RLE"])
def test_one_file_of_frames_is_the_scan_of_its_images(tmp_path, singles, packed):
    """Volume, geometry and order are those of the single images, however the frames were ordered."""
    order = [3, 0, 4, 1, 2]
    name = "scan/frames" if packed == "zip" else "frames"
    path = write_joined(singles, tmp_path / "many" / name, order, RLE if packed == "RLE" else "")
    if packed == "zip":
        with zipfile.ZipFile(tmp_path / "many/all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, "frames")
        shutil.rmtree(path.parent)
        name = "all.zip::frames"
    assert build(tmp_path / "singles", tmp_path / "a").n_used == 5
    summary = build(tmp_path / "many", tmp_path / "b")
    assert (summary.n_seen, summary.n_used, summary.n_refused, summary.exit_code) == (5, 5, 0, 0)
    one, many = StudyStore.open(tmp_path / "a"), StudyStore.open(tmp_path / "b")
    np.testing.assert_array_equal(many.hu("ID_0000000001"), one.hu("ID_0000000001"))
    numbers = [order.index(index) + 1 for index in range(5)]
    assert list(many.slices["image_id"]) == [f"ID_whole#{number}" for number in numbers]
    assert list(many.slices["source"]) == [f"{name}#{number}" for number in numbers]
    pd.testing.assert_frame_equal(
        many.slices.drop(columns=["image_id", "source"]), one.slices.drop(columns=["image_id", "source"])
    )
    pd.testing.assert_frame_equal(many.series, one.series)


def test_a_second_run_opens_no_file_of_frames(tmp_path, singles, monkeypatch):
    """The notebook keeps a row a frame."""
    write_joined(singles, tmp_path / "many/frames", [0, 1, 2, 3, 4])
    build(tmp_path / "many", tmp_path / "studies")

    def refuse(*_, **__):
        raise AssertionError("an unchanged file was opened")

    monkeypatch.setattr(Sources, "head", refuse)
    monkeypatch.setattr(Sources, "content", refuse)
    summary = build(tmp_path / "many", tmp_path / "studies")
    assert (summary.n_seen, summary.n_used, summary.n_series_read) == (5, 5, 0)


def test_frames_that_are_gone_are_forgotten(tmp_path, singles):
    """A file that is written again with fewer frames, or with one image, has no more than these."""
    path = write_joined(singles, tmp_path / "many/frames", [0, 1, 2, 3, 4])
    build(tmp_path / "many", tmp_path / "studies")
    write_joined(singles, path, [0, 1])
    assert build(tmp_path / "many", tmp_path / "studies").n_used == 2
    shutil.copy(singles[0], path)
    assert build(tmp_path / "many", tmp_path / "studies").n_used == 1
    assert build(tmp_path / "many", tmp_path / "studies").n_used == 1
    assert list(StudyStore.open(tmp_path / "studies").slices["source"]) == ["frames"]


def test_a_frame_that_cannot_be_used_has_a_row(tmp_path, singles):
    """The others are used; what was seen adds up, and a second run says the same."""
    path = write_joined(singles, tmp_path / "many/frames", [0, 1, 2, 3, 4])
    path.write_bytes(path.read_bytes()[:-100])
    for _ in range(2):
        summary = build(tmp_path / "many", tmp_path / "studies")
        assert (summary.n_seen, summary.n_used, summary.n_refused, summary.exit_code) == (5, 4, 1, 1)
        qc = pd.read_csv(tmp_path / "studies/qc.csv", keep_default_na=False)
        (row,) = qc[qc["code"] == "TRUNCATED"].to_dict("records")
        assert (row["source"], row["image_id"], row["level"]) == ("frames#5", "ID_whole#5", "slice")


def test_a_copy_is_named_and_an_impostor_refuses_both(tmp_path, singles):
    """Two files of one id are held against each other frame by frame."""
    path = write_joined(singles, tmp_path / "many/frames", [0, 1, 2])
    shutil.copy(path, tmp_path / "many/other")
    summary = build(tmp_path / "many", tmp_path / "a")
    assert (summary.n_seen, summary.n_used, summary.refusals["DUP_UID_SAME"]) == (6, 3, 3)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    (tmp_path / "many/other").write_bytes(content)
    summary = build(tmp_path / "many", tmp_path / "b")
    assert (summary.n_used, summary.refusals["DUP_UID_SAME"]) == (2, 2)
    assert summary.refusals["DUP_UID_DIFF"] == 2


def test_a_file_is_read_once_for_all_its_frames(tmp_path, singles, monkeypatch):
    """Reading a frame must not read the file of all of them again, also where it is held against a copy."""
    write_joined(singles, tmp_path / "many/frames", [0, 1, 2, 3, 4])
    n_reads = []
    read = Sources._read_file

    def counted(self, entry, n_bytes, *, is_again):
        n_reads.append(n_bytes)
        return read(self, entry, n_bytes, is_again=is_again)

    monkeypatch.setattr(Sources, "_read_file", counted)
    build(tmp_path / "many", tmp_path / "studies")
    assert n_reads.count(None) == 1
    shutil.copy(tmp_path / "many/frames", tmp_path / "many/copy")
    n_reads.clear()
    build(tmp_path / "many", tmp_path / "again")
    assert n_reads.count(None) == 2


def test_what_is_kept_is_bounded_and_let_go(tmp_path, monkeypatch):
    """Contents of many frames are held up to a limit, until an ordinary file is read or all is closed."""
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 100)
    entries, _ = list_entries([tmp_path])
    monkeypatch.setattr(source_module, "MAX_KEPT_BYTES", 250)
    sources = Sources([tmp_path])
    for _ in range(2):
        for entry in entries:
            assert sources.content(entry, keep=True) == entry.source.encode() * 100
            assert sum(map(len, sources._kept.values())) <= 250
    assert len(sources._kept) == 2
    assert sources.content(entries[0]) == b"a" * 100
    assert not sources._kept
    sources.content(entries[0], keep=True)
    sources.close()
    assert not sources._kept


def test_two_files_at_the_same_places_are_two_scans(tmp_path, singles):
    """Frames of two files of one series, pass after pass, aren't shuffled into each other."""
    for number in (1, 2):
        images = [pydicom.dcmread(path) for path in singles]
        whole = join(images)
        whole.SOPInstanceUID, whole.InstanceNumber = f"ID_{number}", number
        (tmp_path / "many").mkdir(exist_ok=True)
        pixels = np.frombuffer(whole.PixelData, np.int16) + np.int16(number)
        whole.PixelData = pixels.tobytes()
        (tmp_path / f"many/{number}").write_bytes(to_bytes(whole))
    summary = build(tmp_path / "many", tmp_path / "studies")
    assert (summary.n_used, summary.n_series, summary.remarks["SPLIT_INSTANCE"]) == (10, 2, 2)
    slices = StudyStore.open(tmp_path / "studies").slices
    for _, part in slices.groupby("series_id"):
        assert part["source"].str.split("#").str[0].nunique() == 1


def test_attributes_of_frames_are_found_again(tmp_path, singles):
    """What `eda` tells of headers, from the notebook and from the files alike."""
    write_joined(singles, tmp_path / "many/frames", [0, 1, 2, 3, 4])
    build(tmp_path / "many", tmp_path / "studies")
    slices = StudyStore.open(tmp_path / "studies").slices
    kept = kept_headers(tmp_path / "studies", slices)
    assert kept is not None
    assert len(kept) == 1
    pd.testing.assert_frame_equal(kept, read_headers([tmp_path / "many"], slices))
