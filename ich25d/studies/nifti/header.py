"""The header of a NIfTI file: its first bytes come in, checked facts or a refusal go out.

References:
    https://nifti.nimh.nih.gov/nifti-1 (the two ways to say where voxels lie: sform and qform).
"""

import math
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.dicom.header import Remark
from ich25d.errors import DicomError

HEADER_BYTES = 544
"""The longest header (NIfTI-2) and the mark of extensions behind it."""
MAX_VOLUME_BYTES = 2**31
"""A volume inflates to at most so much: 1,000 slices of 512 x 512 in 64 bits."""
MAX_SLOPE = 100.0
"""No CT is stored in steps of more HU."""
PAIR = "the header and the image are two files (ANALYZE, .hdr and .img); convert them into one .nii.gz"

Affine = npt.NDArray[np.float64]


class NiftiHeader(NamedTuple):
    """What a header says of the file's one volume."""

    shape: tuple[int, int, int]
    """Voxels along the first, second and third axis; the first is the quickest in the file."""
    dtype: "np.dtype[Any]"
    """Of the stored values, with their byte order."""
    offset: int
    """Byte at which they begin."""
    slope: float
    """HU = slope * stored + intercept."""
    intercept: float
    affine: Affine
    """Voxel to mm in the patient's axes of DICOM (to the left, the back, the head), shape (3, 4)."""
    pixdim_mm: tuple[float, float, float]
    """Sizes of a voxel by the header's other word for them; 0 where it has none."""
    says_where: bool
    """The file has an affine; else `affine` is made of the voxels' sizes, in ANALYZE's order: to the left, the front,
    the head."""

    @property
    def n_bytes(self) -> int:
        """Length of the file as far as its values go."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What is odd about it."""
        if self.says_where:
            return ()
        detail = "neither sform nor qform says where the voxels lie; the axes run to the left, the front and the head"
        return (Remark("NO_AFFINE", detail),)


def read_nifti_header(head: bytes) -> NiftiHeader:
    """Read a NIfTI-1 or NIfTI-2 header of either byte order.

    Args:
        head: The file's first `HEADER_BYTES` bytes.

    Raises:
        DicomError: `NO_NIBABEL`, `BAD_NIFTI`, `NIFTI_PAIR`, `NIFTI_4D`, `SHAPE`, `BITS`, `NOT_GRAY` or `BAD_RESCALE`.
    """
    nibabel = _nibabel()
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    if 348 in sizes and len(head) >= 348:
        kind, magic = nibabel.Nifti1Header, head[344:348]
    elif 540 in sizes and len(head) >= 540:
        kind, magic = nibabel.Nifti2Header, head[4:8]
    else:
        raise DicomError("BAD_NIFTI", "a NIfTI file must begin with a header of 348 or 540 bytes")
    if magic[:2] != b"n+":
        raise DicomError("NIFTI_PAIR", PAIR)
    # nibabel's own check repairs and reports on stderr.
    header = kind(head[: kind.template_dtype.itemsize], check=False)
    shape, dtype = _shape(header), _dtype(header, nibabel)
    offset = float(header["vox_offset"])
    if not 0 <= offset <= MAX_VOLUME_BYTES:
        raise DicomError("BAD_NIFTI", f"vox_offset must be where the values begin (got {offset})")
    slope, intercept = _rescale(header)
    affine, says_where = _affine(header, nibabel)
    offset = max(int(offset), kind.single_vox_offset)
    found = NiftiHeader(shape, dtype, offset, slope, intercept, affine, _pixdim(header), says_where)
    if found.n_bytes > MAX_VOLUME_BYTES:
        raise DicomError("TOO_BIG", f"a volume must take at most {MAX_VOLUME_BYTES} bytes (got {found.n_bytes})")
    return found


def _nibabel() -> ModuleType:
    try:
        import nibabel
    except ImportError:
        raise DicomError("NO_NIBABEL", "NIfTI is read by nibabel, which isn't installed") from None
    return nibabel


def _shape(header: Any) -> tuple[int, int, int]:  # noqa: ANN401  # nibabel's
    n_axes = int(header["dim"][0])
    sides = [int(side) for side in header["dim"][1 : n_axes + 1]]
    if not 2 <= n_axes <= 7 or min(sides) < 1:
        raise DicomError("BAD_NIFTI", f"dim must be 2 to 7 sides of at least one voxel (got {header['dim'].tolist()})")
    if math.prod(sides[3:]) > 1:
        raise DicomError("NIFTI_4D", f"a file must hold one volume (got {' x '.join(map(str, sides))} voxels)")
    return sides[0], sides[1], sides[2] if n_axes > 2 else 1


def _dtype(header: Any, nibabel: ModuleType) -> "np.dtype[Any]":  # noqa: ANN401  # nibabel's
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except (nibabel.spatialimages.HeaderDataError, KeyError):
        raise DicomError("BAD_NIFTI", f"datatype must be one of NIfTI's (got {int(header['datatype'])})") from None
    if dtype.fields:
        raise DicomError("NOT_GRAY", "voxels must have one value (got colours)")
    if dtype.kind not in "iuf":
        raise DicomError("BITS", f"voxels must be whole or real numbers (got {dtype})")
    return dtype


def _rescale(header: Any) -> tuple[float, float]:  # noqa: ANN401  # nibabel's
    """Return slope and intercept; a slope of 0 or NaN means that there are none."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope):
        return 1.0, 0.0
    if not (math.isfinite(intercept) and abs(slope) <= MAX_SLOPE):
        raise DicomError("BAD_RESCALE", f"scl_slope and scl_inter must be sensible numbers (got {slope}, {intercept})")
    return slope, intercept


def _affine(header: Any, nibabel: ModuleType) -> tuple[Affine, bool]:  # noqa: ANN401  # nibabel's
    """Return the sform, else the qform, else one made of the voxels' sizes; and whether the file has one.

    One whose third axis has no length comes after those that are whole: dcm2niix writes such where the first two
    slices share a position, and they still say how the slices lie.
    """
    candidates = []
    for name in ("sform", "qform"):
        if int(header[f"{name}_code"]) > 0:
            try:
                found = getattr(header, f"get_{name}")()
            except (nibabel.spatialimages.HeaderDataError, ValueError, FloatingPointError):
                continue  # a quaternion that is none
            candidates.append(np.asarray(found, dtype=np.float64))
    for n_needed in (3, 2):
        for found in candidates:
            lengths = np.linalg.norm(found[:3, :3], axis=0) if np.isfinite(found).all() else np.zeros(3)
            is_long = lengths > 1e-3
            if is_long.sum() >= n_needed and _are_apart(found[:3, :3][:, is_long] / lengths[is_long]):
                return _to_lps(found), True
    wide, high, deep = _pixdim(header)
    shape = np.array(header["dim"][1:4], dtype=np.float64)
    base = np.diag([-(wide or 1.0), high or 1.0, deep, 1.0])
    base[:3, 3] = -base[:3, :3] @ (shape - 1) / 2
    return _to_lps(base), False


def _pixdim(header: Any) -> tuple[float, float, float]:  # noqa: ANN401  # nibabel's
    """Return the sizes of a voxel in mm as they were meant: the shortest decimals of their 32 bits, as in DICOM."""
    sizes = [abs(float(str(size))) for size in header["pixdim"][1:4].astype(np.float32)]
    first, second, third = (size if math.isfinite(size) else 0.0 for size in sizes)
    return first, second, third


def _are_apart(axes: npt.NDArray[np.float64]) -> bool:
    """Say whether unit vectors, shape (3, n), are far from lying in one line or plane."""
    return bool(np.linalg.svd(axes, compute_uv=False)[-1] > 0.2)


def _to_lps(affine: Affine) -> Affine:
    """Turn NIfTI's axes (right, front, head) into DICOM's."""
    return np.asarray(np.diag([-1.0, -1.0, 1.0]) @ affine[:3])
