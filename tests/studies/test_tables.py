"""From rows to tables: patients stay together, labels named on purpose hold, copies are called right."""

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from ich25d.labels import LABELS
from ich25d.phantom.dicom import dicom_bytes
from ich25d.studies.build import build_studies
from ich25d.studies.build_summary import BuildSummary

GREY = (np.arange(1024) % 251).astype(np.uint8).reshape(32, 32)


def _images(folder: Path, patients: list[str], *, labels: dict[str, int] | None = None) -> Path:
    """Write a table of two pictures a study, a study a patient named."""
    folder.mkdir()
    values = "," + ",".join(str((labels or {}).get(label, 0)) for label in LABELS) if labels is not None else ""
    rows = ["image_id,path,study,patient,position,windows" + ("," + ",".join(LABELS) if labels is not None else "")]
    for number, patient in enumerate(patients):
        for index in range(2):
            name = f"{number}_{index}.png"
            cv2.imwrite(str(folder / name), np.roll(GREY, 37 * number + index))
            rows.append(f"{number}_{index},{name},study{number},{patient},{5 * index},brain{values}")
    (folder / "images.csv").write_text("\n".join(rows) + "\n")
    return folder / "images.csv"


def _labelled(folder: Path, table: Path) -> tuple[BuildSummary, pd.DataFrame]:
    """Build a store of a table of images with `labels.csv`; return what was said, and its slices by image id."""
    options = {"labels": folder / "labels.csv", "size": 32, "crop": "none", "folds": 2, "workers": 1}
    built = build_studies((), folder / "store", images=(table,), **options)
    return built, pd.read_parquet(folder / "store" / "slices.parquet").set_index("image_id")


@pytest.mark.parametrize(("n_own", "together"), [(6, True), (7, False)])
def test_a_patient_with_many_studies_stays_in_one_fold(tmp_path: Path, n_own: int, together: bool) -> None:
    """Follow-ups in several folds would leak; only who owns more than half of the studies is no patient."""
    table = _images(tmp_path / "in", ["ID_0000000a"] * n_own + [f"ID_0000001{number}" for number in range(12 - n_own)])
    built = build_studies((), tmp_path / "store", images=(table,), size=32, crop="none", folds=4, workers=1)
    series = pd.read_parquet(tmp_path / "store" / "series.parquet")
    slices = pd.read_parquet(tmp_path / "store" / "slices.parquet")

    assert (series.groupby("split_unit")["fold"].nunique() == 1).all()
    assert (series.groupby("patient_id")["fold"].nunique() == 1).all() == together
    assert bool(built.remarks["NO_PATIENT"]) is not together
    assert series["patient_id"].nunique() == 13 - n_own
    assert series["split_unit"].nunique() == slices["split_unit"].nunique() == built.n_patients
    assert built.n_patients == (13 - n_own if together else 12)


def test_a_label_table_is_taken_before_the_images_own(tmp_path: Path) -> None:
    """It was named on purpose; what it changes is listed, what it doesn't know stays."""
    table = _images(tmp_path / "in", ["ID_0000000a", "ID_0000000b"], labels={})
    (tmp_path / "labels.csv").write_text(
        "image_id," + ",".join(LABELS) + "\n" + "".join(f"0_{index},0,0,0,0,1,1\n" for index in range(2))
    )
    built, slices = _labelled(tmp_path, table)

    assert slices["subdural"].to_dict() == {"0_0": 1, "0_1": 1, "1_0": 0, "1_1": 0}
    assert (built.remarks["L_REPLACED"], built.remarks["NO_LABEL"]) == (2, 0)


def test_a_copy_with_other_pixels_is_not_called_one_that_is_used(tmp_path: Path) -> None:
    """Headers alike, pixels not: both are refused, and both rows say why."""
    folder = tmp_path / "in"
    folder.mkdir()
    hu = np.arange(1024, dtype=np.int16).reshape(32, 32)
    for index in range(3):
        content = dicom_bytes(hu + index, image_id=f"ID_{index}", origin_mm=(0.0, 0.0, 5.0 * index))
        (folder / f"{index}.dcm").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "copy.zip", "w") as archive:
        archive.writestr("1.dcm", dicom_bytes(hu + 7, image_id="ID_1", origin_mm=(0.0, 0.0, 5.0)))
    built = build_studies((folder, tmp_path / "copy.zip"), tmp_path / "store", size=32, crop="none", workers=1)
    qc = pd.read_csv(tmp_path / "store" / "qc.csv")

    assert (built.n_seen, built.n_used, built.n_refused) == (4, 2, 2)
    assert built.refusals == {"DUP_UID_DIFF": 2}
    assert sorted(qc.loc[qc["code"] == "DUP_UID_DIFF", "source"]) == ["1.dcm", "copy.zip::1.dcm"]


def test_a_label_that_was_refused_is_not_taken_from_elsewhere(tmp_path: Path) -> None:
    """The label table knows the image and contradicts itself: nobody knows better."""
    table = _images(tmp_path / "in", ["ID_0000000a", "ID_0000000b"], labels={})
    (tmp_path / "labels.csv").write_text("image_id," + ",".join(LABELS) + "\n0_0,0,0,0,0,7,1\n0_1,0,0,0,0,1,1\n")
    _, slices = _labelled(tmp_path, table)

    assert slices["any"].isna().to_dict() == {"0_0": True, "0_1": False, "1_0": False, "1_1": False}
