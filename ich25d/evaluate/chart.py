"""A chart described once: drawn into the page as SVG, and with matplotlib as PNG and PDF for a paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ich25d.files import replacing
from ich25d.pages.chart import Line, line_chart

# Okabe and Ito's colours, told apart with every kind of colour vision, and a dash each for those who see none.
_STYLES: tuple[tuple[str, Any], ...] = (
    ("#E69F00", (0, (5, 1))),
    ("#009E73", (0, (3, 1, 1, 1))),
    ("#56B4E9", (0, (1, 1))),
    ("#CC79A7", (0, (6, 2, 1, 2))),
    ("#D55E00", (0, (2, 1))),
    ("#000000", "solid"),
    ("#6B5BD2", (0, (8, 2))),
    ("#5C7A00", (0, (1, 2))),
)
_FORMATS = ("png", "pdf")
_DPI, _COLUMNS = 200, 3
_PANEL = (4.3, 3.9)  # inches


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """Curves in one frame."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] | None = (0.0, 1.0)
    diagonal: bool = False
    is_points: bool = False
    """The points are groups: mark them, with whiskers."""

    def to_markup(self) -> Markup:
        """Draw it for the page."""
        return line_chart(
            self.lines, title=self.title, x_label=self.x_label, y_label=self.y_label, x_range=self.x_range,
            y_range=self.y_range, diagonal=self.diagonal, width=440, height=360,
        )  # fmt: skip


def can_draw() -> bool:
    """Say whether matplotlib is there."""
    try:
        import matplotlib.figure  # noqa: F401  # only whether it can be
    except ImportError:
        return False
    return True


def draw(figures: Mapping[str, Sequence[Chart]], folder: Path) -> list[Path]:
    """Draw figures of one or more charts as PNG (200 dpi) and PDF with matplotlib; return the files.

    Args:
        figures: Charts by the name of the file.
        folder: Where to.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    written = []
    for name, charts in figures.items():
        columns = min(_COLUMNS, len(charts))
        rows = -(-len(charts) // columns)
        with rc_context({"pdf.fonttype": 42}):  # text stays text
            wide, high = _PANEL[0] * columns, _PANEL[1] * rows
            figure = Figure(figsize=(wide, high), facecolor="white")
            # Margins in inches: a layout engine would draw everything several times over.
            figure.subplots_adjust(0.7 / wide, 0.5 / high, 1 - 0.15 / wide, 1 - 0.35 / high, wspace=0.28, hspace=0.36)
            axes = figure.subplots(rows, columns, squeeze=False).ravel()
            for ax, chart in zip(axes, charts, strict=False):
                _fill(ax, chart)
            for ax in axes[len(charts) :]:
                ax.set_visible(False)
            for suffix in _FORMATS:
                path = folder / f"{name}.{suffix}"
                # Without its date the same numbers give the same file.
                kept: dict[str, Any] = {"metadata": {"CreationDate": None}} if suffix == "pdf" else {"dpi": _DPI}
                with replacing(path) as part:
                    figure.savefig(part, format=suffix, **kept)
                written.append(path)
    return written


def _fill(ax: Any, chart: Chart) -> None:  # noqa: ANN401  # matplotlib's Axes; matplotlib is an extra
    for number, line in enumerate(chart.lines):
        colour, dash = _STYLES[(number if line.style is None else line.style) % len(_STYLES)]
        x, y = (np.asarray(part, dtype=np.float64) for part in (line.x, line.y))
        ax.plot(
            x, y, color=colour, linestyle=dash, linewidth=1.6, label=line.label,
            marker="o" if chart.is_points else None, markersize=4,
        )  # fmt: skip
        if line.low is None or line.high is None:
            continue
        low, high = (np.asarray(part, dtype=np.float64) for part in (line.low, line.high))
        if chart.is_points:
            gaps = np.stack([y - low, high - y]).clip(0)
            ax.errorbar(x, y, gaps, fmt="none", ecolor=colour, elinewidth=0.9, capsize=2)
        else:
            ax.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
    if chart.diagonal:
        ax.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, zorder=0)
    ax.set(xlabel=chart.x_label, ylabel=chart.y_label, xlim=chart.x_range)
    if chart.y_range is not None:
        ax.set_ylim(*chart.y_range)
    ax.set_title(chart.title, fontsize=10)
    ax.legend(frameon=False, fontsize=7.5, loc="best")
    ax.spines[["top", "right"]].set_visible(False)
