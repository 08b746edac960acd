"""Draw the picture of the README: a phantom head with each of the five bleeds, in brain and subdural windows.

python scripts/draw_phantoms.py docs/phantoms.png
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.labels import SUBTYPES
from ich25d.phantom.head import PhantomHead, make_head
from ich25d.slabs.grey_values import window_hu

WINDOWS = (("brain 40/80", 40, 80), ("subdural 80/200", 80, 200))
SIDE, GAP, TEXT = 240, 6, 30
SEEDS = {"epidural": 8, "intraparenchymal": 6, "intraventricular": 7, "subarachnoid": 3, "subdural": 2}
"""Heads whose bleed can be seen in one slice; most need several, as in life."""


def largest_slice(head: PhantomHead, label: str) -> npt.NDArray[np.int16]:
    """Return the slice, in HU, on which a bleed is largest."""
    area = head.masks[SUBTYPES.index(label)].sum(axis=(1, 2))
    return np.asarray(head.hu[int(area.argmax())])


def square(hu: npt.NDArray[np.int16], level: float, width: float) -> npt.NDArray[np.uint8]:
    """Return a slice, cut to what isn't air, as a square of grey values in a window."""
    rows, columns = (np.flatnonzero((hu > -300).any(axis=axis)) for axis in (1, 0))
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 12
    top, left = (rows[0] + rows[-1] - side) // 2, (columns[0] + columns[-1] - side) // 2
    cut = hu[max(top, 0) : top + side, max(left, 0) : left + side].astype(np.float32)
    shown = np.asarray(window_hu(cut, level=level, width=width)) * 255
    return np.asarray(cv2.resize(shown, (SIDE, SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def write(picture: npt.NDArray[np.uint8], text: str, x: int, y: int) -> None:
    """Write a word into the picture."""
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 235, 1, cv2.LINE_AA)


def main() -> int:
    """Draw and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    height, width = TEXT + len(WINDOWS) * (SIDE + GAP) - GAP, TEXT + len(SUBTYPES) * (SIDE + GAP) - GAP
    picture = np.zeros((height, width), dtype=np.uint8)
    for column, label in enumerate(SUBTYPES):
        hu = largest_slice(make_head(np.random.default_rng([SEEDS[label], column]), labels=(label,)), label)
        left = TEXT + column * (SIDE + GAP)
        write(picture, label, left + 8, TEXT - 10)
        for row, (name, level, span) in enumerate(WINDOWS):
            top = TEXT + row * (SIDE + GAP)
            picture[top : top + SIDE, left : left + SIDE] = square(hu, level, span)
            if column == 0:
                side = np.zeros((TEXT, SIDE), dtype=np.uint8)
                write(side, name, 60, TEXT - 10)
                picture[top : top + SIDE, :TEXT] = np.rot90(side)
    if not cv2.imwrite(str(out), picture):
        print(f"the picture must be writable (got {out})", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
