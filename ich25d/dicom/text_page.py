"""Pages of text among slices: dose reports and protocols that scanners store as CT images."""

import numpy as np
import numpy.typing as npt

_AIR_BELOW_HU = -850
_SAMPLES = 64
"""So many rows and columns are looked at first."""
_GROUND_SHARE = 0.5
"""Of the border, so much at least is plain ground: a title bar may take the rest."""
_ONE_PIECE = 0.9
"""Of the shown pixels of that look, so many at least have a neighbour in a head."""
_SOLID = 0.6
"""Of them, so many at least have all eight neighbours in most heads; of a page with a logo less than half."""
_HAZE = 0.1
"""Of the range of values: letters of smaller or compressed pages blur so far into the ground."""
_PIECES = 15
"""Fewer of them may be parts of a head-rest."""
_HEIGHT_PX, _WIDTH_PX, _AREA_PX = (3, 40), 200, 3
"""Of a letter, or of a word whose letters touch: lowest and highest height, largest width, least area."""
_STROKE_PX = 9
"""What is thicker is no stroke."""
_LINE_PX = 2
"""Letters of a line end so near to one height."""
_IN_LINES = 0.8
"""Least share of the letters that two others end beside; of the slices that come nearest, 0.6."""
_BETWEEN_LINES = 0.15
"""Least share of rows between the first line and the last that hardly a letter crosses; noise crosses all."""

IMAGE_TYPES = frozenset({
    "SCREEN SAVE", "SCREEN_SAVE", "SCREENSAVE", "DOSE", "DOSE INFO", "DOSE_INFO", "DOSE REPORT", "DOSE_REPORT",
    "CT_SOM5 PROT", "CT_SOM7 PROT", "PROTOCOL", "PATIENT PROTOCOL",
})  # fmt: skip
"""Values of (0008,0008) by which scanners call their pages."""


def is_text_page(hu: npt.NDArray[np.int16], border: npt.NDArray[np.int16]) -> bool:
    """Say whether an image shows text on a plain ground instead of a patient.

    A head is one large piece, however little of it a slice shows; a page is many small ones, of a letter's size.

    Args:
        hu: One image, shape (rows, columns), HU.
        border: Some of the pixels of its outermost rows and columns, sorted.
    """
    ground = int(border[len(border) // 2])
    if np.count_nonzero(border == ground) < _GROUND_SHARE * len(border):
        return False
    step = max(1, min(hu.shape) // _SAMPLES)
    sample = hu[::step, ::step]
    shown = _shown(sample, ground)
    n_shown = int(np.count_nonzero(shown))
    if n_shown < 8 or np.count_nonzero(shown[:, 1:] & shown[:, :-1]) > _ONE_PIECE * n_shown:
        return False
    tall = shown[:-2] & shown[1:-1] & shown[2:]
    if np.count_nonzero(tall[:, :-2] & tall[:, 1:-1] & tall[:, 2:]) > _SOLID * n_shown:
        return False
    import cv2  # hardly ever needed, and slow to load

    scale = min(hu.shape) // 512
    if scale > 1:  # letters on larger pages are larger
        hu = cv2.resize(hu, (hu.shape[1] // scale, hu.shape[0] // scale), interpolation=cv2.INTER_AREA)
    return _has_lines(_shown(hu, int(np.median(sample))))


def _shown(hu: npt.NDArray[np.int16], ground: int) -> npt.NDArray[np.bool_]:
    """Return what isn't the ground, nor the haze around letters on it; of a ground of air, no air at all."""
    haze = int(_HAZE * (int(hu.max()) - int(hu.min())))  # whole: reals would have all pixels converted
    if ground <= _AIR_BELOW_HU:
        above: npt.NDArray[np.bool_] = hu > max(_AIR_BELOW_HU, ground + haze)
        return above
    beside: npt.NDArray[np.bool_] = np.abs(hu - np.int32(ground)) > haze
    return beside


def _has_lines(shown: npt.NDArray[np.bool_]) -> bool:
    """Say whether most pieces of a mask have a letter's or a word's size and stand in lines."""
    import cv2  # hardly ever needed, and slow to load

    mask = shown.view(np.uint8)
    n_shown = np.count_nonzero(mask)
    if n_shown > 0.25 * mask.size:
        return False
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)  # quick, next to what follows
    if len(outlines) < _PIECES:
        return False
    solid = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((_STROKE_PX, _STROKE_PX), dtype=np.uint8))
    n_thin = n_shown - np.count_nonzero(solid)
    if n_thin < 0.15 * n_shown:
        return False
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_16U)
    _, top, width, height, area = stats[1:].T
    is_piece = (height >= _HEIGHT_PX[0]) & (height <= _HEIGHT_PX[1])
    is_piece &= (width <= _WIDTH_PX) & (area >= _AREA_PX)
    if int(is_piece.sum()) < _PIECES or int(area[is_piece].sum()) < 0.25 * n_thin:
        return False
    rows = np.zeros(len(mask) + 1, dtype=np.int64)  # how many pieces each row crosses, as steps
    np.add.at(rows, top[is_piece], 1)
    np.add.at(rows, (top + height)[is_piece], -1)
    crossed = rows.cumsum()[int(top[is_piece].min()) : int((top + height)[is_piece].max())]
    if np.mean(crossed <= 0.1 * crossed.max()) < _BETWEEN_LINES:  # the lines of a table cross all
        return False
    bottom = np.sort((top + height)[is_piece])
    n_beside = np.searchsorted(bottom, bottom + _LINE_PX, "right") - np.searchsorted(bottom, bottom - _LINE_PX)
    return bool(np.mean(n_beside >= 3) > _IN_LINES)
