"""DeLong's numbers: by hand, against the definition term by term, and as laws."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.evaluate.comparison import delong, difference
from ich25d.training.metrics import auc

Floats = npt.NDArray[np.float64]


def _by_definition(target: Floats, score: Floats) -> tuple[list[float], list[list[float]]]:
    """Return areas and covariance from every pair of a positive and a negative (DeLong 1988, equations 2 to 6)."""
    parts = []
    for one in score:
        x, y = one[target == 1], one[target == 0]
        wins = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])
        parts.append((wins.mean(axis=1), wins.mean(axis=0)))
    areas = [float(v10.mean()) for v10, _ in parts]
    m, n = int(target.sum()), int((1 - target).sum())

    def cov(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
        return float(((a - a.mean()) * (b - b.mean())).sum() / (len(a) - 1))

    return areas, [[cov(a[0], b[0]) / m + cov(a[1], b[1]) / n for b in parts] for a in parts]


def test_areas_by_hand() -> None:
    """Positives 3, 2; negatives 2, 1: of four pairs three are won and one is a tie, 3.5 / 4.

    Each positive's share: 1, .75, variance 1/32; each negative's: .75, 1, the same. (1/32) / 2 twice is 1/32.
    """
    found = delong(np.array([1.0, 1, 0, 0, np.nan]), np.array([[3.0, 2, 2, 1, 9], [1.0, 2, 3, 4, 9]]))

    assert found.auc == pytest.approx([0.875, 0])
    assert found.covariance[0, 0] == pytest.approx(1 / 32)
    assert found.covariance[1] == pytest.approx([0, 0])
    low, high = found.interval()
    assert (low, high) == (pytest.approx(0.875 - 1.959964 * math.sqrt(1 / 32)), 1.0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ranks_say_what_pairs_say(data: st.DataObject) -> None:
    """The fast way agrees with the definition, ties and all; and its area with the one of the metrics."""
    n = data.draw(st.integers(4, 25))
    target = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n)))
    if not 2 <= target.sum() <= n - 2:
        target[:2], target[2:4] = 1, 0
    scores = st.lists(st.integers(0, 6).map(float), min_size=n, max_size=n)
    score = np.array([data.draw(scores), data.draw(scores)])
    areas, covariance = _by_definition(target, score)
    found = delong(target, score)

    assert found.auc == pytest.approx(areas)
    assert found.covariance == pytest.approx(np.array(covariance), abs=1e-12)
    assert found.auc[0] == pytest.approx(auc(target, score[0]))


def test_a_known_difference() -> None:
    """Ten cases whose areas, variance and z come from the definition; the second score is better."""
    target = np.array([1.0, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    score = np.array([[9.0, 6, 4, 3, 8, 5, 3.5, 2, 1, 0], [9.0, 8, 7, 3, 6, 5, 3.5, 2, 1, 0]])
    found = delong(target, score)
    areas, covariance = _by_definition(target, score)
    deviation = math.sqrt(covariance[0][0] + covariance[1][1] - 2 * covariance[0][1])
    test = difference(found)

    assert areas == pytest.approx([18 / 24, 21 / 24])
    assert test.value == pytest.approx(3 / 24)
    assert test.z == pytest.approx(3 / 24 / deviation)
    assert test.high - test.low == pytest.approx(2 * 1.959964 * deviation)
    assert test.p == pytest.approx(math.erfc(test.z / math.sqrt(2)))


def test_what_isnt_defined() -> None:
    """One class alone has no area; one positive has an area and no variance; a score against itself no difference."""
    alone = delong(np.zeros(3), np.ones((1, 3)))
    single = delong(np.array([1.0, 0, 0]), np.array([[3.0, 1, 2]]))
    same = difference(delong(np.array([1.0, 1, 0, 0]), np.array([[3.0, 1, 2, 0]] * 2)))

    assert np.isnan(alone.auc[0])
    assert single.auc[0] == 1
    assert np.isnan(single.interval()[0])
    assert (same.value, same.z, same.p) == (0, 0, 1)
    with pytest.raises(ValueError, match="numbers"):
        delong(np.array([1.0, 0]), np.array([[np.nan, 1]]))
