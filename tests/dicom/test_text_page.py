"""Dose and protocol pages of CT class are refused by their content; slices never are."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from ich25d.dicom.header import Header
from ich25d.dicom.hounsfield import check_hu, to_hu
from ich25d.dicom.stored_bits import border_of
from ich25d.dicom.text_page import is_text_page
from ich25d.errors import DicomError

LINES = ("Patient Protocol", "Total DLP 845 mGycm", "Scan KV mAs CTDIvol DLP TI", "Topogram 1 120 35 0.14 2.4",
         "Head Seq 2 120 390 58.31", "Comments: none", "Operator: none", "End of report")  # fmt: skip


def page(side: int, ink: int, ground: int) -> np.ndarray:
    """Text on a plain ground, stored values."""
    picture = np.full((side, side), ground, dtype=np.uint8)
    for number, line in enumerate(LINES):
        cv2.putText(picture, line, (20, 40 + 24 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, 1, cv2.LINE_AA)
    return picture.astype(np.uint16)


@pytest.mark.parametrize("side", [512, 768])
@pytest.mark.parametrize(("ink", "ground"), [(255, 0), (0, 255), (200, 30)])
@pytest.mark.parametrize("intercept", [0.0, -1024.0])
def test_pages_of_text_are_refused(
    make_header: Callable[..., Header], side: int, ink: int, ground: int, intercept: float
) -> None:
    """White on black or black on white, whatever their grey values are called."""
    with pytest.raises(DicomError, match=r"^SECONDARY"):
        to_hu(page(side, ink, ground), make_header(is_signed=False, bits_stored=12, high_bit=11, intercept=intercept))


def is_page(hu: np.ndarray) -> bool:
    """Ask the rule itself."""
    return is_text_page(hu, np.sort(border_of(hu)))


def drawn(kind: str) -> np.ndarray:
    """A page of 512 px: a dose table with its grid, or text below a title bar, beside a logo, in a frame."""
    picture = np.zeros((512, 512), dtype=np.uint8)
    put = {
        "fontFace": cv2.FONT_HERSHEY_SIMPLEX,
        "fontScale": 0.45,
        "color": 255,
        "thickness": 1,
        "lineType": cv2.LINE_AA,
    }
    if kind == "table":
        for number in range(9):
            cv2.line(picture, (30, 60 + 26 * number), (480, 60 + 26 * number), 255)
            cv2.line(picture, (30 + 50 * number, 60), (30 + 50 * number, 268), 255)
        for number in range(72):
            cv2.putText(picture, LINES[number % 8][:5], (34 + 50 * (number % 9), 79 + 26 * (number // 9)), **put)
        return picture
    for number, line in enumerate(LINES * 2):
        cv2.putText(picture, line, (24, 150 + 18 * number), **put)
    if kind == "bar":
        picture[:40] = 90
    elif kind == "logo":
        cv2.ellipse(picture, (420, 70), (70, 55), 0, 0, 360, 200, -1)
    elif kind == "frame":
        cv2.rectangle(picture, (8, 8), (503, 503), 255)
    return picture


@pytest.mark.parametrize("kind", ["table", "bar", "logo", "frame", "plain"])
@pytest.mark.parametrize("is_inverted", [False, True])
@pytest.mark.parametrize("side", [256, 512, 1024])
def test_pages_of_every_make_up_are_refused(kind: str, is_inverted: bool, side: int) -> None:
    """Small ones too, whose letters touch."""
    picture = cv2.resize(drawn(kind), (side, side), interpolation=cv2.INTER_AREA if side < 512 else cv2.INTER_LINEAR)
    hu = (255 - picture if is_inverted else picture).astype(np.int16) * 16 - 1024
    with pytest.raises(DicomError, match=r"^SECONDARY"):
        check_hu(hu, may_be_cut=False)


@pytest.mark.parametrize("radius", [5, 20, 60, 200])
@pytest.mark.parametrize("noise", [0, 20])
@pytest.mark.parametrize("air", [-1024, -1000, 0])
def test_slices_are_no_pages(radius: int, noise: int, air: int) -> None:
    """From the vertex to the skull base, with a head-rest in pieces; without noise, and with air cut off at 0."""
    y, x = np.mgrid[:512, :512] - 256
    distance = np.hypot(x, y)
    hu = np.where(distance < 0.9 * radius, 35, np.where(distance < radius, 1000, -1000)).astype(np.float64)
    hu[470:480, 40:480:60] = -300
    hu += np.random.default_rng(0).normal(0, noise, hu.shape) if noise else 0
    hu = np.maximum(hu, air).round()
    hu[distance > 256] = air

    assert not is_page(hu.astype(np.int16))


def test_air_alone_is_no_page() -> None:
    """Above the head: nothing, or noise in a padded circle."""
    noise = np.random.default_rng(0).normal(-1000, 60, (256, 256)).round().astype(np.int16)

    assert not is_page(np.full((256, 256), -1024, dtype=np.int16))
    assert not is_page(noise)
