"""What is white in a window that ends below bone: skull, or a bright spot that stays at the window's top.

Blood reaches 80 to 100 HU and saturates in a brain window as bone does. What tells them apart is where they lie: the
skull goes round the head, or lies near its surface.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.studies.volumes.headbox import USUAL_FIELD_MM

LOWEST_TOP_HU = 75
"""A window that ends below shows much of the blood as white: nothing is taken for bone there. Of blood deeper than
1.5 mm on real slices, 0.1 % became bone at a top of 100 HU, 1 % at 80, 2 % at 75, 4 % at 70, 7 % at 60."""

HIGHEST_TOP_HU = 150
"""A window that ends here or above tells bone by its own values: the inside of the skull is found from 150 HU on."""

SKULL_EXTENT_MM = 45.0
"""A part as long as that is skull: the vault, the base, a petrous bone; clots so long aren't white all through."""

NEAR_SURFACE_MM = 11.0
"""A part so near to the surface of the head is skull: a piece of the vault, a mastoid, the face."""

DENSE_HU, EDGE_MM = 900.0, 2.2
"""HU of dense bone, and how deep below the edge of white it begins: medians of real slices."""

RINGING = 40
"""Grey steps by which JPEG darkens dots inside of white."""

Bool = npt.NDArray[np.bool_]


def ends_below_bone(top_hu: float) -> bool:
    """Say whether white of a window that ends there may be bone, and isn't shown as bone by itself."""
    return LOWEST_TOP_HU <= top_hu < HIGHEST_TOP_HU


def saturated_bone(
    grey: npt.NDArray[Any], margin: float, outside: Bool, top_hu: float
) -> tuple[Bool, npt.NDArray[np.float32]]:
    """Find bone among what is white in the widest window of a slice.

    Sizes assume that the picture's longer side shows the usual field of view.

    Args:
        grey: 0 to 255, shape (rows, columns).
        margin: Grey steps from white within which a pixel is white; 1 or more where JPEG has blurred it.
        outside: What lies around the head, same shape.
        top_hu: Upper end of the window.

    Returns:
        Which pixels are bone, and the HU of each of them (in order), rising from the window's top at the edge of bone.
    """
    pixel_mm = USUAL_FIELD_MM / max(grey.shape)
    white = (grey >= 255 - margin).astype(np.uint8)
    if margin >= 1:
        white |= cv2.morphologyEx(white, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) & (grey >= 255 - margin - RINGING)
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(white, connectivity=8)
    is_skull = stats[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) * pixel_mm >= SKULL_EXTENT_MM
    if outside.any():
        depth = cv2.distanceTransform((~outside).astype(np.uint8), cv2.DIST_L2, 5)
        is_skull[np.unique(numbers[depth * pixel_mm <= NEAR_SURFACE_MM])] = True
    is_skull[0] = False
    bone = is_skull[numbers]
    inward = cv2.distanceTransform(bone.astype(np.uint8), cv2.DIST_L2, 5)[bone] - 0.5
    return bone, np.asarray(top_hu + (DENSE_HU - top_hu) * np.minimum(1, inward * (pixel_mm / EDGE_MM)), np.float32)
