"""The labels of whole series."""

import numpy as np
import pytest

from ich25d.training.series_target import series_target, series_targets, told_series_target


@pytest.mark.parametrize(
    ("column", "expected"),
    [([0, 0], 0), ([0, 1], 1), ([np.nan, 1], 1), ([np.nan, 0], np.nan), ([np.nan, np.nan], np.nan)],
)
def test_labels_of_a_series(column: list[float], expected: float) -> None:
    """A positive slice decides; a negative series needs every slice known."""
    target = np.tile(np.array(column, np.float32)[:, None], (1, 6))

    assert series_target(target).tolist() == pytest.approx([expected] * 6, nan_ok=True)


def test_every_series_has_its_own_slices() -> None:
    """In whatever order they stand; a series alone has the same labels."""
    target = np.array([[1.0, 0], [0, np.nan], [0, 0], [np.nan, 1], [0, 0]])
    whose = np.array([1, 0, 2, 1, 0])
    found = series_targets(target, whose)

    np.testing.assert_array_equal(found, [[0, np.nan], [1, 1], [0, 0]])
    for number in range(3):
        np.testing.assert_array_equal(series_target(target[whose == number]), found[number])


def test_slices_settle_a_label_before_the_series_own() -> None:
    """Columns: a positive slice; all slices negative; open, told; open, denied; open, not told; told where settled."""
    target = np.array([[1, 0, np.nan, np.nan, np.nan, 0], [np.nan, 0, 0, 0, np.nan, 0]])
    told = np.array([np.nan, np.nan, 1, 0, np.nan, 1])

    np.testing.assert_array_equal(told_series_target(target, told), [1, 0, 1, 0, np.nan, 0])
    np.testing.assert_array_equal(told_series_target(target, np.full(6, np.nan)), series_target(target))
