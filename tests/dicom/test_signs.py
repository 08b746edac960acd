"""Laws of values whose sign the header has wrong: they come back exactly, and honest images are never changed."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate

from ich25d.dicom.header import Header
from ich25d.dicom.hounsfield import to_hu
from ich25d.dicom.reader import read_header, read_hu

quick = settings(max_examples=120, deadline=None)
SIDE = 96
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2


def head(seed: int, *, air: int = -1000, noise: float = 5.0, metal: int = 0) -> np.ndarray:
    """A head with a scalp, bone, brain, ventricles and a sinus on a head-rest, HU as they are before any clipping."""
    rng = np.random.default_rng(seed)
    hu = np.full((SIDE, SIDE), float(air))
    radius = np.hypot(COLUMNS / 0.33, ROWS / 0.40) / SIDE
    for inside, value in ((1.08, -80), (1.04, 45), (1.0, 1100), (0.92, 34)):
        hu[radius < inside] = value
    hu[np.hypot(COLUMNS / 0.06, ROWS / 0.14) < SIDE] = 3
    hu[8:14, 44:52] = air
    hu[-4:] = -300
    hu += rng.normal(0, noise, hu.shape)
    if metal:
        place = slice(30, 36)
        hu[29:37, 29:37] = metal / 2
        hu[place, place] = rng.integers(2048, metal, (6, 6), endpoint=True)
    return np.rint(hu).astype(np.int32)


def codes(remarks: tuple[Any, ...]) -> list[str]:
    """Return the codes alone."""
    return [remark.code for remark in remarks]


@quick
@given(
    seed=st.integers(0, 2**16),
    bits=st.integers(12, 16),
    noise=st.sampled_from([0.0, 3.0, 8.0, 20.0]),
    air=st.sampled_from([-1000, -1010, -1024]),
    metal=st.sampled_from([0, 2700, 3071]),
    is_clipped=st.booleans(),
)
def test_negative_hu_under_an_unsigned_header_come_back(
    make_header: Callable[..., Header], seed: int, bits: int, noise: float, air: int, metal: int, is_clipped: bool
) -> None:
    """HU as two's complement of 12 to 16 bits under PixelRepresentation 0: noise below -1024 and metal included."""
    hu = head(seed, air=air, noise=noise, metal=metal)
    hu = np.clip(hu, -1024 if is_clipped else -4096, 3071)
    stored = (hu & (1 << bits) - 1).astype(np.uint16)
    found, remarks = to_hu(stored, make_header(is_signed=False, bits_stored=bits, high_bit=bits - 1, intercept=0.0))

    assert np.array_equal(found, np.clip(hu, -1024, 3071))
    assert codes(remarks)[:1] == ["WRAP12" if bits == 12 else "SIGN"]


def test_air_that_was_cut_off_at_minus_1000_leaves_metal_above_3072(make_header: Callable[..., Header]) -> None:
    """RSNA's scanners: nothing below -1000 HU, so that 3072 to 3095 are metal and not air."""
    hu = np.maximum(head(0, noise=8.0, metal=3095), -1000)
    hu[32, 32] = 3095
    stored = (hu & 0xFFF).astype(np.uint16)
    found, _ = to_hu(stored, make_header(is_signed=False, bits_stored=12, high_bit=11, intercept=0.0))

    assert np.array_equal(found, np.clip(hu, -1024, 3071))


@quick
@given(seed=st.integers(0, 2**16), bits=st.integers(13, 16))
def test_hu_under_the_intercept_of_unsigned_values_come_back(
    make_header: Callable[..., Header], seed: int, bits: int
) -> None:
    """Signed HU written over the pixels of a file that keeps unsigned and -1024: the tissue says that they are HU."""
    hu = np.clip(head(seed), -1024, 3071)
    stored = (hu & (1 << bits) - 1).astype(np.uint16)
    found, remarks = to_hu(stored, make_header(is_signed=False, bits_stored=bits, high_bit=bits - 1))

    assert np.array_equal(found, hu)
    assert codes(remarks) == ["SIGN"]


@quick
@given(
    seed=st.integers(0, 2**16),
    bits=st.integers(12, 16),
    air=st.sampled_from([-1024, -1020, -1026]),
    metal=st.sampled_from([0, 2700, 3071]),
)
def test_noise_of_air_below_the_intercept_comes_back(
    make_header: Callable[..., Header], seed: int, bits: int, air: int, metal: int
) -> None:
    """Air about the intercept has stored values about 0, and those below are at the top of the unsigned range."""
    hu = head(seed, air=air, noise=4.0, metal=metal)
    stored = (hu + 1024 & (1 << bits) - 1).astype(np.uint16)
    found, _ = to_hu(stored, make_header(is_signed=False, bits_stored=bits, high_bit=bits - 1))

    assert np.array_equal(found, np.clip(hu, -1024, 3071))


@quick
@given(
    seed=st.integers(0, 2**16),
    bits=st.integers(12, 16),
    intercept=st.sampled_from([-1024, -1000, 0]),
    metal=st.sampled_from([0, 3000, 1 << 17]),
    in_brain=st.booleans(),
    noise=st.sampled_from([0.0, 3.0, 12.0]),
)
def test_honest_unsigned_images_are_not_changed(
    make_header: Callable[..., Header], seed: int, bits: int, intercept: int, metal: int, in_brain: bool, noise: float
) -> None:
    """Air cut off at 0, bone, and metal up to the top value: no value has wrapped, whatever its bits."""
    hu = head(seed, air=-1005, noise=noise, metal=min(metal, 20_000))
    if metal:
        hu[30:36, 30:36] = metal
        if in_brain:
            hu[60:66, 60:63] = metal  # without a rim
    stored = np.clip(hu - intercept, 0, (1 << bits) - 1).astype(np.uint16)
    header = make_header(is_signed=False, bits_stored=bits, high_bit=bits - 1, intercept=float(intercept))
    found, remarks = to_hu(stored, header)

    assert np.array_equal(found, np.clip(stored.astype(np.int32) + intercept, -1024, 3071))
    assert set(codes(remarks)) <= {"NO_NEG_HU", "HU_ODD"}


def test_a_ring_of_the_highest_value_is_no_sign(make_header: Callable[..., Header]) -> None:
    """White outside the circle, undeclared: bone must not become air for it. It is remarked."""
    hu = head(1)
    stored = (hu + 1024).clip(0, 4095).astype(np.uint16)
    stored[np.hypot(ROWS, COLUMNS) > SIDE / 2 - 1] = 4095
    found, remarks = to_hu(stored, make_header(is_signed=False, bits_stored=12, high_bit=11))

    assert np.array_equal(found, np.clip(stored.astype(np.int32) - 1024, -1024, 3071))
    assert codes(remarks) == ["HU_ODD"]


@pytest.mark.parametrize(
    ("is_coded_signed", "is_signed", "bits", "intercept"),
    [
        (True, False, 16, 0),
        (True, False, 12, 0),
        (True, False, 13, -1024),
        (False, True, 12, -1024),
        (False, True, 16, 0),
    ],
)
def test_the_sign_of_a_jpeg_2000_stream_counts(
    make_dataset: Callable[..., FileDataset], is_coded_signed: bool, is_signed: bool, bits: int, intercept: int
) -> None:
    """Headers that say otherwise gave air of 3071 HU, or black bone; raw bits of signed values are read too."""
    encode = pytest.importorskip("openjpeg.utils").encode_array
    hu = np.clip(head(2), -1024, 1900)
    values = hu - intercept
    if is_coded_signed:
        values = values.clip(-(1 << bits - 1), (1 << bits - 1) - 1)
    hu = values + intercept
    coded = values.astype(np.int16) if is_coded_signed else (values & (1 << bits) - 1).astype(np.uint16)
    stream = encode(coded, bits_stored=bits, photometric_interpretation=2)
    dataset = make_dataset(
        values.astype(np.int16), "1.2.840.10008.1.2.4.90", BitsStored=bits, HighBit=bits - 1,
        PixelRepresentation=int(is_signed), RescaleIntercept=intercept, RescaleSlope=1,
    )  # fmt: skip
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    file = BytesIO()
    dataset.save_as(file)
    content = file.getvalue()
    found = read_hu(content, read_header(content, total_size=len(content)))

    assert np.array_equal(found.hu, hu)
    assert ("SIGN" in codes(found.remarks)) == (bits < 16 or is_coded_signed)
