"""Smoothing along the scan: the simplest way in which neighbours can tell of a slice."""

import numpy as np
import numpy.typing as npt

from ich25d.sequence.dataset import known_position_mm

SIGMAS_MM = (7.5, 2.5, 5.0, 10.0, 15.0)
"""Widths that are tried; the first where nothing can be told."""


def smooth(
    logit: npt.NDArray[np.float64], slice_position_mm: npt.NDArray[np.float64], sigma_mm: float
) -> npt.NDArray[np.float64]:
    """Average logits along the scan under a Gaussian of the distance in mm.

    In mm, so that it means the same in thin and thick series; at the ends the weights are those that are there.

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
    smoothed: npt.NDArray[np.float64] = np.tensordot(weight, logit, axes=1)
    return smoothed
