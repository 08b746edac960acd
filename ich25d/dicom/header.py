"""What a header says: the attributes of one CT image that this package ever looks at, checked and typed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.dicom import description, values

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


class Attribute(NamedTuple):
    """How a field of `Header` is read from a file."""

    tag: int = 0
    """Group and element of the data element that holds it; 0 where no single one does."""
    read: Callable[[bytes | None], Any] | None = None
    """Turns the raw value (None: absent) into the field; None where `interpret.py` does it, with checks and remarks."""
    of_slice: bool = False
    """Differs from slice to slice, so that it is kept once a slice; all else once a series."""


class Header(NamedTuple):
    """The attributes of one CT image. Free texts of the file never get in; identifiers stay as they are.

    This class is the table of attributes: both parsers, the packed headers and the builder's notebook follow from it.
    To add an attribute, add a line at its end: name, type, tag, a function of `values.py`, and the default.
    """

    image_id: Annotated[str, Attribute(0x00080018, of_slice=True)]
    """SOP Instance UID."""
    series_id: Annotated[str, Attribute(0x0020000E)]
    """Series Instance UID."""
    study_id: Annotated[str, Attribute(0x0020000D)]
    """Study Instance UID."""
    rows: Annotated[int, Attribute(0x00280010)]
    """Height in px."""
    columns: Annotated[int, Attribute(0x00280011)]
    """Width in px."""
    bits_allocated: Annotated[int, Attribute(0x00280100)]
    bits_stored: Annotated[int, Attribute(0x00280101)]
    high_bit: Annotated[int, Attribute(0x00280102)]
    is_signed: Annotated[bool, Attribute(0x00280103)]
    """Pixel Representation is 1."""
    photometric: Annotated[str, Attribute(0x00280004)] = "MONOCHROME2"
    """Photometric Interpretation; empty when absent."""
    slope: Annotated[float | None, Attribute(0x00281053)] = None
    """Rescale Slope, HU a stored step."""
    intercept: Annotated[float | None, Attribute(0x00281052)] = None
    """Rescale Intercept, HU."""
    has_modality_lut: Annotated[bool, Attribute(0x00283000)] = False
    """There is a Modality LUT and no Rescale Intercept."""
    origin_mm: Annotated[tuple[float, float, float] | None, Attribute(0x00200032, of_slice=True)] = None
    """Image Position (Patient); None when absent or not three finite numbers."""
    directions: Annotated[tuple[float, float, float, float, float, float] | None, Attribute(0x00200037)] = None
    """Image Orientation (Patient), orthonormal; None when absent or not so within 1e-2."""
    pixel_spacing_mm: Annotated[tuple[float, float] | None, Attribute(0x00280030)] = None
    """Distance of rows (dy), then of columns (dx); None when absent or absurd."""
    instance_number: Annotated[int | None, Attribute(0x00200013, of_slice=True)] = None
    """Instance Number; of a frame, the file's and its own counted on."""
    n_frames: Annotated[int, Attribute(0x00280008)] = 1
    """Frames of the file; 1 when absent."""
    is_lossy: Annotated[bool, Attribute(0x00282110)] = False
    """Lossy Image Compression is 01, or the transfer syntax is a lossy one."""
    window: Annotated[tuple[tuple[float, float], ...], Attribute(of_slice=True)] = ()
    """(0028,1050) and (0028,1051): the file's own level and width pairs, HU."""
    transfer_syntax: str = ""
    """(0002,0010) UID, or the one that the bytes show."""
    pixel_offset: Annotated[int, Attribute(of_slice=True)] = 0
    """Where the pixel data starts: in the file, or in the inflated data set of the deflated syntax."""
    pixel_length: Annotated[int, Attribute(of_slice=True)] = 0
    """Length of the pixel data in bytes; -1 for encapsulated frames."""
    frame: Annotated[int, Attribute(of_slice=True)] = 0
    """Number of this image among the file's frames, from 1; 0 where the file is one image."""
    remarks: Annotated[tuple[Remark, ...], Attribute(of_slice=True)] = ()
    """What was odd and could be lived with."""

    # From here on: the attributes that one function reads from one value.
    patient_id: Annotated[str, Attribute(0x00100020, values.text)] = ""
    """Patient ID as it stands; whoever writes it down hashes it."""
    image_type: Annotated[tuple[str, ...], Attribute(0x00080008, values.image_types)] = ()
    """Image Type, upper case."""
    description_flags: Annotated[tuple[str, ...], Attribute(0x0008103E, description.description_flags)] = ()
    """Words found in the Series Description: `contrast`, `plain`, `angio`, `perfusion`, `bone`, `localizer`."""
    contrast: Annotated[bool, Attribute(0x00180010, description.names_contrast)] = False
    """Contrast/Bolus Agent names something."""
    kernel: Annotated[str, Attribute(0x00181210, values.kernel_name)] = ""
    """Convolution Kernel when it looks like one, else `OTHER`; empty when absent."""
    kvp: Annotated[float | None, Attribute(0x00180060, values.one_float)] = None
    thickness_mm: Annotated[float | None, Attribute(0x00180050, values.one_float)] = None
    """Slice Thickness; not the distance of slices."""
    slice_location: Annotated[float | None, Attribute(0x00201041, values.one_float, of_slice=True)] = None
    """Slice Location, mm."""
    acquisition_number: Annotated[int | None, Attribute(0x00200012, values.whole)] = None
    acquisition_time: Annotated[float | None, Attribute(0x00080032, values.seconds, of_slice=True)] = None
    """Acquisition Time as seconds of the day: only to tell passes apart, never written down."""
    temporal_position: Annotated[int | None, Attribute(0x00200100, values.whole)] = None
    """Temporal Position Identifier."""
    series_number: Annotated[int | None, Attribute(0x00200011, values.whole)] = None
    frame_of_reference: Annotated[str, Attribute(0x00200052, values.text)] = ""
    """Frame of Reference UID; only to find scans whose slices came with a series each."""
    padding: Annotated[int | None, Attribute(0x00280120, values.u16)] = None
    """Pixel Padding Value, modulo 2**16: its VR can't be trusted."""
    padding_limit: Annotated[int | None, Attribute(0x00280121, values.u16)] = None
    """Pixel Padding Range Limit, modulo 2**16."""


_TABLE: dict[str, Attribute] = {
    name: note for name, hint in Header.__annotations__.items() for note in getattr(hint, "__metadata__", ())
}

OF_SLICE: tuple[str, ...] = tuple(name for name, attribute in _TABLE.items() if attribute.of_slice)
"""Fields that differ from slice to slice."""

CHECKED: dict[str, int] = {
    "sop_class": 0x00080016, "modality": 0x00080060, "samples_per_pixel": 0x00280002, "level": 0x00281050,
    "width": 0x00281051, "rescale_type": 0x00281054, "burned_in": 0x00280301,
    **{name: attribute.tag for name, attribute in _TABLE.items() if attribute.tag and not attribute.read},
}  # fmt: skip
"""Tags of the elements that `interpret.py` reads; the first ones have no field of their own."""

READERS: dict[str, Callable[[bytes | None], Any]] = {
    name: attribute.read for name, attribute in _TABLE.items() if attribute.read
}
"""The last fields of a header: each is what its function makes of one raw value."""

WANTED: dict[str, int] = CHECKED | {name: _TABLE[name].tag for name in READERS}
"""Tags of all elements that are looked at, in the order of `Elements.values`."""


@dataclass(frozen=True, slots=True)
class Slice:
    """The pixels of one image in HU."""

    hu: npt.NDArray[np.int16]
    """Shape (rows, columns), int16, -1024 to 3071 HU."""
    remarks: tuple[Remark, ...]
    """What the pixels needed to get there."""
