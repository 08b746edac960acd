"""Files in which a table stands for slope and intercept."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from ich25d.dicom.header import Slice
from ich25d.dicom.reader import read_header, read_hu
from ich25d.errors import DicomError

EXPLICIT, IMPLICIT, BIG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
SIDE = 64


def table(entries: list[int], *, first: int = 0, kind: str = "US", bits: int = 16, order: str = "<") -> Sequence:
    """Make a Modality LUT Sequence."""
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item.ModalityLUTType = kind
    item.add_new("LUTData", "OW", np.array(entries, dtype=f"{order}u2").tobytes())
    return Sequence([item])


def picture() -> np.ndarray:
    """Indices into a table: 0 around, 1 in the middle, 2 a ring."""
    stored = np.zeros((SIDE, SIDE), dtype=np.uint16)
    stored[8:56, 8:56] = 2
    stored[10:54, 10:54] = 1
    return stored


@pytest.fixture
def read_with(ct_bytes: Callable[..., bytes]) -> Callable[..., Slice]:
    """Write a picture with a table and read it back."""

    def read(lut: Sequence, *, stored: np.ndarray | None = None, syntax: str = EXPLICIT, **changes: Any) -> Slice:
        content = ct_bytes(
            picture() if stored is None else stored, syntax, RescaleSlope=None, RescaleIntercept=None,
            ModalityLUTSequence=lut, **changes,
        )  # fmt: skip
        return read_hu(content, read_header(content, total_size=len(content)))

    return read


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_air_at_zero_and_tissue_at_1064_are_hu_plus_1024(read_with: Callable[..., Slice], syntax: str) -> None:
    """A table can't hold -1000 HU; where its values tell the offset it is taken off, and said."""
    found = read_with(table([24, 1064, 2024], order=">" if syntax == BIG else "<"), syntax=syntax)

    assert (found.hu[0, 0], found.hu[30, 30], found.hu[9, 30]) == (-1000, 40, 1000)
    assert [remark.code for remark in found.remarks] == ["MODALITY_LUT", "RESCALE_GUESS"]


def test_values_that_say_they_are_hu_are_taken_so(read_with: Callable[..., Slice]) -> None:
    """Then air is cut off, which is remarked."""
    found = read_with(table([0, 40, 1600], kind="HU"))

    assert (found.hu[0, 0], found.hu[30, 30], found.hu[9, 30]) == (0, 40, 1600)
    assert [remark.code for remark in found.remarks] == ["MODALITY_LUT", "NO_NEG_HU"]


def test_signed_indices_start_at_the_first_one_mapped(read_with: Callable[..., Slice]) -> None:
    """Below the first value mapped stands the first entry, above the last the last; padding is air."""
    stored = picture().astype(np.int16) - 5
    stored[60:] = -2000
    found = read_with(table([24, 1064, 2024], first=-5), stored=stored, PixelPaddingValue=-2000)

    assert (found.hu[0, 0], found.hu[30, 30], found.hu[9, 30], found.hu[62, 30]) == (-1000, 40, 1000, -1024)


def test_indices_far_from_the_first_one_mapped_do_not_wrap_round(read_with: Callable[..., Slice]) -> None:
    """The table of all 16-bit numbers is one; metal far above a table's end gets its last entry, not its first."""
    stored = (picture().astype(np.int32) - 32768).astype(np.int16)
    whole = np.zeros(65536, int)
    whole[:3] = 24, 1064, 2024
    assert read_with(table(whole.tolist(), first=-32768), stored=stored).hu[30, 30] == 40

    stored = picture().astype(np.int16) - 1024
    stored[30, 30] = 32000
    found = read_with(table([24, 1064, 4095], first=-1024), stored=stored)
    assert (found.hu[0, 0], found.hu[29, 29], found.hu[30, 30]) == (-1000, 40, 3071)


@pytest.mark.parametrize(
    ("highest", "codes"),
    [
        (4095, ["", "NO_RESCALE"]),  # with 1024 added bone goes so far
        (2500, ["NO_RESCALE", ""]),  # HU with air cut off
    ],
)
def test_one_table_never_means_two_scales(read_with: Callable[..., Slice], highest: int, codes: list[str]) -> None:
    """Slices of a series share a table: one that tells another offset than the table is refused."""
    lut = table([24, 1064, 2024, 300, highest], kind="HU")
    found = []
    for stored in (picture(), np.where(picture() == 1, 3, picture()).astype(np.uint16)):
        try:
            found.append((read_with(lut, stored=stored).hu[30, 30], ""))
        except DicomError as error:
            found.append((0, error.code))

    assert [code for _, code in found] == codes
    assert [hu for hu, code in found if not code] == ([40] if highest == 4095 else [300])


def test_slope_and_intercept_come_first(ct_bytes: Callable[..., bytes]) -> None:
    """A file with both is read by slope and intercept."""
    content = ct_bytes(ModalityLUTSequence=table([1, 2, 3]))
    plain = ct_bytes()
    read = [read_hu(data, read_header(data, total_size=len(data))).hu for data in (content, plain)]

    np.testing.assert_array_equal(*read)


@pytest.mark.parametrize(
    ("lut", "code"),
    [
        (table([7, 500, 900]), "NO_RESCALE"),
        (Sequence([Dataset()]), "BAD_RESCALE"),
        (table([24, 1064, 2024], bits=12), "BAD_RESCALE"),
    ],
    ids=["neither HU nor an offset", "no table", "bits that no table has"],
)
def test_what_a_table_does_not_tell_is_refused(read_with: Callable[..., Slice], lut: Sequence, code: str) -> None:
    """Never an image of guessed numbers, never a traceback."""
    with pytest.raises(DicomError) as caught:
        read_with(lut)

    assert caught.value.code == code
