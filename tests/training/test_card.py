"""A model card is Markdown whatever the facts hold, and says what it isn't for."""

import math
from pathlib import Path

import pytest

from ich25d.training.card import CARD_FILE, begin_card, bullets, cell_text, duration, end_card, table, with_interval


def test_a_card_has_its_sections(tmp_path: Path) -> None:
    """Headings in order, the warning, and the list of what CLAIM and TRIPOD+AI ask."""
    card = begin_card("A model", "What it is.")
    card.section("Data", table(("a", "b"), [["x", 1]]), bullets(("one", "two")))
    end_card(card, limits=("Few cases.",))
    card.write(tmp_path)
    text = (tmp_path / CARD_FILE).read_text()

    heads = [line for line in text.splitlines() if line.startswith("#")]
    assert heads[:4] == ["# A model", "## Summary", "## Intended use", "## Data"]
    assert heads[-2:] == ["## Limits", "## What CLAIM and TRIPOD+AI ask, and where it is answered"]
    assert "not a medical device" in text
    assert "| x | 1 |\n\n- one\n- two\n" in text
    assert "- Few cases.\n" in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "-"), (math.nan, "-"), (1234567, "1,234,567"), (0.123456, "0.1235"), ("a|b\nc", "a\\|b c"), ("", "")],
)
def test_cells_stay_in_their_row(value: str | float | None, expected: str) -> None:
    """No bar and no line break gets out of a cell."""
    assert cell_text(value) == expected


def test_numbers_for_people() -> None:
    """Intervals where there are any; times as people say them."""
    assert with_interval(0.9123, 0.88, 0.941) == "0.912 [0.880, 0.941]"
    assert with_interval(0.9, None, 1.0) == "0.900"
    assert with_interval(math.nan, 0, 1) == "-"
    assert [duration(seconds) for seconds in (12.4, 600, 9000)] == ["12 s", "10 min", "2.5 h"]
