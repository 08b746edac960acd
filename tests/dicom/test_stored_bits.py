"""Laws of bits above the stored ones: overlays are dropped, and values that the header is too narrow for are kept."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset
from test_signs import codes, head

from ich25d.dicom.header import Header
from ich25d.dicom.hounsfield import to_hu
from ich25d.dicom.reader import read_header, read_hu

quick = settings(max_examples=120, deadline=None)
noises = st.sampled_from([0.0, 3.0, 10.0, 40.0])


def metal(hu: np.ndarray, value: int, *, is_sharp: bool) -> np.ndarray:
    """Put a clip of metal into a brain, with the rim that a scanner gives it or without."""
    hu = hu.copy()
    place = np.zeros(hu.shape)
    place[50:57, 58:65] = 1
    if not is_sharp:
        place = cv2.GaussianBlur(place, (0, 0), 1.0)
    return np.rint(hu + place * (value - hu)).astype(np.int64)


def overlay(kind: str, bit: int) -> np.ndarray:
    """Draw graphics into one bit."""
    plane = np.zeros((96, 96), dtype=np.uint8)
    if kind == "text":
        cv2.putText(plane, "L 5cm", (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    elif kind == "box":
        plane[40:60, 30:70] = 1
    else:
        cv2.ellipse(plane, (48, 48), (32, 38), 0, 0, 360, 1)
    return plane.astype(np.uint16) << bit


@quick
@given(
    seed=st.integers(0, 2**16),
    bits=st.integers(12, 15),
    is_signed=st.booleans(),
    kind=st.sampled_from(["text", "box", "contour"]),
    which=st.integers(0, 3),
    noise=noises,
)
def test_overlays_in_unused_bits_are_dropped(
    make_header: Callable[..., Header], seed: int, bits: int, is_signed: bool, kind: str, which: int, noise: float
) -> None:
    """Text, boxes and contours drawn into a bit above the stored ones, the sign extended below them or not."""
    hu = np.clip(head(seed, noise=noise), -1024, 2047)
    intercept = 0 if is_signed else -1024
    stored = (hu - intercept & (1 << bits) - 1).astype(np.uint16)
    drawn = stored | overlay(kind, bits + which % (16 - bits))
    header = make_header(is_signed=is_signed, bits_stored=bits, high_bit=bits - 1, intercept=float(intercept))
    found, remarks = to_hu(drawn.view(np.int16) if is_signed else drawn, header)

    assert np.array_equal(found, hu)
    assert "BITS_STORED" not in codes(remarks)


@quick
@given(
    seed=st.integers(0, 2**16),
    bits=st.integers(12, 14),
    is_signed=st.booleans(),
    intercept=st.sampled_from([-1024, -1000, 0]),
    value=st.sampled_from([3500, 4000, 4600, 6000, 7000, 8000, 12_000, 16_000, 20_000, 30_000]),
    is_sharp=st.booleans(),
    noise=noises,
)
def test_metal_beyond_the_stored_bits_is_metal(
    make_header: Callable[..., Header],
    seed: int, bits: int, is_signed: bool, intercept: int, value: int, is_sharp: bool, noise: float,
) -> None:  # fmt: skip
    """A toolkit rewrites pixels and leaves BitsStored: the values wrapped round to soft tissue, or to air."""
    hu = metal(head(seed, noise=noise), value, is_sharp=is_sharp)
    stored = hu - intercept if is_signed else np.maximum(hu - intercept, 0)
    header = make_header(is_signed=is_signed, bits_stored=bits, high_bit=bits - 1, intercept=float(intercept))
    found, remarks = to_hu(stored.astype(np.int16 if is_signed else np.uint16), header)

    assert np.array_equal(found, np.clip(stored + intercept, -1024, 3071))
    top = 1 << bits - is_signed
    assert {"BITS_STORED", "SIGN"}.isdisjoint(codes(remarks)) == (stored.max() < top and stored.min() >= -top)


@quick
@given(
    seed=st.integers(0, 2**16),
    bits=st.integers(12, 15),
    intercept=st.sampled_from([-1024, -1000]),
    noise=noises,
    has_ring=st.booleans(),
)
def test_unsigned_values_under_a_signed_header_come_back(
    make_header: Callable[..., Header], seed: int, bits: int, intercept: int, noise: float, has_ring: bool
) -> None:
    """Bone and metal from the middle of the range up became black. A white ring, whatever comes of it, is no sign."""
    inside = slice(6, -6)
    stored = np.clip(head(seed, noise=noise, metal=3071) - intercept, 0, (1 << bits) - 1)
    if has_ring:
        stored[:6] = stored[-6:] = stored[:, :6] = stored[:, -6:] = (1 << bits) - 1
    header = make_header(is_signed=True, bits_stored=bits, high_bit=bits - 1, intercept=float(intercept))
    found, remarks = to_hu(stored.astype(np.int16), header)

    stored = stored[inside, inside]
    assert np.array_equal(found[inside, inside], np.clip(stored + intercept, -1024, 3071))
    assert ("SIGN" in codes(remarks)) == (stored.max() >= 1 << bits - 1)


@quick
@given(
    seed=st.integers(0, 2**16), bits=st.integers(12, 15), intercept=st.sampled_from([0, -1024]), noise=noises
)  # fmt: skip
def test_a_sign_that_was_extended_or_not_is_read(
    make_header: Callable[..., Header], seed: int, bits: int, intercept: int, noise: float
) -> None:
    """Negative values come in 16 bits of two's complement, or of the stored bits; under either header."""
    hu = np.clip(head(seed, noise=noise), -1024, 1900) if intercept == 0 else head(seed, air=-1024, noise=noise)
    values = hu - intercept
    values = np.clip(values, -(1 << bits - 1), (1 << bits - 1) - 1)
    expected = np.clip(values + intercept, -1024, 3071)
    for is_signed, is_extended in ((True, True), (True, False), (False, True)):
        stored = values.astype(np.int16).view(np.uint16)
        stored = stored if is_extended else stored & (1 << bits) - 1
        header = make_header(is_signed=is_signed, bits_stored=bits, high_bit=bits - 1, intercept=float(intercept))
        found, _ = to_hu(stored.view(np.int16) if is_signed else stored, header)

        assert np.array_equal(found, expected), (is_signed, is_extended)


@pytest.mark.parametrize(("is_signed", "padding"), [(True, -32768), (True, -3024), (False, 63536)])
def test_padding_beyond_the_stored_bits_is_padding(
    make_header: Callable[..., Header], is_signed: bool, padding: int
) -> None:
    """-32768 in 12 signed bits is 0 without the bits above: 0 HU, or tissue."""
    hu = np.clip(head(0), -1000, 1900)
    stored = (hu if is_signed else hu + 1024).astype(np.int16 if is_signed else np.uint16)
    stored[:, :12] = padding
    header = make_header(
        is_signed=is_signed,
        bits_stored=12,
        high_bit=11,
        intercept=0.0 if is_signed else -1024.0,
        padding=padding & 0xFFFF,
    )
    found, _ = to_hu(stored, header)

    assert (found[:, :12] == -1024).all()
    assert np.array_equal(found[:, 12:], hu[:, 12:])


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"])
def test_files_of_every_uncompressed_kind_keep_the_bits_above(
    make_dataset: Callable[..., FileDataset], write: Callable[..., bytes], syntax: str
) -> None:
    """pydicom, which reads big endian and RLE, would drop them."""
    hu = metal(head(3), 6000, is_sharp=True)
    stored = np.maximum(hu + 1024, 0).astype(np.uint16)
    is_rle = syntax.endswith(".5")
    dataset = make_dataset(stored, "1.2.840.10008.1.2.1" if is_rle else syntax, BitsStored=12, HighBit=11)
    if is_rle:
        dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
    content = write(dataset)
    found = read_hu(content, read_header(content, total_size=len(content)))

    assert np.array_equal(found.hu, np.clip(hu, -1024, 3071))
    assert codes(found.remarks) == ["BITS_STORED"]
