"""Charts as PNG and PDF: what a page draws, matplotlib draws too."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from ich25d.pages.chart import BarChart, Chart, Histogram, Line, LineChart, Matrix
from ich25d.pages.plot import plot

pytest.importorskip("matplotlib")

WORDS = {"title": "t", "x_label": "x", "y_label": "y"}
X = np.linspace(0.1, 1, 9)
BAND = Line(X, X, "a", low=X - 0.1, high=X + 0.1)
MARKED = LineChart([BAND, Line(X, X, "b", step=True)], marks=[(0.5, "half")], diagonal=True, size=(440, 360), **WORDS)


@pytest.mark.parametrize(
    "chart",
    [
        MARKED,
        LineChart([BAND], has_points=True, log_x=True, log_y=True, **WORDS),
        BarChart(["a", "b"], np.array([[1, 2], [np.nan, 4]]), low=np.zeros((2, 2)), high=np.full((2, 2), 5.0),
                 groups=["g", "h"], **WORDS),
        Histogram(np.array([1, 5, 2]), np.arange(4), log_y=True, **WORDS),
        Matrix(np.array([[1, np.nan], [0.5, 2]]), ["a", "b"], ["c", "d"], title="t"),
    ],
    ids=["lines", "points", "bars", "histogram", "matrix"],
)  # fmt: skip
def test_every_chart_is_drawn(chart: Chart, tmp_path: Path) -> None:
    """Ink on white, at 200 px an inch."""
    plot([chart], tmp_path / "chart.png")
    picture = cv2.imread(str(tmp_path / "chart.png"))

    assert picture is not None
    assert picture.shape[1] > 600
    assert (picture == 255).mean() > 0.3
    assert picture.std() > 10


def test_the_same_numbers_give_the_same_files(tmp_path: Path) -> None:
    """Four charts are three and one; a file holds no date."""
    for folder in ("a", "b"):
        plot([MARKED] * 4, tmp_path / folder / "c.png", tmp_path / folder / "c.pdf")
    picture = cv2.imread(str(tmp_path / "a" / "c.png"))

    assert picture is not None
    assert picture.shape[:2] == (2 * 720, 3 * 880)
    for name in ("c.png", "c.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
