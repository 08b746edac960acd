"""Tables that sort by a click or a key, scroll inside their own box, and work with screen readers."""

import math
from collections.abc import Iterable, Sequence
from typing import cast

from markupsafe import Markup

from ich25d.pages.number import is_number, value_text


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: str,
    sortable: bool = True,
    collapsed: bool = False,
) -> Markup:
    """Return a table.

    Args:
        columns: Headings, with units where there are any.
        rows: Cells: numbers are right-aligned and written with three significant digits, None and NaN as a dash,
            Markup (links) as it is, all else escaped.
        caption: What the table shows.
        sortable: Let a reader sort by a column.
        collapsed: Show the caption alone until it is opened.

    Raises:
        ValueError: A row hasn't a cell for each column.
    """
    filled = [list(row) for row in rows]
    for row in filled:
        if len(row) != len(columns):
            raise ValueError(f"a row must have a cell a column, {len(columns)} (got {len(row)})")
    numeric = [
        any(is_number(row[place]) for row in filled)
        and all(is_number(row[place]) or row[place] is None for row in filled)
        for place in range(len(columns))
    ]
    head = Markup("").join(
        Markup('<th scope="col"{}>{}</th>').format(Markup(' class="n"') if right else "", name)
        for name, right in zip(columns, numeric, strict=True)
    )
    body = Markup("").join(Markup("<tr>{}</tr>").format(Markup("").join(map(_cell, row, numeric))) for row in filled)
    whole = Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="{}"><table{}>{}<thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(
        caption,
        Markup(' class="sortable"') if sortable and len(filled) > 1 else "",
        "" if collapsed else Markup("<caption>{}</caption>").format(caption),
        head,
        body,
    )
    if collapsed:
        return Markup("<details><summary>{}</summary>{}</details>").format(caption, whole)
    return whole


def _cell(value: object, is_right: bool) -> Markup:
    if is_number(value) and not math.isnan(cast(float, value)):
        return Markup('<td class="n" data-v="{}">{}</td>').format(repr(float(cast(float, value))), value_text(value))
    return Markup("<td{}>{}</td>").format(
        Markup(' class="n"') if is_right or is_number(value) else "", value_text(value)
    )
