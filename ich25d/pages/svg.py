"""What charts are drawn of: paths, bars and words as SVG, axes round them, and the figure that holds all."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ich25d.pages.axis import Axis

N_STYLES = 8
"""Colours and dashes there are; the first six are the labels', in their order."""

Numbers = Sequence[float] | npt.NDArray[Any]
Points = Sequence[tuple[float, float]]

_TOP, _RIGHT, _BOTTOM, _LEFT = 14.0, 18.0, 52.0, 68.0  # margins in px
_NARROW = 480  # px; a wider drawing scrolls in a narrow window before its words get too small
_MOST_ROWS = 200  # of a chart's table


@dataclass(frozen=True, slots=True)
class Plane:
    """The drawing and its two axes."""

    across: Axis
    up: Axis
    width: int
    height: int

    @classmethod
    def make(
        cls,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        log_x: bool = False,
        log_y: bool = False,
        width: int = 640,
        height: int = 360,
    ) -> "Plane":
        """Lay out axes of these ranges inside the margins."""
        return cls(
            Axis(*x, _LEFT, width - _RIGHT, log_x), Axis(*y, height - _BOTTOM, _TOP, log_y), width, height
        )  # fmt: skip

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
    """Return a line through points in px."""
    steps = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if close else "")
    return Markup('<path class="{}" d="{}"/>').format(css, steps)


def dot(x: float, y: float, style: int) -> Markup:
    """Return a point of its own."""
    return Markup('<circle class="fill s{}" cx="{:.1f}" cy="{:.1f}" r="3.5"/>').format(style, x, y)


def bar(x: float, y: float, width: float, height: float, css: str) -> Markup:
    """Return a rectangle."""
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        css, x, y, max(width, 0.5), max(height, 0.0)
    )


def word(x: float, y: float, text: str, anchor: str = "middle", css: str = "") -> Markup:
    """Return text; anchor is start, middle or end."""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, css, text)


def cut(plane: Plane, inner: Sequence[Markup]) -> Markup:
    """Return what is drawn between the axes, cut off where it leaves them (as an inner svg is)."""
    left, top = plane.across.start, plane.up.end - 2
    wide, tall = plane.across.end - left + 1, plane.up.start - plane.up.end + 4
    box = f"{left:.1f} {top:.1f} {wide:.1f} {tall:.1f}"
    return Markup(
        '<svg class="inner" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" viewBox="{}">{}</svg>'
    ).format(left, top, wide, tall, box, Markup("").join(inner))


def frame(plane: Plane, inner: Sequence[Markup], x_label: str, y_label: str) -> Markup:
    """Return grid, ticks, axes and their names round what is drawn inside."""
    across, up = plane.across, plane.up
    parts: list[Markup] = []
    for value, text in up.ticks():
        y = up.at(value)
        parts += [path([(across.start, y), (across.end, y)], "grid"), word(across.start - 8, y + 4.5, text, "end")]
    for value, text in across.ticks():
        x = across.at(value)
        parts += [path([(x, up.start), (x, up.start + 5)], "axis"), word(x, up.start + 20, text)]
    parts.append(cut(plane, inner))
    parts.append(path([(across.start, up.end), (across.start, up.start), (across.end, up.start)], "axis"))
    parts.append(word((across.start + across.end) / 2, plane.height - 10, x_label, css="soft"))
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
    """Return a chart: its title, a legend of keys and names, the drawing, and its numbers as a table."""
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
    """Return a curve's sign in a legend."""
    return key(Markup('<path class="key s{}" d="M1 7H35"/>').format(style))


def key(inner: Markup) -> Markup:
    """Return a sign of a legend round what is drawn in 36 x 14 px."""
    return Markup('<svg viewBox="0 0 36 14" aria-hidden="true">{}</svg>').format(inner)


def thinned(rows: Sequence[Sequence[object]]) -> Sequence[Sequence[object]]:
    """Return evenly chosen rows, no more than a chart's table may have."""
    return rows[:: max(1, math.ceil(len(rows) / _MOST_ROWS))]
