"""Stored values to HU: rescale, padding and the repair of 12-bit values that wrapped round."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.dicom.header import Header, Remark
from ich25d.errors import DicomError

HU_MIN = -1024
HU_MAX = 3071

_SAMPLE = 8
"""Every so many rows and columns are looked at where a share of the pixels decides."""

_BRAIN_SHARE = 0.33
"""Of all between 500 and 2000, so much is at 1000 to 1100 where brain is at 1024 and more (three quarters of RSNA's
slices, shifted); of HU without an offset, where those are bone, at most 0.27 (the same slices, air cut off)."""


def to_hu(
    stored: npt.NDArray[Any], header: Header, out: npt.NDArray[np.int16] | None = None
) -> tuple[npt.NDArray[np.int16], tuple[Remark, ...]]:
    """Turn stored values into HU.

    HU = slope * stored + intercept, padding to -1024, clipped to [-1024, 3071]. Everything that would need
    a wider type than int16 is clipped before it is added to, so that the common case makes one copy.

    Args:
        stored: Stored values, shape (rows, columns), uint16, int16 or 32-bit; left as they are.
        header: The image's header.
        out: Where the HU may go, shape (rows, columns), int16; memory that is in use already is quicker than new.

    Returns:
        HU, shape (rows, columns), int16, and what was odd. The HU are `out` where that was given.

    Raises:
        DicomError: No rescale and no way to guess it (`NO_RESCALE`), or a constant image (`BLANK`).

    References:
        DICOM PS3.3, C.11.1.1.2 (rescale) and C.7.5.1.1.2 (padding).
    """
    remarks: list[Remark] = []
    # What declares the padding of signed values is held against them later.
    values = _masked(stored, header, None if header.is_signed and header.padding is not None else out)
    slope, intercept = header.slope, header.intercept
    if slope is None or intercept is None:
        slope, intercept = _guess_rescale(values, header, remarks)
    wrap_from = None
    if not header.is_signed and header.bits_stored == 12 and intercept > -100 and slope == 1:
        wrap_from = _wrap_start(values)
    if wrap_from is not None:
        values = values.astype(np.int16) - np.where(values >= wrap_from, np.int16(4096), np.int16(0))
        remarks.append(Remark("WRAP12", f"stored values from {wrap_from} up had wrapped round at 4096; unwrapped"))
        intercept = 0.0
    low, high = HU_MIN - intercept, HU_MAX - intercept
    span = _span(header, is_unwrapped=wrap_from is not None)
    is_plain = slope == 1 and intercept.is_integer() and values.itemsize == 2
    if is_plain and low >= -32768 and span[0] <= high <= 32767:
        hu = _shifted(values, int(intercept), int(low), int(high), span, out)
    else:
        scaled = values * np.float64(slope) + intercept
        hu = np.empty(values.shape, dtype=np.int16) if out is None else out
        np.rint(np.clip(scaled, HU_MIN, HU_MAX, out=scaled), out=hu, casting="unsafe")
    _apply_padding(hu, stored, values, header, slope, intercept, remarks)
    may_be_cut = wrap_from is None and not header.is_signed and intercept > -100
    remarks += check_hu(hu, may_be_cut=may_be_cut)
    return hu, tuple(remarks)


def looked_up_hu(
    stored: npt.NDArray[Any], header: Header, look_up: Callable[[npt.NDArray[Any]], tuple[npt.NDArray[Any], str, int]]
) -> tuple[npt.NDArray[np.int16], tuple[Remark, ...]]:
    """Turn stored values into HU where a table stands for slope and intercept.

    A table's values are never negative, so that air at -1000 HU can only be there with an offset, which is told from
    the values. They are HU, with air cut off, only when the table says so and ends where HU do. Which of the two holds
    is a matter of the table, never of one slice: slices that disagree with it are refused.

    Args:
        stored: Stored values, shape (rows, columns).
        header: The image's header.
        look_up: Returns the table's values, its type and its highest value.

    Returns:
        As `to_hu`.

    Raises:
        DicomError: No table (`BAD_RESCALE`), or its values are neither HU nor tell their offset (`NO_RESCALE`).
    """
    indices = _masked(stored, header, None)
    looked_up, kind, highest = look_up(indices)
    is_hu = kind == "HU" and highest <= HU_MAX
    values = looked_up.astype(np.uint16)
    plain = header._replace(
        is_signed=False, bits_allocated=16, bits_stored=16, padding=None, padding_limit=None, slope=None, intercept=None
    )
    try:
        hu, remarks = to_hu(values, plain)
    except DicomError as error:
        if error.code != "NO_RESCALE" or not is_hu:
            raise
        hu, remarks = to_hu(values, plain._replace(slope=1.0, intercept=0.0))
    else:
        if is_hu:
            raise DicomError("NO_RESCALE", "the Modality LUT says HU, but the values look like HU with 1024 added")
    padded = _padded(stored, indices, header)
    if padded is not None:
        hu[padded] = HU_MIN
    return hu, (Remark("MODALITY_LUT", f"a table of type {'HU' if kind == 'HU' else 'other than HU'}"), *remarks)


def _masked(stored: npt.NDArray[Any], header: Header, out: npt.NDArray[np.int16] | None) -> npt.NDArray[Any]:
    """Drop what stands above the stored bits: overlays of old writers, or a sign that wasn't extended.

    Returns:
        `stored` itself where nothing stands above, else a new array or `out`; signed unless all bits are taken.
    """
    unused = header.bits_allocated - header.bits_stored
    if unused == 0:
        return stored
    place = out.view(stored.dtype) if out is not None and stored.itemsize == out.itemsize else None
    if header.is_signed:
        values: npt.NDArray[Any] = np.left_shift(stored, unused, out=place)
        values >>= unused
        return values
    values = np.bitwise_and(stored, (1 << header.bits_stored) - 1, out=place)
    return values.view(f"<i{values.itemsize}")


def _shifted(
    values: npt.NDArray[Any],
    intercept: int,
    low: int,
    high: int,
    span: tuple[int, int],
    out: npt.NDArray[np.int16] | None,
) -> npt.NDArray[np.int16]:
    """Clip where the span of the stored bits asks for it, then add: the sum stays inside int16."""
    if low <= span[0] and span[1] <= high:
        hu: npt.NDArray[np.int16] = np.add(values, np.int16(intercept), out=out, dtype=np.int16)
        return hu
    # Values inside the limits have the same bits signed and unsigned.
    clipped = None if out is None else out.view(values.dtype.newbyteorder("="))
    hu = np.clip(values, max(low, span[0]), high, out=clipped).view(np.int16)
    hu += np.int16(intercept)
    return hu


def _span(header: Header, *, is_unwrapped: bool) -> tuple[int, int]:
    """Return the lowest and highest value that the stored bits can hold."""
    if is_unwrapped:
        return -2048, 4095
    if header.is_signed:
        return -(1 << header.bits_stored - 1), (1 << header.bits_stored - 1) - 1
    return 0, (1 << header.bits_stored) - 1


def _border(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return every second pixel of the outermost rows and columns."""
    return np.concatenate((values[0, ::2], values[-1, ::2], values[::2, 0], values[::2, -1]))


def _mode(values: npt.NDArray[Any]) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


def _wrap_start(values: npt.NDArray[Any]) -> int | None:
    """Find from which stored value up 12-bit values had wrapped round; None when they hadn't.

    RSNA holds files of 12 unsigned bits and intercept 0 whose air is stored as 3096 for -1000 HU. Kaggle's
    known repair cuts at 3096 and leaves air of -1024, stored 3072, white; so the cut is the background's own
    value where that is lower. Without a background up there, large values are metal, and stay.
    """
    if np.count_nonzero(values[::_SAMPLE, ::_SAMPLE] >= 3000) < 0.01 * values[::_SAMPLE, ::_SAMPLE].size:
        return None
    mode = _mode(_border(values))
    if mode < 2048:  # the sign bit of 12 bits
        return None
    return min(mode, 3096)


def has_offset(values: npt.NDArray[Any]) -> bool:
    """Say whether a slice's values, shape (rows, columns), are HU with 1024 added: air at 0 and tissue at 1024."""
    if _mode(_border(values)) > 100:
        return False
    sample = values[::_SAMPLE, ::_SAMPLE]
    tissue = sample[(sample > 500) & (sample < 2000)]
    is_brain = (tissue >= 1000) & (tissue <= 1100)
    return bool(tissue.size and 1000 <= np.median(tissue) <= 1100 and is_brain.mean() > _BRAIN_SHARE)


def _guess_rescale(values: npt.NDArray[Any], header: Header, remarks: list[Remark]) -> tuple[float, float]:
    if header.is_signed and values.min() < -500:  # air as HU
        remarks.append(
            Remark("RESCALE_GUESS", "no rescale in the file; signed values with air below -500: HU as they stand")
        )
        return 1.0, 0.0
    if not header.is_signed and has_offset(values):
        remarks.append(Remark("RESCALE_GUESS", "no rescale in the file; air at 0 and tissue at 1024: intercept -1024"))
        return 1.0, -1024.0
    raise DicomError("NO_RESCALE", "RescaleSlope and RescaleIntercept are absent and the values don't tell them")


def _apply_padding(
    hu: npt.NDArray[np.int16],
    stored: npt.NDArray[Any],
    values: npt.NDArray[Any],
    header: Header,
    slope: float,
    intercept: float,
    remarks: list[Remark],
) -> None:
    """Set padding to air, declared or not. Clipping alone does it where padding lies below air."""
    padded = _padded(stored, values, header, above=(HU_MIN - intercept) / slope)
    if padded is not None:
        hu[padded] = HU_MIN
    if not header.is_signed and header.bits_stored == 16 and slope == 1:
        # -2000 written into unsigned pixels: 62,512 HU and more, in the corners outside the field of view.
        absurd = 20_000 - intercept
        if (_border(values) > absurd).any():
            hu[values > absurd] = HU_MIN
            remarks.append(
                Remark("PAD_UNDECLARED", "values above 20000 HU at the border are undeclared padding; set to air")
            )


def _padded(
    stored: npt.NDArray[Any], values: npt.NDArray[Any], header: Header, *, above: float = -np.inf
) -> npt.NDArray[np.bool_] | None:
    """Return where the declared padding is; None where none is declared, or none that lies above a stored value.

    The declared value is compared modulo 2**16: implicit files and careless writers swap US and SS, and
    63536 means -2000.
    """
    if header.padding is None or header.bits_allocated != 16:
        return None
    ends = [header.padding, header.padding if header.padding_limit is None else header.padding_limit]
    if header.is_signed:
        ends = [end - 65536 if end >= 32768 else end for end in ends]
    first, last = min(ends), max(ends)
    if last <= above:
        return None
    raw = values if header.is_signed else stored
    mask: npt.NDArray[np.bool_] = (raw >= first) & (raw <= last) if first < last else raw == first
    return mask


def check_hu(hu: npt.NDArray[np.int16], *, may_be_cut: bool) -> tuple[Remark, ...]:
    """Refuse constant images, and remark on HU that don't look like a head in air.

    Args:
        hu: One slice, shape (rows, columns), HU.
        may_be_cut: Its file can't hold values below 0 HU.

    Raises:
        DicomError: `BLANK`.
    """
    sample = hu[::_SAMPLE, ::_SAMPLE]
    if sample[0, 0] == sample[len(sample) // 2, sample.shape[1] // 2] and int(hu.min()) == int(hu.max()):
        raise DicomError("BLANK", f"an image must not be constant (all pixels {int(sample[0, 0])} HU)")
    if may_be_cut and int(sample.min()) >= 0:
        return (Remark("NO_NEG_HU", "no values below 0 HU: air was cut off when the file was written"),)
    edge = np.sort(_border(hu)[::4])
    air = int(edge[len(edge) // 2])
    return (Remark("HU_ODD", f"the border should be air (median {air} HU)"),) if air > -850 else ()
