"""JPEG files without their tail are refused; whole ones never are."""

import cv2
import numpy as np
import pytest

from ich25d.errors import DicomError
from ich25d.studies.pictures.picture_hu import Picture, read_image_hu
from ich25d.studies.pictures.torn import without_damage

WINDOW = (40.0, 200.0)
FORMS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "optimised": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
    "coarse": [cv2.IMWRITE_JPEG_QUALITY, 60],
}
TAILS = {
    "cut": lambda whole, at: whole[:at],
    "end restored": lambda whole, at: whole[:at] + b"\xff\xd9",
    "zeros": lambda whole, at: whole[:at] + b"\0" * (len(whole) - at),
    "zeros and end": lambda whole, at: whole[:at] + b"\0" * (len(whole) - at - 2) + b"\xff\xd9",
}


def slice_grey(side: int = 96) -> np.ndarray:
    """A noisy head in air, in one window."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    radius = np.hypot(x / 0.36, y / 0.44)
    hu = np.where(radius < 0.9, 34, np.where(radius < 1, 1000, -1000)) + np.random.default_rng(0).normal(0, 5, x.shape)
    return np.clip((hu - WINDOW[0]) / WINDOW[1] * 255 + 127.5, 0, 255).round().astype(np.uint8)


def jpeg(form: str, grey: np.ndarray | None = None) -> bytes:
    """Encode it."""
    return bytes(cv2.imencode(".jpg", slice_grey() if grey is None else grey, FORMS[form])[1])


def read(folder, content: bytes):
    """Read it as a picture of a table."""
    (folder / "a.jpg").write_bytes(content)
    return read_image_hu(folder, [Picture("a.jpg", (WINDOW,))]).hu


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("share", [0.35, 0.6, 0.85])
def test_torn_pictures_are_refused(tmp_path, form, tail, share):
    """A copy that broke off, with the file's size kept or its end mended: HU were up to 101 off."""
    whole = jpeg(form)
    with pytest.raises(DicomError, match=r"^BAD_STREAM"):
        read(tmp_path, TAILS[tail](whole, int(share * len(whole))))


@pytest.mark.parametrize("form", FORMS)
def test_whole_pictures_are_read_whatever_follows_them(tmp_path, form):
    """Some writers append bytes; a trailer isn't part of the picture."""
    usual = read(tmp_path, jpeg(form))

    np.testing.assert_array_equal(read(tmp_path, jpeg(form) + b"trailer" * 50), usual)


@pytest.mark.parametrize("grey", [0, 65, 128, 255])
def test_a_field_that_is_flat_by_itself_is_read(tmp_path, grey):
    """Air of one grey round the head, as wide windows show it, is on top too."""
    picture = slice_grey()
    picture[picture < 10] = grey
    picture[-20:] = grey
    picture[:20] = grey

    assert read(tmp_path, jpeg("baseline", picture)).shape == picture.shape


def test_other_messages_of_decoders_do_not_refuse(capfd):
    """And what a decoder writes while one is decoded isn't shown; afterwards messages go where they went."""
    import os

    assert without_damage(lambda: os.write(2, b"a remark on some marker\n")) > 0
    os.write(2, b"later\n")

    assert capfd.readouterr().err == "later\n"
