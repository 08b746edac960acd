"""One wrong attribute, one reason or one remark."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ich25d.dicom.codes import CODES
from ich25d.dicom.header import Header, Slice
from ich25d.dicom.interpret import GOOD_ID, own_name
from ich25d.dicom.reader import read_header, read_hu
from ich25d.errors import DicomError

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def read(content: bytes) -> tuple[Header, Slice]:
    """Read a whole file."""
    header = read_header(content, total_size=len(content))
    return header, read_hu(content, header)


def refusal(content: bytes) -> DicomError:
    """Return why a file is refused."""
    with pytest.raises(DicomError) as caught:
        read(content)
    assert CODES[caught.value.code].is_refused
    return caught.value


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"Modality": "MR"}, "NOT_CT"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "NOT_CT"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "SECONDARY"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, "SECONDARY"),
    ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}, "MULTIFRAME"),
    ({"SOPClassUID": "1.2.840.10008.1.3.10"}, "DICOMDIR"),
    ({"BurnedInAnnotation": "YES"}, "SECONDARY"),
    ({"SOPInstanceUID": None}, "BAD_UID"),
    ({"SOPInstanceUID": "../../x"}, "BAD_UID"),
    ({"SeriesInstanceUID": "=cmd()"}, "BAD_UID"),
    ({"SamplesPerPixel": 3}, "NOT_GRAY"),
    ({"PhotometricInterpretation": "RGB"}, "NOT_GRAY"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "NOT_GRAY"),
    ({"Rows": None}, "BAD_TAG"),
    ({"Rows": 0}, "BAD_TAG"),
    ({"Rows": [6, 6]}, "BAD_TAG"),
    ({"Rows": 2049}, "SHAPE"),
    ({"Columns": 65535}, "SHAPE"),
    ({"NumberOfFrames": 2}, "MULTIFRAME"),
    ({"Rows": 1}, "SHAPE"),
    ({"Rows": 7}, "PIXEL_SHORT"),
    ({"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}, "BITS"),
    ({"HighBit": 3}, "HIGHBIT"),
    ({"BitsStored": 12}, "HIGHBIT"),
    ({"PixelRepresentation": 2}, "BAD_TAG"),
    ({"RescaleSlope": 0}, "BAD_RESCALE"),
    ({"RescaleSlope": 101}, "BAD_RESCALE"),
    ({"RescaleSlope": ""}, "BAD_RESCALE"),
    ({"RescaleSlope": [1, 1]}, "BAD_RESCALE"),
    ({"RescaleIntercept": "nan"}, "BAD_RESCALE"),
    ({"RescaleIntercept": None, "RescaleSlope": None}, "NO_RESCALE"),
    ({"PixelData": b"\0" * 96}, "BLANK"),
]


@pytest.mark.parametrize(("changes", "code"), REFUSED, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_refuses_with_the_right_code(
    ct_bytes: Callable[..., bytes], changes: dict[str, Any], code: str, syntax: str
) -> None:
    """One wrong attribute, one reason; the image's id travels with it for the row of qc.csv."""
    error = refusal(ct_bytes(syntax=syntax, **changes))

    assert error.code == code
    assert error.image_id == changes.get("SOPInstanceUID", "ID_000012eaf") or "SOPInstanceUID" in changes


REMARKED: list[tuple[dict[str, Any], str]] = [
    ({"ImagePositionPatient": [1, 2]}, "BAD_GEOMETRY"),
    ({"ImagePositionPatient": ["1", "nan", "2"]}, "BAD_GEOMETRY"),
    ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0.5]}, "BAD_GEOMETRY"),
    ({"ImageOrientationPatient": [1.004, 0, 0, 0, 1, 0]}, "BAD_GEOMETRY"),
    ({"PixelSpacing": None}, "NO_SPACING"),
    ({"PixelSpacing": [0, 0]}, "NO_SPACING"),
    ({"PixelSpacing": [0.4, 0.5]}, "ANISO"),
    ({"RescaleSlope": None}, "RESCALE_GUESS"),
    ({"RescaleType": "OD"}, "NOT_HU"),
    ({"LossyImageCompression": "01"}, "LOSSY"),
    ({"StudyInstanceUID": None}, "NO_SERIES_UID"),
    ({"PixelData": np.arange(50, dtype="<i2").tobytes()}, "PIXEL_LONG"),
]


@pytest.mark.parametrize(("changes", "code"), REMARKED, ids=lambda value: str(value)[:60])
def test_remarks_on_what_it_can_live_with(ct_bytes: Callable[..., bytes], changes: dict[str, Any], code: str) -> None:
    """The image is used, and one remark names what was odd."""
    header, _ = read(ct_bytes(**changes))

    assert code in [remark.code for remark in header.remarks]
    assert not CODES[code].is_refused


def test_an_orientation_slightly_off_is_made_orthonormal(ct_bytes: Callable[..., bytes]) -> None:
    """Lengths within a hundredth are repaired; further off counts as missing."""
    header, _ = read(ct_bytes(ImageOrientationPatient=[1.004, 0, 0, 0.002, 0.998, 0]))
    assert header.directions == pytest.approx((1, 0, 0, 0, 1, 0), abs=1e-9)

    header, _ = read(ct_bytes(ImageOrientationPatient=[1.2, 0, 0, 0, 1, 0]))
    assert header.directions is None


def test_truncated_files_are_told_by_the_header_alone(ct_bytes: Callable[..., bytes]) -> None:
    """A file cut inside its header or its pixels is refused before the pixels are read."""
    content = ct_bytes()
    for size in (200, 400, len(content) - 1):
        with pytest.raises(DicomError, match=r"^TRUNCATED"):
            read_header(content[:size], total_size=size)


def test_pixel_data_shorter_than_the_image_is_refused(ct_bytes: Callable[..., bytes]) -> None:
    """Like ID_6431af929 of RSNA: a whole file whose pixel data holds a third of the image."""
    error = refusal(ct_bytes(PixelData=b"\1\2" * 14))

    assert error.code == "PIXEL_SHORT"
    assert error.detail == "pixel data must hold 96 bytes (got 28)"
    assert error.image_id == "ID_000012eaf"


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"Rows": 4096}, ("2048", "4096")),
        ({"Rows": None}, ("Rows", "none")),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, ("got 3, RGB",)),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, ("1.2.840.10008.5.1.4.1.1.4",)),
        ({"PhotometricInterpretation": "DOE^JOHN"}, ("another",)),
        ({"BitsStored": 40}, ("got 16, stored 40",)),
        ({"HighBit": 3}, ("got 3",)),
        ({"RescaleSlope": "-2"}, ("(0, 100]", "-2.0")),
        ({"PixelData": bytes(10)}, ("96", "10")),
        ({"PixelData": bytes(400)}, ("96", "400")),
    ],
)
def test_sentences_name_the_limit_and_the_value(
    ct_bytes: Callable[..., bytes], changes: dict[str, Any], parts: tuple[str, ...]
) -> None:
    """Who reads qc.csv sees what to look for in the file; texts that may name somebody aren't shown."""
    content = ct_bytes(**changes)
    with pytest.raises(DicomError) as refused:
        read_header(content, total_size=len(content))
    assert all(part in refused.value.detail for part in parts), refused.value.detail
    assert "DOE" not in refused.value.detail


@pytest.mark.parametrize(
    ("identifier", "is_shown"),
    [
        ("ab" * 64, True), ("q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=", True), ("+/3vEjRWeJCrze8SNFZ4kA==", False),
        ("{0f8fad5b-d9cb-469f-a165-70867728950e}", True), ("urn:oid:1.2.3", True), ("anon 1 2 3", False),
    ],
)  # fmt: skip
def test_uids_of_hashes_are_used_under_names_of_their_own(
    ct_bytes: Callable[..., bytes], identifier: str, is_shown: bool
) -> None:
    """The same for all three, good in paths and tables; the original is told where it can't name a person."""
    names = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    content = ct_bytes(**dict.fromkeys(names, identifier))
    header = read_header(content, total_size=len(content))
    assert header.image_id == header.series_id == header.study_id == own_name(identifier)
    assert GOOD_ID(header.image_id)
    assert own_name(identifier) != own_name(identifier + "0")
    details = [remark.detail for remark in header.remarks if remark.code == "UID_RENAMED"]
    assert len(details) == 3
    assert all((identifier in detail) == is_shown for detail in details)


@pytest.mark.parametrize("kind", ["SCREEN SAVE", "CT_SOM5 PROT", "DOSE_INFO"])
def test_pages_are_known_by_their_image_type(ct_bytes: Callable[..., bytes], kind: str) -> None:
    """Scanners say so of some of them."""
    error = refusal(ct_bytes(ImageType=["DERIVED", "SECONDARY", kind]))

    assert (error.code, error.image_id) == ("SECONDARY", "ID_000012eaf")
