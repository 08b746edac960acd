"""Heat over HU as pictures."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.explain.finding import Finding
from ich25d.slabs.grey_values import grey
from ich25d.windows import NAMED_WINDOWS

WINDOW = NAMED_WINDOWS["brain"]
OPACITY = 0.65
EDGE = (80, 230, 255)
"""Colour of the line around what was drawn as the bleed; no heat has it."""

MONTAGE = 5
"""Slices of a finding that are shown, at most."""

Rgb = npt.NDArray[np.uint8]


def overlay(
    hu: npt.NDArray[np.int16], heat: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_] | None = None
) -> Rgb:
    """Lay heat over a slice: opaque where it is hot, invisible where it is cold; a line around the mask.

    Args:
        hu: Shape (h, w).
        heat: Shape (h, w), 0 to 1.
        mask: Shape (h, w), or None.

    Returns:
        RGB, shape (h, w, 3).
    """
    warm = np.clip(heat.astype(np.float32), 0, 1)
    colour = cv2.applyColorMap(np.rint(warm * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    share = np.clip(1.5 * warm, 0, OPACITY)[:, :, None]
    result: Rgb = np.ascontiguousarray(
        np.rint(grey(hu, WINDOW)[:, :, None] * (1 - share) + colour * share).astype(np.uint8)
    )
    if mask is not None and mask.any():
        edge = mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)
        result[edge] = EDGE
    return result


def montage(
    hu: npt.NDArray[np.int16],
    heat: npt.NDArray[np.floating],
    mask: npt.NDArray[np.bool_],
    finding: Finding,
) -> Rgb:
    """Return the slices of a finding side by side: as they are above, with their heat below.

    Args:
        hu: Shape (slices, h, w).
        heat: Of the finding's label, the same shape.
        mask: What was drawn as the bleed, the same shape.
        finding: Says which slices.
    """
    chosen = shown_slices(finding)
    above = [np.repeat(grey(hu[index], WINDOW)[:, :, None], 3, axis=2) for index in chosen]
    below = [overlay(hu[index], heat[index], mask[index]) for index in chosen]
    return np.vstack([np.hstack(above), np.hstack(below)])


def shown_slices(finding: Finding) -> Sequence[int]:
    """Return at most `MONTAGE` slices of a finding, evenly spread, the peak among them."""
    spread = np.linspace(finding.first_slice, finding.last_slice, MONTAGE).round().astype(int).tolist()
    nearest = min(range(len(spread)), key=lambda place: abs(spread[place] - finding.peak_slice))
    spread[nearest] = finding.peak_slice
    return sorted(set(spread))
