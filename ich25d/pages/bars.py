"""Horizontal bars with intervals and numbers; groups differ by hatch as well as by colour."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ich25d.pages.axis import Axis
from ich25d.pages.number import number_text
from ich25d.pages.svg import bar, key, path, word

BAR_WIDTH = 640
"""Of the drawing, px."""

_RIGHT = 70.0  # px kept for the longest bar's number
_TOP = 14.0
BAR_STYLES = (2, 0, 1, 3, 4, 6, 7, 5)
"""Colours of the groups, a quiet one first."""
Floats = npt.NDArray[np.float64]


def draw_bars(
    names: Sequence[str], value: Floats, ends: tuple[Floats, Floats] | None, y_label: str, *, is_count: bool = False
) -> tuple[Markup, int]:
    """Return the drawing and its height in px.

    Args:
        names: One a set of bars.
        value: Shape (n_groups, n_names).
        ends: Lower and upper ends of their intervals, each of that shape.
        y_label: Name and unit of the values.
        is_count: The values are whole numbers, and written so.
    """
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
    parts.append(word((left + BAR_WIDTH - _RIGHT) / 2, bottom + 40, y_label, css="soft"))
    return Markup("").join(parts), int(bottom + 52)


def bar_key(group: int) -> Markup:
    """Return a group's key in a legend."""
    return key(bar(8, 1, 20, 12, _css(group)) + _hatch(group, 8, 1, 20, 12))


def _one(
    across: Axis, number: float, interval: tuple[float, float], group: int, y: float, thick: float, is_count: bool
) -> list[Markup]:
    base = across.at(0.0)
    end = across.at(number) if math.isfinite(number) else base
    box = (min(base, end), y, abs(end - base), thick - 3)
    parts = [bar(*box, _css(group)), _hatch(group, *box)]
    furthest = max(end, base)
    if all(map(math.isfinite, interval)):
        a, b = (across.at(float(value)) for value in interval)
        middle = y + (thick - 3) / 2
        parts.append(path([(a, middle), (b, middle)], "whisker"))
        parts += [path([(x, middle - 4), (x, middle + 4)], "whisker") for x in (a, b)]
        furthest = max(furthest, b)
    return [*parts, word(furthest + 6, y + thick / 2 + 3, number_text(int(number) if is_count else number), "start")]


def _css(group: int) -> str:
    return f"fill s{BAR_STYLES[group % len(BAR_STYLES)]}"


def _hatch(group: int, x: float, y: float, width: float, height: float) -> Markup:
    """Return the lines over a group's bars: none, rising, falling, upright, then the same again wider."""
    kind, wider = group % 4, group // 4
    if kind == 0 or width <= 0 or height <= 0:
        return Markup("")
    gap, lean = 5.0 + 3 * wider, {1: height, 2: -height, 3: 0.0}[kind]
    first = x - max(lean, 0.0)
    starts = [first + gap * index for index in range(int((width + height) / gap) + 2)]
    steps = "".join(f"M{start:.1f} {y + height:.1f}L{start + lean:.1f} {y:.1f}" for start in starts)
    return Markup(
        '<svg class="inner" x="{0:.1f}" y="{1:.1f}" width="{2:.1f}" height="{3:.1f}" '
        'viewBox="{0:.1f} {1:.1f} {2:.1f} {3:.1f}"><path class="hatch" d="{4}"/></svg>'
    ).format(x, y, width, height, steps)
