"""Tables and numbers of a model card are Markdown whatever they hold."""

import math

import pytest

from ich25d.training.card import cell_text, duration, table, with_interval


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (math.nan, "-"), (1234567, "1,234,567"), (0.123456, "0.1235"), ("a|b\nc", "a\\|b c"), ("", "")],
)
def test_cells_stay_in_their_row(value: str | float | None, expected: str) -> None:
    """No bar and no line break gets out of a cell."""
    assert cell_text(value) == expected
    assert table(("a", "b"), [["x", value]]) == f"| a | b |\n|---|---|\n| x | {expected} |"


def test_numbers_for_people() -> None:
    """Intervals where there are any; times as people say them."""
    assert with_interval(0.9123, 0.88, 0.941) == "0.912 [0.880, 0.941]"
    assert with_interval(0.9, None, 1.0) == "0.900"
    assert with_interval(math.nan, 0, 1) == "-"
    assert [duration(seconds) for seconds in (12.4, 600, 9000)] == ["12 s", "10 min", "2.5 h"]
