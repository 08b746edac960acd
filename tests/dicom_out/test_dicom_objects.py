"""A prediction as DICOM objects: what they say, whose they are, what they refer to, and that others can read them."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom.sr
import numpy as np
import pydicom
import pytest
from dicom_study import BLEED, IMAGES, PATIENT, POINT, SERIES, STUDY, Sent, bleeding, send, write_study
from enhanced_ct import ENHANCED, join, to_bytes
from pydicom.dataset import Dataset
from toy_model import N_SLICES

from ich25d.dicom_out.made_by import NOT_FOR_DIAGNOSIS
from ich25d.explain.explanation import explain_series
from ich25d.explain.finding import Finding
from ich25d.predict.network import Network


def read_back(made: Dataset) -> Any:
    """Write an object, and read it by highdicom as a structured report."""
    target = BytesIO()
    made.save_as(target, enforce_file_format=True)
    target.seek(0)
    return highdicom.sr.srread(target)


def groups(made: Dataset) -> dict[str, Any]:
    """Return the measurement groups of a report by the code of their finding."""
    return {group.finding_type.value: group for group in read_back(made).content.get_image_measurement_groups()}


def numbers(group: Any) -> dict[str, float]:
    """Return the measurements of a group by code."""
    return {one.name.value: float(one.value) for one in group.get_measurements()}


def texts(item: Dataset) -> list[str]:
    """Return all texts of a tree."""
    own = [item.TextValue] if "TextValue" in item else []
    return own + [text for child in item.get("ContentSequence", []) for text in texts(child)]


def references(group: Dataset) -> list[str]:
    """Return the images that a measurement group rests on."""
    items = [item for item in group[0].ContentSequence if item.ValueType == "IMAGE"]
    return [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items]


ANY, SUBDURAL = "1386000", "35486000"


def test_a_report_says_what_was_found(sent: Sent, toy: Network) -> None:
    """A group for any and one for the label over its threshold, with the numbers of the explanation."""
    (report,) = sent.of("SR")
    found = groups(report)
    explained = explain_series(toy, sent.pixels, sent.finished, point=POINT)
    (finding,) = [one for one in explained.findings if one.label == "subdural"]
    subdural = numbers(found[SUBDURAL])
    (yes,) = found[SUBDURAL].get_qualitative_evaluations()
    drawn = np.flatnonzero(explained.masks["subdural"].any(axis=(1, 2)))

    assert sorted(found) == [ANY, SUBDURAL]
    assert subdural["122157"] == 0.8
    assert subdural["threshold"] == 0.6
    assert numbers(found[ANY])["122157"] == 0.9
    assert subdural["118565006"] == pytest.approx(finding.volume_ml, rel=1e-3)
    assert subdural["volume_low"] == pytest.approx(finding.volume_low_ml, rel=1e-3)
    assert subdural["volume_high"] == pytest.approx(finding.volume_high_ml, rel=1e-3)
    assert [subdural[f"{name}_slice"] for name in ("first", "last", "peak")] == [
        finding.first_slice + 1, finding.last_slice + 1, finding.peak_slice + 1,
    ]  # fmt: skip
    assert yes.value.meaning == "Yes"
    assert "Flagged: any, subdural at or over the threshold." in texts(report)
    assert references(found[SUBDURAL]) == [IMAGES[index] for index in drawn]
    assert 0 < len(drawn) < N_SLICES


def test_every_estimate_is_marked_as_one(sent: Sent) -> None:
    """All numbers but the threshold, which was chosen."""
    (report,) = sent.of("SR")
    for group in groups(report).values():
        for one in group.get_measurements():
            assert (one.derivation is None) == (one.name.value == "threshold"), one.name.meaning


def test_nothing_found_is_said_too(study: Path, toy: Network) -> None:
    """Below the threshold: any alone, as not flagged, with no image of its own, and no key objects."""
    quiet = send(study, toy, bleeding(subdural=0.59, any=0.54))
    (report,) = quiet.objects
    ((code, group),) = groups(report).items()
    (no,) = group.get_qualitative_evaluations()

    assert (code, numbers(group)) == (ANY, {"122157": 0.54, "threshold": 0.55})
    assert no.value.meaning == "No"
    assert group.tracking_identifier == "ich25d: any, below its threshold"
    assert "Not flagged: no label is over its threshold." in texts(report)
    assert references(group) == []


def test_a_model_without_thresholds_flags_nothing(study: Path, toy: Network) -> None:
    """Its report gives the probability and no verdict."""
    made = send(study, toy, bleeding(any=0.99), point=replace(POINT, rule="none", of_slice={}, of_series={}))
    (report,) = made.objects
    (group,) = groups(report).values()

    assert numbers(group) == {"122157": 0.99}
    assert group.get_qualitative_evaluations() == []
    assert any("nothing counts as found" in text for text in texts(report))


@pytest.mark.parametrize(
    ("side", "laterality", "modifier"),
    [("left", "7771000", None), ("right", "24028007", None), ("both", "51440002", None), ("midline", None, "261129000"),
     ("unknown", None, None)],
)  # fmt: skip
def test_sides_are_the_patients(side: Any, laterality: str | None, modifier: str | None) -> None:
    """SNOMED's sides; an unknown one has no code."""
    from ich25d.dicom_out.report import _site

    finding = Finding(
        "any", 0.9, side, 0.0, 5.0, 0, 1, 0, (1.0, 1.0, 1.0), 1.0, 0.5, 2.0, (0, 0, 1, 1)
    )  # fmt: skip
    site = _site(finding)
    codes = {item.ConceptNameCodeSequence[0].CodeValue: item.ConceptCodeSequence[0].CodeValue
             for item in site.get("ContentSequence", [])}  # fmt: skip

    assert site.ConceptCodeSequence[0].CodeValue == "1101003"
    assert codes.get("272741003") == laterality
    assert set(codes.values()) - {laterality} == ({modifier} if modifier else set())


def test_key_objects_are_the_flagged_slices(sent: Sent) -> None:
    """Those over the slices' threshold of a label that the series is flagged for."""
    (selection,) = sent.of("KO")
    items = [item for item in selection.ContentSequence if item.ValueType == "IMAGE"]

    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items] == [IMAGES[n] for n in BLEED]


def test_patient_and_study_are_those_of_the_files(sent: Sent) -> None:
    """Also in another character set; nothing else of the files gets in."""
    for one in sent.objects:
        written = pydicom.dcmread(_file(one))
        assert str(written.PatientName) == "Müller^Zoë"
        assert (written.PatientID, written.PatientBirthDate, written.PatientSex) == ("P-0815", "19500101", "F")
        assert (written.StudyInstanceUID, written.StudyDate, written.StudyTime) == (STUDY, "20240229", "101112")
        assert (written.AccessionNumber, written.StudyID) == ("A-17", "77")
        assert written.SeriesInstanceUID != SERIES
        assert "Elsewhere" not in str(written)
        assert "Street" not in str(written)


def _file(made: Dataset) -> BytesIO:
    target = BytesIO()
    made.save_as(target, enforce_file_format=True)
    target.seek(0)
    return target


def test_what_files_lack_stays_empty(tmp_path: Path, toy: Network) -> None:
    """RSNA's files name a patient and no more; their SOP class stands in the file meta alone."""
    folder = write_study(tmp_path / "study", extra={})
    made = send(folder, toy, bleeding(any=0.9))
    empty = ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
             "ReferringPhysicianName")  # fmt: skip

    assert len(made.objects) == 2
    for one in made.objects:
        assert one.PatientID == "ID_00000001"
        assert {name: str(one[name].value or "") for name in empty} == dict.fromkeys(empty, "")
        evidence = one.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        assert {item.ReferencedSOPClassUID for item in evidence.ReferencedSOPSequence} == {PATIENT[0x0008, 0x0016][1]}


@pytest.mark.parametrize("names", [[f"ID_{n:09x}" for n in range(N_SLICES)], [f"a {n}=" for n in range(N_SLICES)]])
def test_references_are_spelt_as_in_the_files(tmp_path: Path, toy: Network, names: list[str]) -> None:
    """Also ids that are no UIDs, and those that our tables call by another name."""
    folder = write_study(tmp_path / "study", image_ids=names)
    made = send(folder, toy, bleeding(any=0.9))
    (report,), (selection,) = made.of("SR"), made.of("KO")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    items = [item for item in selection.ContentSequence if item.ValueType == "IMAGE"]

    assert [item.ReferencedSOPInstanceUID for item in evidence.ReferencedSOPSequence] == names
    assert [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items] == [names[n] for n in BLEED]


def test_frames_are_referred_to_by_number(tmp_path: Path, study: Path, toy: Network) -> None:
    """An enhanced CT is one instance; its frames are counted from 1, in the file's order."""
    single = [pydicom.dcmread(path) for path in sorted(study.glob("*.dcm"))]  # the highest slice first
    whole = join(single)
    whole.SOPInstanceUID = "2.25.105"
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "1.dcm").write_bytes(to_bytes(whole))
    made = send(tmp_path / "whole", toy, bleeding(any=0.9))
    (report,), (selection,) = made.of("SR"), made.of("KO")
    ((instance,),) = [
        series.ReferencedSOPSequence
        for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    ]
    (item,) = [item for item in selection.ContentSequence if item.ValueType == "IMAGE"]

    assert (instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID) == (ENHANCED, "2.25.105")
    assert list(item.ReferencedSOPSequence[0].ReferencedFrameNumber) == [N_SLICES - n for n in BLEED]


def test_a_second_run_makes_the_same_uids(study: Path, toy: Network, sent: Sent) -> None:
    """They change with the model, and with the operating point; all are UUIDs under 2.25."""

    def uids(made: Sent) -> list[str]:
        return [uid for one in made.objects for uid in (one.SOPInstanceUID, one.SeriesInstanceUID)]

    probability = bleeding(subdural=0.8, any=0.9)
    other_model = replace(toy, model=replace(toy.model, stamp="0" * 64))
    known = uids(sent)

    assert uids(send(study, toy, probability)) == known
    assert not set(known) & set(uids(send(study, other_model, probability)))
    assert not set(known) & set(uids(send(study, toy, probability, point=replace(POINT, rule="f2"))))
    assert len(set(known)) == len(known)
    assert all(pydicom.uid.UID(uid).is_valid and uid.startswith("2.25.") for uid in known)


def test_every_object_says_what_it_is_for(sent: Sent, toy: Network) -> None:
    """Research, in the title and in the content; the model with its hash as the algorithm."""
    (report,), (selection,) = sent.of("SR"), sent.of("KO")
    said = texts(report)

    assert all(NOT_FOR_DIAGNOSIS in one.SeriesDescription for one in sent.objects)
    assert any(text.startswith(NOT_FOR_DIAGNOSIS) for text in said)
    assert any(text.startswith(NOT_FOR_DIAGNOSIS) for text in texts(selection))
    assert f"model SHA-256: {toy.stamp}" in said
    assert toy.about.name in said
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")


def test_remarks_reach_the_report(study: Path, toy: Network) -> None:
    """What was odd about the series stands in its report."""
    made = send(study, toy, bleeding(any=0.9), remarks=("NOT_HEAD?: perhaps no head.",))

    assert "NOT_HEAD?: perhaps no head." in texts(made.of("SR")[0])


def test_dciodvfy_finds_no_error(sent: Sent, tmp_path: Path, toy: Network, dciodvfy: Callable[..., list[str]]) -> None:
    """Neither with a whole patient nor with files that name nobody."""
    bare = send(write_study(tmp_path / "bare", extra={}), toy, bleeding(any=0.9))

    assert {one.SOPClassUID: dciodvfy(one) for one in sent.objects} == {one.SOPClassUID: [] for one in sent.objects}
    assert [dciodvfy(one) for one in bare.objects] == [[]] * 2
