"""Parts of a chart as SVG: axes and their ticks, paths, bars and words, and the figure that holds all."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high`, drawn from `start` to `end` in px."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return a value's place in px."""
        if self.log:
            part = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Return round values and their texts."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [
                (10.0**power, f"{10.0**power:,.{max(0, -power)}f}" if -4 <= power <= 6 else f"1e{power}")
                for power in powers
            ]
        step = _nice_step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        texts = ((number * step, f"{number * step:,.{decimals}f}") for number in range(first, last + 1))
        return [(value, text.replace("-", "\N{MINUS SIGN}")) for value, text in texts]


def _nice_step(span: float, wanted: int = 6) -> float:
    """Return 1, 2 or 5 times a power of ten, so that about `wanted` steps make the span."""
    raw = span / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    for factor in (1.0, 2.0, 5.0):
        if raw <= factor * power * 1.001:
            return factor * power
    return 10.0 * power


def fit(values: Iterable[float], *, log: bool, given: tuple[float, float] | None) -> tuple[float, float]:
    """Return the range that an axis shows.

    Args:
        values: What it must hold; those that aren't finite are left out, and on a logarithmic axis those up to 0.
        log: Whether it is logarithmic: then it goes from one power of ten to another.
        given: The range, where it is given.
    """
    if given is not None:
        return given
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    if not finite:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = min(finite), max(finite)
    if log:
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        return (low, high) if high > low else (low, low * 10)
    if low == high:
        return low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    return low, high


N_STYLES = 8
"""Number of colours and dashes; the first six are the labels', in their order."""

Numbers = Sequence[float] | npt.NDArray[Any]
Points = Sequence[tuple[float, float]]

_TOP, _RIGHT, _BOTTOM, _LEFT = 14.0, 18.0, 52.0, 68.0  # margins in px
_NARROW = 480  # px; a wider drawing scrolls in a narrow window before its words get too small
_MOST_ROWS = 200  # of a chart's table


class Plane:
    """A drawing, and its two axes inside the margins.

    Args:
        x: Range of the horizontal axis.
        y: Range of the vertical axis.
        log: Whether the one and the other are logarithmic.
        size: Width and height of the drawing, px.
    """

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], *, log: tuple[bool, bool] = (False, False),
        size: tuple[int, int] = (640, 360),
    ) -> None:  # fmt: skip
        self.across = Axis(*x, _LEFT, size[0] - _RIGHT, log[0])
        self.up = Axis(*y, size[1] - _BOTTOM, _TOP, log[1])
        self.size = size

    def shows(self, x: float, y: float) -> bool:
        """Say whether a point has a place: finite, and positive on a logarithmic axis."""
        known = math.isfinite(x) and math.isfinite(y)
        return known and (x > 0 or not self.across.log) and (y > 0 or not self.up.log)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return a point's place in px."""
        return self.across.at(x), self.up.at(y)


def floats(values: Numbers | None) -> list[float]:
    """Return values as plain numbers."""
    return [] if values is None else [float(value) for value in np.asarray(values, dtype=np.float64).ravel()]


def path(points: Points, css: str, *, close: bool = False) -> Markup:
    """Return a line through points.

    Args:
        points: x and y of each, px.
        css: Classes that style it.
        close: Lead the line back to its first point.
    """
    steps = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if close else "")
    return Markup('<path class="{}" d="{}"/>').format(css, steps)


def dot(point: tuple[float, float], style: int) -> Markup:
    """Return a point, in px, in one of the `N_STYLES` colours."""
    return Markup('<circle class="fill s{}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(style, *point)


def bar(x: float, y: float, width: float, height: float, css: str) -> Markup:
    """Return a rectangle.

    Args:
        x: Its left edge, px, as all lengths here.
        y: Its upper edge.
        width: At least half a px is drawn.
        height: Its height.
        css: Classes that style it.
    """
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        css, x, y, max(width, 0.5), max(height, 0.0)
    )


def word(x: float, y: float, text: str, anchor: str = "middle", css: str = "") -> Markup:
    """Return text.

    Args:
        x: Where it is anchored, px.
        y: Its baseline.
        text: The text.
        anchor: What of it lies at x: `start`, `middle` or `end`.
        css: Classes that style it.
    """
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, css, text)


def inner_svg(x: float, y: float, width: float, height: float, content: Markup) -> Markup:
    """Return a part of a drawing that is cut off at its box; all in px of the whole."""
    box = '<svg class="inner" x="{0:.1f}" y="{1:.1f}" width="{2:.1f}" height="{3:.1f}" '
    return Markup(box + 'viewBox="{0:.1f} {1:.1f} {2:.1f} {3:.1f}">{4}</svg>').format(x, y, width, height, content)


def with_axes(plane: Plane, inner: Sequence[Markup], x_label: str, y_label: str) -> Markup:
    """Return grid, ticks, axes and their names around a drawing.

    Args:
        plane: The axes.
        inner: What is drawn between them; cut off where it leaves them.
        x_label: Name and unit of the horizontal axis.
        y_label: Name and unit of the vertical axis.
    """
    across, up = plane.across, plane.up
    parts: list[Markup] = []
    for value, text in up.ticks():
        y = up.at(value)
        parts += [path([(across.start, y), (across.end, y)], "grid"), word(across.start - 8, y + 4.5, text, "end")]
    for value, text in across.ticks():
        x = across.at(value)
        parts += [path([(x, up.start), (x, up.start + 5)], "axis"), word(x, up.start + 20, text)]
    left, top = across.start, up.end - 2
    # An inner svg cuts off what leaves it.
    parts.append(inner_svg(left, top, across.end - left + 1, up.start - up.end + 4, Markup("").join(inner)))
    parts.append(path([(across.start, up.end), (across.start, up.start), (across.end, up.start)], "axis"))
    parts.append(word((across.start + across.end) / 2, plane.size[1] - 10, x_label, css="soft"))
    parts.append(
        Markup('<text class="soft" text-anchor="middle" transform="translate(16 {:.1f}) rotate(-90)">{}</text>').format(
            (up.start + up.end) / 2, y_label
        )
    )
    return Markup("").join(parts)


def figure(
    drawing: Markup,
    *,
    title: str,
    description: str,
    size: tuple[int, int],
    legend: Sequence[tuple[Markup, str]] = (),
    data: Markup | None = None,
) -> Markup:
    """Return a chart.

    Args:
        drawing: What the SVG holds.
        title: Stands over it.
        description: What it shows, for screen readers.
        size: Width and height of the drawing, px.
        legend: Keys (`key`, `line_key`) and names.
        data: Its numbers as a table.
    """
    keys = Markup("").join(Markup("<li>{}<span>{}</span></li>").format(key, name) for key, name in legend)
    return Markup(
        '<figure class="chart"><figcaption>{0}</figcaption>{1}'
        '<div class="scroll" tabindex="0" role="region" aria-label="{0}">'
        '<svg{6} viewBox="0 0 {2} {3}" width="{2}" height="{3}" role="img" '
        'aria-label="{0}. {4}"><title>{0}</title><desc>{4}</desc>{5}</svg>'
        "</div>{7}</figure>"
    ).format(
        title,
        Markup('<ul class="legend">{}</ul>').format(keys) if keys else "",
        *size,
        description,
        drawing,
        Markup(' class="small"') if size[0] < _NARROW else "",
        data if data is not None else "",
    )


def line_key(style: int) -> Markup:
    """Return a curve's key in a legend."""
    return key(Markup('<path class="key s{}" d="M1 7H35"/>').format(style))


def key(inner: Markup) -> Markup:
    """Return a legend's key: a drawing of 36 x 14 px."""
    return Markup('<svg viewBox="0 0 36 14" aria-hidden="true">{}</svg>').format(inner)


def thinned(rows: Sequence[Sequence[object]]) -> Sequence[Sequence[object]]:
    """Return evenly spaced rows, no more than a chart's table may have."""
    return rows[:: max(1, math.ceil(len(rows) / _MOST_ROWS))]
