"""Captures and parametric maps: what they show, what they refer to, and that heat lies where it belongs."""

from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_study import FRAME, IMAGES, POINT, SERIES, STUDY, Sent, bleeding, send
from enhanced_ct import ENHANCED, join, to_bytes
from pydicom.dataset import Dataset
from toy_model import GAP_MM, N_SLICES, PIXEL_MM, head_hu, positions

from ich25d.dicom_out.captures import BAND, SIDE, capture
from ich25d.dicom_out.heat_map import grid_of, one_a_place
from ich25d.dicom_out.made_by import NOT_FOR_DIAGNOSIS, made_by
from ich25d.dicom_out.source import read_source
from ich25d.dicom_out.writer import save_object
from ich25d.explain.explanation import Explanation, explain_series
from ich25d.explain.page import shown_slices
from ich25d.labels import LABELS
from ich25d.phantom.dicom import dicom_bytes
from ich25d.predict.network import Network
from ich25d.predict.series import list_series, read_pixels
from ich25d.studies.series.series_plan import SeriesPlan

CAPTURE, MAP = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.30"


@pytest.fixture(scope="module")
def drawn(study: Path, toy: Network) -> Sent:
    """Everything that can be made where a subdural bleed is found."""
    return send(study, toy, bleeding(subdural=0.8, any=0.9), captures=True, heat=True)


@pytest.fixture(scope="module")
def explained(drawn: Sent, toy: Network) -> Explanation:
    """What the pictures show."""
    return explain_series(toy, drawn.pixels, drawn.finished, point=POINT)


def of(sent: Sent, sop_class: str) -> list[Dataset]:
    """Return the objects of a class."""
    return [one for one in sent.objects if one.SOPClassUID == sop_class]


def test_pictures_are_made_where_they_are_asked_for(sent: Sent, drawn: Sent, explained: Explanation) -> None:
    """A capture a key slice of the subtype, which any doesn't repeat; a map for each of both."""
    (finding,) = [one for one in explained.findings if one.label == "subdural"]
    pictures = of(drawn, CAPTURE)

    assert {one.Modality for one in sent.objects} == {"SR", "KO"}
    assert [one.InstanceNumber for one in pictures] == [*range(1, len(pictures) + 1)]
    assert [one.SourceImageSequence[0].ReferencedSOPInstanceUID for one in pictures] == [
        IMAGES[index] for index in shown_slices(finding)
    ]
    assert [one.ContentLabel for one in of(drawn, MAP)] == [one.label.upper() for one in explained.findings]
    assert len({one.SeriesInstanceUID for one in drawn.objects}) == 4


def test_a_capture_shows_the_slice_its_heat_and_the_warning(drawn: Sent, explained: Explanation, toy: Network) -> None:
    """Grey on the left; colour on the right alone, where the drawing is; words above and below."""
    (finding,) = [one for one in explained.findings if one.label == "subdural"]
    picture = capture(drawn.pixels, explained, made_by(toy, POINT), finding, finding.peak_slice)
    left, right = picture[BAND : BAND + SIDE, :SIDE], picture[BAND : BAND + SIDE, SIDE:]
    colourful = np.ptp(right.astype(int), axis=2) > 30
    mask = explained.masks["subdural"][finding.peak_slice]
    rows, columns = np.nonzero(colourful)
    scale = SIDE / len(mask)

    assert picture.shape == (SIDE + 4 * BAND, 2 * SIDE, 3)
    assert not np.ptp(left.astype(int), axis=2).any()
    assert colourful.any()
    assert np.abs(np.array([rows.min(), columns.min()]) / scale - np.argwhere(mask).min(axis=0)).max() <= 2
    assert np.abs(np.array([rows.max(), columns.max()]) / scale - np.argwhere(mask).max(axis=0)).max() <= 2
    assert np.ptp(picture[:BAND].astype(int), axis=2).max() > 100  # the warning is yellow
    for line in range(3):
        assert picture[SIDE + BAND + line * BAND :][:BAND].max() > 200


def test_captures_are_whose_and_what_they_say(drawn: Sent) -> None:
    """A colour picture of the study, marked as research, with the sides of the patient."""
    for one in of(drawn, CAPTURE):
        assert (one.StudyInstanceUID, one.PatientID, list(one.PatientOrientation)) == (STUDY, "P-0815", ["L", "P"])
        assert (one.PhotometricInterpretation, one.BurnedInAnnotation) == ("RGB", "NO")
        assert one.DerivationDescription.startswith(NOT_FOR_DIAGNOSIS)
        assert one.pixel_array.shape == (SIDE + 4 * BAND, 2 * SIDE, 3)


def test_a_map_holds_the_heat(drawn: Sent, explained: Explanation, tmp_path: Path) -> None:
    """Float for float, and for highdicom a volume, at the slices' places in the frame of reference of the scan."""
    for made in of(drawn, MAP):
        save_object(made, tmp_path / "heat.dcm")
        image = highdicom.imread(tmp_path / "heat.dcm")
        floats = pydicom.dcmread(tmp_path / "heat.dcm").pixel_array
        heat = explained.heat[:, LABELS.index(made.ContentLabel.lower())].astype(np.float32)
        hot = np.flatnonzero(heat.max(axis=(1, 2)))
        frames = image.PerFrameFunctionalGroupsSequence
        slices = range(hot[0], hot[-1] + 1)
        places = [list(map(float, frame.PlanePositionSequence[0].ImagePositionPatient)) for frame in frames]

        assert sorted(place[2] for place in places) == pytest.approx(positions()[slices.start : slices.stop].tolist())
        assert image.FrameOfReferenceUID == FRAME
        assert image.ContentQualification == "RESEARCH"
        for number, (frame, place) in enumerate(zip(frames, places, strict=True)):
            index = int(np.abs(positions() - place[2]).argmin())
            source = frame.DerivationImageSequence[0].SourceImageSequence[0]
            assert place == pytest.approx([-96.0, -96.0, positions()[index]])
            assert floats[number] == pytest.approx(heat[index], abs=1e-6)
            assert source.ReferencedSOPInstanceUID == IMAGES[index]
        geometry = image.get_volume_geometry()
        assert geometry is not None
        assert geometry.spacing == pytest.approx((GAP_MM, PIXEL_MM, PIXEL_MM))


@pytest.mark.parametrize(
    "directions",
    [(1, 0, 0, 0, 1, 0), (-1, 0, 0, 0, -1, 0), (0, 1, 0, 1, 0, 0), (0, -1, 0, 1, 0, 0), (1, 0, 0, 0, 0.9397, 0.342)],
    ids=["usual", "upside down", "transposed", "turned", "tilted"],
)
def test_the_grid_lies_where_the_head_is(tmp_path: Path, directions: tuple[float, ...]) -> None:
    """A bright spot of the file is found at its place in the patient, whatever the turn, crop and size."""
    hu = head_hu(clot=False)[2:5]
    spot = (60, 30)  # row, column in the file
    row, column = np.reshape(directions, (2, 3)).astype(float)
    origins = [np.array([-70.0, -90.0, 5.0 * index]) for index in range(3)]
    for index in range(3):
        hu[index][spot[0] - 1 : spot[0] + 2, spot[1] - 1 : spot[1] + 2] = 3000
        content = dicom_bytes(
            hu[index], image_id=f"1.2.{index}", origin_mm=origins[index], directions=directions,
            pixel_spacing_mm=(2.0, 1.5),
        )  # fmt: skip
        (tmp_path / f"{index}.dcm").write_bytes(content)
    (plan,) = list_series([tmp_path], crop="head", size=80).series
    assert isinstance(plan, SeriesPlan)
    pixels = read_pixels(plan, crop="head", size=80)
    source = read_source(plan, pixels.image_ids)
    assert pixels.fit is not None
    for index, image in enumerate(source.images):
        assert image.plane is not None
        grid = grid_of(image.plane, image.shape, source.display, pixels.fit)
        inside = pixels.hu[index] > 1500
        found_row, found_column = np.argwhere(inside).mean(axis=0)
        to_right, down = grid.directions.reshape(2, 3)
        found = grid.origin_mm + found_row * grid.spacing_mm[0] * down + found_column * grid.spacing_mm[1] * to_right
        wanted = np.array(image.plane.origin_mm) + spot[0] * 2.0 * column + spot[1] * 1.5 * row
        assert np.abs(found - wanted).max() < 1.0, (found, wanted)


def test_doubles_of_a_slice_share_a_frame() -> None:
    """At one place the hotter one stays; cold slices before and after the heat are left out."""
    heat = np.zeros((6, 2, 2), np.float32)
    heat[1:4, 0, 0] = (0.3, 0.5, 0.2)
    positions_mm = np.array([0.0, 5.0, 5.0, 10.0, 15.0, 20.0])

    assert one_a_place(positions_mm, heat) == [2, 3]


def test_frames_of_an_enhanced_ct_are_named(tmp_path: Path, study: Path, toy: Network) -> None:
    """In captures and in each frame of a map."""
    single = [pydicom.dcmread(path) for path in sorted(study.glob("*.dcm"))]  # the highest slice first
    whole = join(single)
    whole.SOPInstanceUID = "2.25.105"
    (tmp_path / "1.dcm").write_bytes(to_bytes(whole))
    made = send(tmp_path, toy, bleeding(any=0.9), captures=True, heat=True)
    (heat,) = of(made, MAP)
    named = [one.DerivationImageSequence[0].SourceImageSequence[0] for one in heat.PerFrameFunctionalGroupsSequence]
    heights = [one.PlanePositionSequence[0].ImagePositionPatient[2] for one in heat.PerFrameFunctionalGroupsSequence]

    assert {one.ReferencedSOPClassUID for one in named} == {ENHANCED}
    assert [int(one.ReferencedFrameNumber) for one in named] == [
        N_SLICES - positions().tolist().index(height) for height in heights
    ]
    for one in of(made, CAPTURE):
        assert one.SourceImageSequence[0].ReferencedFrameNumber


def test_files_without_a_place_have_no_map(tmp_path: Path, toy: Network) -> None:
    """Their captures name no side, and their report says what was assumed."""
    folder = tmp_path / "study"
    folder.mkdir()
    for index, hu in enumerate(head_hu()):
        extra = {(0x0020, 0x0032): None, (0x0020, 0x0037): None, (0x0020, 0x0013): ("IS", str(index))}
        content = dicom_bytes(hu, image_id=IMAGES[index], series_id=SERIES, study_id=STUDY, extra=extra)
        (folder / f"{index}.dcm").write_bytes(content)
    made = send(folder, toy, bleeding(any=0.9), captures=True, heat=True)

    assert of(made, MAP) == []
    assert all(not one.PatientOrientation for one in of(made, CAPTURE))


def test_dciodvfy_finds_no_error_in_pictures(drawn: Sent, dciodvfy: Callable[[Dataset], list[str]]) -> None:
    """Of a capture and of every map."""
    chosen = [*of(drawn, CAPTURE)[:1], *of(drawn, MAP)]

    assert [dciodvfy(one) for one in chosen] == [[]] * len(chosen)
    assert all(one.SeriesInstanceUID != SERIES for one in chosen)
