"""Frames of an enhanced CT are read as the single images that they could have been."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from enhanced_ct import GROUPS, join, to_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from ich25d.dicom import reader
from ich25d.dicom.codes import CODES
from ich25d.dicom.frames import MAX_FRAMES
from ich25d.dicom.header import Header, NeedMore
from ich25d.dicom.reader import HEAD_BYTES, read_header, read_headers, read_hu
from ich25d.errors import DicomError

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
MakeDataset = Callable[..., FileDataset]

OF_THE_FILE = {"image_id", "n_frames", "frame", "instance_number", "pixel_offset", "pixel_length"}
"""Fields in which a frame's header differs from a single image's."""


def images_of(
    make_dataset: MakeDataset, n: int = 3, syntax: str = EXPLICIT, *, shape: tuple[int, int] = (6, 8), **changes: Any
) -> list[FileDataset]:
    """Return n single images of noise that differ in all that frames may differ in."""
    rng = np.random.default_rng(n)
    return [
        make_dataset(
            rng.integers(0, 2000, shape).astype(np.int16), syntax,
            **{
                "ImagePositionPatient": [-125, -115, 5.0 * k], "ConvolutionKernel": "H30s", "KVP": 120,
                "SliceThickness": 5, "AcquisitionNumber": 4 + k, "TemporalPositionIdentifier": 1 + k,
                "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "AcquisitionTime": f"10203{k}.5", "RescaleType": "HU",
                "RescaleIntercept": -1024 + k, "PixelSpacing": [0.5, 0.5], "WindowCenter": 40 + k, "WindowWidth": 80,
            } | changes,
        )
        for k in range(n)
    ]  # fmt: skip


def headers_of(content: bytes) -> list[Header]:
    """Read the headers of a file whose frames are all of use."""
    found = read_headers(content, total_size=len(content))
    assert all(isinstance(header, Header) for header in found)
    return [header for header in found if isinstance(header, Header)]


def alike(header: Header) -> dict[str, Any]:
    """Return what must be the same of a frame and of the image that it was."""
    return {name: value for name, value in header._asdict().items() if name not in OF_THE_FILE}


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 5),
    shared=st.sets(st.sampled_from(sorted(GROUPS))),
    syntax=st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]),
    by_pydicom=st.booleans(),
)
def test_a_frame_is_read_as_the_image_that_it_was(make_dataset, n, shared, syntax, by_pydicom) -> None:
    """Whichever groups the frames share, in every plain syntax, by both parsers: one image, one frame, equal HU."""
    images = images_of(make_dataset, n, syntax)
    for image in images:  # a group that is shared says the same of all
        for group in shared:
            for name in GROUPS[group].values():
                setattr(image, name, images[0][name].value)
    content = to_bytes(join(images, shared))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "FORCE_PYDICOM", by_pydicom)
        frames = headers_of(content)
        assert len(frames) == n
        for k, (frame, image) in enumerate(zip(frames, images, strict=True), start=1):
            alone = to_bytes(image)
            header = read_header(alone, total_size=len(alone))
            assert alike(frame) == alike(header)
            assert (frame.image_id, frame.frame, frame.n_frames) == (f"{header.image_id}#{k}", k, n)
            assert frame.instance_number == k
            np.testing.assert_array_equal(read_hu(content, frame).hu, read_hu(alone, header).hu)


@pytest.mark.parametrize("syntax", [RLE, "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"])
def test_compressed_frames_are_decoded_one_by_one(make_dataset: MakeDataset, syntax: str) -> None:
    """Lossless compression changes no HU, in any order of asking."""
    images = images_of(make_dataset, 4, shape=(64, 70))
    content, plain = to_bytes(join(images, (), syntax)), to_bytes(join(images))
    for frame, expected in reversed(list(zip(headers_of(content), headers_of(plain), strict=True))):
        np.testing.assert_array_equal(read_hu(content, frame).hu, read_hu(plain, expected).hu)


def test_a_stream_of_another_size_is_refused(make_dataset: MakeDataset) -> None:
    """The frame's own stream is held against the header, not the first one's."""
    content = to_bytes(join(images_of(make_dataset, 2), (), "1.2.840.10008.1.2.4.80"))
    frame = headers_of(content)[1]
    with pytest.raises(DicomError, match=r"^SHAPE: the stream holds \(6, 8\) px"):
        read_hu(content, frame._replace(rows=7))
    with pytest.raises(DicomError, match=r"^BAD_STREAM: frame 3 can't be found in the file's fragments"):
        read_hu(content, frame._replace(frame=3))


def test_headers_need_no_pixels(make_dataset: MakeDataset) -> None:
    """The first kilobytes of a long file are enough, and asking for more comes to an end."""
    content = to_bytes(join(images_of(make_dataset, 40)))
    asked = [HEAD_BYTES]
    found = None
    while found is None:
        try:
            found = read_headers(content[: asked[-1]], total_size=len(content))
        except NeedMore as more:
            asked.append(more.n_bytes)
    assert found == headers_of(content)
    assert asked == sorted(set(asked))
    assert len(asked) < 5
    assert asked[-1] <= len(content)


def test_an_image_of_its_own_is_one_header(make_dataset: MakeDataset) -> None:
    """An ordinary file has one image, without a number."""
    content = to_bytes(make_dataset())
    assert read_headers(content, total_size=len(content)) == [read_header(content, total_size=len(content))]
    assert headers_of(content)[0].frame == 0


def test_a_frame_says_more_than_what_all_share(make_dataset: MakeDataset) -> None:
    """A group in both places counts where it stands nearer to the frame; the whole file's position says nothing."""
    whole = join(images_of(make_dataset, 2), GROUPS.keys() - {"PlanePositionSequence"})
    macro = Dataset()
    macro.RescaleSlope, macro.RescaleIntercept = 2, -500
    whole.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence = [macro]
    del whole.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence
    whole.ImagePositionPatient = [1, 2, 3]
    first, second = headers_of(to_bytes(whole))
    assert (first.slope, first.intercept, second.slope, second.intercept) == (1, -1024, 2, -500)
    assert (first.origin_mm, second.origin_mm) == (None, (-125, -115, 5))


def test_an_odd_value_that_hardly_matters_costs_nothing_else(make_dataset: MakeDataset) -> None:
    """A number of a wrong length, and an empty value, say nothing: what all frames share stands."""
    whole = join(images_of(make_dataset, 2), ["CTReconstructionSequence"])
    frame_content = whole.PerFrameFunctionalGroupsSequence[0].FrameContentSequence[0]
    frame_content[0x00209128] = DataElement(0x00209128, "OB", b"\1\2\3\4\5\6")
    content = to_bytes(whole).replace(b"\x20\x00\x28\x91OB", b"\x20\x00\x28\x91UN")
    assert [header.temporal_position for header in headers_of(content)] == [None, 2]
    frame_content[0x00209128] = DataElement(0x00209128, "UL", 1)
    empty = Dataset()
    empty.ConvolutionKernel = ""
    whole.PerFrameFunctionalGroupsSequence[0].CTReconstructionSequence = [empty]
    assert [header.kernel for header in headers_of(to_bytes(whole))] == ["H30S", "H30S"]


@pytest.mark.parametrize("n", [2, 150])
def test_groups_of_unknown_kind_are_sequences_all_the_same(make_dataset: MakeDataset, n: int) -> None:
    """A gateway that doesn't know the tag passes it on as UN, which holds an implicit data set."""
    whole = join(images_of(make_dataset, n))
    plain = headers_of(to_bytes(whole))
    target = DicomBytesIO()
    target.is_little_endian, target.is_implicit_VR = True, True
    groups_alone = Dataset()
    groups_alone[0x52009230] = whole[0x52009230]
    write_dataset(target, groups_alone)
    groups = target.getvalue()[8:]
    del whole[0x52009230]
    whole[0x52009230] = DataElement(0x52009230, "OB", groups)
    found = headers_of(to_bytes(whole).replace(b"\x00\x52\x30\x92OB", b"\x00\x52\x30\x92UN"))
    assert [header._replace(pixel_offset=0) for header in found] == [
        header._replace(pixel_offset=0) for header in plain
    ]


def test_files_count_before_frames(make_dataset: MakeDataset) -> None:
    """Frames of several files of a series keep the files' order; parts of a concatenation count on."""
    numbers = []
    for number, offset in ((7, None), (8, None), (8, 2)):
        whole = join(images_of(make_dataset, 2))
        whole.InstanceNumber = number
        if offset is not None:
            whole.ConcatenationFrameOffsetNumber = offset
        numbers += [header.instance_number for header in headers_of(to_bytes(whole))]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    ("agent", "uses", "expected"),
    [
        (False, (), False),
        (True, (), True),
        (True, ("NO",), False),
        (True, ("NO", "YES"), True),
        (False, ("YES",), True),
    ],
)
def test_contrast_is_what_the_frame_says_of_it(make_dataset: MakeDataset, agent, uses, expected) -> None:
    """An agent in the file means contrast, unless the frame says that it wasn't given."""
    whole = join(images_of(make_dataset, 2))
    if agent:
        whole.ContrastBolusAgentSequence = [Dataset()]
        whole.ContrastBolusAgentSequence[0].CodeMeaning = "Iohexol"
    for answer in uses:
        use = Dataset()
        use.ContrastBolusAgentAdministered = answer
        shared = whole.SharedFunctionalGroupsSequence[0]
        shared.ContrastBolusUsageSequence = [*shared.get("ContrastBolusUsageSequence", ()), use]
    assert [header.contrast for header in headers_of(to_bytes(whole))] == [expected, expected]


def test_what_a_conversion_left_over_is_read(make_dataset: MakeDataset) -> None:
    """A converted file keeps unassigned attributes by their old names; identifiers among them don't count."""
    whole = join(images_of(make_dataset, 2, ConvolutionKernel=None, KVP=None, AcquisitionNumber=None))
    whole.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.2"
    shared, own = Dataset(), Dataset()
    shared.ConvolutionKernel, shared.KVP, shared.SOPInstanceUID, shared.Rows = "J40s", 100, "ID_other", 3
    own.SliceLocation, own.AcquisitionNumber = 12.5, 7
    whole.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence = [shared]
    whole.PerFrameFunctionalGroupsSequence[1].UnassignedPerFrameConvertedAttributesSequence = [own]
    first, second = headers_of(to_bytes(whole))
    assert (first.kernel, first.kvp, first.rows, first.image_id) == ("J40S", 100, 6, "ID_000012eaf#1")
    assert (first.slice_location, second.slice_location) == (None, 12.5)
    assert (first.acquisition_number, second.acquisition_number) == (None, 7)


def refusal(content: bytes) -> DicomError:
    """Return why a whole file is refused."""
    with pytest.raises(DicomError) as caught:
        read_headers(content, total_size=len(content))
    assert CODES[caught.value.code].is_refused
    return caught.value


def test_frames_that_cannot_be_told_apart_are_refused_as_a_file(make_dataset: MakeDataset) -> None:
    """Groups, frames and pixels must agree in number; the reason carries the file's ids."""
    cases = []
    for n_frames in (0, 3, MAX_FRAMES + 1, ""):
        whole = join(images_of(make_dataset, 2))
        whole.NumberOfFrames = n_frames
        cases.append((whole, "MULTIFRAME"))
    for name in ("NumberOfFrames", "PerFrameFunctionalGroupsSequence"):
        whole = join(images_of(make_dataset, 2))
        delattr(whole, name)
        cases.append((whole, "MULTIFRAME"))
    whole = join(images_of(make_dataset, 2))
    whole.PixelData *= 2
    cases.append((whole, "SHAPE"))
    whole = join(images_of(make_dataset, 2))
    whole.PerFrameFunctionalGroupsSequence[0].FrameVOILUTSequence = [Dataset() for _ in range(5000)]
    cases.append((whole, "MULTIFRAME"))
    whole = join(images_of(make_dataset, 2))
    whole.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].add_new(0x00091010, "OB", bytes(2**24))
    cases.append((whole, "MULTIFRAME"))
    cases.append((join(images_of(make_dataset, 2, DEFLATED)), "MULTIFRAME"))
    for presentation in ("COLOR", "MIXED", "TRUE_COLOR"):
        whole = join(images_of(make_dataset, 2))
        whole.PixelPresentation = presentation
        cases.append((whole, "NOT_GRAY"))
    for whole, code in cases:
        error = refusal(to_bytes(whole))
        assert (error.code, error.image_id, error.series_id) == (code, "ID_000012eaf", "ID_0ab5820b2a")


def test_what_is_wrong_with_every_frame_is_one_refusal(make_dataset: MakeDataset) -> None:
    """A colour file isn't refused once a frame."""
    whole = join(images_of(make_dataset, 3, PhotometricInterpretation="RGB", SamplesPerPixel=3))
    whole.PixelData *= 3
    error = refusal(to_bytes(whole))
    assert (error.code, error.image_id) == ("NOT_GRAY", "ID_000012eaf")


@pytest.mark.parametrize("syntax", [EXPLICIT, BIG_ENDIAN])
def test_a_frame_alone_may_be_refused(make_dataset: MakeDataset, syntax: str) -> None:
    """What is wrong with one frame, or cut off at the file's end, costs no other."""
    content = to_bytes(join(images_of(make_dataset, 3, syntax)))
    cut = content[:-10]
    found = read_headers(cut, total_size=len(cut))
    assert [getattr(header, "code", "") for header in found] == ["", "", "TRUNCATED"]
    assert found[2].image_id == "ID_000012eaf#3"
    for header, whole_header in zip(found[:2], headers_of(content), strict=False):
        assert isinstance(header, Header)
        np.testing.assert_array_equal(read_hu(cut, header).hu, read_hu(content, whole_header).hu)
    whole = join(images_of(make_dataset, 3))
    whole.PerFrameFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleSlope = 0
    content = to_bytes(whole)
    found = read_headers(content, total_size=len(content))
    assert [getattr(header, "code", "") for header in found] == ["BAD_RESCALE", "", ""]


def test_a_file_of_many_frames_may_be_large(make_dataset: MakeDataset) -> None:
    """What is too big for an image isn't for 600 of them; beyond the limit nothing is parsed."""
    content = to_bytes(join(images_of(make_dataset, 2)))
    assert len(read_headers(content, total_size=2**29)) == 2
    with pytest.raises(DicomError, match=r"^TOO_BIG"):
        read_headers(content, total_size=2**31)
    single = to_bytes(make_dataset())
    with pytest.raises(DicomError, match=r"^TOO_BIG"):
        read_headers(single, total_size=2**29)


@settings(max_examples=150, deadline=None)
@given(damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12))
def test_damage_is_a_reason_and_never_a_traceback(make_dataset, damage) -> None:
    """Any bytes of a header may be wrong: headers, reasons, or a wish for more bytes come of it."""
    content = bytearray(to_bytes(join(images_of(make_dataset, 3))))
    for place, byte in damage:
        content[128 + int(place * (len(content) - 128))] = byte
    try:
        found = read_headers(bytes(content), total_size=len(content))
    except DicomError as error:
        assert CODES[error.code].is_refused  # noqa: PT017  # either outcome is right
        return
    assert len(found) >= 1


@pytest.mark.parametrize("by", ["positions", "locations", "spacing", "spacing_down"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, RLE])
def test_frames_of_the_plain_class_are_read_where_their_places_are_told(
    make_dataset: MakeDataset, by: str, syntax: str
) -> None:
    """CT Image Storage: a position for each, SliceLocationVector, or one position and a distance."""
    images = images_of(make_dataset, 4, shape=(64, 70))
    for image in images:  # what can't be said frame by frame
        image.RescaleIntercept = -1024
    whole = deepcopy(images[0])
    whole.NumberOfFrames = 4
    whole.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    whole.ImagePositionPatient = [-100, -100, 20]
    whole.PixelData = b"".join(image.PixelData for image in images)
    down = -1 if by == "spacing_down" else 1
    if by == "positions":
        whole.ImagePositionPatient = [c for k in range(4) for c in (-100, -100, 20 + 5 * k)]
    elif by == "locations":
        whole.add_new(0x00182005, "DS", [7, 12, 17, 22])
    else:
        whole.SpacingBetweenSlices = 5 * down
    if syntax == RLE:
        whole.compress(RLE, generate_instance_uid=False)
    whole.file_meta.TransferSyntaxUID = syntax
    content = to_bytes(whole)
    frames = headers_of(content)
    assert [frame.origin_mm for frame in frames] == [(-100, -100, 20 + 5 * k * down) for k in range(4)]
    assert [frame.image_id for frame in frames] == [f"ID_000012eaf#{k}" for k in (1, 2, 3, 4)]
    assert all("FRAMES_PLACED" in {remark.code for remark in frame.remarks} for frame in frames)
    for frame, image in zip(frames, images, strict=True):
        alone = to_bytes(image)
        expected = read_hu(alone, read_header(alone, total_size=len(alone))).hu
        np.testing.assert_array_equal(read_hu(content, frame).hu, expected)


def test_frames_of_the_plain_class_without_places_are_refused_by_name(make_dataset: MakeDataset) -> None:
    """One position and nothing else; a vector of another length, or with a place twice; one position too few."""
    for change in ({}, {0x00182005: [1, 2, 3]}, {0x00182005: [1, 2, 2, 3]}, {0x00180088: 0}, {0x00200032: [0] * 9}):
        whole = make_dataset(np.zeros((4 * 64, 70), np.int16), Rows=64, NumberOfFrames=4)
        for tag, value in change.items():
            whole.add_new(tag, "DS", value)
        error = refusal(to_bytes(whole))
        assert error.code == "MULTIFRAME"
        assert "NumberOfFrames is 4" in error.detail


def test_one_frame_of_an_enhanced_class_may_say_all_as_an_image_does(make_dataset: MakeDataset) -> None:
    """NumberOfFrames 1, no functional groups."""
    whole = make_dataset(SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=1)
    (frame,) = headers_of(to_bytes(whole))
    assert frame.origin_mm == (-125.0, -115.897, 77.970825)


def test_frames_that_the_file_no_longer_holds_are_refused_alone(make_dataset: MakeDataset) -> None:
    """Four frames declared, the pixels of two."""
    whole = make_dataset(np.zeros((2 * 64, 70), np.int16), Rows=64, NumberOfFrames=4, SpacingBetweenSlices=5)
    content = to_bytes(whole)
    found = read_headers(content, total_size=len(content))
    assert [getattr(one, "code", "") for one in found] == ["", "", "PIXEL_SHORT", "PIXEL_SHORT"]
    content = content[:-1]
    found = read_headers(content, total_size=len(content))
    assert [getattr(one, "code", "") for one in found] == ["", "TRUNCATED", "PIXEL_SHORT", "PIXEL_SHORT"]
