"""Padding of the pixels around the reconstructed field, declared or not, becomes air."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.dicom.header import Header, Remark

AIR_BELOW_HU = -850
_LEAST_PX = 32
"""Fewer pixels of the declared value at the border may be tissue that happens to have it."""

Mask = npt.NDArray[np.bool_]


def declared_padding(
    stored: npt.NDArray[Any], values: npt.NDArray[Any], header: Header, *, above: float = -np.inf
) -> Mask | None:
    """Return where the declared padding value is; None where none is declared, or none that lies above a stored value.

    The declared value is compared modulo 2**16: implicit files and careless writers swap US and SS, and
    63536 means -2000.

    Args:
        stored: Stored values as they stand in the file, shape (rows, columns).
        values: The same with the bits above the stored ones dropped and their sign right.
        header: The image's header, with the sign of `values`.
        above: Padding up to this stored value needs no care.
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
    mask: Mask = (raw >= first) & (raw <= last) if first < last else raw == first
    return mask


def pad_with_air(hu: npt.NDArray[np.int16], mask: Mask, air: int) -> tuple[Remark, ...]:
    """Set declared padding to air, in place, where it looks like padding.

    Writers of HU declare 0, toolkits leave what they find: a declared value that tissue has, or metal, is padding only
    where it is connected to the border or fills what is outside the circle of reconstruction.

    Args:
        hu: One slice, shape (rows, columns), HU.
        mask: Where the declared value is, of the same shape.
        air: The HU of air.

    Returns:
        `PAD_IN_HEAD` where the value also is inside the image, and stays.
    """
    found = hu[mask]
    if not found.size:
        return ()
    if int(found.max()) > AIR_BELOW_HU:
        outer = _outer(mask)
        n_inside = int(np.count_nonzero(mask)) - int(np.count_nonzero(outer))
    else:
        outer, n_inside = mask, 0
    hu[outer] = air
    if not n_inside:
        return ()
    return (Remark("PAD_IN_HEAD", f"{n_inside} px inside the image have the value declared as padding; left as HU"),)


def _outer(mask: Mask) -> Mask:
    """Return the pixels of a mask that are connected to the border, or fill what is outside the inscribed circle."""
    import cv2  # hardly ever needed, and slow to load

    n_parts, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    edges = np.concatenate((parts[0], parts[-1], parts[:, 0], parts[:, -1]))
    is_outer = np.zeros(n_parts, dtype=bool)
    is_outer[edges] = True
    is_outer &= np.bincount(parts.ravel(), minlength=n_parts) >= _LEAST_PX
    is_outer[0] = False
    outer: Mask = is_outer[parts]
    rows, columns = (np.arange(side, dtype=np.float32) - (side - 1) / 2 for side in mask.shape)
    outside = rows[:, None] ** 2 + columns**2 > (min(mask.shape) / 2) ** 2
    if outside.any() and mask[outside].mean() >= 0.5:
        outer |= mask & outside
    return outer
