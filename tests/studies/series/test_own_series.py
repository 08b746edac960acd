"""A name a series: where several studies or patients use one SeriesInstanceUID, none is lost and none is mixed."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from ich25d.phantom.dicom import dicom_bytes
from ich25d.studies.build import build_studies
from ich25d.studies.plan import make_plan

N = 5


def _write(folder: Path, scan: int, *, study: str, patient: str, series: str = "1.2.3") -> list[str]:
    folder.mkdir(exist_ok=True)
    ids = [f"ID_{scan}{index:08d}" for index in range(N)]
    for index, name in enumerate(ids):
        hu = np.arange(1024, dtype=np.int16).reshape(32, 32) + 10 * scan + index  # a constant image would be refused
        content = dicom_bytes(
            hu, image_id=name, series_id=series, study_id=study, patient_id=patient, origin_mm=(0.0, 0.0, 5.0 * index)
        )
        (folder / f"{name}.dcm").write_bytes(content)
    return ids


@pytest.mark.parametrize(
    ("second", "n_patients"),
    [
        ({"study": "1.9", "patient": "ID_bbbbbbbb"}, 2),
        ({"study": "1.9", "patient": "ID_aaaaaaaa"}, 1),
        ({"study": "1.8", "patient": "ID_bbbbbbbb"}, 2),
    ],
    ids=["study and patient", "study", "patient"],
)
def test_scans_that_share_a_series_uid_are_told_apart(tmp_path: Path, second: dict[str, str], n_patients: int) -> None:
    """Every file in one row, every volume its own; whatever the order of files; a second call reads nothing."""
    ids = [
        _write(tmp_path / "in", 1, study="1.8", patient="ID_aaaaaaaa"),
        _write(tmp_path / "in", 2, **second),
    ]
    built = build_studies((tmp_path / "in",), tmp_path / "store", size=32, crop="none", workers=1)
    slices = pd.read_parquet(tmp_path / "store" / "slices.parquet")
    again = build_studies((tmp_path / "in",), tmp_path / "store", size=32, crop="none", workers=1)

    assert (built.n_seen, built.n_used, built.n_refused, built.n_series, built.n_patients) == (10, 10, 0, 2, n_patients)
    assert slices.groupby("series_id")["image_id"].apply(list).tolist() == ids
    assert sorted(slices["series_id"].unique()) == ["1.2.3", "1.2.3@2"]
    assert built.remarks["DUP_SERIES_UID"] == 2
    assert again.n_series_read == 0
    folders = [tmp_path / "in" / f"{name}.dcm" for name in (*ids[1], *ids[0])]
    assert {one.series_id: one.image_ids for one in make_plan(folders).series} == {
        "1.2.3": tuple(ids[0]), "1.2.3@2": tuple(ids[1])
    }  # fmt: skip


def test_an_image_without_a_patient_belongs_to_the_only_one(tmp_path: Path) -> None:
    """A tag that was lost in some files doesn't tear a scan apart."""
    ids = _write(tmp_path / "in", 1, study="1.8", patient="ID_aaaaaaaa")
    path = tmp_path / "in" / f"{ids[2]}.dcm"
    path.write_bytes(
        dicom_bytes(
            np.zeros((32, 32), dtype=np.int16), image_id=ids[2], series_id="1.2.3", study_id="1.8", patient_id="",
            origin_mm=(0.0, 0.0, 10.0),
        )
    )  # fmt: skip
    (series,) = make_plan((tmp_path / "in",)).series

    assert series.image_ids == tuple(ids)
    assert series.patient_id == "ID_aaaaaaaa"


def test_series_of_two_tables_may_be_called_alike(tmp_path: Path) -> None:
    """Both number theirs from 1, and no image is in both."""
    tables = []
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        rows = ["image_id,path,series,patient,position,windows"]
        for index in range(N):
            cv2.imwrite(str(folder / f"{index}.png"), np.full((16, 16), 40 * index, dtype=np.uint8))
            rows.append(f"{name}{index},{index}.png,1,{name},{5 * index},brain")
        tables.append(folder / "images.csv")
        tables[-1].write_text("\n".join(rows) + "\n")
    plan = make_plan((), (), tables)

    assert [(one.series_id, one.image_ids[0]) for one in plan.series] == [("1", "a0"), ("1@2", "b0")]
    assert (plan.n_seen, plan.n_refused) == (2 * N, 0)
    assert [row.series_id for row in plan.qc if row.code == "DUP_SERIES_UID"] == ["1@2"]


@pytest.mark.parametrize("order", [1, -1])
def test_a_copy_under_another_patients_name_tears_no_scan_apart(tmp_path: Path, order: int) -> None:
    """Part of a scan lies there twice, once pseudonymised: it's one scan, whatever is read first."""
    ids = _write(tmp_path / "a", 1, study="1.8", patient="ID_aaaaaaaa")
    _write(tmp_path / "b", 1, study="1.8", patient="ID_bbbbbbbb")
    for name in ids[3:]:
        (tmp_path / "b" / f"{name}.dcm").unlink()
    plan = make_plan([tmp_path / "a", tmp_path / "b"][::order])

    assert [(one.series_id, one.patient_id, one.image_ids) for one in plan.series] == [
        ("1.2.3", "ID_aaaaaaaa", tuple(ids))
    ]
    assert [row.code for row in plan.qc if row.code.startswith("DUP")] == ["DUP_UID_SAME"] * 3


def test_remarks_on_a_series_that_is_left_out_go_with_it(tmp_path: Path) -> None:
    """A table's series whose images are all there already goes; its remarks don't pass to the one of that name."""
    ids = _write(tmp_path / "in", 1, study="1.8", patient="ID_aaaaaaaa", series="1")
    cv2.imwrite(str(tmp_path / "0.png"), np.full((16, 16), 40, dtype=np.uint8))
    rows = [f"{name},0.png,1,{rank},brain" for rank, name in enumerate(ids)]
    (tmp_path / "images.csv").write_text("\n".join(["image_id,path,series,index,windows", *rows]) + "\n")
    plan = make_plan((tmp_path / "in",), (), (tmp_path / "images.csv",))

    assert [one.image_ids for one in plan.series] == [tuple(ids)]
    assert not [row for row in plan.qc if row.level == "series" and row.code.startswith("ORDER")]
    assert plan.n_refused == len(ids)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def test_images_refused_by_their_headers_are_charged_to_their_own_scan(tmp_path: Path) -> None:
    """Of one series UID in three studies: one slice of the second, and all of the third; read again or remembered."""
    folder, series = tmp_path / "in", "1.2.3"
    whole, hurt, gone = (
        _write(folder, scan, study=f"1.{scan}", patient=f"ID_{scan:08d}", series=series) for scan in (1, 2, 3)
    )
    for name in (hurt[2], *gone):
        _cut(folder / f"{name}.dcm")
    expected = dict.fromkeys(gone, "1.2.3@3") | {hurt[2]: "1.2.3@2"}
    for _ in range(2):
        build_studies((folder,), tmp_path / "store", size=32, crop="none", workers=1)
        rows = pd.read_csv(tmp_path / "store" / "qc.csv")
        rows = rows[rows["code"] == "TRUNCATED"]
        assert dict(zip(rows["image_id"], rows["series_id"], strict=True)) == expected
    slices = pd.read_parquet(tmp_path / "store" / "slices.parquet")
    assert slices.groupby("series_id")["image_id"].apply(set).to_dict() == {
        "1.2.3": set(whole), "1.2.3@2": set(hurt) - {hurt[2]}
    }  # fmt: skip


def test_a_refused_image_of_a_scan_with_a_study_a_file_is_charged_to_that_scan(tmp_path: Path) -> None:
    """Its study is in no other file, but its patient and its series are those of the others."""
    (tmp_path / "in").mkdir()
    for index in range(N):
        name = f"ID_{index:09d}"
        content = dicom_bytes(
            np.arange(1024, dtype=np.int16).reshape(32, 32) + index, image_id=name, series_id="1.2.3",
            study_id=f"1.{index}", patient_id="ID_aaaaaaaa", origin_mm=(0.0, 0.0, 5.0 * index),
        )  # fmt: skip
        (tmp_path / "in" / f"{name}.dcm").write_bytes(content)
    _cut(tmp_path / "in" / f"{name}.dcm")
    plan = make_plan((tmp_path / "in",))

    assert [len(series) for series in plan.series] == [N - 1]
    assert [row.series_id for row in plan.qc if row.code == "TRUNCATED"] == ["1.2.3"]


@pytest.mark.parametrize("series", ["f" * 100, "{3F2504E0-4F89-11D3-9A0C-0305E82C3301}"])
def test_a_refused_image_goes_by_the_name_that_its_series_has(tmp_path: Path, series: str) -> None:
    """A hash that is no UID is renamed in all rows alike."""
    (first, *_) = _write(tmp_path / "in", 1, study="1.8", patient="ID_aaaaaaaa", series=series)
    _cut(tmp_path / "in" / f"{first}.dcm")
    plan = make_plan((tmp_path / "in",))

    (used,) = plan.series
    assert used.series_id.startswith("UID_")
    assert [row.series_id for row in plan.qc if row.code == "TRUNCATED"] == [used.series_id]


def test_an_id_that_names_somebody_is_in_no_row(tmp_path: Path) -> None:
    """Refused as BAD_UID, it went into the table as it stood."""
    _write(tmp_path / "in", 1, study="1.8", patient="ID_aaaaaaaa", series="MEIER^ANNA 1950")
    plan = make_plan((tmp_path / "in",))

    assert {row.code for row in plan.qc} == {"BAD_UID"}
    assert "MEIER" not in str(plan.qc)
