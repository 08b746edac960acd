"""Laws of stored values becoming HU, and hand-worked repairs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.dicom.header import Header
from ich25d.dicom.hounsfield import to_hu
from ich25d.errors import DicomError

quick = settings(max_examples=80, deadline=None)
UNSIGNED_12 = {"bits_stored": 12, "high_bit": 11, "is_signed": False}


def codes(remarks: tuple[Any, ...]) -> list[str]:
    """Return the codes alone."""
    return [remark.code for remark in remarks]


def head(background: int, tissue: int, dtype: Any = np.uint16) -> np.ndarray:
    """A square of tissue in its background, with a bright ring of bone."""
    stored = np.full((64, 64), background, dtype=dtype)
    stored[16:48, 16:48] = tissue
    stored[16, 16:48] = tissue + 1000
    return stored


@quick
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([(np.int16, 16), (np.int16, 12), (np.uint16, 16), (np.uint16, 12), (np.int32, 32)]),
    slope=st.sampled_from([1.0, 0.5, 2.0, 1 / 3]),
    intercept=st.sampled_from([-1024.0, -1000.0, -8192.0, -30000.0, -1023.5, -200.0, 40000.0]),
)
def test_hu_are_slope_times_stored_plus_intercept_clipped(
    make_header: Callable[..., Header], seed: int, bits: tuple[Any, int], slope: float, intercept: float
) -> None:
    """The fast integer ways and the general one give what the definition says, in every type."""
    dtype, bits_stored = bits
    low, high = (
        (-(1 << bits_stored - 1), (1 << bits_stored - 1) - 1)
        if np.issubdtype(dtype, np.signedinteger)
        else (0, (1 << bits_stored) - 1)
    )
    stored = np.random.default_rng(seed).integers(low, min(high, 20_000), (16, 16), dtype=dtype, endpoint=True)
    stored[0, 0], stored[0, 1] = low, min(high, 20_000)
    # Rising: the highest values scattered among the lowest are what wrapped negative ones look like.
    stored = np.sort(stored, axis=None).reshape(stored.shape)
    stored.setflags(write=False)
    header = make_header(
        slope=slope, intercept=intercept, bits_allocated=8 * stored.itemsize, bits_stored=bits_stored,
        is_signed=np.issubdtype(dtype, np.signedinteger),
    )  # fmt: skip
    expected = np.rint(np.clip(stored.astype(np.float64) * slope + intercept, -1024, 3071)).astype(np.int16)
    if expected.min() == expected.max():
        with pytest.raises(DicomError, match=r"^BLANK"):
            to_hu(stored, header)
        return
    hu, _ = to_hu(stored, header)

    assert hu.dtype == np.int16
    assert np.array_equal(hu, expected)
    assert hu.flags.writeable
    assert not np.shares_memory(hu, stored)


@quick
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([(np.int16, 16), (np.int16, 12), (np.uint16, 16), (np.uint16, 12), (np.int32, 32)]),
    slope=st.sampled_from([1.0, 0.5]),
    intercept=st.sampled_from([-1024.0, 0.0, -8192.0, 40000.0]),
    padding=st.sampled_from([None, 63536, 3096, 500, 0]),
)
def test_lent_memory_changes_nothing(
    make_header: Callable[..., Header],
    seed: int,
    bits: tuple[Any, int],
    slope: float,
    intercept: float,
    padding: int | None,
) -> None:
    """HU that go where the caller says are the same; overlays, wrapped air and padding included."""
    dtype, bits_stored = bits
    rng = np.random.default_rng(seed)
    stored = rng.integers(0, 1 << 12, (32, 32)).astype(dtype)
    stored[:, :4] = rng.choice([3096, 63536, 500, 0]) & 0xFFFF if dtype is np.uint16 else rng.choice([-2000, 500, 0])
    stored[rng.random(stored.shape) < 0.02] |= 1 << 13
    stored.setflags(write=False)
    header = make_header(
        slope=slope, intercept=intercept, bits_allocated=8 * stored.itemsize, bits_stored=bits_stored,
        is_signed=dtype is not np.uint16, padding=padding,
    )  # fmt: skip
    try:
        expected, remarks = to_hu(stored, header)
    except DicomError as error:
        with pytest.raises(DicomError, match=f"^{error.code}"):
            to_hu(stored, header, np.empty(stored.shape, np.int16))
        return
    memory = np.full((3, *stored.shape), 7, dtype=np.int16)
    hu, again = to_hu(stored, header, memory[1])

    assert np.shares_memory(hu, memory[1])
    assert np.array_equal(memory[1], expected)
    assert again == remarks
    assert (memory[[0, 2]] == 7).all()


def test_unwraps_twelve_bits_as_kagglers_do(make_header: Callable[..., Header]) -> None:
    """Air of -1000 HU stored as 3096: from there up values had wrapped; below, they are HU."""
    hu, remarks = to_hu(head(3096, 40), make_header(**UNSIGNED_12, intercept=0.0))

    assert codes(remarks) == ["WRAP12"]
    assert hu[0, 0] == -1000
    assert hu[30, 30] == 40
    assert hu[16, 30] == 1040


def test_unwraps_air_of_minus_1024_too(make_header: Callable[..., Header]) -> None:
    """Stored 3072 lies below Kaggle's cut and would stay white; metal up to it stays metal."""
    stored = head(3072, 40)
    stored[20, 20] = 2800
    hu, remarks = to_hu(stored, make_header(**UNSIGNED_12, intercept=0.0))

    assert codes(remarks) == ["WRAP12"]
    assert hu[0, 0] == -1024
    assert hu[20, 20] == 2800


def test_metal_in_unsigned_images_is_not_unwrapped(make_header: Callable[..., Header]) -> None:
    """Without a background up there nothing had wrapped: metal of 4000 is clipped, not made air."""
    stored = head(0, 40)
    stored[20:30, 20:30] = 4000
    hu, remarks = to_hu(stored, make_header(**UNSIGNED_12, intercept=0.0))

    assert codes(remarks) == ["NO_NEG_HU"]
    assert hu[25, 25] == 3071


def test_ordinary_twelve_bit_images_are_left_alone(make_header: Callable[..., Header]) -> None:
    """Intercept -1024, air at 0: no repair, no remark."""
    hu, remarks = to_hu(head(0, 1064), make_header(**UNSIGNED_12))

    assert remarks == ()
    assert (hu[0, 0], hu[30, 30]) == (-1024, 40)


@pytest.mark.parametrize(
    ("dtype", "padding_stored", "declared", "limit"),
    [
        (np.int16, -2000, 63536, None),
        (np.int16, 500, 500, None),
        (np.uint16, 63536, 63536, None),
        (np.uint16, 30, 20, 40),
        (np.int16, 25, 40, 20),
        (np.int16, -1900, 65536 - 2000, 65536 - 1800),
    ],
)
def test_declared_padding_becomes_air(
    make_header: Callable[..., Header], dtype: Any, padding_stored: int, declared: int, limit: int | None
) -> None:
    """The declared value is compared modulo 2**16, whatever VR it came with; ranges count too."""
    stored = head(0, 60, dtype)
    stored[:5] = padding_stored
    is_signed = dtype is np.int16
    header = make_header(is_signed=is_signed, intercept=0.0, padding=declared, padding_limit=limit)
    hu, _ = to_hu(stored, header)

    assert (hu[:5] == -1024).all()
    assert hu[30, 30] == 60


def test_undeclared_padding_in_unsigned_pixels_becomes_air(make_header: Callable[..., Header]) -> None:
    """-2000 written as 63536 in the corners would be 62,512 HU."""
    stored = head(24, 1064)
    stored[:8, :8] = 63536
    hu, remarks = to_hu(stored, make_header(is_signed=False))

    assert "PAD_UNDECLARED" in codes(remarks)
    assert (hu[:8, :8] == -1024).all()


def test_absent_rescale_is_guessed_only_from_evidence(make_header: Callable[..., Header]) -> None:
    """Signed values with air are HU; unsigned ones with tissue at 1024 lack -1024; else there is no telling."""
    hu, remarks = to_hu(head(-1000, 40, np.int16), make_header(slope=None, intercept=None))
    assert (hu[0, 0], hu[30, 30], codes(remarks)) == (-1000, 40, ["RESCALE_GUESS"])

    hu, remarks = to_hu(head(0, 1064), make_header(slope=None, intercept=None, is_signed=False))
    assert (hu[0, 0], hu[30, 30], codes(remarks)) == (-1024, 40, ["RESCALE_GUESS"])

    with pytest.raises(DicomError, match=r"^NO_RESCALE"):
        to_hu(head(300, 400), make_header(slope=None, intercept=None, is_signed=False))

    skull = head(0, 40)
    skull[16:32] = np.linspace(500, 1600, 64, dtype=np.uint16)  # HU whose air was cut off: the middle of bone is 1050
    with pytest.raises(DicomError, match=r"^NO_RESCALE"):
        to_hu(skull, make_header(slope=None, intercept=None, is_signed=False))


def test_monochrome1_is_not_inverted(make_header: Callable[..., Header]) -> None:
    """The photometric interpretation says how to show HU, not what they are."""
    stored = head(0, 1064)
    one, _ = to_hu(stored, make_header(**UNSIGNED_12))
    other, _ = to_hu(stored, make_header(**UNSIGNED_12, photometric="MONOCHROME1"))

    assert np.array_equal(one, other)


def test_a_border_that_is_not_air_is_remarked(make_header: Callable[..., Header]) -> None:
    """The median of the outermost pixels should be air or padding."""
    _, remarks = to_hu(head(1000, 1064), make_header(**UNSIGNED_12))
    assert codes(remarks) == ["HU_ODD"]
