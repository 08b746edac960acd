"""A real PACS takes the objects, files them with the study they are of, and gives them back as they were."""

from io import BytesIO
from pathlib import Path

import highdicom.sr
import pydicom
import pytest
from dicom_study import IMAGES, STUDY, Sent, bleeding, send, write_study
from orthanc_server import Orthanc
from pydicom.dataset import Dataset
from toy_model import N_SLICES

from ich25d.dicom_out.writer import save_object
from ich25d.predict.network import Network


def stored(orthanc: Orthanc, folder: Path, made: Sent) -> dict[str, Dataset]:
    """Store a study's files and its objects; return the objects by what Orthanc calls them."""
    for path in sorted(folder.glob("*.dcm")):
        assert orthanc.store(path.read_bytes())["Status"] == "Success"
    names = {}
    for one in made.objects:
        path = folder.parent / f"{one.SOPInstanceUID}.dcm"
        save_object(one, path)
        answer = orthanc.store(path.read_bytes())
        assert answer["Status"] == "Success"
        assert orthanc.store(path.read_bytes())["Status"] == "AlreadyStored"
        names[answer["ID"]] = pydicom.dcmread(path)
    return names


@pytest.mark.parametrize("kind", ["hospital", "rsna"])
def test_orthanc_stores_and_returns_them(orthanc: Orthanc, tmp_path: Path, toy: Network, kind: str) -> None:
    """One study with the images, also where ids are no UIDs; back comes what was sent, element by element."""
    if kind == "hospital":
        folder, study, images = write_study(tmp_path / "study"), STUDY, list(IMAGES)
    else:
        study, images = "ID_0000000301", [f"ID_{300 + n:09x}" for n in range(N_SLICES)]
        folder = write_study(
            tmp_path / "study", extra={}, image_ids=images, study_id=study, series_id="ID_0000000302",
            patient_id="ID_00000300",
        )  # fmt: skip
    made = send(folder, toy, bleeding(subdural=0.8, any=0.9), captures=True, heat=True)
    names = stored(orthanc, folder, made)
    (found,) = [name for name in orthanc.post("/tools/lookup", study.encode()) if name["Type"] == "Study"]
    series = [orthanc.read(f"/series/{name}") for name in orthanc.read(f"/studies/{found['ID']}")["Series"]]

    assert sorted(one["MainDicomTags"]["Modality"] for one in series) == ["CT", "KO", "OT", "OT", "SR"]
    assert sum(len(one["Instances"]) for one in series) == N_SLICES + len(made.objects)
    for name, sent in names.items():
        content = orthanc.get(f"/instances/{name}/file")
        assert pydicom.dcmread(BytesIO(content)) == sent
        if sent.Modality == "SR":
            report = highdicom.sr.srread(BytesIO(content))
            evidence = {uids[2] for uids in report.get_evidence()}
            assert evidence == set(images)
            for uid in evidence:
                assert [one["Type"] for one in orthanc.post("/tools/lookup", uid.encode())] == ["Instance"]
        elif sent.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage:
            assert orthanc.get(f"/instances/{name}/preview").startswith(b"\x89PNG")
