"""The values of a NIfTI file: looked at once when series are planned, and read slice by slice as HU."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.dicom.header import Content, Remark
from ich25d.dicom.hounsfield import HU_MAX, HU_MIN, check_hu, has_offset
from ich25d.errors import DicomError
from ich25d.studies.nifti.header import HEADER_BYTES, PAIR, NiftiHeader, read_nifti_header
from ich25d.studies.nifti.placement import Placement
from ich25d.studies.sources.gunzip import GZIP, gunzip, gunzip_first
from ich25d.studies.sources.listing import Entry
from ich25d.studies.sources.opened import Sources

MASK_VALUES = 12
"""A slice of at most so many whole values, none below 0, is a mask."""
GREY_RANGE = -200.0, 255.0
"""A head in HU reaches from air to bone; a slice whose values all lie in here holds grey values."""
MAX_RATIO, RATIO_BYTES = 200, 2**28
"""A packed file of more bytes than these mustn't swell more than so many times; masks of zeros swell a thousandfold."""
_STEP = 4
"""Every so many rows and columns are looked at for the number of values."""


class Looked(NamedTuple):
    """What a look into a file told."""

    header: NiftiHeader
    """Its intercept is mended where that had been lost."""
    is_cut: bool
    """The slice looked at has no value below 0 HU."""
    remarks: tuple[Remark, ...]


@dataclass(frozen=True, slots=True, eq=False)
class NiftiImages:
    """The slices of one NIfTI file."""

    sources: Sources
    entry: Entry
    looked: Looked
    placement: Placement

    def __len__(self) -> int:
        return len(self.placement.slice_position_mm)

    def read(
        self, index: int, out: npt.NDArray[np.int16] | None = None
    ) -> tuple[npt.NDArray[np.int16], tuple[Remark, ...]]:
        """Read one slice; the file is inflated once for all that are read one after the other."""
        header = self.looked.header
        volume = read_values(self.sources, self.entry, header)
        hu = _to_hu(self.placement.slice_of(volume, index), header, out)
        if index == len(self) - 1:
            forget_values()
        return hu, check_hu(hu, may_be_cut=self.looked.is_cut)

    def source(self, index: int) -> str:
        """Path or archive member of the file, and `#` and the slice's number in it, from 1."""
        return f"{self.entry.source}#{self.placement.file_index(index) + 1}"

    def shape(self) -> tuple[int, int]:
        """Rows and columns as displayed."""
        _, rows, columns = (self.looked.header.shape[axis] for axis in self.placement.axes)
        return (columns, rows) if self.placement.display.transpose else (rows, columns)

    def stamps(self) -> list[str]:
        """Name, size and stamp of the file."""
        entry = self.entry
        return [f"{entry.root}|{entry.source}|{entry.size}|{entry.stamp}"]

    @property
    def is_native(self) -> bool:
        """No codec takes part but gzip."""
        return True


def look(entry: Entry, sources: Sources) -> Looked:
    """Read a file's header and judge by one slice whether it holds HU.

    Of a packed file only what lies before that slice's end is inflated.

    Raises:
        DicomError: It can't be read, or holds no HU (`GREY_VALUES`, `MASK`).
    """
    if is_pair(entry.source):
        raise DicomError("NIFTI_PAIR", PAIR)
    header, first = read_head(entry, sources)
    n_planes = header.shape[2]
    n_plane = header.shape[0] * header.shape[1]
    start = header.offset + n_planes // 2 * n_plane * header.dtype.itemsize
    content = first(start + n_plane * header.dtype.itemsize)
    if len(content) - start < n_plane * header.dtype.itemsize:
        raise DicomError("TRUNCATED", f"the content must be {header.n_bytes} bytes long (got {len(content)})")
    stored = np.frombuffer(content, header.dtype, count=n_plane, offset=start)
    if _is_empty(stored):  # says nothing: the nearest one that isn't does, if there is any
        volume = read_values(sources, entry, header)
        for plane in sorted(range(n_planes), key=lambda plane: abs(plane - n_planes // 2)):
            stored = volume[:, :, plane].reshape(-1, order="F")
            if not _is_empty(stored):
                break
        forget_values()
    return _judge(stored.reshape(-1, header.shape[0]), header)


def _is_empty(stored: npt.NDArray[Any]) -> bool:
    return bool(np.isnan(stored).all() or stored.min() == stored.max())


def read_head(entry: Entry, sources: Sources) -> tuple[NiftiHeader, Callable[[int], Content]]:
    """Read a file's header.

    Returns:
        The header, and what reads the first so many bytes of the content.

    Raises:
        DicomError: No header that can be used, or the file ends too soon (`TRUNCATED`).
    """
    first: Callable[[int], Content] = partial(sources.head, entry)
    packed = None
    if first(2) == GZIP:  # whatever it is called
        packed = sources.content(entry)
        first = partial(gunzip_first, packed)
    header = read_nifti_header(bytes(first(HEADER_BYTES)))
    if packed is None and entry.size < header.n_bytes:
        raise DicomError("TRUNCATED", f"the file must be {header.n_bytes} bytes long (got {entry.size})")
    if packed is not None and header.n_bytes > max(RATIO_BYTES, MAX_RATIO * len(packed)):
        detail = f"a volume of {header.n_bytes} bytes must be packed in more than {len(packed)}"
        raise DicomError("GZIP_BIG", f"{detail}; pack it less, or not at all")
    # The last 4 bytes of gzip are the content's length, where there is one member and nothing behind it.
    if packed is not None and int.from_bytes(packed[-4:], "little") != header.n_bytes:
        gunzip(packed, header.n_bytes)
    return header, first


def read_values(sources: Sources, entry: Entry, header: NiftiHeader) -> npt.NDArray[Any]:
    """Read the stored values of a file.

    Args:
        sources: Where the file is.
        entry: The file.
        header: Its header.

    Returns:
        Shape of the header, in its dtype.

    Raises:
        DicomError: The file is damaged, or shorter or longer than its header says.
    """
    content = _content(sources, entry, header.n_bytes)
    count = int(np.prod(header.shape, dtype=np.int64))
    return np.frombuffer(content, header.dtype, count=count, offset=header.offset).reshape(header.shape, order="F")


@lru_cache(maxsize=1)
def _content(sources: Sources, entry: Entry, n_bytes: int) -> Content:
    """Read a file whole, and keep it for the next slice."""
    content = sources.content(entry)
    return gunzip(content, n_bytes) if content[:2] == GZIP else content


def forget_values() -> None:
    """Let go of the content that was read last."""
    _content.cache_clear()


def is_pair(source: str) -> bool:
    """Say whether a file is one half of an ANALYZE pair, by its name."""
    return source.lower().removesuffix(".gz").endswith((".hdr", ".img"))


def _judge(stored: npt.NDArray[Any], header: NiftiHeader) -> Looked:
    """Judge by a slice's stored values, shape (rows, columns), whether they are HU."""
    values = stored.astype(np.float64) * header.slope + header.intercept
    values[~np.isfinite(values)] = HU_MIN
    low, high = float(values.min()), float(values.max())
    sample = np.unique(values[::_STEP, ::_STEP])
    is_whole = bool((sample == np.rint(sample)).all())
    if low == high or (low >= 0 and len(sample) <= MASK_VALUES and is_whole):
        seen = ", ".join(f"{value:g}" for value in sample[:4].tolist())
        raise DicomError(
            "MASK", f"a scan must hold HU; this is a mask of few values ({seen}): name it by --masks of build-studies"
        )
    if GREY_RANGE[0] < low and high <= GREY_RANGE[1]:
        detail = f"these are grey values, not HU ({low:g} to {high:g}; air must be near -1000 and bone above 255)"
        raise DicomError("GREY_VALUES", f"{detail}; convert the DICOM without a window")
    if low >= 0 and has_offset(np.rint(values)):
        remark = Remark("RESCALE_GUESS", "values of air at 0 and tissue at 1024: intercept -1024")
        return Looked(header._replace(intercept=header.intercept - 1024.0), False, (remark,))
    return Looked(header, low >= 0, ())


def _to_hu(stored: npt.NDArray[Any], header: NiftiHeader, out: npt.NDArray[np.int16] | None) -> npt.NDArray[np.int16]:
    """Turn stored values, shape (rows, columns), into HU; what is no number becomes air."""
    hu = out if out is not None and out.shape == stored.shape else np.empty(stored.shape, dtype=np.int16)
    if stored.dtype.kind == "i" and stored.dtype.itemsize == 2 and (header.slope, header.intercept) == (1, 0):
        return np.clip(stored, HU_MIN, HU_MAX, out=hu)  # as most files are: no copy
    scaled = stored.astype(np.float64)
    scaled *= header.slope
    scaled += header.intercept
    np.nan_to_num(scaled, copy=False, nan=HU_MIN, posinf=HU_MAX, neginf=HU_MIN)
    np.rint(np.clip(scaled, HU_MIN, HU_MAX, out=scaled), out=hu, casting="unsafe")
    return hu
