"""Which bits of a stored value count, where values don't fit what the header declares of their width and sign."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.dicom.header import Header, Remark
from ich25d.dicom.padding import declared_padding

_SAME_TISSUE_HU = 60
"""Neighbours that differ by no more may be of one tissue."""
_OVERLAY_SHARE = 0.2
"""Of the pixels along an overlay's edge, at least so many have a neighbour of their own tissue beyond it. Along the
edge of metal the dropped bits leave steps of nearly all the range."""
_BORDER_SHARE = 0.3
"""Air is at so much of the border, at least."""

Values = npt.NDArray[Any]


def meant_values(stored: Values, header: Header) -> tuple[Values, Header, tuple[Remark, ...]]:
    """Tell what stands above the stored bits: nothing that counts, or a part of the value.

    Old writers keep overlays there, and some don't extend the sign: those bits are dropped. Where the image is
    continuous only with them, the header is wrong: toolkits that rewrite pixels leave BitsStored or the sign as it was.

    Args:
        stored: Stored values, shape (rows, columns), as allocated.
        header: The image's header.

    Returns:
        The values, `stored` itself where all are as declared, signed unless all allocated bits of unsigned ones count;
        the header with the width and sign that they have; and a remark where those aren't the declared ones.

    References:
        DICOM PS3.5, 8.1.1, and PS3.3 of 2004, C.9.2 (overlay planes in unused bits, retired).
    """
    unused = header.bits_allocated - header.bits_stored
    if unused == 0:
        return stored, header, ()
    top = 1 << header.bits_stored
    least, most = (-top // 2, top // 2 - 1) if header.is_signed else (0, top - 1)
    signed = stored.view(f"<i{stored.itemsize}")
    if int(stored.max()) <= most and (not header.is_signed or int(stored.min()) >= least):
        return signed, header, ()
    low = _sign_extended(stored, unused) if header.is_signed else (stored & (top - 1)).view(signed.dtype)
    padding = declared_padding(stored, stored, header)
    is_over = low != signed
    if padding is not None:
        is_over &= ~padding
    wide = header._replace(bits_stored=header.bits_allocated)
    if not is_over.any():
        return (signed, wide, ()) if header.is_signed else (low, header, ())
    is_telling = is_over & (signed != top - 1)  # a ring of the highest value would be -1: next to nothing
    is_unextended = is_telling & (low < 0) & (signed >= 0)
    dropped = np.where(is_telling, signed - low, 0)
    if np.mean(border_of(is_unextended)) >= _BORDER_SHARE or _is_overlay(dropped, low, header.slope or 1.0):
        return low, header, ()
    highest = int(stored.max())
    if header.is_signed and int(stored.min()) >= 0 and highest < top:
        detail = f"the header says signed ({header.bits_stored} bits), but the values run from 0 to {highest}"
        return signed, header._replace(is_signed=False), (Remark("SIGN", detail),)
    got = highest if highest > most else int(stored.min())
    detail = f"{header.bits_stored} bits can't hold {got}: all {header.bits_allocated} are read"
    return stored, wide, (Remark("BITS_STORED", detail),)


def _sign_extended(stored: Values, unused: int) -> Values:
    values: Values = np.left_shift(stored, unused).view(f"<i{stored.itemsize}")
    values >>= unused
    return values


def _is_overlay(dropped: Values, low: Values, slope: float) -> bool:
    """Say whether the image goes on below the bits above the stored ones, which then are graphics drawn over it.

    Args:
        dropped: What those bits add to each value, shape (rows, columns).
        low: The values without it, of the same shape.
        slope: HU a stored step.
    """
    steps = []
    for axis in (0, 1):
        is_edge = np.diff(dropped, axis=axis) != 0
        steps.append(np.abs(np.diff(low.astype(np.int64), axis=axis)[is_edge]) * slope)
    found = np.concatenate(steps)
    return not found.size or bool(np.mean(found <= _SAME_TISSUE_HU) >= _OVERLAY_SHARE)


def border_of(values: Values) -> Values:
    """Return every second pixel of the outermost rows and columns."""
    return np.concatenate((values[0, ::2], values[-1, ::2], values[::2, 0], values[::2, -1]))


def signed_as_coded(stored: npt.NDArray[Any], header: Header, *, is_coded_signed: bool) -> npt.NDArray[Any]:
    """Give decoded values the sign that their JPEG 2000 stream has, where it isn't the header's.

    A signed stream is believed. An unsigned one under a header that says signed may hold bits that mean signed values;
    then its border is stored above the middle, or nothing is where bone would be.

    Args:
        stored: Stored values as decoded, shape (rows, columns), of the header's integer type.
        header: The image's header.
        is_coded_signed: The stream holds signed values.

    Returns:
        The values, signed or unsigned as they are meant.
    """
    unused = header.bits_allocated - header.bits_stored
    size = stored.itemsize
    if is_coded_signed and not header.is_signed:
        signed: npt.NDArray[Any] = np.left_shift(stored, unused).view(f"<i{size}")
        return signed >> unused
    if not is_coded_signed and header.is_signed and unused:
        middle = 1 << header.bits_stored - 1
        unsigned: npt.NDArray[Any] = stored.view(f"<u{size}") & np.array(2 * middle - 1, dtype=f"<u{size}")
        is_bone = (unsigned >= middle) & (unsigned < 3 * middle // 2)
        if is_bone.any() and np.mean(border_of(unsigned) >= middle) < 0.3:
            return unsigned
    return stored
