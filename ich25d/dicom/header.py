"""What a header says: the attributes of one CT image that this package ever looks at, checked and typed."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Content = bytes | bytearray
"""A file's bytes."""


class NeedMore(Exception):  # noqa: N818  # it isn't an error: the caller reads on and asks again
    """The first bytes of a file end before its header does.

    Args:
        n_bytes: How many bytes from the file's start to come back with.
    """

    def __init__(self, n_bytes: int) -> None:
        super().__init__(n_bytes)
        self.n_bytes = n_bytes


class Remark(NamedTuple):
    """Something worth a row in `qc.csv` about an image that is used nevertheless."""

    code: str
    """Reason code of `codes.py`."""
    detail: str
    """Numbers that explain it; never a name, a date or a free text of the file."""


class Header(NamedTuple):
    """The attributes of one CT image. Free texts of the file never get in; identifiers stay as they are."""

    image_id: str
    """(0008,0018) SOP Instance UID."""
    series_id: str
    """(0020,000E) Series Instance UID."""
    study_id: str
    """(0020,000D) Study Instance UID."""
    patient_id: str
    """(0010,0020) Patient ID as it stands; whoever writes it down hashes it."""
    sop_class: str
    """(0008,0016) SOP Class UID, or that of the file meta; empty when neither has one."""
    modality: str
    """(0008,0060)."""
    image_type: tuple[str, ...]
    """(0008,0008), upper case."""
    rows: int
    """(0028,0010) Height in px."""
    columns: int
    """(0028,0011) Width in px."""
    bits_allocated: int
    """(0028,0100)."""
    bits_stored: int
    """(0028,0101)."""
    high_bit: int
    """(0028,0102)."""
    is_signed: bool
    """(0028,0103) Pixel Representation is 1."""
    samples_per_pixel: int
    """(0028,0002)."""
    photometric: str
    """(0028,0004)."""
    n_frames: int
    """(0028,0008) Frames of the file, 1 when absent."""
    slope: float | None
    """(0028,1053) Rescale Slope, HU a stored step."""
    intercept: float | None
    """(0028,1052) Rescale Intercept, HU."""
    padding: int | None
    """(0028,0120) Pixel Padding Value, modulo 2**16: its VR can't be trusted."""
    padding_limit: int | None
    """(0028,0121) Pixel Padding Range Limit, modulo 2**16."""
    origin_mm: tuple[float, float, float] | None
    """(0020,0032) Image Position (Patient); None when absent or not three finite numbers."""
    directions: tuple[float, float, float, float, float, float] | None
    """(0020,0037) Image Orientation (Patient), orthonormal; None when absent or not so within 1e-2."""
    pixel_spacing_mm: tuple[float, float] | None
    """(0028,0030) Distance of rows (dy), then of columns (dx); None when absent or absurd."""
    slice_location: float | None
    """(0020,1041) mm."""
    instance_number: int | None
    """(0020,0013); of a frame, the file's and its own counted on."""
    acquisition_number: int | None
    """(0020,0012)."""
    series_number: int | None
    """(0020,0011)."""
    kernel: str
    """(0018,1210) Convolution Kernel when it looks like one, else `OTHER`; empty when absent."""
    thickness_mm: float | None
    """(0018,0050) Slice Thickness; not the distance of slices."""
    contrast: bool
    """(0018,0010) Contrast/Bolus Agent names something."""
    kvp: float | None
    """(0018,0060)."""
    acquisition_time: float | None
    """(0008,0032) as seconds of the day: only to tell passes apart, never written down."""
    temporal_position: int | None
    """(0020,0100) Temporal Position Identifier."""
    frame_of_reference: str
    """(0020,0052) UID; only to find scans whose slices came with a series each."""
    transfer_syntax: str
    """(0002,0010) UID, or the one that the bytes show."""
    window: tuple[tuple[float, float], ...]
    """(0028,1050/1051) The file's own level and width pairs, HU."""
    pixel_offset: int
    """Where the pixel data starts: in the file, or in the inflated data set of the deflated syntax."""
    pixel_length: int
    """Length of the pixel data in bytes; -1 for encapsulated frames."""
    description_flags: frozenset[str]
    """Words found in the descriptions: `contrast`, `angio`, `perfusion`, `bone`, `localizer`."""
    is_lossy: bool
    """(0028,2110) is 01, or the transfer syntax is a lossy one."""
    remarks: tuple[Remark, ...]
    """What was odd and could be lived with."""
    has_modality_lut: bool = False
    """(0028,3000) holds a table, and there is no (0028,1052) Rescale Intercept."""
    frame: int = 0
    """Number of this image among the file's frames, from 1; 0 where the file is one image."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The pixels of one image in HU."""

    hu: npt.NDArray[np.int16]
    """Shape (rows, columns), int16, -1024 to 3071 HU."""
    remarks: tuple[Remark, ...]
    """What the pixels needed to get there."""
