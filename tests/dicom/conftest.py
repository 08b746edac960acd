"""CT files built in memory, and headers built by hand."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pydicom
import pytest
from enhanced_ct import to_bytes
from pydicom.dataset import FileDataset, FileMetaDataset

from ich25d.dicom.header import Header
from ich25d.dicom.interpret import CT_IMAGE

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"

BASE_HEADER: dict[str, Any] = {
    "image_id": "ID_1", "series_id": "ID_s", "study_id": "ID_t", "patient_id": "ID_p", "rows": 512, "columns": 512,
    "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"), "bits_allocated": 16, "bits_stored": 16, "high_bit": 15,
    "is_signed": True, "slope": 1.0, "intercept": -1024.0, "origin_mm": (0.0, 0.0, 0.0),
    "directions": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), "pixel_spacing_mm": (0.5, 0.5), "transfer_syntax": EXPLICIT,
    "pixel_offset": 700, "pixel_length": 524288,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _lenient_writing() -> Iterator[None]:
    """Let pydicom write what it would warn of: these tests are about such files."""
    before = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    yield
    pydicom.config.settings.writing_validation_mode = before


@pytest.fixture(scope="session")
def make_header() -> Callable[..., Header]:
    """Build a header from what differs from an ordinary slice."""
    return lambda **changes: Header(**(BASE_HEADER | changes))


@pytest.fixture(scope="session")
def make_dataset() -> Callable[..., FileDataset]:
    """Build an RSNA-like data set; `changes` are attributes by keyword, None takes one away."""

    def build(stored: np.ndarray | None = None, syntax: str = EXPLICIT, **changes: Any) -> FileDataset:
        if stored is None:
            stored = np.arange(48, dtype=np.int16).reshape(6, 8) * 20
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = syntax
        meta.MediaStorageSOPClassUID = CT_IMAGE
        meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        bits = 8 * stored.dtype.itemsize
        attributes: dict[str, Any] = {
            "SOPInstanceUID": "ID_000012eaf", "Modality": "CT", "PatientID": "ID_f15c0eee",
            "StudyInstanceUID": "ID_30ea2b02d4", "SeriesInstanceUID": "ID_0ab5820b2a", "StudyID": "",
            "ImagePositionPatient": [-125.0, -115.897, 77.970825], "SamplesPerPixel": 1,
            "ImageOrientationPatient": [1, 0, 0, 0, 0.927184, -0.374607],
            "PhotometricInterpretation": "MONOCHROME2", "Rows": stored.shape[0],
            "Columns": stored.shape[1], "PixelSpacing": [0.488281, 0.488281], "BitsAllocated": bits, "BitsStored": bits,
            "HighBit": bits - 1, "PixelRepresentation": int(stored.dtype.kind == "i"), "WindowCenter": [30, 40],
            "WindowWidth": [80, 400], "RescaleIntercept": -1024, "RescaleSlope": 1,
        }  # fmt: skip
        order = ">" if syntax == BIG_ENDIAN else "<"
        attributes["PixelData"] = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
        for name, value in (attributes | changes).items():
            if value is not None:
                setattr(dataset, name, value)
        dataset["PixelData"].VR = "OW"
        return dataset

    return build


@pytest.fixture(scope="session")
def write() -> Callable[..., bytes]:
    """Write a data set as a file in memory."""
    return to_bytes


@pytest.fixture(scope="session")
def ct_bytes(make_dataset: Callable[..., FileDataset], write: Callable[..., bytes]) -> Callable[..., bytes]:
    """Build a CT file; takes what `make_dataset` takes."""
    return lambda *args, **changes: write(make_dataset(*args, **changes))
