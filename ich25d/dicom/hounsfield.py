"""Stored values to HU: rescale, padding, and negative values under an unsigned header."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.dicom.header import Header, Remark
from ich25d.dicom.padding import declared_padding, pad_with_air
from ich25d.dicom.stored_bits import border_of, meant_values
from ich25d.dicom.text_page import is_text_page
from ich25d.errors import DicomError

HU_MIN = -1024
HU_MAX = 3071

_SAMPLE = 8
"""Every so many rows and columns are looked at where a share of the pixels decides."""

_BRAIN_SHARE = 0.33
"""Of all between 500 and 2000, so much is at 1000 to 1100 where brain is at 1024 and more (three quarters of RSNA's
slices, shifted); of HU without an offset, where those are bone, at most 0.27 (the same slices, air cut off)."""

_LEAST_12_BIT_AIR = 2796
"""Stored for -1300 HU, the least that air's noise reaches; below is padding, or metal."""


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
        DicomError: No rescale and no way to guess it (`NO_RESCALE`), a constant image (`BLANK`), or a page of
            text (`SECONDARY`).

    References:
        DICOM PS3.3, C.11.1.1.2 (rescale) and C.7.5.1.1.2 (padding).
    """
    values, header, found = meant_values(stored, header)
    remarks = list(found)
    wrap = None
    if not header.is_signed and header.bits_stored >= 12:
        wrap = _find_wrap(values, header.bits_stored, header.slope or 1.0, header.intercept or 0.0)
    if wrap is not None:
        values = _unwrapped(values, header.bits_stored, wrap)
        header = header._replace(is_signed=True, intercept=0.0 if wrap.is_offset else header.intercept)
        remarks.append(_remark_of(wrap, header))
    slope, intercept = header.slope, header.intercept
    if slope is None or intercept is None:
        slope, intercept = _guess_rescale(values, header, remarks)
    low, high = HU_MIN - intercept, HU_MAX - intercept
    span = _span(header, is_unwrapped=wrap is not None)
    is_plain = slope == 1 and intercept.is_integer() and values.itemsize == 2
    if is_plain and low >= -32768 and span[0] <= high <= 32767:
        hu = _shifted(values, int(intercept), int(low), int(high), span, out)
    else:
        scaled = values * np.float64(slope) + intercept
        hu = np.empty(values.shape, dtype=np.int16) if out is None else out
        np.rint(np.clip(scaled, HU_MIN, HU_MAX, out=scaled), out=hu, casting="unsafe")
    # Clipping alone makes air of padding below it.
    padding = declared_padding(stored, values, header, above=(HU_MIN - intercept) / slope)
    if padding is not None:
        remarks += pad_with_air(hu, padding, HU_MIN)
    if slope == 1:
        _pad_undeclared(hu, values, header, intercept, remarks)
    may_be_cut = not header.is_signed and intercept > -100
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
    indices, header, found = meant_values(stored, header)
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
    padding = declared_padding(stored, indices, header)
    if padding is not None:
        remarks = (*remarks, *pad_with_air(hu, padding, HU_MIN))
    return hu, (
        Remark("MODALITY_LUT", f"a table of type {'HU' if kind == 'HU' else 'other than HU'}"),
        *found,
        *remarks,
    )


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
        return -(1 << header.bits_stored - 1), (1 << header.bits_stored) - 1
    if header.is_signed:
        return -(1 << header.bits_stored - 1), (1 << header.bits_stored - 1) - 1
    return 0, (1 << header.bits_stored) - 1


def _mode(values: npt.NDArray[Any]) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


class _Wrap(NamedTuple):
    """Which stored values of an image are negative though its header says that none are."""

    cut: int
    """From here up all are."""
    doubtful: int
    """From here to the cut, those connected to air are; the cut itself where none are in doubt."""
    air_below: int
    """Values below are air as well, which is above 0 where its noise alone had wrapped round."""
    is_offset: bool
    """The values are HU as they stand, whatever the intercept."""


def _find_wrap(values: npt.NDArray[Any], bits: int, slope: float, intercept: float) -> _Wrap | None:
    """Find out whether an image has negative values (two's complement of its bits) though its header says unsigned.

    Evidence is either a border of air that is stored above the middle, or noise that crosses 0: many single pixels just
    below the top beside others just above 0. Metal up to the top has neither: it is off the border, in one piece, and
    its rim passes through all values in between.

    Of 13 bits and more, all from the middle up is negative. Of 12 bits, metal may reach 3071 HU: values from 3072 are
    negative, those below only in the noise of air. RSNA's scanners cut air off at -1000 HU; then, and only then,
    values below 3096 are metal (Kaggle's known repair).

    Args:
        values: Stored values, shape (rows, columns), none below 0.
        bits: How many are stored, 12 or more.
        slope: HU a stored step.
        intercept: HU of stored 0.
    """
    top, middle = 1 << bits, 1 << bits - 1
    plain = _Wrap(middle, middle, 0, is_offset=False)
    border = border_of(values)
    high = border[border >= middle]
    noise = max(8, round(300 / slope))
    is_hu = abs(intercept) < 100
    twelve = _Wrap(3072, 3072, 0, is_offset=False) if is_hu else _Wrap(top, top - noise, noise, is_offset=False)
    if len(high) >= 0.3 * len(border) and not (high == top - 1).all():  # all: a ring of the highest value
        if is_hu:
            return _wrap_of_12_bits(high) if bits == 12 and slope == 1 else plain
        if bits > 12 and _is_offset_in_vain(values, high, top, slope, intercept):
            return plain._replace(is_offset=True)
        is_ring = np.mean(high == _mode(high)) > 0.9
        if not is_ring and (bits > 12 or np.mean(high >= top - noise) > 0.9):
            return plain if bits > 12 else twelve
    if not _noise_crosses_0(values[1::_SAMPLE], top - noise, noise):
        return None
    return plain if bits > 12 else twelve


def _wrap_of_12_bits(high: npt.NDArray[Any]) -> _Wrap:
    """Find where negative HU begin, from the border's values above the middle: air, and what the head lies on."""
    mode = _mode(high)
    if mode < _LEAST_12_BIT_AIR:  # padding: its scanner stores signed values
        return _Wrap(2048, 2048, 0, is_offset=False)
    cut = min(mode, 3096)
    is_noisy = np.count_nonzero((high >= _LEAST_12_BIT_AIR) & (high < cut)) > 0.01 * len(high)
    if is_noisy:
        cut = 3072 if np.mean(high >= 3072) > 0.2 else min(mode, 3072)
    return _Wrap(cut, cut - 300, 0, is_offset=False)


def _is_offset_in_vain(
    values: npt.NDArray[Any], high: npt.NDArray[Any], top: int, slope: float, intercept: float
) -> bool:
    """Say whether wrapped values are HU as they stand, whatever the intercept: air at -1000, tissue at 0 to 80."""
    air = slope * (float(np.median(high)) - top)
    if not -1150 <= air <= -850 or np.mean(np.abs(slope * (high.astype(np.float64) - top) - air) < 100) < 0.5:
        return False
    sample = slope * values[::_SAMPLE, ::_SAMPLE].astype(np.float64)
    offset = sample + intercept
    return bool(np.count_nonzero((sample >= 0) & (sample <= 80)) > np.count_nonzero((offset >= 0) & (offset <= 80)))


def _noise_crosses_0(values: npt.NDArray[Any], top: int, low: int) -> bool:
    """Say whether values from `top` up are single pixels whose left neighbours are mostly below `low`."""
    if not values.size or int(values.max()) < top:
        return False
    is_top = values >= top
    n_top = np.count_nonzero(is_top)
    if n_top < max(3, 0.0001 * values.size):
        return False
    left = values[:, :-1][is_top[:, 1:]]
    n_others = np.count_nonzero(left < top)
    return bool(n_others >= 0.4 * n_top and np.count_nonzero(left < low) >= 0.8 * n_others)


def _unwrapped(values: npt.NDArray[Any], bits: int, wrap: _Wrap) -> npt.NDArray[Any]:
    """Return the values with their sign, shape (rows, columns), signed."""
    negative = values >= wrap.cut
    is_low = values < wrap.air_below
    is_doubtful = values >= wrap.doubtful
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        negative[edge] = is_doubtful[edge]
    left = is_doubtful & ~negative
    # Grown from the air that is certain: metal doesn't touch it, its rim passes through the values between.
    while (grown := left & (_neighbours(negative | is_low) >= 2)).any():
        negative |= grown
        left &= ~grown
    if values.itemsize > 2:
        return values.astype(np.int64) - np.where(negative, 1 << bits, 0)
    # Modulo 2**16 the difference is the same.
    unwrapped: npt.NDArray[Any] = values.astype(np.uint16) - np.where(negative, 1 << bits & 0xFFFF, 0).astype(np.uint16)
    return unwrapped.view(np.int16)


def _neighbours(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int8]:
    """Count the pixels of a mask in the 3 x 3 pixels around each, shape of the mask."""
    padded = np.pad(mask, 1, mode="edge").astype(np.int8)
    sums = padded[:-2] + padded[1:-1] + padded[2:]
    counts: npt.NDArray[np.int8] = sums[:, :-2] + sums[:, 1:-1] + sums[:, 2:]
    return counts


def _remark_of(wrap: _Wrap, header: Header) -> Remark:
    bits = header.bits_stored
    if bits == 12:
        detail = f"stored values from {min(wrap.cut, wrap.doubtful) if wrap.air_below else wrap.cut} up"
        return Remark("WRAP12", f"{detail} had wrapped round at 4096; unwrapped")
    detail = f"stored values from {wrap.cut} up are negative though the header says unsigned ({bits} bits)"
    return Remark("SIGN", f"{detail}; HU as they stand" if wrap.is_offset else detail)


def has_offset(values: npt.NDArray[Any]) -> bool:
    """Say whether a slice's values, shape (rows, columns), are HU with 1024 added: air at 0 and tissue at 1024."""
    if _mode(border_of(values)) > 100:
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


def _pad_undeclared(
    hu: npt.NDArray[np.int16], values: npt.NDArray[Any], header: Header, intercept: float, remarks: list[Remark]
) -> None:
    """Set -2000 written into unsigned pixels to air: 62,512 HU and more, in the corners outside the field of view."""
    absurd = 20_000 - intercept
    if not header.is_signed and header.bits_stored == 16 and (border_of(values) > absurd).any():
        hu[values > absurd] = HU_MIN
        remarks.append(
            Remark("PAD_UNDECLARED", "values above 20000 HU at the border are undeclared padding; set to air")
        )


def check_hu(hu: npt.NDArray[np.int16], *, may_be_cut: bool) -> tuple[Remark, ...]:
    """Refuse constant images and pages of text, and remark on HU that don't look like a head in air.

    Args:
        hu: One slice, shape (rows, columns), HU.
        may_be_cut: Its file can't hold values below 0 HU.

    Raises:
        DicomError: `BLANK`, or `SECONDARY` for a page.
    """
    sample = hu[::_SAMPLE, ::_SAMPLE]
    if sample[0, 0] == sample[len(sample) // 2, sample.shape[1] // 2] and int(hu.min()) == int(hu.max()):
        raise DicomError("BLANK", f"an image must not be constant (all pixels {int(sample[0, 0])} HU)")
    edge = np.sort(border_of(hu)[::4])
    if is_text_page(hu, edge):
        raise DicomError("SECONDARY", "an image of text on a plain ground isn't a slice")
    if may_be_cut and int(sample.min()) >= 0:
        return (Remark("NO_NEG_HU", "no values below 0 HU: air was cut off when the file was written"),)
    air = int(edge[len(edge) // 2])
    return (Remark("HU_ODD", f"the border should be air (median {air} HU)"),) if air > -850 else ()
