"""Slices come to rows that run to the patient's left and columns to the back, however the patient lay."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from in_plane_forms import FORMS, stored_in

from ich25d.dicom.geometry import Display
from ich25d.phantom.dicom import dicom_bytes
from ich25d.studies.build import build_studies
from ich25d.studies.qc import read_qc
from ich25d.studies.store_dir.store import StudyStore

N, ROWS, COLUMNS = 4, 96, 80
SPACING = (2.25, 2.5)


def heads() -> np.ndarray:
    """A head with a mark on the right front of a field that isn't square."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:ROWS, :COLUMNS].T / (ROWS, COLUMNS) - 0.5).T
    radius = np.hypot(x / 0.3, (y + 0.05) / 0.35)
    hu = np.where(radius < 0.9, 35, np.where(radius < 1, 1000, -1000)) + rng.integers(-4, 5, (N, ROWS, COLUMNS))
    hu[:, 30:38, 28:36] = 75
    return hu.astype(np.int16)


def write(folder: Path, form: Display, *, tilt: float = 0.0) -> Path:
    """Write the scan in one form."""
    folder.mkdir(parents=True)
    directions = np.array([1, 0, 0, 0, np.cos(tilt), np.sin(tilt)])
    for index, hu in enumerate(heads()):
        turned, geometry = stored_in(form, hu, np.array([-100.0, -108.0, 5.0 * index]), directions, SPACING)
        path = folder / f"{index}.dcm"
        path.write_bytes(dicom_bytes(turned, image_id=f"ID_{index}", **geometry))
    return folder


@pytest.mark.parametrize("crop", ["head", "none"])
@pytest.mark.parametrize("tilt", [0.0, 0.25])
def test_all_eight_forms_are_one_store(tmp_path: Path, crop: str, tilt: float) -> None:
    """Volumes are equal bit for bit, and so is what the table says; but for what the files said."""
    stores = []
    for number, form in enumerate(FORMS):
        source = write(tmp_path / f"in{number}", form, tilt=tilt)
        build_studies((source,), tmp_path / f"out{number}", crop=crop, size=64, workers=1)
        stores.append(StudyStore.open(tmp_path / f"out{number}"))
    usual = stores[0]
    volume = usual.hu("ID_0000000002")
    seen = []
    for number, (form, store) in enumerate(zip(FORMS, stores, strict=True)):
        np.testing.assert_array_equal(store.hu("ID_0000000002"), volume)
        own = ["source_orientation"]
        pd.testing.assert_frame_equal(store.series.drop(columns=own), usual.series.drop(columns=own))
        assert store.series["orientation"].tolist() == ["LP"]
        seen += store.series["source_orientation"].tolist()
        codes = {row.code for row in read_qc(tmp_path / f"out{number}" / "qc.csv")}
        assert ("TURNED" in codes) == (form != Display())
        assert ("MIRRORED" in codes) == form.is_mirrored
    assert seen[0] == "LP"
    assert len(set(seen)) == 8
    # The mark is on the right of the patient, left of the middle, and in front.
    where = np.argwhere((volume[1] > 65) & (volume[1] < 85)).mean(axis=0)
    assert (where < 32).all()


def test_unknown_orientations_are_left_as_they_are(tmp_path: Path) -> None:
    """Nothing says where left is."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index, hu in enumerate(heads()):
        content = dicom_bytes(
            hu.T.copy(), image_id=f"ID_{index}", origin_mm=(0, 0, 5 * index), extra={(0x0020, 0x0037): None}
        )
        (folder / f"{index}.dcm").write_bytes(content)
    build_studies((folder,), tmp_path / "out", crop="none", size=96, workers=1)
    store = StudyStore.open(tmp_path / "out")

    assert store.series[["orientation", "source_orientation"]].fillna("").to_numpy().tolist() == [["", ""]]
    assert (store.series["rows"].iloc[0], store.series["columns"].iloc[0]) == (COLUMNS, ROWS)
    assert not any(row.code == "TURNED" for row in read_qc(tmp_path / "out" / "qc.csv"))
