"""Logits smoothed along a scan: neighbouring slices share a bleed, and the network's mistakes less so."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

USUAL_GAP_MM = 5.0
"""Gap assumed between slices of unknown position."""

SIGMAS_MM = (7.5, 2.5, 5.0, 10.0, 15.0)
"""Widths of smoothing that are tried; the first where the data don't prefer one."""


def known_position_mm(slice_position_mm: Floats) -> Floats:
    """Return positions from 0 at the first slice, mm; 5 mm apart where any is unknown."""
    if len(slice_position_mm) == 0 or not np.isfinite(slice_position_mm).all():
        return USUAL_GAP_MM * np.arange(len(slice_position_mm), dtype=np.float64)
    return np.asarray(slice_position_mm - slice_position_mm[0])


def smooth(logit: Floats, slice_position_mm: Floats, sigma_mm: float) -> Floats:
    """Average logits along the scan under a Gaussian of the distance in mm.

    In mm, so that it means the same in thin and thick series; at the ends fewer slices share the weight.

    Args:
        logit: Shape (n, ...).
        slice_position_mm: Shape (n,), mm; 5 mm apart where unknown.
        sigma_mm: Standard deviation of the Gaussian; 0 leaves everything as it is.
    """
    if sigma_mm <= 0 or len(logit) < 2:
        return logit.copy()
    position = known_position_mm(np.asarray(slice_position_mm, dtype=np.float64))
    distance = (position[:, None] - position[None, :]) / sigma_mm
    weight = np.exp(-0.5 * distance**2)
    weight /= weight.sum(axis=1, keepdims=True)
    return np.asarray(np.tensordot(weight, logit, axes=1))
