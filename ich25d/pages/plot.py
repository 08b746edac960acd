"""Charts as PNG and PDF for papers and slides, drawn with matplotlib, which the extra `plots` brings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ich25d.files import replacing
from ich25d.pages.chart import BAR_STYLES, BarChart, Chart, Histogram, LineChart, Matrix
from ich25d.pages.number import number_text

STYLES: tuple[tuple[str, Any], ...] = (
    ("#b36b00", (0, (7, 3))), ("#00805c", (0, (7, 3, 2, 3))), ("#1f78b4", (0, (2, 3))), ("#b0478a", (0, (10, 3, 2, 3))),
    ("#c2410c", (0, (4, 2))), ("#1a1f26", "solid"), ("#6b5bd2", (0, (12, 4))), ("#5c7a00", (0, (1, 2))),
)  # fmt: skip
"""Colours and dashes of the page (`page.css`) on white; the first six are the labels', in their order."""

_HATCHES = ("", "//", "\\\\", "xx", "..", "--")
_COLUMNS = 3
_BESIDE, _OVER = (0.7, 0.15), (0.5, 0.35)  # margins in inches: left and right, below and above
_LOOK = {
    "font.size": 9, "axes.titlesize": 10, "legend.fontsize": 8, "legend.frameon": False, "axes.spines.top": False,
    "axes.spines.right": False, "pdf.fonttype": 42,  # text stays text
}  # fmt: skip


def can_plot() -> bool:
    """Return whether matplotlib is installed."""
    try:
        import matplotlib.figure  # noqa: F401  # only whether it can be imported
    except ImportError:
        return False
    return True


def plot(charts: Sequence[Chart], *paths: Path) -> None:
    """Draw charts into one figure, up to three side by side.

    Args:
        charts: The charts, all of one size.
        paths: Files to write, `.png` or `.pdf`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(charts))
    rows = -(-len(charts) // columns)
    width, height = _inches(charts[0])
    with rc_context(_LOOK):
        figure = Figure(figsize=(width * columns, height * rows), facecolor="white")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        if isinstance(charts[0], BarChart | Matrix):
            figure.set_layout_engine("constrained")  # takes longer than all else: only where names may be long
        else:
            (left, right), (below, above) = _BESIDE, _OVER
            figure.subplots_adjust(
                left / width / columns, below / height / rows, 1 - right / width / columns, 1 - above / height / rows,
                wspace=(left + right) / (width - left - right), hspace=(below + above) / (height - below - above),
            )  # fmt: skip
        for ax, chart in zip(axes, charts, strict=False):
            draw(ax, chart)
        for ax in axes[len(charts) :]:
            ax.set_visible(False)
        save(figure, *paths)


def draw(ax: Any, chart: Chart) -> None:  # noqa: ANN401  # matplotlib's Axes; matplotlib is an extra
    """Draw a chart on matplotlib's axes."""
    match chart:
        case LineChart():
            _lines(ax, chart)
        case BarChart():
            _bars(ax, chart)
        case Histogram():
            ax.stairs(chart.counts, chart.edges, fill=True, color=STYLES[2][0])
            ax.set(xlabel=chart.x_label, ylabel=chart.y_label, yscale="log" if chart.log_y else "linear")
        case Matrix():
            _matrix(ax, chart)
    ax.set_title(chart.title)


def save(figure: Any, *paths: Path) -> None:  # noqa: ANN401  # matplotlib's Figure
    """Write a figure as PNG or PDF by the files' suffixes; the same numbers give the same bytes."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once for all files
    for path in paths:
        kind: dict[str, Any] = {"metadata": {"CreationDate": None}} if path.suffix == ".pdf" else {"dpi": 200}
        with replacing(path) as part:
            figure.savefig(part, format=path.suffix[1:], **kind)


def _inches(chart: Chart) -> tuple[float, float]:
    match chart:
        case LineChart():
            return chart.size[0] / 100, chart.size[1] / 100
        case BarChart():
            return 7.0, 1.2 + 0.3 * len(chart.names) * max(1, 0.7 * len(chart.value))
        case Histogram():
            return 6.4, 3.6
        case Matrix():
            return 1.2 + 1.1 * len(chart.columns), 1.4 + 0.5 * len(chart.rows)


def _lines(ax: Any, chart: LineChart) -> None:  # noqa: ANN401
    for number, line in enumerate(chart.lines):
        colour, dash = STYLES[(number if line.style is None else line.style) % len(STYLES)]
        marker = "o" if chart.has_points else None
        step = {"drawstyle": "steps-post"} if line.step else {}
        ax.plot(line.x, line.y, color=colour, linestyle=dash, label=line.label, marker=marker, markersize=4, **step)
        if line.low is None or line.high is None:
            continue
        if chart.has_points:
            y, low, high = (np.asarray(part, dtype=np.float64) for part in (line.y, line.low, line.high))
            ends = np.stack([y - low, high - y]).clip(0)
            ax.errorbar(line.x, y, ends, fmt="none", ecolor=colour, elinewidth=0.9, capsize=2)
        else:
            ax.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
    if chart.diagonal:
        ax.axline((0, 0), slope=1, color="0.6", linewidth=0.8, zorder=0)
    for number, (place, text) in enumerate(chart.marks):
        ax.axvline(place, color="0.5", linewidth=0.8, linestyle=":")
        at = (place, 1 - 0.06 * (number % 3))
        where = {"xycoords": ("data", "axes fraction"), "xytext": (3, 0), "textcoords": "offset points"}
        ax.annotate(text, at, fontsize=8, va="top", **where)
    ax.set(xlabel=chart.x_label, ylabel=chart.y_label)
    ax.set(xscale="log" if chart.log_x else "linear", yscale="log" if chart.log_y else "linear")
    ax.set(xlim=chart.x_range, ylim=chart.y_range)
    if len(chart.lines) > 1 or chart.has_points or chart.lines[0].low is not None:
        ax.legend()


def _bars(ax: Any, chart: BarChart) -> None:  # noqa: ANN401
    n_groups, place = len(chart.value), np.arange(len(chart.names))
    thick = 0.8 / n_groups
    for group, row in enumerate(chart.value):
        error = None
        if chart.ends is not None:
            low, high = (ends[group] for ends in chart.ends)
            error = np.clip(np.nan_to_num(np.stack([row - low, high - row])), 0, None)
        at = place + (group - (n_groups - 1) / 2) * thick
        look = {"hatch": _HATCHES[group % len(_HATCHES)], "edgecolor": "white", "ecolor": "0.2"}
        colour = STYLES[BAR_STYLES[group % len(BAR_STYLES)]][0]
        label = chart.groups[group] if chart.groups else None
        ax.barh(at, row, thick * 0.9, xerr=error, color=colour, label=label, **look)
    ax.set(xlabel=chart.y_label, ylabel=chart.x_label, yticks=place, yticklabels=list(chart.names))
    ax.invert_yaxis()
    if chart.groups:
        ax.legend()


def _matrix(ax: Any, chart: Matrix) -> None:  # noqa: ANN401
    value = np.asarray(chart.values, dtype=np.float64)
    top = np.nanmax(value, initial=1e-12)
    ax.imshow(value, cmap="Blues", aspect="auto", vmin=0, vmax=top)
    for (row, column), number in np.ndenumerate(value):
        text = number_text(int(number) if number.is_integer() else number)
        ax.text(column, row, text, ha="center", va="center", color="white" if number > 0.6 * top else "black")
    ax.set(xticks=range(len(chart.columns)), yticks=range(len(chart.rows)), yticklabels=list(chart.rows))
    ax.set_xticklabels(list(chart.columns), rotation=20, ha="right")
