"""Numbers and tables as Markdown: what a model card is made of."""

import math
from collections.abc import Sequence

Cell = str | int | float | None


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a Markdown table; a bar or a line break in a cell can't break it."""
    head = [f"| {' | '.join(map(cell_text, columns))} |", f"|{'|'.join(['---'] * len(columns))}|"]
    return "\n".join([*head, *(f"| {' | '.join(map(cell_text, row))} |" for row in rows)])


def cell_text(value: Cell) -> str:
    """Write one cell: numbers with four digits at most, nothing as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return " ".join(str(value).split()).replace("|", "\\|")


def with_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """Write `0.912 [0.880, 0.941]`; a dash where it isn't defined.

    Args:
        value: The measure.
        low: Lower end of its interval.
        high: Upper end.
        digits: Digits behind the point.
    """
    if value is None or not math.isfinite(value):
        return "-"
    text = f"{value:.{digits}f}"
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return text
    return f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def duration(seconds: float) -> str:
    """Write a time as people say it: `12 s`, `10 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
