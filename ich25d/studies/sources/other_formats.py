"""What a file is that is no DICOM: archives and images in forms that aren't read are named, with what to do."""

import re

from ich25d.errors import DicomError

FORM_BYTES = 0x8006
"""So far into a file its form shows; an ISO image's does last."""

_PARTS = re.compile(
    r".*\.(?:(?:zip|7z|rar|tar|tgz|gz|xz|bz2)\.\d{3}|z\d\d|r\d\d|part\d+\.rar)", re.IGNORECASE | re.DOTALL
)
_PROGRAMS = re.compile(
    r".*\.(?:jar|war|apk|xpi|docx|docm|xlsx|xlsm|pptx|od[tsp]|npz|whl|epub|nupkg|pt|pth|cbz|sldx|keras|kmz|mlmodel)",
    re.IGNORECASE | re.DOTALL,
)
"""Zips that hold no images of a study: a CD's viewer, documents, arrays, weights."""

_UNPACK = "unpack it and name the folder"
_CONVERT = "give the DICOM that it was made from, or convert it to NIfTI (.nii.gz) in HU"
_ARCHIVES: tuple[tuple[int, bytes, str], ...] = (
    (257, b"ustar", "a tar archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\xfd7zXZ\0", "a file packed by xz"),
    (0, b"BZh", "a file packed by bzip2"),
    (0, b"\x28\xb5\x2f\xfd", "a file packed by zstd"),
    (0, b"\x04\x22\x4d\x18", "a file packed by LZ4"),
    (0, b"PK\x07\x08", "the first part of a zip archive"),
    (0x8001, b"CD001", "a CD image (ISO)"),
)
_IMAGES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"NRRD000", "an NRRD volume"),
    (0, b"ObjectType =", "a MetaImage volume (.mha, .mhd)"),
    (0, b"ObjectType=", "a MetaImage volume (.mha, .mhd)"),
    (0, b"NDims =", "a MetaImage volume (.mha, .mhd)"),
    (344, b"n+1\0", "a NIfTI volume without a name in .nii"),
    (344, b"ni1\0", "the header of a NIfTI pair without a name in .hdr"),
    (4, b"n+2\0\r\n\x1a\n", "a NIfTI-2 volume without a name in .nii"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (also MINC, MATLAB 7.3)"),
    (0, b"CDF\x01", "a MINC or netCDF file"),
    (0, b"MATLAB 5.0", "a MATLAB file"),
)
_PICTURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (0, b"BM", "a BMP picture"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (0, b"%PDF-", "a PDF document"),
)
_BY_NAME = re.compile(r".*\.(tar|iso|tgz|7z|rar)", re.IGNORECASE | re.DOTALL).fullmatch


def is_part(name: str) -> bool:
    """Say whether a name is that of a part of a split archive (`ct.zip.001`, `ct.z01`)."""
    return bool(_PARTS.fullmatch(name))


def other_format(source: str, head: bytes, error: DicomError) -> DicomError:  # noqa: PLR0911  # one a form
    """Return the refusal of a file that is no DICOM, by what it is.

    Args:
        source: Its name.
        head: Its first `FORM_BYTES` bytes, or all of them.
        error: The refusal where its form isn't known.

    Returns:
        `ARCHIVE` or `OTHER_FORMAT` where images may be left out; `NOT_DICOM` with its form for pictures and documents.
    """
    if is_part(source):
        return DicomError("ARCHIVE", "this is a part of a split archive; unpack its parts (7z x) and name the folder")
    if head[:4] == b"PK\3\4" and not _PROGRAMS.fullmatch(source):
        return DicomError("ARCHIVE", "this is a zip archive under another name; call it .zip, or name it as a source")
    if head[:2] == b"\x1f\x8b":
        return DicomError("ARCHIVE", "this is a file packed by gzip, under another name or in an archive; unpack it")
    if head[:2] == b"--" and b"application/dicom" in head[:1024]:
        return DicomError("OTHER_FORMAT", "this is a multipart answer of a DICOMweb server; save its parts as files")
    for code, forms, cure in (("ARCHIVE", _ARCHIVES, _UNPACK), ("OTHER_FORMAT", _IMAGES, _CONVERT)):
        for offset, magic, what in forms:
            if head[offset : offset + len(magic)] == magic:
                how = "call it .nii" if ".nii" in what else cure
                return DicomError(code, f"this is {what}; {how}")
    if (named := _BY_NAME(source)) and error.code != "EMPTY":
        return DicomError("ARCHIVE", f"this is called a .{named[1].lower()} archive; {_UNPACK}")
    for offset, magic, what in _PICTURES:
        if head[offset : offset + len(magic)] == magic:
            return DicomError("NOT_DICOM", f"this is {what}, no DICOM")
    return error
