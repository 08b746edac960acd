"""The picture of a study."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ich25d.view.figure import draw_study, slices_to_show

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("n", [1, 3, 30])
def test_draws_any_number_of_slices(tmp_path: Path, n: int) -> None:
    """A PNG of a readable size, from one slice to a whole scan."""
    rng = np.random.default_rng(0)
    path = tmp_path / "study.png"
    draw_study(
        path,
        rng.integers(-1000, 1000, (n, 64, 64)).astype(np.int16),
        np.arange(n) * 5.0,
        rng.random((n, 6)),
        title="a study",
        encoder_probability=rng.random((n, 6)),
        truth=np.zeros((n, 6)),
    )
    picture = cv2.imread(str(path))

    assert picture is not None
    assert picture.shape[1] > 1000
    assert picture.std() > 20


@pytest.mark.parametrize("top", range(0, 30, 7))
@pytest.mark.parametrize("first", range(0, 27, 5))
def test_shows_the_likeliest_slice_and_the_likeliest_that_bleeds(top: int, first: int) -> None:
    """Both are among at most six slices in scan order, wherever they lie."""
    probability, bleeds = np.full(30, 0.1), np.zeros(30, dtype=bool)
    bleeds[first : first + 3] = True
    probability[first + 1], probability[top] = 0.2, 0.9

    shown = slices_to_show(probability, bleeds)

    assert shown == sorted(set(shown))
    assert {top, top if bleeds[top] else first + 1} <= set(shown)
    assert len(shown) <= 6
