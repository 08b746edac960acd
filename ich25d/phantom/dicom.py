"""HU slices to DICOM bytes in the form of the RSNA 2019 files: their 22 elements, ids and pixel families.

Every element can be replaced, added or left out, and nothing is checked: tests need odd files.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"

_LONG_VRS = frozenset({"OB", "OW", "OF", "OD", "SQ", "UN", "UT"})
"""Representations with a four-byte length in explicit files (PS3.5, table 7.1-1)."""

Tag = tuple[int, int]
Value = str | int | bytes | Sequence[int]
Element = tuple[str, Value]
"""Value representation and value; bytes are written as they are, padded to an even length."""


@dataclass(frozen=True, slots=True)
class PixelFamily:
    r"""How one make of file in the RSNA data keeps its pixels.

    Args:
        name: For tables.
        transfer_syntax: UID.
        bits_stored: 12 or 16, in 16 allocated.
        is_signed: PixelRepresentation 1.
        intercept: RescaleIntercept.
        padding: Stored value outside the circular field, or None where the scanner pads nothing.
            PixelPaddingValue isn't among the 22 elements.
        decimals: True writes `0.488281`, False the shortest form `0.48828125`.
        doubles_window: True writes the window twice with leading zeros, `00040\00040`.
    """

    name: str
    transfer_syntax: str
    bits_stored: int
    is_signed: bool
    intercept: int
    padding: int | None
    decimals: bool
    doubles_window: bool


UNSIGNED_EXPLICIT = PixelFamily("unsigned-12-explicit", EXPLICIT_LITTLE, 12, False, -1024, None, False, True)
UNSIGNED_IMPLICIT = PixelFamily("unsigned-12-implicit", IMPLICIT_LITTLE, 12, False, -1024, None, False, True)
SIGNED_EXPLICIT = PixelFamily("signed-16-explicit", EXPLICIT_LITTLE, 16, True, -1024, -2000, True, False)
FAMILIES: tuple[PixelFamily, ...] = (UNSIGNED_EXPLICIT, UNSIGNED_IMPLICIT, SIGNED_EXPLICIT)
"""The families of the RSNA data, about half of it signed."""


def stored_from_hu(
    hu: npt.NDArray[np.int16], family: PixelFamily = UNSIGNED_EXPLICIT, *, field: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int16]:
    """Undo the rescale: HU to the values that a file keeps.

    Args:
        hu: int16 (rows, columns).
        family: Bits, sign, intercept, padding.
        field: bool (rows, columns), the circular field of reconstruction; outside it lies the
            family's padding. None: nothing is padded.

    Returns:
        int16 (rows, columns), clipped to what `bits_stored` bits hold.
    """
    n_values = 1 << family.bits_stored
    low, high = (-n_values // 2, n_values // 2 - 1) if family.is_signed else (0, n_values - 1)
    stored = np.clip(hu.astype(np.int32) - family.intercept, low, min(high, 32767)).astype(np.int16)
    if field is not None and family.padding is not None:
        stored[~field] = family.padding
    return stored


def _number(value: float, *, decimals: bool) -> str:
    """Write a DS value; at most 16 characters (PS3.5, table 6.2-1)."""
    if decimals:
        return f"{value:.6f}"
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _numbers(values: Sequence[float], *, decimals: bool) -> str:
    return "\\".join(_number(float(value), decimals=decimals) for value in values)


def _payload(vr: str, value: Value) -> bytes:
    """Return the bytes of a value, padded to an even length with NUL (UI, OB) or a space."""
    if isinstance(value, bytes):
        content = value
    elif isinstance(value, str):
        content = value.encode("latin-1")
    else:
        numbers = [value] if isinstance(value, int) else list(value)
        content = struct.pack(f"<{len(numbers)}{ {'US': 'H', 'SS': 'h', 'UL': 'I'}.get(vr, 'H') }", *numbers)
    padding = b"\0" if vr in {"UI", "OB", "UN"} else b" "
    return content + padding * (len(content) % 2)


def _element_bytes(tag: Tag, vr: str, value: Value, *, is_implicit: bool = False) -> bytes:
    """Return one data element in little endian (PS3.5, 7.1)."""
    content = _payload(vr, value)
    head = struct.pack("<HH", *tag)
    if is_implicit:
        return head + struct.pack("<I", len(content)) + content
    if vr in _LONG_VRS:
        return head + vr.encode() + b"\0\0" + struct.pack("<I", len(content)) + content
    return head + vr.encode() + struct.pack("<H", len(content)) + content


def _meta_bytes(transfer_syntax: str, image_id: str) -> bytes:
    """Return the file meta information, which in the RSNA files names another, numeric instance."""
    number = int(hashlib.sha256(image_id.encode()).hexdigest()[:30], 16)
    elements: dict[Tag, Element] = {
        (0x0002, 0x0001): ("OB", b"\0\1"),
        (0x0002, 0x0002): ("UI", CT_IMAGE_STORAGE),
        (0x0002, 0x0003): ("UI", f"9999.{number}"),
        (0x0002, 0x0010): ("UI", transfer_syntax),
        (0x0002, 0x0012): ("UI", "1.2.40.0.13.1.1.1"),
        (0x0002, 0x0013): ("SH", "dcm4che-1.4.38"),
    }
    if transfer_syntax == IMPLICIT_LITTLE:
        # In the RSNA data these have no group length and no version.
        del elements[0x0002, 0x0001]
        elements[0x0002, 0x0003] = ("UI", f"1{number % 10**13:013d}")
        elements[0x0002, 0x0012] = ("UI", "1.2.3.4")
        elements[0x0002, 0x0013] = ("SH", "RSNA Challenge 2019")
        return b"".join(_element_bytes(tag, *element) for tag, element in elements.items())
    body = b"".join(_element_bytes(tag, *element) for tag, element in elements.items())
    return _element_bytes((0x0002, 0x0000), "UL", len(body)) + body


def dicom_bytes(
    hu: npt.NDArray[np.int16],
    *,
    image_id: str = "ID_000000001",
    patient_id: str = "ID_00000001",
    study_id: str = "ID_0000000001",
    series_id: str = "ID_0000000002",
    origin_mm: Sequence[float] = (-125.0, -125.0, 0.0),
    directions: Sequence[float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    pixel_spacing_mm: Sequence[float] = (0.488281, 0.488281),
    window: tuple[int, int] = (40, 80),
    family: PixelFamily = UNSIGNED_EXPLICIT,
    field: npt.NDArray[np.bool_] | None = None,
    extra: Mapping[Tag, Element | None] | None = None,
    has_meta: bool = True,
    stored: npt.NDArray[np.int16] | npt.NDArray[np.uint16] | None = None,
) -> bytes:
    """Build one DICOM file with the 22 elements of the RSNA data.

    Args:
        hu: int16 (rows, columns).
        image_id: SOPInstanceUID; `ID_` and nine hexadecimal digits in the RSNA data.
        patient_id: PatientID; `ID_` and eight digits.
        study_id: StudyInstanceUID; `ID_` and ten digits.
        series_id: SeriesInstanceUID; `ID_` and ten digits.
        origin_mm: ImagePositionPatient, x, y, z.
        directions: ImageOrientationPatient, six cosines.
        pixel_spacing_mm: Row spacing dy, then column spacing dx.
        window: Level and width.
        family: Bits, sign, intercept, transfer syntax, spelling of numbers.
        field: bool (rows, columns), the circular field; outside it lies the family's padding.
        extra: Elements to replace or add, by tag; None leaves an element out.
        has_meta: False leaves out preamble and file meta information.
        stored: Values to keep instead of those that belong to `hu`.

    Returns:
        The whole file.
    """
    rows, columns = hu.shape
    pixels = stored_from_hu(hu, family, field=field) if stored is None else stored
    decimals = family.decimals
    level, width = (f"{value:05d}\\{value:05d}" if family.doubles_window else str(value) for value in window)
    elements: dict[Tag, Element | None] = {
        (0x0008, 0x0018): ("UI", image_id),
        (0x0008, 0x0060): ("CS", "CT"),
        (0x0010, 0x0020): ("LO", patient_id),
        (0x0020, 0x000D): ("UI", study_id),
        (0x0020, 0x000E): ("UI", series_id),
        (0x0020, 0x0010): ("SH", ""),
        (0x0020, 0x0032): ("DS", _numbers(origin_mm, decimals=decimals)),
        (0x0020, 0x0037): ("DS", _numbers(directions, decimals=decimals)),
        (0x0028, 0x0002): ("US", 1),
        (0x0028, 0x0004): ("CS", "MONOCHROME2"),
        (0x0028, 0x0010): ("US", rows),
        (0x0028, 0x0011): ("US", columns),
        (0x0028, 0x0030): ("DS", _numbers(pixel_spacing_mm, decimals=decimals)),
        (0x0028, 0x0100): ("US", 16),
        (0x0028, 0x0101): ("US", family.bits_stored),
        (0x0028, 0x0102): ("US", family.bits_stored - 1),
        (0x0028, 0x0103): ("US", int(family.is_signed)),
        (0x0028, 0x1050): ("DS", level),
        (0x0028, 0x1051): ("DS", width),
        (0x0028, 0x1052): ("DS", str(family.intercept)),
        (0x0028, 0x1053): ("DS", "1"),
        (0x7FE0, 0x0010): ("OW", pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()),
    }
    elements.update(extra or {})
    is_implicit = family.transfer_syntax == IMPLICIT_LITTLE
    body = b"".join(
        _element_bytes(tag, *element, is_implicit=is_implicit)
        for tag, element in sorted(elements.items())
        if element is not None
    )
    if not has_meta:
        return body
    return b"\0" * 128 + b"DICM" + _meta_bytes(family.transfer_syntax, image_id) + body
