"""A file of many frames becomes the elements that a file of each frame alone would have.

What a single image has as attributes stands in functional groups in an enhanced CT: an item a frame, and one item for
what all frames share. Other files of many frames are read where they say the place of each: by a position for every
frame, a SliceLocationVector, or one position and SpacingBetweenSlices.

References:
    DICOM PS3.3, A.38 (Enhanced CT), A.70 (Legacy Converted Enhanced CT), C.7.6.16 (functional groups).
"""

import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.filereader import read_dataset, read_sequence

from ich25d.dicom import values
from ich25d.dicom.elements import BIG_ENDIAN, DEFLATED, IMPLICIT, Elements, Meta
from ich25d.dicom.foreign import failing_as
from ich25d.dicom.header import WANTED, Remark
from ich25d.errors import DicomError

MAX_FRAMES = 10_000
"""More frames than that in a file are damage; a long thin scan has 600."""
MAX_GROUP_BYTES, MAX_HEAD_BYTES = 2**14, 2**25
"""Limits of the functional groups' bytes a frame, and of a header's in all: real ones take 1 to 5 kB a frame."""
MAX_ITEMS_A_FRAME, MAX_ITEMS = 256, 400_000
"""Limits of sequence items: a frame has 10 to 20, and two more for every image that it was derived from."""
_ITEM_MARKS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_CONTRAST, _CONTRAST_USE, _ADMINISTERED = 0x00180012, 0x00189341, 0x00189342
_PRESENTATION = 0x00089205
_CONTENT = 0x00209111
_CONCATENATION_OFFSET = 0x00209228
_LOCATIONS, _SPACING = 0x00182005, 0x00180088  # Slice Location Vector, Spacing Between Slices
_UNASSIGNED = (0x00209170, 0x00209171)

_PLACES: dict[str, tuple[int, int]] = {
    "origin_mm": (0x00209113, 0x00200032),  # Plane Position
    "directions": (0x00209116, 0x00200037),  # Plane Orientation
    "pixel_spacing_mm": (0x00289110, 0x00280030),  # Pixel Measures
    "thickness_mm": (0x00289110, 0x00180050),
    "intercept": (0x00289145, 0x00281052),  # Pixel Value Transformation
    "slope": (0x00289145, 0x00281053),
    "rescale_type": (0x00289145, 0x00281054),
    "level": (0x00289132, 0x00281050),  # Frame VOI LUT
    "width": (0x00289132, 0x00281051),
    "image_type": (0x00189329, 0x00089007),  # CT Image Frame Type
    "kernel": (0x00189314, 0x00181210),  # CT Reconstruction
    "kvp": (0x00189325, 0x00180060),  # CT X-Ray Details
    "acquisition_number": (_CONTENT, 0x00209156),  # Frame Content
    "temporal_position": (_CONTENT, 0x00209128),
    "acquisition_time": (_CONTENT, 0x00189074),
}
"""Wanted element -> the functional group that holds it, and its tag there."""

_BINARY = frozenset({0x00209156, 0x00209128})
"""Those of them that are no text."""

_LEFT_OVER = (
    "kernel", "kvp", "contrast", "acquisition_number", "acquisition_time", "temporal_position", "slice_location",
)  # fmt: skip
"""What a conversion of single images may have left as it was, in a group of unassigned attributes."""

_SLOT = {name: slot for slot, name in enumerate(WANTED)}
_DATE_LENGTH = len("YYYYMMDD")
_FILE_STEP = 100_000
"""What a file's instance number counts beside its frames' numbers."""


def split_frames(whole: Elements, data: bytes, meta: Meta) -> tuple[list[Elements], tuple[Remark, ...]]:
    """Split a file into its frames.

    Args:
        whole: What the walk up to the pixels found.
        data: The bytes that were walked over.
        meta: The file meta information.

    Returns:
        For every frame the elements that a file of its own would have. Its id is the file's, `#`, and the frame's
        number from 1. Uncompressed pixels are divided evenly; compressed frames share the place of the pixel data.
        And a remark on each frame where the file has no functional groups.

    Raises:
        DicomError: There isn't an item of functional groups for every frame, nor a place (`MULTIFRAME`), the pixel data
            holds more frames (`SHAPE`), or colours (`NOT_GRAY`).
    """
    if meta.transfer_syntax == DEFLATED:  # each frame would inflate them all
        raise DicomError("MULTIFRAME", "frames of the deflated transfer syntax aren't read")
    n_frames = values.whole(whole.values[_SLOT["n_frames"]]) or 0
    if not 1 <= n_frames <= MAX_FRAMES:
        raise DicomError("MULTIFRAME", f"NumberOfFrames must be 1 to {MAX_FRAMES} (got {n_frames})")
    head = data[: whole.pixel_offset] if whole.pixel_offset >= 0 else data
    if len(head) > min(MAX_GROUP_BYTES * (n_frames + 512), MAX_HEAD_BYTES):
        raise DicomError("MULTIFRAME", f"a header must have at most {MAX_GROUP_BYTES} bytes a frame (got {len(head)})")
    if max(map(head.count, _ITEM_MARKS)) > min(MAX_ITEMS_A_FRAME * (n_frames + 16), MAX_ITEMS):
        raise DicomError("MULTIFRAME", f"sequences must have at most {MAX_ITEMS_A_FRAME} items a frame")
    n_bytes = _frame_bytes(whole)
    if n_bytes and whole.pixel_length >= (n_frames + 1) * n_bytes:
        held = whole.pixel_length // n_bytes
        raise DicomError("SHAPE", f"pixel data holds {held} frames (NumberOfFrames says {n_frames})")
    with failing_as("MULTIFRAME", "functional groups can't be parsed"):
        groups = _read_groups(head, meta)
        found, taken = _values_of_frames(whole.values, groups), ""
        if not found:
            found, taken = _placed_frames(whole.values, groups, n_frames)
        presentation = _text(groups, _PRESENTATION)
        offset = int(_text(groups, _CONCATENATION_OFFSET) or 0)
    if presentation not in {"", "MONOCHROME"}:
        raise DicomError("NOT_GRAY", "Pixel Presentation must be MONOCHROME: else stored values may be colours")
    if len(found) != n_frames:
        rule = "every frame must have functional groups, or a place"
        raise DicomError("MULTIFRAME", f"{rule} (got {len(found)}; NumberOfFrames is {n_frames})")
    file_number = (values.whole(whole.values[_SLOT["instance_number"]]) or 0) * _FILE_STEP + offset
    frames = [_frame_of(whole, values_of, k, n_bytes, file_number) for k, values_of in enumerate(found, start=1)]
    if not taken:
        return frames, ()
    return frames, (Remark("FRAMES_PLACED", f"{n_frames} frames without functional groups, placed by {taken}"),)


def _read_groups(head: bytes, meta: Meta) -> Dataset:
    file = BytesIO(head)
    file.seek(meta.start)
    wanted: list[Any] = [_PRESENTATION, _CONTRAST, _CONCATENATION_OFFSET, _SHARED, _PER_FRAME, _LOCATIONS, _SPACING]
    is_implicit, is_little = meta.transfer_syntax == IMPLICIT, meta.transfer_syntax != BIG_ENDIAN
    return read_dataset(
        file, is_implicit, is_little, stop_when=lambda tag, _vr, _length: tag >= 0x7FE00000, specific_tags=wanted
    )


def _values_of_frames(of_file: Sequence[bytes | None], groups: Dataset) -> list[list[bytes | None]]:
    common = list(of_file)
    for name in ("origin_mm", "slice_location"):
        common[_SLOT[name]] = None  # those of the whole file aren't a frame's
    if _items(groups, _CONTRAST):
        common[_SLOT["contrast"]] = b"YES"  # unless the frames' own use of it says no
    for shared in _items(groups, _SHARED)[:1]:
        _overlay(common, shared)
    found = []
    for item in _items(groups, _PER_FRAME):
        of_frame = common.copy()
        _overlay(of_frame, item)
        found.append(of_frame)
    return found


def _placed_frames(
    of_file: Sequence[bytes | None], groups: Dataset, n_frames: int
) -> tuple[list[list[bytes | None]], str]:
    """Return the file's own values with a place for each frame, and what gave it; none where nothing does."""
    origin = values.floats(of_file[_SLOT["origin_mm"]])
    directions, _ = values.orthonormal(of_file[_SLOT["directions"]])
    if origin is None or directions is None or len(origin) not in {3, 3 * n_frames}:
        return [], ""
    locations, spacing = _numbers(groups, _LOCATIONS), _numbers(groups, _SPACING)
    along, taken = np.zeros(1), "ImagePositionPatient"
    if len(origin) < 3 * n_frames and len(locations) == n_frames:
        along, taken = np.array(locations) - locations[0], "SliceLocationVector"
    elif len(origin) < 3 * n_frames and len(spacing) == 1:
        along, taken = spacing[0] * np.arange(n_frames, dtype=np.float64), "SpacingBetweenSlices"
    # Along the normal, as in the volumes of nuclear medicine: frames have no other direction of their own.
    places = np.array(origin).reshape(-1, 3) + along[:, None] * np.cross(directions[:3], directions[3:])
    if len(np.unique(places, axis=0)) < n_frames:
        return [], ""
    found = []
    for place in places.tolist():
        of_frame = list(of_file)
        of_frame[_SLOT["origin_mm"]] = "\\".join(map(repr, place)).encode()
        of_frame[_SLOT["slice_location"]] = None
        found.append(of_frame)
    return found, taken


def _numbers(dataset: Dataset, tag: int) -> list[float]:
    """Return the numbers of a value; none where it holds anything else."""
    try:
        return [float(number) for number in _text(dataset, tag).strip("[]").replace("'", "").split(",")]
    except ValueError:
        return []


def _overlay(found: list[bytes | None], item: Dataset) -> None:
    """Set the values that an item of functional groups gives."""
    places = [(name, group, WANTED[name]) for group in _UNASSIGNED for name in _LEFT_OVER]
    places += [(name, group, tag) for name, (group, tag) in _PLACES.items()]
    for name, group, tag in places:
        for macro in _items(item, group)[:1]:
            value = _raw(macro, tag) if tag in macro else b""
            if value:
                found[_SLOT[name]] = value
    uses = _items(item, _CONTRAST_USE)
    if uses:
        found[_SLOT["contrast"]] = b"YES" if any(_text(use, _ADMINISTERED) == "YES" for use in uses) else b"NO"


def _items(dataset: Dataset, tag: int) -> Sequence[Dataset]:
    value: Any = dataset[tag].value if tag in dataset else None
    if isinstance(value, bytes):  # a sequence of VR UN is implicit (PS3.5, 6.2.2)
        value = read_sequence(BytesIO(value), True, True, len(value), "iso8859")  # pydicom's own order
    return value or ()


def _text(dataset: Dataset, tag: int) -> str:
    """Return a value as text; empty where it is absent or not what its VR says."""
    try:
        value = dataset[tag].value if tag in dataset else None
    except (ValueError, TypeError, BytesLengthException, struct.error):
        return ""
    return "" if value is None else str(value).strip()


def _raw(dataset: Dataset, tag: int) -> bytes:
    """Return a value as single images have it: numbers as text, and times without a date."""
    if tag in _BINARY:
        return _text(dataset, tag).encode()
    raw: Any = dataset.get_item(tag)
    value: bytes = raw.value if isinstance(raw.value, bytes) else b""
    return value[_DATE_LENGTH:].split(b"+")[0].split(b"-")[0] if tag == _PLACES["acquisition_time"][1] else value


def _frame_bytes(whole: Elements) -> int:
    """Return the bytes of an uncompressed frame; 0 where the header doesn't say them."""
    names = ("rows", "columns", "bits_allocated", "samples_per_pixel")
    rows, columns, bits, samples = (values.u16(whole.values[_SLOT[name]]) or 0 for name in names)
    return rows * columns * bits // 8 * (samples or 1)


def _frame_of(whole: Elements, of_frame: list[bytes | None], number: int, n_bytes: int, file_number: int) -> Elements:
    image_id = values.text(whole.values[_SLOT["image_id"]])
    of_frame[_SLOT["image_id"]] = f"{image_id}#{number}".encode() if image_id else None
    of_frame[_SLOT["instance_number"]] = str(file_number + number).encode()
    offset, length = whole.pixel_offset, whole.pixel_length
    if length >= 0:
        before = (number - 1) * n_bytes
        offset, length = offset + before, min(n_bytes, max(0, length - before))
    return Elements(of_frame, offset, length, whole.is_cut, whole.is_float, number)
