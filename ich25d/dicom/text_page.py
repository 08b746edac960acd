"""Pages of text among slices: dose reports and protocols that scanners store as CT images."""

import numpy as np
import numpy.typing as npt

_AIR_BELOW_HU = -850
_SAMPLE = 8
"""Every so many rows and columns are looked at first."""
_PIECES = 15
"""Fewer of them may be parts of a head-rest."""
_HEIGHT_PX, _WIDTH_PX, _AREA_PX = (5, 40), 200, 8
"""Of a letter, or of a word whose letters touch: lowest and highest height, largest width, least area."""
_STROKE_PX = 9
"""What is thicker is no stroke."""
_LINE_PX = 2
"""Letters of a line end so near to one height."""
_BETWEEN_LINES = 0.15
"""Least share of rows between the first line and the last that no letter crosses; noise crosses all."""

IMAGE_TYPES = frozenset({
    "SCREEN SAVE", "SCREEN_SAVE", "SCREENSAVE", "DOSE", "DOSE INFO", "DOSE_INFO", "DOSE REPORT", "DOSE_REPORT",
    "CT_SOM5 PROT", "CT_SOM7 PROT", "PROTOCOL", "PATIENT PROTOCOL",
})  # fmt: skip
"""Values of (0008,0008) by which scanners call their pages."""


def is_text_page(hu: npt.NDArray[np.int16]) -> bool:
    """Say whether an image shows text on a plain ground instead of a patient.

    A head is one large piece, however little of it a slice shows; a page is many small ones, of a letter's size.

    Args:
        hu: One image, shape (rows, columns), HU.
    """
    sample = hu[::_SAMPLE, ::_SAMPLE]
    shown = _shown(sample, int(sample[min(1, len(sample) - 1), min(1, sample.shape[1] - 1)]))
    n_shown = int(np.count_nonzero(shown))
    is_one_piece = bool(np.count_nonzero(shown[:, 1:] & shown[:, :-1]) > 0.9 * n_shown)
    return n_shown >= 8 and not is_one_piece and _has_lines(_shown(hu, int(np.median(sample))))


def _shown(hu: npt.NDArray[np.int16], ground: int) -> npt.NDArray[np.bool_]:
    """Return what isn't the ground; of a ground of air, no air at all."""
    shown: npt.NDArray[np.bool_] = hu > _AIR_BELOW_HU if ground <= _AIR_BELOW_HU else hu != ground
    return shown


def _has_lines(shown: npt.NDArray[np.bool_]) -> bool:
    """Say whether most pieces of a mask have a letter's or a word's size and stand in lines."""
    import cv2  # hardly ever needed, and slow to load

    mask = shown.astype(np.uint8)
    n_shown = int(mask.sum())
    solid = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((_STROKE_PX, _STROKE_PX), dtype=np.uint8))
    n_thin = n_shown - int(solid.sum())
    if n_shown > 0.5 * mask.size or n_thin < 0.1 * n_shown:
        return False
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    _, top, width, height, area = stats[1:].T
    is_piece = (height >= _HEIGHT_PX[0]) & (height <= _HEIGHT_PX[1]) & (width <= _WIDTH_PX) & (area >= _AREA_PX)
    if int(is_piece.sum()) < _PIECES or int(area[is_piece].sum()) < 0.3 * n_thin:
        return False
    rows = np.zeros(len(mask) + 1, dtype=np.int64)  # how many pieces each row crosses, as steps
    np.add.at(rows, top[is_piece], 1)
    np.add.at(rows, (top + height)[is_piece], -1)
    crossed = rows.cumsum()[int(top[is_piece].min()) : int((top + height)[is_piece].max())]
    if np.mean(crossed == 0) < _BETWEEN_LINES:
        return False
    bottom = np.sort((top + height)[is_piece])
    n_beside = np.searchsorted(bottom, bottom + _LINE_PX, "right") - np.searchsorted(bottom, bottom - _LINE_PX)
    return bool(np.mean(n_beside >= 3) > 0.6)
