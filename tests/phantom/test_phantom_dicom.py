"""What `dicom_bytes` writes, a foreign reader reads back."""

import io
import warnings

import numpy as np
import pydicom
import pytest

from ich25d.phantom.dicom import FAMILIES, SIGNED_EXPLICIT, UNSIGNED_IMPLICIT, dicom_bytes, stored_from_hu


def read(content: bytes, *, force: bool = False) -> pydicom.Dataset:
    """Read with a foreign reader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an id of the RSNA data is no valid UID
        dataset = pydicom.dcmread(io.BytesIO(content), force=force)
        list(dataset)
        return dataset


@pytest.fixture
def hu() -> np.ndarray:
    """A small random slice."""
    return np.random.default_rng(0).integers(-1024, 3000, (24, 16)).astype(np.int16)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_foreign_reader_gets_the_hu_back(hu, family):
    """Rescaled pixels are the HU, in every family."""
    dataset = read(dicom_bytes(hu, family=family))
    assert len(dataset) == 22
    assert np.array_equal(dataset.pixel_array.astype(int) * dataset.RescaleSlope + dataset.RescaleIntercept, hu)
    assert dataset.file_meta.TransferSyntaxUID == family.transfer_syntax
    assert [dataset.BitsStored, dataset.HighBit] == [family.bits_stored, family.bits_stored - 1]


def test_ids_and_place_are_written_as_given(hu):
    """Nothing is rounded away."""
    dataset = read(dicom_bytes(hu, image_id="ID_abc", origin_mm=(-125, 3.25, 603.125), pixel_spacing_mm=(0.5, 0.25)))
    assert dataset.SOPInstanceUID == "ID_abc"
    assert list(dataset.ImagePositionPatient) == [-125, 3.25, 603.125]
    assert list(dataset.PixelSpacing) == [0.5, 0.25]


def test_padding_lies_outside_the_field_and_is_not_declared(hu):
    """As in the signed files of the RSNA data."""
    field = np.zeros(hu.shape, bool)
    field[4:20, 2:14] = True
    dataset = read(dicom_bytes(hu, family=SIGNED_EXPLICIT, field=field))
    assert set(dataset.pixel_array[~field]) == {-2000}
    assert "PixelPaddingValue" not in dataset


def test_elements_are_replaced_added_and_left_out(hu):
    """Odd files can be made, in the order of tags."""
    extra = {(0x0018, 0x0050): ("DS", "5.0"), (0x0028, 0x1053): None, (0x0008, 0x0060): ("CS", "MR")}
    dataset = read(dicom_bytes(hu, extra=extra))
    assert dataset.SliceThickness == 5
    assert "RescaleSlope" not in dataset
    assert dataset.Modality == "MR"
    assert [element.tag for element in dataset] == sorted(element.tag for element in dataset)


def test_a_file_without_meta_is_the_bare_dataset(hu):
    """It begins with its first element."""
    content = dicom_bytes(hu, family=UNSIGNED_IMPLICIT, has_meta=False)
    assert content[:4] == b"\x08\x00\x18\x00"
    assert read(content, force=True).Rows == 24


def test_twelve_bits_clip():
    """Stored values stay within 0 and 4095."""
    stored = stored_from_hu(np.array([[-2000, -1024, 0, 3071, 9000]], np.int16))
    assert stored.tolist() == [[0, 0, 1024, 4095, 4095]]
