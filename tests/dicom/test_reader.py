"""Laws of one file: bytes in, header and HU or a reason out."""

import pickle
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from ich25d.dicom import foreign, reader
from ich25d.dicom.codes import CODES
from ich25d.dicom.elements import read_meta
from ich25d.dicom.header import Header, NeedMore, Slice
from ich25d.dicom.reader import read_header, read_hu
from ich25d.errors import DicomError

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(content: bytes) -> tuple[Header, Slice]:
    """Read a whole file."""
    header = read_header(content, total_size=len(content))
    return header, read_hu(content, header)


def read_by_pydicom(content: bytes) -> tuple[Header, Slice]:
    """Read a whole file as under ICH25D_PARSER=pydicom."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "FORCE_PYDICOM", True)
        return read(content)


def refusal(content: bytes) -> DicomError:
    """Return why a file is refused."""
    with pytest.raises(DicomError) as caught:
        read(content)
    assert CODES[caught.value.code].is_refused
    return caught.value


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, DEFLATED, BIG_ENDIAN])
def test_reads_an_rsna_like_file(ct_bytes: Callable[..., bytes], syntax: str) -> None:
    """Every attribute and every pixel of a small file, in each uncompressed syntax."""
    header, one = read(ct_bytes(syntax=syntax))

    assert (header.image_id, header.series_id, header.study_id) == ("ID_000012eaf", "ID_0ab5820b2a", "ID_30ea2b02d4")
    assert header.patient_id == "ID_f15c0eee"
    assert header.origin_mm == (-125.0, -115.897, 77.970825)
    assert header.directions == pytest.approx((1, 0, 0, 0, 0.927184, -0.374607))
    assert (header.rows, header.columns, header.is_signed, header.transfer_syntax) == (6, 8, True, syntax)
    assert (header.slope, header.intercept, header.padding) == (1.0, -1024.0, None)
    assert header.window == ((30.0, 80.0), (40.0, 400.0))
    assert one.hu.dtype == np.int16
    assert one.hu.tolist() == (np.arange(48).reshape(6, 8) * 20 - 1024).tolist()


pixels = st.sampled_from(
    [(np.uint16, 12), (np.uint16, 16), (np.int16, 16), (np.int16, 12), (np.uint16, 15), (np.int32, 32)]
)
decimals = st.floats(-400, 400).map(lambda value: f"{value:.6f}"[:16])


@quick
@given(
    pixel=pixels,
    syntax=st.sampled_from([EXPLICIT, IMPLICIT]),
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    intercept=st.sampled_from(["-1024", "0", "-1000", "-8192", "1.5", "-1024.0 "]),
    slope=st.sampled_from(["1", "0.5", "2", "1.000000"]),
    origin=st.one_of(st.none(), st.lists(decimals, min_size=1, max_size=4)),
    angle=st.floats(-0.8, 0.8),
    padding=st.one_of(st.none(), st.integers(0, 65535)),
    nested=st.sampled_from([None, "defined", "undefined"]),
    private=st.binary(max_size=40),
    instance=st.one_of(st.none(), st.sampled_from(["1", "-3", "1.5", "abc", ""])),
    kernel=st.one_of(st.none(), st.sampled_from(["H31s", "STANDARD", "J40s\\3", "ZZPHI^"])),
    has_preamble=st.booleans(),
)
def test_hand_parser_and_pydicom_agree(
    make_dataset: Callable[..., Any], write: Callable[..., bytes], pixel: Any, syntax: str, seed: int,
    shape: tuple[int, int], intercept: str, slope: str, origin: list[str] | None, angle: float, padding: int | None,
    nested: str | None, private: bytes, instance: str | None, kernel: str | None, has_preamble: bool,
) -> None:  # fmt: skip
    """The same header, the same HU, or the same reason, on whatever pydicom can write."""
    dtype, bits_stored = pixel
    limits = np.iinfo(dtype)
    stored = np.random.default_rng(seed).integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    dataset = make_dataset(
        stored, syntax, BitsStored=bits_stored, HighBit=bits_stored - 1, RescaleIntercept=intercept, RescaleSlope=slope,
        ImageOrientationPatient=[1, 0, 0, 0, round(np.cos(angle), 6), round(np.sin(angle), 6)],
        ImagePositionPatient=origin, ConvolutionKernel=kernel,
    )  # fmt: skip
    if instance is not None:
        dataset.add_new(0x00200013, "LO", instance)  # as text: IS itself would refuse to be written so
        if syntax == EXPLICIT:
            dataset[0x00200013].VR = "LO"
    if padding is not None:
        dataset.add_new(0x00280120, "US", padding)
    if nested:
        inner = pydicom.Dataset()
        inner.PatientID = "inner"
        inner.OtherPatientIDsSequence = Sequence([pydicom.Dataset()])
        inner.Rows = 77
        for item in (inner, inner.OtherPatientIDsSequence[0]):
            item.is_undefined_length_sequence_item = nested == "undefined"
        dataset.ReferencedImageSequence = Sequence([inner, pydicom.Dataset()])
        dataset["ReferencedImageSequence"].is_undefined_length = nested == "undefined"
    if private:
        dataset.private_block(0x0009, "ICH25D TEST", create=True).add_new(1, "OB", private + b"\0" * (len(private) % 2))
    content = write(dataset)
    if not has_preamble:
        content = content[132:]

    def outcome(how: Callable[[bytes], tuple[Header, Slice]]) -> tuple[Any, ...]:
        try:
            header, one = how(content)
        except DicomError as error:
            return error.code, error.image_id
        return header, one.hu.tolist(), one.remarks

    assert outcome(read) == outcome(read_by_pydicom)


@quick
@given(n=st.integers(0, 700), syntax=st.sampled_from([EXPLICIT, IMPLICIT]))
def test_a_short_head_asks_for_more_and_never_lies(ct_bytes: Callable[..., bytes], n: int, syntax: str) -> None:
    """Whatever the first bytes are, reading on ends at the header of the whole file."""
    content = ct_bytes(syntax=syntax)
    whole = read_header(content, total_size=len(content))
    asked = [min(n, len(content))]
    header = None
    while header is None:
        try:
            header = read_header(content[: asked[-1]], total_size=len(content))
        except NeedMore as more:
            asked.append(more.n_bytes)

    assert header == whole
    assert asked == sorted(set(asked))
    assert asked[-1] <= len(content)


@quick
@given(data=st.data())
def test_damage_gives_a_reason_and_never_a_traceback(ct_bytes: Callable[..., bytes], data: st.DataObject) -> None:
    """Flipped bytes and cuts end in a header and HU in range, or in a DicomError with a known code."""
    content = bytearray(ct_bytes(syntax=data.draw(st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]))))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(0, len(content)))])
    code = None
    try:
        header, one = read(damaged)
    except DicomError as error:
        code = error.code
    if code is not None:
        assert CODES[code].is_refused
    else:
        assert one.hu.shape == (header.rows, header.columns)
        assert one.hu.min() >= -1024
        assert one.hu.max() <= 3071


def test_a_cut_behind_the_pixels_does_no_harm(ct_bytes: Callable[..., bytes]) -> None:
    """What comes after the pixel data isn't needed."""
    content = ct_bytes(DataSetTrailingPadding=b"\0" * 400)
    assert read(content[:-100])[1].hu.tolist() == read(content)[1].hu.tolist()


@pytest.mark.parametrize(
    "content", [b"\0" * 4096, b"<html>" * 700, b"x", b"\x89PNG" * 99, b"PK\3\4" * 99], ids=range(5)
)
def test_other_files_are_no_dicom(content: bytes) -> None:
    """Zeros, HTML, pictures and archives are told apart from damaged DICOM."""
    assert refusal(content).code == "NOT_DICOM"


def test_an_empty_file_is_called_empty() -> None:
    """No bytes, own code."""
    assert refusal(b"").code == "EMPTY"


def test_a_file_larger_than_any_ct_is_refused_unread() -> None:
    """The size decides before the first byte is parsed."""
    with pytest.raises(DicomError, match=r"^TOO_BIG"):
        read_header(b"", total_size=2**30)


def test_a_deflated_bomb_is_refused() -> None:
    """Inflating stops at the limit: 70 MB of zeros in 70 kB never get to memory."""
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + DEFLATED.encode()
    element = struct.pack("<HH2sHL", 9, 0x1001, b"OB", 0, 7 * 10**7)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"\0" * 128 + b"DICM" + meta + deflater.compress(element + b"\0" * 7 * 10**7) + deflater.flush()

    assert len(bomb) < 200_000
    assert refusal(bomb).code == "DEFLATED_BIG"


def test_reads_rle_and_says_what_is_missing_without_a_decoder(
    make_dataset: Callable[..., Any], write: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compressed file gives the same HU; without a decoder the reason names syntax and cure."""
    dataset = make_dataset()
    plain = read(write(dataset))[1].hu
    dataset.compress("1.2.840.10008.1.2.5", encoding_plugin="pydicom", generate_instance_uid=False)
    content = write(dataset)
    assert read(content)[1].hu.tolist() == plain.tolist()

    monkeypatch.setattr(foreign, "pinned_decoder", lambda syntax: None)
    error = refusal(content)
    assert error.code == "NO_DECODER"
    assert "RLE Lossless" in error.detail
    assert "pip install 'ich25d[codecs]'" in error.detail


def test_a_damaged_stream_is_a_reason(make_dataset: Callable[..., Any], write: Callable[..., bytes]) -> None:
    """Whatever a decoder throws, panics included, is one refused file."""
    dataset = make_dataset()
    dataset.compress("1.2.840.10008.1.2.5", encoding_plugin="pydicom", generate_instance_uid=False)
    content = write(dataset)
    at = content.rindex(b"\xfe\xff\x00\xe0", 0, -8) + 8
    damaged = content[: at + 4] + b"\xff" * 8 + content[at + 12 :]

    assert refusal(damaged).code in {"BAD_STREAM", "SHAPE"}


def test_what_a_stream_claims_is_checked_before_it_is_decoded(
    make_dataset: Callable[..., Any], write: Callable[..., bytes]
) -> None:
    """Of 16,384 components a decoder would take gigabytes; of 32 bits in a JPEG, GDCM would end the process."""
    dataset = make_dataset(np.zeros((64, 64), dtype=np.int16))
    dataset.compress("1.2.840.10008.1.2.4.90", generate_instance_uid=False)
    content = bytearray(write(dataset))
    at = content.index(b"\xff\x4f\xff\x51")
    content[at + 40 : at + 42] = (16_384).to_bytes(2)
    assert str(refusal(bytes(content))) == "SHAPE: the stream holds 16384 components, the header says 1"

    dataset = make_dataset(BitsAllocated=32, BitsStored=12, HighBit=11)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
    frame = b"\xff\xd8\xff\xc3\x00\x0b\x10\x00\x06\x00\x08\x01\x01\x11\x00\xff\xd9"
    dataset.PixelData = encapsulate([frame + b"\0"])
    dataset["PixelData"].is_undefined_length = True
    assert str(refusal(write(dataset))) == "BITS: JPEG holds at most 16 bits (the header says 32)"


def test_unknown_transfer_syntaxes_are_named_only_when_they_are_uids(
    make_dataset: Callable[..., Any], write: Callable[..., bytes]
) -> None:
    """A syntax is text from a stranger: it is shown when it is a UID."""
    content = write(make_dataset())
    other = content.replace(EXPLICIT.encode() + b"\0", b"1.2.840.10008.9.9.9\0")
    assert other != content
    assert refusal(other).detail.startswith("this transfer syntax isn't read (1.2.840.10008.9.9.9); ")


def test_no_free_text_of_the_file_gets_into_the_header_or_a_reason(ct_bytes: Callable[..., bytes]) -> None:
    """A name planted in every text attribute is found in PatientID alone, which callers hash."""
    planted = dict.fromkeys(
        [
            *(
                "PatientName",
                "PatientID",
                "SeriesDescription",
                "StudyDescription",
                "ConvolutionKernel",
                "StudyID",
                "KVP",
            ),
            *(
                "InstitutionName",
                "AccessionNumber",
                "ImageType",
                "RescaleType",
                "AcquisitionTime",
                "ContrastBolusAgent",
            ),
            *("AcquisitionNumber", "SliceThickness", "SliceLocation", "ProtocolName", "InstanceNumber", "SeriesNumber"),
        ]
    )
    content = ct_bytes()
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
    for name in planted:
        tag = pydicom.datadict.tag_for_keyword(name)
        dataset.add_new(tag, "LO", "ZZPHI^ANNA")
    target = pydicom.filebase.DicomBytesIO()
    dataset.save_as(target)
    header, one = read(target.getvalue())

    assert header.patient_id == "ZZPHI^ANNA"
    rest = {name: getattr(header, name) for name in header.__slots__ if name != "patient_id"}
    assert "ZZPHI" not in repr(rest) + repr(one.remarks)


def test_a_dicom_error_travels_between_processes() -> None:
    """Code, detail and ids survive pickling: workers raise, the parent writes the row."""
    error = pickle.loads(pickle.dumps(DicomError("SHAPE", "too large", image_id="ID_1", series_id="ID_s")))

    assert (error.code, error.detail, error.image_id, error.series_id) == ("SHAPE", "too large", "ID_1", "ID_s")
    assert str(error) == "SHAPE: too large"


def _implicit_meta(content: bytes) -> bytes:
    """Write the file meta information anew, as implicit elements."""
    start, meta = read_meta(content, len(content)).start, b""
    for element, value in ((0x02, b"1.2.840.10008.5.1.4.1.1.2\0"), (0x10, b"1.2.840.10008.1.2.1\0")):
        meta += struct.pack("<HHI", 2, element, len(value)) + value
    return content[:132] + meta + content[start:]


@pytest.mark.parametrize("change", [_implicit_meta, lambda content: content[128:]])
def test_reads_files_whose_meta_is_written_oddly(
    ct_bytes: Callable[..., bytes], change: Callable[[bytes], bytes]
) -> None:
    """Implicit elements, as pydicom takes them, and the mark without its preamble."""
    content = ct_bytes()
    expected = read_hu(content, read_header(content, total_size=len(content))).hu
    odd = change(content)
    assert odd != content
    header = read_header(odd, total_size=len(odd))
    assert np.array_equal(read_hu(odd, header).hu, expected)


def test_reads_philips_name_of_explicit_little_endian(ct_bytes: Callable[..., bytes]) -> None:
    """The data set is as usual, its transfer syntax a private one."""
    content = ct_bytes()
    expected = read(content)[1].hu
    old = b"\x02\0\x10\0UI\x14\0" + EXPLICIT.encode() + b"\0"
    private = b"1.3.46.670589.33.1.4.1"
    odd = content.replace(old, b"\x02\0\x10\0UI" + struct.pack("<H", len(private)) + private)
    assert odd != content
    assert np.array_equal(read(odd)[1].hu, expected)
