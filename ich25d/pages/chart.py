"""Charts as inline SVG: told apart by dash and hatch as well as by colour, and readable as tables too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ich25d.pages.axis import fit
from ich25d.pages.bars import BAR_WIDTH, bar_key, draw_bars
from ich25d.pages.number import number_text
from ich25d.pages.svg import (
    N_STYLES,
    Numbers,
    Plane,
    Points,
    bar,
    dot,
    figure,
    floats,
    frame,
    line_key,
    path,
    thinned,
    word,
)
from ich25d.pages.table import table


@dataclass(frozen=True, slots=True)
class Line:
    """One curve."""

    x: Numbers
    y: Numbers
    label: str
    low: Numbers | None = None
    """Lower edge of a band around it; with `high`."""
    high: Numbers | None = None
    step: bool = False
    """Go from point to point in steps."""
    style: int | None = None
    """Index of colour and dash; default its place among the lines."""


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
    diagonal: bool = False,
    marks: Sequence[tuple[float, str]] = (),
    width: int = 640,
    height: int = 360,
) -> Markup:
    """Return curves.

    Args:
        lines: The curves; a gap where a value isn't finite.
        title: What the chart shows.
        x_label: Name and unit of the horizontal axis.
        y_label: Name and unit of the vertical axis.
        x_range: Its range; default that of the values.
        y_range: Its range; default that of the values and bands.
        log_x: Logarithmic; values that aren't positive are left out.
        log_y: Likewise.
        diagonal: Draw the line y = x.
        marks: Places on the horizontal axis, each with a word: a vertical line.
        width: In px of the drawing; the page scales it.
        height: Likewise.
    """
    tall = [value for line in lines for part in (line.y, line.low, line.high) for value in floats(part)]
    plane = Plane.make(
        fit([value for line in lines for value in floats(line.x)], log=log_x, given=x_range),
        fit(tall, log=log_y, given=y_range),
        log_x=log_x, log_y=log_y, width=width, height=height,
    )  # fmt: skip
    across, up = plane.across, plane.up
    inner: list[Markup] = []
    if diagonal:
        low, high = max(across.low, up.low), min(across.high, up.high)
        inner.append(path([plane.at(low, low), plane.at(high, high)], "mark"))
    for number, (place, text) in enumerate(marks):
        x = across.at(place)
        inner.append(path([(x, up.start), (x, up.end)], "mark"))
        is_right = x > (across.start + across.end) / 2
        inner.append(
            word(
                x + (-4 if is_right else 4),
                up.end + 12 + 14 * (number % 3),
                text,
                "end" if is_right else "start",
                "soft",
            )
        )
    for number, line in enumerate(lines):
        style = _style(line, number)
        if line.low is not None and line.high is not None:
            inner.append(_band(plane, line, style))
        for points in _runs(plane, line):
            inner.append(path(points, f"line s{style}") if len(points) > 1 else dot(*points[0], style))
    return figure(
        frame(plane, inner, x_label, y_label),
        title=title,
        description=f"{y_label} over {x_label}: {', '.join(line.label for line in lines)}.",
        size=(width, height),
        legend=[(line_key(_style(line, number)), line.label) for number, line in enumerate(lines)],
        data=_line_table(lines, title, x_label, y_label),
    )


def histogram(
    counts: Numbers, edges: Numbers, *, title: str, x_label: str, y_label: str, log_y: bool = False
) -> Markup:
    """Return a histogram of n counts and n + 1 edges."""
    count, edge = floats(counts), floats(edges)
    if len(edge) != len(count) + 1:
        raise ValueError(f"a histogram must have one edge more than counts (got {len(edge)}, {len(count)})")
    bottom = 0.5 if log_y else 0.0
    top = max(count, default=0.0)
    plane = Plane.make((edge[0], edge[-1]), (bottom, max(top * (1.3 if log_y else 1.04), bottom + 1e-9)), log_y=log_y)
    bars = []
    for left, right, value in zip(edge[:-1], edge[1:], count, strict=True):
        if value > bottom:
            x, y = plane.at(left, value)
            bars.append(bar(x, y, plane.across.at(right) - x - 0.5, plane.up.start - y, "fill s2"))
    return figure(
        frame(plane, bars, x_label, y_label),
        title=title,
        description=f"Histogram of {x_label} in {len(count)} bins.",
        size=(plane.width, plane.height),
        data=table(
            [f"{x_label}, from", "to", y_label],
            thinned(list(zip(edge[:-1], edge[1:], count, strict=True))),
            caption=f"{title}: the numbers",
            collapsed=True,
        ),
    )


def bar_chart(
    names: Sequence[str],
    values: Numbers | npt.NDArray[Any],
    *,
    title: str,
    x_label: str,
    y_label: str,
    low: Numbers | npt.NDArray[Any] | None = None,
    high: Numbers | npt.NDArray[Any] | None = None,
    groups: Sequence[str] | None = None,
) -> Markup:
    """Return bars that lie, so that long names can be read; each with its number.

    Args:
        names: One a bar, or a set of bars.
        values: Shape (n_names,), or (n_groups, n_names).
        title: What the chart shows.
        x_label: What the names are.
        y_label: Name and unit of the values.
        low: Lower ends of intervals, shaped like the values.
        high: Upper ends.
        groups: Names of the groups.
    """
    value = _grid(values, len(names))
    if groups is not None and len(groups) != len(value):
        raise ValueError(f"groups must be named one by one (got {len(groups)} names for {len(value)})")
    ends = None if low is None or high is None else (_grid(low, len(names)), _grid(high, len(names)))
    drawing, height = draw_bars(names, value, ends, y_label, is_count=_is_count(values))
    rows = [(name, *np.atleast_2d(values)[:, place].tolist()) for place, name in enumerate(names)]
    return figure(
        drawing,
        title=title,
        description=f"{y_label} for each {x_label}.",
        size=(BAR_WIDTH, height),
        legend=[(bar_key(number), name) for number, name in enumerate(groups or ())],
        data=table([x_label, *(groups or [y_label])], rows, caption=f"{title}: the numbers", collapsed=True),
    )


def matrix_chart(
    values: npt.NDArray[Any], rows: Sequence[str], columns: Sequence[str], *, title: str, unit: str = ""
) -> Markup:
    """Return a matrix whose cells hold their numbers, the darker the larger.

    Args:
        values: Shape (n_rows, n_columns).
        rows: Names of the rows.
        columns: Names of the columns.
        title: What it shows.
        unit: Unit of the values.
    """
    value = np.asarray(values, dtype=np.float64)
    if value.shape != (len(rows), len(columns)):
        raise ValueError(f"a matrix must be ({len(rows)}, {len(columns)}) as its names (got {value.shape})")
    finite = value[np.isfinite(value)]
    low, high = (min(0.0, float(finite.min())), float(finite.max())) if finite.size else (0.0, 1.0)
    left = 16 + 7.4 * max(map(len, rows), default=0)
    wide = max(56.0, 10 + 7.4 * max(map(len, columns), default=0))
    width, height = int(left + wide * len(columns) + 8), 34 + 30 * len(rows)
    parts = [word(left + wide * (place + 0.5), 20, name) for place, name in enumerate(columns)]
    for row, name in enumerate(rows):
        y = 30.0 + 30 * row
        parts.append(word(left - 8, y + 19.5, name, "end"))
        for column in range(len(columns)):
            number = float(value[row, column])
            share = 0.0 if not math.isfinite(number) or high == low else (number - low) / (high - low)
            parts.append(
                Markup(
                    '<rect class="cell" x="{:.1f}" y="{}" width="{:.1f}" height="30" fill-opacity="{:.3f}"/>'
                ).format(left + wide * column, y, wide, share)
            )
            parts.append(
                word(left + wide * (column + 0.5), y + 19.5, number_text(int(number) if _is_count(values) else number))
            )
    data = table(
        ["", *columns],
        [(name, *np.asarray(values)[place].tolist()) for place, name in enumerate(rows)],
        caption=f"{title}: the numbers",
        collapsed=True,
    )
    described = f"A matrix of {len(rows)} by {len(columns)} numbers{f', in {unit}' if unit else ''}."
    return figure(
        Markup("").join(parts),
        title=title + (f" ({unit})" if unit else ""),
        description=described,
        size=(width, height),
        data=data,
    )


def _is_count(values: Numbers | npt.NDArray[Any]) -> bool:
    """Say whether values are whole numbers by their type: those are written as they are."""
    return np.asarray(values).dtype.kind in "iu"


def _grid(values: Numbers | npt.NDArray[Any], n_names: int) -> npt.NDArray[np.float64]:
    grid = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if grid.ndim != 2 or grid.shape[1] != n_names:
        raise ValueError(f"bars must have a value a name, {n_names} (got shape {grid.shape})")
    return grid


def _style(line: Line, number: int) -> int:
    return (number if line.style is None else line.style) % N_STYLES


def _runs(plane: Plane, line: Line) -> list[Points]:
    """Return the stretches of points that have a place, in px."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(floats(line.x), floats(line.y), strict=True):
        if not plane.shows(x, y):
            runs.append([])
            continue
        point = plane.at(x, y)
        if line.step and runs[-1]:
            runs[-1].append((point[0], runs[-1][-1][1]))
        runs[-1].append(point)
    return [run for run in runs if run]


def _band(plane: Plane, line: Line, style: int) -> Markup:
    edges = zip(floats(line.x), floats(line.low), floats(line.high), strict=True)
    known = [(x, a, b) for x, a, b in edges if plane.shows(x, a) and plane.shows(x, b)]
    points = [plane.at(x, b) for x, _, b in known] + [plane.at(x, a) for x, a, _ in reversed(known)]
    return path(points, f"band fill s{style}", close=True) if points else Markup("")


def _line_table(lines: Sequence[Line], title: str, x_label: str, y_label: str) -> Markup:
    xs, ys = [floats(line.x) for line in lines], [floats(line.y) for line in lines]
    if lines and all(x == xs[0] for x in xs):
        columns, rows = [x_label, *(line.label for line in lines)], list(zip(xs[0], *ys, strict=True))
    else:
        columns = ["curve", x_label, y_label]
        rows = [(line.label, *p) for line, x, y in zip(lines, xs, ys, strict=True) for p in zip(x, y, strict=True)]
    return table(columns, thinned(rows), caption=f"{title}: the numbers", collapsed=True)
