"""The figures as PNG, drawn by matplotlib (extra `plots`): the page's charts once more, for papers and slides."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.files import replacing
from ich25d.pages.chart import Line
from ich25d.pages.number import NONE

# The page's colours on white, and dashes that tell the labels apart without them.
_STYLES: tuple[tuple[str, Any], ...] = (
    ("#b36b00", (0, (7, 3))), ("#00805c", (0, (7, 3, 2, 3))), ("#1f78b4", (0, (2, 3))), ("#b0478a", (0, (10, 3, 2, 3))),
    ("#c2410c", (0, (4, 2))), ("#1a1f26", "solid"), ("#6b5bd2", (0, (12, 4))), ("#5c7a00", (0, (1, 2))),
)  # fmt: skip
_HATCHES = ("", "//", "\\\\", "xx", "..", "--")
_BARS = (2, 0, 1, 3, 4, 6)
_DPI = 130


def find_painter() -> "Painter | None":
    """Return what draws, or None where matplotlib isn't installed."""
    try:
        import matplotlib.figure  # noqa: F401  # only whether it's there
    except ImportError:
        return None
    return Painter()


class Painter:
    """Draws one PNG a call, whole or not at all."""

    def lines(
        self, path: Path, lines: Sequence[Line], *, title: str, x_label: str, y_label: str,
        x_range: tuple[float, float] | None = None, y_range: tuple[float, float] | None = None,
        log_x: bool = False, log_y: bool = False, marks: Sequence[tuple[float, str]] = (), **_: object,
    ) -> None:  # fmt: skip
        """Draw curves."""
        figure, ax = _axes((7.5, 4.2))
        for number, line in enumerate(lines):
            colour, dash = _STYLES[(number if line.style is None else line.style) % len(_STYLES)]
            draw = ax.step if line.step else ax.plot
            draw(line.x, line.y, color=colour, linestyle=dash, label=line.label, linewidth=1.8)
            if line.low is not None and line.high is not None:
                ax.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
        for number, (place, text) in enumerate(marks):
            ax.axvline(place, color="0.5", linewidth=0.8, linestyle=":")
            at = (place, 1 - 0.06 * (number % 3))
            where = {"xycoords": ("data", "axes fraction"), "xytext": (3, 0), "textcoords": "offset points"}
            ax.annotate(text, at, fontsize=8, va="top", **where)
        ax.set(title=title, xlabel=x_label, ylabel=y_label)
        if log_x:
            ax.set_xscale("log")
        if log_y:
            ax.set_yscale("log")
        if x_range:
            ax.set_xlim(*x_range)
        if y_range:
            ax.set_ylim(*y_range)
        if len(lines) > 1:
            ax.legend(frameon=False, fontsize=9)
        _save(figure, path)

    def bars(
        self, path: Path, names: Sequence[str], values: npt.NDArray[Any], *, title: str, x_label: str, y_label: str,
        low: npt.NDArray[Any] | None = None, high: npt.NDArray[Any] | None = None, groups: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """Draw lying bars, the first name on top."""
        value = np.atleast_2d(np.asarray(values, dtype=float))
        thick = 0.8 / len(value)
        figure, ax = _axes((7.5, 1.4 + 0.32 * len(names) * max(1, 0.7 * len(value))))
        for group, row in enumerate(value):
            place = np.arange(len(names)) + (group - (len(value) - 1) / 2) * thick
            error = None
            if low is not None and high is not None:
                ends = np.atleast_2d(low)[group], np.atleast_2d(high)[group]
                error = np.clip(np.nan_to_num(np.stack([row - ends[0], ends[1] - row])), 0, None)
            colour = _STYLES[_BARS[group % len(_BARS)]][0]
            label = groups[group] if groups else None
            look = {"color": colour, "hatch": _HATCHES[group % len(_HATCHES)], "edgecolor": "white", "ecolor": "0.2"}
            ax.barh(place, row, thick * 0.9, xerr=error, label=label, **look)
        ax.set(title=title, xlabel=y_label, ylabel=x_label, yticks=np.arange(len(names)), yticklabels=list(names))
        ax.invert_yaxis()
        if groups:
            ax.legend(frameon=False, fontsize=9)
        _save(figure, path)

    def histogram(
        self, path: Path, counts: npt.NDArray[Any], edges: npt.NDArray[Any], *, title: str, x_label: str, y_label: str,
        log_y: bool = False,
    ) -> None:  # fmt: skip
        """Draw counts in bins."""
        figure, ax = _axes((6.5, 3.8))
        ax.stairs(counts, edges, fill=True, color=_STYLES[2][0])
        ax.set(title=title, xlabel=x_label, ylabel=y_label)
        if log_y:
            ax.set_yscale("log")
        _save(figure, path)

    def matrix(
        self, path: Path, values: npt.NDArray[Any], rows: Sequence[str], columns: Sequence[str], *, title: str
    ) -> None:
        """Draw a matrix with its numbers."""
        value = np.asarray(values, dtype=float)
        figure, ax = _axes((1.2 + 1.15 * len(columns), 1.4 + 0.5 * len(rows)))
        top = np.nanmax(value, initial=1e-12)
        ax.imshow(value, cmap="Blues", aspect="auto", vmin=0, vmax=top)
        for (row, column), number in np.ndenumerate(value):
            text = NONE if np.isnan(number) else f"{number:,.0f}" if number.is_integer() else f"{number:.3g}"
            colour = "white" if number > 0.6 * top else "black"
            ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        ax.set(title=title, xticks=range(len(columns)), yticks=range(len(rows)))
        ax.set_xticklabels(list(columns), rotation=20, ha="right")
        ax.set_yticklabels(list(rows))
        _save(figure, path)

    def tiles(
        self, path: Path, lines: Sequence[tuple[str, Sequence[tuple[npt.NDArray[np.uint8], str]]]], *, title: str
    ) -> None:
        """Draw pictures in lines, each line with what stands over it."""
        from matplotlib.figure import Figure

        n_columns = max(len(tiles) for _, tiles in lines)
        # Places in inches by hand: a layout engine takes a second a line for what is a plain grid.
        side, gap, over, top = 2.1, 0.12, 0.42, 0.45
        width, height = gap + n_columns * (side + gap), top + len(lines) * (side + over)
        figure = Figure(figsize=(width, height), facecolor="white")
        figure.text(gap / width, 1 - 0.28 / height, title, fontsize=11)
        for row, (head, tiles) in enumerate(lines):
            bottom = height - top - (row + 1) * (side + over) + 0.05
            figure.text(gap / width, (bottom + side + 0.22) / height, head, fontsize=8.5, weight="bold")
            for column, (pixels, caption) in enumerate(tiles):
                left = gap + column * (side + gap)
                figure.text(left / width, (bottom + side + 0.05) / height, caption, fontsize=7.5)
                ax = figure.add_axes((left / width, bottom / height, side / width, side / height))
                ax.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
                ax.set_axis_off()
        _save(figure, path)


def _axes(size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    ax = figure.subplots()
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def _save(figure: Any, path: Path) -> None:  # noqa: ANN401  # matplotlib is an extra
    with replacing(path) as part:
        figure.savefig(part, format="png", dpi=_DPI)
