"""Scans de-identified file by file are joined; what may be several studies stays apart."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from ich25d.phantom.dicom import dicom_bytes
from ich25d.studies.plan import Plan, make_plan

N = 12


def write(folder: Path, patient: str, *, shift: float = 0.0, lost: tuple[str, ...] = (), **changes: Any) -> list[str]:
    """Write a scan; the UIDs named in `lost` are new in each file."""
    folder.mkdir(exist_ok=True)
    ids = [f"1.7.{len(list(folder.iterdir())) + 1}.{k}" for k in range(N)]
    for k, image_id in enumerate(ids):
        hu = np.arange(1024, dtype=np.int16).reshape(32, 32) + k
        path = folder / f"{image_id}.dcm"
        path.write_bytes(
            dicom_bytes(
                hu, image_id=image_id, series_id=f"1.2.{patient}", study_id=f"1.3.{patient}", patient_id=patient,
                origin_mm=(-100.0, -100.0, shift + 5.0 * k),
            )
        )  # fmt: skip
        dataset = pydicom.dcmread(path)
        dataset.FrameOfReferenceUID, dataset.SeriesNumber, dataset.InstanceNumber = f"1.4.{patient}", 2, k + 1
        for name in lost:
            setattr(dataset, name, f"1.5.{image_id}.{len(name)}")
        for name, value in changes.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        dataset.save_as(path)
    return ids


def series_of(plan: Plan) -> set[tuple[str, ...]]:
    """Return the image ids of each series."""
    return {series.image_ids for series in plan.series}


STUDY, SERIES, REFERENCE = "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"


@pytest.mark.parametrize(
    ("lost", "changes"),
    [
        ((STUDY,), {}),
        ((STUDY, SERIES), {}),
        ((STUDY, SERIES, REFERENCE), {}),
        ((SERIES, REFERENCE), {}),
        ((SERIES, REFERENCE), {"SeriesNumber": None}),
        ((STUDY, SERIES, REFERENCE), {"SeriesNumber": None}),
        ((STUDY, SERIES), {"SeriesNumber": None, "InstanceNumber": None}),
        ((REFERENCE,), {STUDY: None, SERIES: None}),
        ((SERIES,), {STUDY: None}),
        ((STUDY,), {SERIES: None}),
        ((STUDY, SERIES, REFERENCE), {"PatientID": ""}),
    ],
)
def test_a_scan_whose_files_lost_their_identity_is_one_series(
    tmp_path: Path, lost: tuple[str, ...], changes: dict[str, Any]
) -> None:
    """Whichever UIDs are new in every file or absent: one series in scan order, and a remark; in any order of files."""
    ids = write(tmp_path / "in", "ID_aaaaaaaa", lost=lost, **changes)
    files = sorted((tmp_path / "in").iterdir())
    random.Random(1).shuffle(files)
    for sources in ((tmp_path / "in",), files):
        plan = make_plan(sources)
        assert series_of(plan) == {tuple(ids)}
        assert len({row.series_id for row in plan.qc if row.code == "REGROUPED"}) == 1
        assert {row.series_id for row in plan.qc if row.code == "REGROUPED"} == {plan.series[0].series_id}


@pytest.mark.parametrize("lost", [(STUDY,), (STUDY, SERIES), (STUDY, SERIES, REFERENCE)])
def test_patients_stay_apart(tmp_path: Path, lost: tuple[str, ...]) -> None:
    """Three patients at the same positions; two scans of one patient are two series of one patient."""
    scans = [write(tmp_path / "in", f"ID_{letter * 8}", lost=lost) for letter in "abc"]
    plan = make_plan((tmp_path / "in",))
    assert series_of(plan) == set(map(tuple, scans))
    assert len({series.patient_id for series in plan.series}) == 3


def test_a_slice_of_each_of_many_studies_is_no_scan(tmp_path: Path) -> None:
    """One patient, no numbers, no frame of reference: nothing says that they belong together. Nor do equal numbers."""
    for changes in ({"InstanceNumber": None}, {"InstanceNumber": 7}):
        folder = tmp_path / str(changes["InstanceNumber"])
        write(folder, "ID_aaaaaaaa", lost=(STUDY, SERIES), FrameOfReferenceUID="", SeriesNumber=None, **changes)
        assert len(make_plan((folder,)).series) == N


def test_heads_without_patients_are_not_mixed(tmp_path: Path) -> None:
    """Two of them, numbered alike, all UIDs new in every file: their slices stay alone rather than join."""
    for shift in (0.0, 2.0):
        write(tmp_path / "in", "ID_aaaaaaaa", shift=shift, lost=(STUDY, SERIES, REFERENCE), PatientID="")
    assert len(make_plan((tmp_path / "in",)).series) == 2 * N
