"""Raw element values in, a checked `Header` out, or the reason why this image can't be used."""

import hashlib
import re
from operator import call

from ich25d.dicom import values
from ich25d.dicom.elements import NATIVE, Elements, Meta
from ich25d.dicom.header import CHECKED, READERS, Header, Remark
from ich25d.dicom.text_page import IMAGE_TYPES
from ich25d.errors import DicomError

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_MULTIFRAME_CT = frozenset({f"{CT_IMAGE}.1", f"{CT_IMAGE}.2"})  # Enhanced CT, Legacy Converted Enhanced CT
_SECONDARY = "1.2.840.10008.5.1.4.1.1.7"
_DIRECTORY = "1.2.840.10008.1.3.10"

MAX_SIDE = 2048
"""Largest Rows and Columns taken: a decoder allocates what a header claims."""
_LOSSY_SYNTAXES = frozenset(
    f"1.2.840.10008.1.2.4.{last}" for last in ("50", "51", "81", "91", "203")
)  # JPEG, near-lossless JPEG-LS, JPEG 2000 and HTJ2K
_ID_NAMES = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_N_CHECKED, _READERS = len(CHECKED), tuple(READERS.values())
_PATIENT = _N_CHECKED + tuple(READERS).index("patient_id")
GOOD_ID = re.compile(r"[0-9A-Za-z._#-]{1,80}").fullmatch
"""Matches ids that are safe in paths, tables and submissions."""
RENAMED = "UID_"
"""Begins the names of identifiers that aren't good ones."""
_NAMEABLE = re.compile(r"(?!.*\.\.)[0-9A-Za-z+/{][0-9A-Za-z+/=._:{}# -]{0,255}").fullmatch
"""Matches what de-identification makes of UIDs: hashes in hex or base64, GUIDs, URNs, and words with numbers."""
_SHOWABLE = re.compile(r"[0-9A-Za-z{][^ ]*").fullmatch
"""Matches those of them that are no words of people, and no formula of a spreadsheet."""


def own_name(identifier: str) -> str:
    """Return the name that an identifier goes by: itself where it is a good one, else a hash of it."""
    if GOOD_ID(identifier):
        return identifier
    return f"{RENAMED}{hashlib.sha256(identifier.encode('latin-1', 'replace')).hexdigest()[:40]}"


def make_header(elements: Elements, meta: Meta, total_size: int) -> Header:
    """Check the raw values and turn them into a header.

    Args:
        elements: What the walk up to the pixels found; of one frame, where the file has many.
        meta: The file meta information.
        total_size: Size in bytes of what `pixel_offset` counts in.

    Raises:
        DicomError: The image can't be used; `code` says why. It carries the image's ids where there are any.
            `MULTIFRAME` when these are the elements of a file of many frames.
    """
    raw = elements.values
    (
        sop_class, modality, samples_per_pixel, level, width, rescale_type, burned_in, image_id, series_id, study_id,
        rows, columns, bits_allocated, bits_stored, high_bit, pixel_representation, photometric, slope, intercept,
        modality_lut, origin, directions, pixel_spacing, instance_number, n_frames, lossy,
    ) = raw[:_N_CHECKED]  # fmt: skip
    text = values.text
    remarks: list[Remark] = []
    photometric_name = text(photometric)
    kind = text(sop_class) or text(meta.sop_class)
    try:
        if elements.is_cut and kind in {"", CT_IMAGE, *_MULTIFRAME_CT}:
            raise DicomError("TRUNCATED", f"the file ends inside its header (at byte {total_size})")
        _check_kind(kind, text(modality), elements, has_own_kind=bool(sop_class))
        if not elements.frame and (values.whole(n_frames) or 1) > 1:
            raise DicomError("MULTIFRAME", "NumberOfFrames must be 1 in this call")
        if elements.pixel_offset < 0 and not elements.is_float:
            raise DicomError("NO_PIXELS", "the file holds no pixel data")
        image_uid, series_uid, study_uid = _check_ids(
            text(image_id), text(series_id), text(study_id), remarks, is_frame=bool(elements.frame)
        )
        if not elements.frame and values.whole(n_frames) not in {1, None}:
            raise DicomError("SHAPE", f"NumberOfFrames must be at least 1 (got {values.whole(n_frames)})")
        height, breadth = _check_shape(rows, columns, samples_per_pixel, photometric_name)
        allocated, stored, high, is_signed = _check_bits(
            bits_allocated, bits_stored, high_bit, pixel_representation, elements
        )
        if text(burned_in) == "YES":
            raise DicomError("SECONDARY", "an image with burned-in annotation isn't a slice")
        has_lut = bool(modality_lut) and not intercept
        factor, offset = (None, None) if has_lut else _check_rescale(slope, intercept, text(rescale_type), remarks)
        _check_length(elements, meta, height * breadth * allocated // 8, total_size, remarks)
    except DicomError as error:
        named = _names(text(image_id), text(series_id), text(study_id), is_frame=bool(elements.frame))
        raise DicomError(error.code, error.detail, **named, patient_id=text(raw[_PATIENT])) from None
    place = values.position(origin)
    cosines, is_exact = values.orthonormal(directions)
    if (origin and place is None) or (directions and not (is_exact and cosines)):
        remarks.append(
            Remark("BAD_GEOMETRY", "position must be 3 finite numbers, orientation two perpendicular unit vectors")
        )
    if meta.is_sniffed:
        remarks.append(Remark("NO_META", "no transfer syntax in the file: read off its first element"))
    is_lossy = text(lossy) == "01" or meta.transfer_syntax in _LOSSY_SYNTAXES
    if is_lossy:
        remarks.append(Remark("LOSSY", "the image went through a lossy compression"))
    instance = values.whole(instance_number)
    if instance is None and instance_number and text(instance_number):
        remarks.append(Remark("BAD_NUMBER", "InstanceNumber must be a whole number; it is ignored"))
    header = Header(
        image_uid, series_uid, study_uid, height, breadth, allocated, stored, high, is_signed, photometric_name,
        factor, offset, has_lut, place, cosines, _spacing(pixel_spacing, remarks), instance,
        (values.whole(n_frames) if elements.frame else None) or 1, is_lossy, values.windows(level, width),
        meta.transfer_syntax, elements.pixel_offset, elements.pixel_length, elements.frame, tuple(remarks),
        *map(call, _READERS, raw[_N_CHECKED:]),
    )  # fmt: skip
    if not IMAGE_TYPES.isdisjoint(header.image_type):
        detail = "the ImageType is that of a page or a screen save"
        ids = {"image_id": image_uid, "series_id": series_uid, "study_id": study_uid}
        raise DicomError("SECONDARY", detail, **ids, patient_id=header.patient_id)
    return header


def _check_kind(kind: str, modality: str, elements: Elements, *, has_own_kind: bool) -> None:
    """Refuse what isn't a single CT image: SOP class first, modality where there is none.

    A data set without a SOP class of its own (all of RSNA's) may still carry one in its file meta; then both count.
    """
    if kind in _MULTIFRAME_CT:
        if not elements.frame:
            raise DicomError("MULTIFRAME", "the file holds many frames; this call is for one")
    elif kind.startswith(_SECONDARY) and kind[len(_SECONDARY) :][:1] in {"", "."}:
        raise DicomError("SECONDARY", "a Secondary Capture isn't a slice")
    elif kind == _DIRECTORY:
        raise DicomError("DICOMDIR", "a DICOMDIR lists files; the files themselves are read")
    elif (kind and kind != CT_IMAGE) or (not has_own_kind and modality != "CT" and (modality or not kind)):
        if not any(elements.values):
            raise DicomError("NOT_DICOM", "none of the elements of an image is in the file")
        raise DicomError(
            "NOT_CT",
            f"the SOP class must be CT Image Storage, or the modality CT where there is none (got {_code(kind)}, "
            f"{_code(modality)})",
        )


def _check_ids(
    image_id: str, series_id: str, study_id: str, remarks: list[Remark], *, is_frame: bool
) -> tuple[str, str, str]:
    """Name what has no name that is safe everywhere, and let the next level stand in for what is absent."""
    if not image_id:
        raise DicomError("BAD_UID", "an image must have a SOPInstanceUID")
    if not is_frame and GOOD_ID(image_id) and GOOD_ID(series_id) and GOOD_ID(study_id):  # nearly every header
        return image_id, series_id, study_id
    for name, identifier in zip(_ID_NAMES, (image_id, series_id, study_id), strict=True):
        if identifier and not GOOD_ID(identifier):
            if not _NAMEABLE(identifier):
                rule = f"{name} must be of digits and dots, or a hash"
                raise DicomError("BAD_UID", f"{rule} (got {len(identifier)} characters)")
            shown = f" {identifier}" if _SHOWABLE(identifier) else ""
            remarks.append(Remark("UID_RENAMED", f"{name}{shown} is no UID; it is called {own_name(identifier)}"))
    image_id, series_id, study_id = _names(image_id, series_id, study_id, is_frame=is_frame).values()
    if not series_id or not study_id:
        remarks.append(
            Remark("NO_SERIES_UID", "SeriesInstanceUID or StudyInstanceUID is absent; the next level stands in")
        )
        series_id = series_id or study_id or image_id
        study_id = study_id or series_id
    return image_id, series_id, study_id


def _names(image_id: str, series_id: str, study_id: str, *, is_frame: bool) -> dict[str, str]:
    """Return the names that ids go by, as arguments of an error; empty where there is none."""
    file_id, mark, number = image_id.rpartition("#") if is_frame else (image_id, "", "")
    image, series, study = (name and own_name(name) for name in (file_id, series_id, study_id))
    return {"image_id": f"{image}{mark}{number}" if image else "", "series_id": series, "study_id": study}


def _check_shape(rows: bytes | None, columns: bytes | None, samples: bytes | None, photometric: str) -> tuple[int, int]:
    if (samples is not None and values.u16(samples) != 1) or photometric not in {"", "MONOCHROME1", "MONOCHROME2"}:
        raise DicomError(
            "NOT_GRAY",
            f"a slice must have one grey sample a pixel (got {_number(samples)}, {_code(photometric)})",
        )
    height, breadth = values.u16(rows), values.u16(columns)
    if height is None or breadth is None or not (height >= 1 and breadth >= 1):
        raise DicomError(
            "BAD_TAG",
            "Rows and Columns must be one unsigned 16-bit number each, at least 1 "
            f"(got {_number(rows)} and {_number(columns)})",
        )
    if max(height, breadth) > MAX_SIDE:
        raise DicomError("SHAPE", f"Rows and Columns must be at most {MAX_SIDE} (got {height} x {breadth})")
    return height, breadth


_SHOWN = re.compile(r"[0-9.]{0,64}|[A-Z]{2}|A?RGB|HSV|CMYK|MONOCHROME[12]|PALETTE COLOR|YBR_[A-Z0-9_]{3,12}").fullmatch


def _number(value: bytes | None) -> str:
    """Show a US value in a sentence."""
    number = values.u16(value)
    return str(number) if number is not None else "none" if not value else f"{len(value)} bytes"


def _code(text: str) -> str:
    """Show a UID or a known code in a sentence: anything else may name somebody."""
    return (text or "none") if _SHOWN(text) else "another"


def _check_bits(
    allocated: bytes | None, stored: bytes | None, high: bytes | None, sign: bytes | None, elements: Elements
) -> tuple[int, int, int, bool]:
    if elements.is_float:
        raise DicomError("BITS", "pixels must be whole numbers (got Float Pixel Data)")
    u16 = values.u16
    n_allocated, n_stored, high_bit, representation = u16(allocated), u16(stored), u16(high), u16(sign)
    if n_allocated is None or n_stored is None or representation not in {0, 1}:
        raise DicomError(
            "BAD_TAG",
            "BitsAllocated, BitsStored and PixelRepresentation must be one number each, the last 0 or 1 "
            f"(got {_number(allocated)}, {_number(stored)} and {_number(sign)})",
        )
    if n_allocated not in {16, 32} or not 2 <= n_stored <= n_allocated:
        raise DicomError("BITS", f"a CT image must have 16 or 32 bits allocated (got {n_allocated}, stored {n_stored})")
    if high_bit is None:
        high_bit = n_stored - 1
    if high_bit != n_stored - 1:
        raise DicomError("HIGHBIT", f"HighBit must be BitsStored - 1 (got {high_bit}, BitsStored {n_stored})")
    return n_allocated, n_stored, high_bit, representation == 1


def _check_rescale(
    slope: bytes | None, intercept: bytes | None, rescale_type: str, remarks: list[Remark]
) -> tuple[float | None, float | None]:
    if rescale_type and rescale_type not in {"HU", "US"}:
        remarks.append(Remark("NOT_HU", "RescaleType is neither HU nor unspecified"))
    if intercept is None and slope is None:
        return None, None
    factor, offset = values.one_float(slope), values.one_float(intercept)
    if slope is None:
        factor = 1.0
        remarks.append(Remark("RESCALE_GUESS", "RescaleSlope is absent: 1 assumed"))
    if factor is None or offset is None or not 0 < factor <= 100 or abs(offset) > 1e5:
        raise DicomError(
            "BAD_RESCALE",
            "RescaleSlope must be one number in (0, 100], RescaleIntercept one within 100,000 of 0 "
            f"(got {'none' if factor is None else factor} and {'none' if offset is None else offset})",
        )
    return factor, offset


def _check_length(elements: Elements, meta: Meta, needed: int, total_size: int, remarks: list[Remark]) -> None:
    """Compare the pixel data's declared length with the image and with the file."""
    offset, length = elements.pixel_offset, elements.pixel_length
    if meta.transfer_syntax not in NATIVE:
        if offset >= total_size:
            raise DicomError(
                "TRUNCATED", f"the file ends where its pixel data begins (at byte {offset} of {total_size})"
            )
        return
    if length < 0:
        raise DicomError("BAD_TAG", "uncompressed pixel data must have a defined length")
    if length < needed:
        raise DicomError("PIXEL_SHORT", f"pixel data must hold {needed} bytes (got {length})")
    if offset + needed > total_size:
        raise DicomError(
            "TRUNCATED", f"pixel data needs {needed} bytes (the file has {max(total_size - offset, 0)} left)"
        )
    if length >= 2 * needed:
        raise DicomError("SHAPE", f"pixel data must hold the {needed} bytes of Rows x Columns (got {length})")
    if length > needed + 1:
        remarks.append(Remark("PIXEL_LONG", f"pixel data is {length - needed} bytes longer than the image; cut"))


def _spacing(value: bytes | None, remarks: list[Remark]) -> tuple[float, float] | None:
    spacing = values.spacing(value)
    if spacing is None:
        remarks.append(
            Remark("NO_SPACING", "PixelSpacing must be two numbers in 0.1 to 2 mm; the pixel grid is used as it is")
        )
    elif abs(spacing[0] - spacing[1]) > 0.02 * max(spacing):
        remarks.append(Remark("ANISO", f"pixels aren't square ({spacing[0]:.4g} x {spacing[1]:.4g} mm)"))
    return spacing
