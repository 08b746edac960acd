"""The picture of a study."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ich25d.view.figure import draw_study

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
