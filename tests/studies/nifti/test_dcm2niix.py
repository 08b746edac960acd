"""The same scan as DICOM and as NIfTI, which dcm2niix makes of it, is the same to the network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_model import N_SLICES, PIXEL_MM, head_hu, positions, write_model

from ich25d.labels import LABELS
from ich25d.phantom.dicom import dicom_bytes
from ich25d.predict.run import predict
from ich25d.studies.plan import make_plan
from ich25d.studies.volumes.volume import read_series

Convert = Callable[[Path, Path], Path]


def write_dicom(folder: Path, *, tilt_deg: float = 0.0) -> Path:
    """Write the toy head as DICOM, along a table that moves along z, with the gantry tilted."""
    folder.mkdir()
    cos, sin = np.cos(np.radians(tilt_deg)), np.sin(np.radians(tilt_deg))
    for index, (hu, position) in enumerate(zip(head_hu(), positions(), strict=True)):
        content = dicom_bytes(
            hu, image_id=f"ID_{index}", series_id="ID_s", study_id="ID_t", patient_id="ID_01234567",
            origin_mm=(-96.0, -96.0, position), directions=(1, 0, 0, 0, cos, -sin), pixel_spacing_mm=(PIXEL_MM,) * 2,
        )  # fmt: skip
        (folder / f"{index}.dcm").write_bytes(content)
    return folder


@pytest.mark.parametrize("tilt_deg", [0, 12])
def test_probabilities_of_dicom_and_nifti_are_equal(tmp_path: Path, dcm2niix: Convert, tilt_deg: float) -> None:
    """Slice by slice, in scan order; dcm2niix numbers the slices from the feet."""
    dicom = write_dicom(tmp_path / "dicom", tilt_deg=tilt_deg)
    nifti = dcm2niix(dicom, tmp_path / "nifti")
    model = write_model(tmp_path / "model")
    tables = []
    for name, source in (("d", dicom), ("n", nifti)):
        summary = predict((source,), model, tmp_path / name / "s.csv", device="cpu", workers=1)
        assert summary.exit_code == 0
        table = pd.read_parquet(tmp_path / name / "predictions.parquet")
        tables.append(table.sort_values("slice_index", ignore_index=True))

    assert tables[1]["image_id"].tolist() == [f"scan#{number}" for number in range(1, N_SLICES + 1)]
    pd.testing.assert_frame_equal(tables[0][list(LABELS)], tables[1][list(LABELS)], rtol=0, atol=1e-6)
    assert tables[0]["any"].nunique() > 3


@pytest.mark.real
@pytest.mark.parametrize("name", ["dicom/siemens_tilt_gap/tilt_4slices", "ID_3bbb1d541e"])
def test_volumes_of_real_scans_are_equal(tmp_path: Path, real_data: Path, dcm2niix: Convert, name: str) -> None:
    """A tilted scan and a plain one: the same HU in the head box, to the last one."""
    folder = real_data / name
    if not folder.is_dir():
        folder = tmp_path / "dicom"
        folder.mkdir()
        root = real_data / "rsna-intracranial-hemorrhage-detection"
        (plan,) = [plan for plan in make_plan((root,)).series if plan.series_id == name]
        for index in range(len(plan)):
            (folder / f"{index}.dcm").symlink_to(root / plan.images.source(index))
    (dicom,) = make_plan((folder,)).series
    (nifti,) = make_plan((dcm2niix(folder, tmp_path / "nifti"),)).series

    assert len(nifti) == len(dicom) > 3
    assert nifti.pixel_spacing_mm == pytest.approx(dicom.pixel_spacing_mm, rel=1e-6)
    assert np.diff(nifti.slice_position_mm) == pytest.approx(np.diff(dicom.slice_position_mm), abs=1e-3)
    assert (read_series(nifti, size=192).hu == read_series(dicom, size=192).hu).all()
