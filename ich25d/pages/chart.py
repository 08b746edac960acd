"""Charts, described once: `to_svg` draws them into a page, `pages.plot` as PNG and PDF.

In a page, series are told apart by dash and hatch as well as by colour, and their numbers can be read as a table.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ich25d.pages.number import number_text
from ich25d.pages.svg import (
    N_STYLES,
    Axis,
    Numbers,
    Plane,
    Points,
    bar,
    dot,
    figure,
    fit,
    floats,
    inner_svg,
    key,
    line_key,
    path,
    thinned,
    with_axes,
    word,
)
from ich25d.pages.table import table

Floats = npt.NDArray[np.float64]

BAR_WIDTH = 640
"""Of the drawing, px."""

_RIGHT = 70.0  # px kept for the longest bar's number
_TOP = 14.0
BAR_STYLES = (2, 0, 1, 3, 4, 6, 7, 5)
"""Colours of the groups, a quiet one first."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One curve, with gaps where a value isn't finite."""

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


@dataclass(frozen=True, slots=True, eq=False)
class LineChart:
    """Curves over a common axis."""

    lines: Sequence[Line]
    _: KW_ONLY
    title: str
    x_label: str
    """Name and unit of the horizontal axis."""
    y_label: str
    """Name and unit of the vertical axis."""
    x_range: tuple[float, float] | None = None
    """Default: that of the values."""
    y_range: tuple[float, float] | None = None
    """Default: that of the values and bands."""
    log_x: bool = False
    """Logarithmic; values that aren't positive are left out."""
    log_y: bool = False
    diagonal: bool = False
    """Draw the line y = x."""
    marks: Sequence[tuple[float, str]] = ()
    """Places on the horizontal axis, each with a word: a vertical line."""
    has_points: bool = False
    """The points are groups of cases: PNG and PDF mark each, with its band as whiskers."""
    size: tuple[int, int] = (640, 360)
    """Width and height in px on the page, which scales them; a PNG has an inch for 100 px."""

    def to_svg(self) -> Markup:
        """Draw it for a page."""
        tall = [value for line in self.lines for part in (line.y, line.low, line.high) for value in floats(part)]
        wide = [value for line in self.lines for value in floats(line.x)]
        plane = Plane(
            fit(wide, log=self.log_x, given=self.x_range), fit(tall, log=self.log_y, given=self.y_range),
            log=(self.log_x, self.log_y), size=self.size,
        )  # fmt: skip
        inner: list[Markup] = []
        if self.diagonal:
            low, high = max(plane.across.low, plane.up.low), min(plane.across.high, plane.up.high)
            inner.append(path([plane.at(low, low), plane.at(high, high)], "mark"))
        inner += self._marks(plane)
        styles = [(number if line.style is None else line.style) % N_STYLES for number, line in enumerate(self.lines)]
        for line, style in zip(self.lines, styles, strict=True):
            if line.low is not None and line.high is not None:
                inner.append(_band(plane, line, style))
            for points in _runs(plane, line):
                inner.append(path(points, f"line s{style}") if len(points) > 1 else dot(points[0], style))
        return figure(
            with_axes(plane, inner, self.x_label, self.y_label),
            title=self.title,
            description=f"{self.y_label} over {self.x_label}: {', '.join(line.label for line in self.lines)}.",
            size=self.size,
            legend=[(line_key(style), line.label) for line, style in zip(self.lines, styles, strict=True)],
            data=self._table(),
        )

    def _marks(self, plane: Plane) -> Iterator[Markup]:
        across, up = plane.across, plane.up
        for number, (place, text) in enumerate(self.marks):
            x, y = across.at(place), up.end + 12 + 14 * (number % 3)
            yield path([(x, up.start), (x, up.end)], "mark")
            if x > (across.start + across.end) / 2:
                yield word(x - 4, y, text, "end", "soft")
            else:
                yield word(x + 4, y, text, "start", "soft")

    def _table(self) -> Markup:
        xs, ys = [floats(line.x) for line in self.lines], [floats(line.y) for line in self.lines]
        if self.lines and all(x == xs[0] for x in xs):
            columns, rows = [self.x_label, *(line.label for line in self.lines)], list(zip(xs[0], *ys, strict=True))
        else:
            columns = ["curve", self.x_label, self.y_label]
            points = zip(self.lines, xs, ys, strict=True)
            rows = [(line.label, *point) for line, x, y in points for point in zip(x, y, strict=True)]
        return numbers(self.title, columns, thinned(rows))


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Counts in bins."""

    counts: Numbers
    edges: Numbers
    """One more than counts."""
    _: KW_ONLY
    title: str
    x_label: str
    """Name and unit of what is counted."""
    y_label: str
    log_y: bool = False

    def to_svg(self) -> Markup:
        """Draw it for a page."""
        count, edge = floats(self.counts), floats(self.edges)
        bottom = 0.5 if self.log_y else 0.0
        top = max(max(count, default=0.0) * (1.3 if self.log_y else 1.04), bottom + 1e-9)
        plane = Plane((edge[0], edge[-1]), (bottom, top), log=(False, self.log_y))
        bins = list(zip(edge[:-1], edge[1:], count, strict=True))
        bars = []
        for left, right, value in bins:
            if value > bottom:
                x, y = plane.at(left, value)
                bars.append(bar(x, y, plane.across.at(right) - x - 0.5, plane.up.start - y, "fill s2"))
        return figure(
            with_axes(plane, bars, self.x_label, self.y_label),
            title=self.title,
            description=f"Histogram of {self.x_label} in {len(count)} bins.",
            size=plane.size,
            data=numbers(self.title, [f"{self.x_label}, from", "to", self.y_label], thinned(bins)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class BarChart:
    """Horizontal bars, so that long names can be read; each with its number."""

    names: Sequence[str]
    """One a bar, or a set of bars."""
    values: Numbers | npt.NDArray[Any]
    """Shape (n_names,), or (n_groups, n_names)."""
    _: KW_ONLY
    title: str
    x_label: str
    """What the names are."""
    y_label: str
    """Name and unit of the values."""
    low: Numbers | npt.NDArray[Any] | None = None
    """Lower ends of intervals, shaped like the values; with `high`."""
    high: Numbers | npt.NDArray[Any] | None = None
    groups: Sequence[str] = ()

    @property
    def value(self) -> Floats:
        """The values, shape (n_groups, n_names)."""
        return _grid(self.values)

    @property
    def ends(self) -> tuple[Floats, Floats] | None:
        """Lower and upper ends of the intervals, shaped like `value`."""
        return None if self.low is None or self.high is None else (_grid(self.low), _grid(self.high))

    def to_svg(self) -> Markup:
        """Draw it for a page."""
        drawing, height = _draw_bars(self)
        by_name = zip(self.names, np.atleast_2d(self.values).T.tolist(), strict=True)
        return figure(
            drawing,
            title=self.title,
            description=f"{self.y_label} for each {self.x_label}.",
            size=(BAR_WIDTH, height),
            legend=[(key(_bar(group, 8, 1, 20, 12)), name) for group, name in enumerate(self.groups)],
            data=numbers(
                self.title, [self.x_label, *(self.groups or [self.y_label])], [(name, *row) for name, row in by_name]
            ),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """A matrix whose cells hold their numbers, the darker the larger."""

    values: npt.NDArray[Any]
    """Shape (n_rows, n_columns)."""
    rows: Sequence[str]
    columns: Sequence[str]
    _: KW_ONLY
    title: str

    def to_svg(self) -> Markup:
        """Draw it for a page."""
        value = np.asarray(self.values, dtype=np.float64)
        finite = value[np.isfinite(value)]
        low, high = (min(0.0, float(finite.min())), float(finite.max())) if finite.size else (0.0, 1.0)
        left = 16 + 7.4 * max(map(len, self.rows), default=0)
        wide = max(56.0, 10 + 7.4 * max(map(len, self.columns), default=0))
        parts = [word(left + wide * (place + 0.5), 20, name) for place, name in enumerate(self.columns)]
        for row, name in enumerate(self.rows):
            y = 30.0 + 30 * row
            parts.append(word(left - 8, y + 19.5, name, "end"))
            for column, number in enumerate(value[row].tolist()):
                x = left + wide * column
                share = 0.0 if not math.isfinite(number) or high == low else (number - low) / (high - low)
                cell = '<rect class="cell" x="{:.1f}" y="{}" width="{:.1f}" height="30" fill-opacity="{:.3f}"/>'
                text = number_text(int(number) if _is_count(self.values) else number)
                parts += [Markup(cell).format(x, y, wide, share), word(x + wide * 0.5, y + 19.5, text)]
        rows = [(name, *of_row) for name, of_row in zip(self.rows, np.asarray(self.values).tolist(), strict=True)]
        return figure(
            Markup("").join(parts),
            title=self.title,
            description=f"A matrix of {len(self.rows)} by {len(self.columns)} numbers.",
            size=(int(left + wide * len(self.columns) + 8), 34 + 30 * len(self.rows)),
            data=numbers(self.title, ["", *self.columns], rows),
        )


Chart = LineChart | BarChart | Histogram | Matrix


def numbers(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """Return the numbers of a chart as a table that a reader can open.

    Args:
        title: The chart's title.
        columns: Headings.
        rows: Cells.
    """
    return table(columns, rows, caption=f"{title}: the numbers", collapsed=True)


def _grid(values: Numbers | npt.NDArray[Any]) -> Floats:
    return np.atleast_2d(np.asarray(values, dtype=np.float64))


def _is_count(values: Numbers | npt.NDArray[Any]) -> bool:
    """Return whether values are whole numbers by their dtype: those are written in full."""
    return np.asarray(values).dtype.kind in "iu"


def _runs(plane: Plane, line: Line) -> list[Points]:
    """Return the unbroken stretches of a curve, in px."""
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


def _draw_bars(chart: BarChart) -> tuple[Markup, int]:
    """Return the drawing and its height in px."""
    names, value, ends = chart.names, chart.value, chart.ends
    is_count = _is_count(chart.values)
    n_groups = len(value)
    known = [number for part in (value, *(ends or ())) for number in part[np.isfinite(part)].tolist()]
    left, thick = 16.0 + 7.4 * max(map(len, names), default=0), 18.0 if n_groups == 1 else 14.0
    across = Axis(min([0.0, *known]), max([*known, 1e-12]) * 1.001, left, BAR_WIDTH - _RIGHT)
    step = n_groups * thick + 10
    bottom = _TOP + step * len(names)
    parts: list[Markup] = []
    for place, text in across.ticks():
        x = across.at(place)
        parts += [path([(x, 10), (x, bottom)], "grid"), word(x, bottom + 18, text)]
    for column, name in enumerate(names):
        top = _TOP + step * column
        parts.append(word(left - 8, top + n_groups * thick / 2 + 3, name, "end"))
        for group in range(n_groups):
            interval = (float("nan"),) * 2 if ends is None else (ends[0][group, column], ends[1][group, column])
            parts += _one(across, float(value[group, column]), interval, group, top + group * thick, thick, is_count)
    base = across.at(0.0)
    parts.append(path([(base, 10), (base, bottom)], "axis"))
    parts.append(word((left + BAR_WIDTH - _RIGHT) / 2, bottom + 40, chart.y_label, css="soft"))
    return Markup("").join(parts), int(bottom + 52)


def _one(
    across: Axis, number: float, interval: tuple[float, float], group: int, y: float, thick: float, is_count: bool
) -> list[Markup]:
    base = across.at(0.0)
    end = across.at(number) if math.isfinite(number) else base
    parts = [_bar(group, min(base, end), y, abs(end - base), thick - 3)]
    furthest = max(end, base)
    if all(map(math.isfinite, interval)):
        a, b = (across.at(float(value)) for value in interval)
        middle = y + (thick - 3) / 2
        parts.append(path([(a, middle), (b, middle)], "whisker"))
        parts += [path([(x, middle - 4), (x, middle + 4)], "whisker") for x in (a, b)]
        furthest = max(furthest, b)
    return [*parts, word(furthest + 6, y + thick / 2 + 3, number_text(int(number) if is_count else number), "start")]


def _bar(group: int, x: float, y: float, width: float, height: float) -> Markup:
    """Return a group's bar with its hatch: none, rising, falling, upright, then the same again wider."""
    plain = bar(x, y, width, height, f"fill s{BAR_STYLES[group % len(BAR_STYLES)]}")
    kind, wider = group % 4, group // 4
    if kind == 0 or width <= 0 or height <= 0:
        return plain
    gap, lean = 5.0 + 3 * wider, {1: height, 2: -height, 3: 0.0}[kind]
    first = x - max(lean, 0.0)
    starts = [first + gap * index for index in range(int((width + height) / gap) + 2)]
    steps = "".join(f"M{start:.1f} {y + height:.1f}L{start + lean:.1f} {y:.1f}" for start in starts)
    lines = Markup('<path class="hatch" d="{}"/>').format(steps)
    return plain + inner_svg(x, y, width, height, lines)
