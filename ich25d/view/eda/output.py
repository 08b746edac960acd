"""What leaves the exploration: each table as CSV, each figure as PNG, and both as parts of the page."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ich25d.files import replacing
from ich25d.pages.chart import Chart
from ich25d.pages.page import Page
from ich25d.pages.picture import picture
from ich25d.pages.plot import can_plot, plot, save
from ich25d.pages.table import table
from ich25d.progress import remark
from ich25d.studies.qc import safe_cell

_STYLE = """
.pair { grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); align-items: start; }
.tile-head { margin: 1rem 0 .25rem; overflow-wrap: anywhere; }
.tiles { display: grid; gap: .75rem; margin: .25rem 0 1rem; grid-template-columns: repeat(5, minmax(0, 1fr)); }
.tiles.n4 { grid-template-columns: repeat(4, minmax(0, 1fr)); }
.tiles.n3 { grid-template-columns: repeat(3, minmax(0, 1fr)); }
.tiles img { width: 100%; }
.files ul { columns: 16rem; }
@media (max-width: 40rem) {
  .tiles, .tiles.n3, .tiles.n4 { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .5rem; }
}
"""
"""Style rules of these pages, beside those that all pages share."""

NO_PLOTS = "Figures as PNG need matplotlib (not installed); pip install 'ich25d[plots]'."

SHOWN_ROWS = 40
"""Rows of a table that the page shows; the CSV holds all."""


class Tile(NamedTuple):
    """One picture among others."""

    pixels: npt.NDArray[np.uint8]
    """Shape (H, W) grey or (H, W, 3) RGB."""
    caption: str
    """What stands under it."""
    alt: str
    """What it shows, for those who don't see it."""


class Line(NamedTuple):
    """Pictures side by side."""

    tiles: Sequence[Tile]
    head: str = ""
    """What stands over them."""


class Output(Page):
    """The page, whose tables and figures are also written as CSV and, where matplotlib is installed, as PNG.

    Args:
        out: The folder; `tables/` and `figures/` are made in it.
        title: The page's heading.
        subtitle: What the data are.
        lead: What the page is for.
    """

    def __init__(self, out: Path, title: str, subtitle: str, lead: str) -> None:
        super().__init__(title, subtitle=subtitle, lead=lead)
        self.style(_STYLE)
        self.out, self.draws = out, can_plot()
        if not self.draws:
            remark(NO_PLOTS)
        self.tables: list[str] = []
        self.figures: list[str] = []

    def table(
        self,
        name: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        caption: str,
        shown: int = SHOWN_ROWS,
    ) -> Markup:
        """Write a table as CSV and return it for the page.

        Args:
            name: Name of the file, without `.csv`.
            columns: Headings, with units where there are any.
            rows: Cells, numbers or text.
            caption: What the table shows.
            shown: Rows on the page; the file holds all.
        """
        filled = [list(row) for row in rows]
        path = self.out / "tables" / f"{name}.csv"
        with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([safe_cell(column) for column in columns])
            writer.writerows([_cell(value) for value in row] for row in filled)
        self.tables.append(f"{name}.csv")
        rest = len(filled) - shown
        more = f" (the first {shown:,} of {len(filled):,}; all in tables/{name}.csv)" if rest > 0 else ""
        return table(columns, filled[:shown], caption=caption + more)

    def chart(self, name: str, chart: Chart) -> Markup:
        """Draw a chart as PNG, and return it for the page.

        Args:
            name: Name of the PNG.
            chart: The chart.
        """
        if self.draws:
            plot([chart], self._figure(name))
        return chart.to_svg()

    def tiles(self, name: str, lines: Sequence[Line], *, title: str) -> Markup:
        """Draw pictures in lines, one line under the other.

        Args:
            name: Name of the PNG.
            lines: The lines, of up to five pictures each.
            title: What they show; stands over the PNG.
        """
        if self.draws:
            _draw_tiles(self._figure(name), lines, title)
        return Markup("").join(map(_line, lines))

    def _figure(self, name: str) -> Path:
        self.figures.append(f"{name}.png")
        return self.out / "figures" / f"{name}.png"


def _draw_tiles(path: Path, lines: Sequence[Line], title: str) -> None:
    from matplotlib.figure import Figure

    n_columns = max(len(line.tiles) for line in lines)
    # Places in inches by hand: a layout engine takes a second a line for what is a plain grid.
    side, gap, over, top = 2.1, 0.12, 0.42, 0.45
    width, height = gap + n_columns * (side + gap), top + len(lines) * (side + over)
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(gap / width, 1 - 0.28 / height, title, fontsize=11)
    for row, line in enumerate(lines):
        bottom = height - top - (row + 1) * (side + over) + 0.05
        figure.text(gap / width, (bottom + side + 0.22) / height, line.head, fontsize=8.5, weight="bold")
        for column, tile in enumerate(line.tiles):
            left = gap + column * (side + gap)
            figure.text(left / width, (bottom + side + 0.05) / height, tile.caption, fontsize=7.5)
            ax = figure.add_axes((left / width, bottom / height, side / width, side / height))
            ax.imshow(tile.pixels, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
            ax.set_axis_off()
    save(figure, path)


def _line(line: Line) -> Markup:
    head = Markup('<p class="tile-head">{}</p>').format(line.head) if line.head else Markup("")
    shown = [picture(tile.pixels, alt=tile.alt, caption=tile.caption) for tile in line.tiles]
    return Markup('{}<div class="tiles n{}">{}</div>').format(head, len(shown), Markup("").join(shown))


def _cell(value: object) -> object:
    """Return a value as the CSV holds it: numbers plain, nothing empty, text that no spreadsheet runs."""
    if isinstance(value, (float, np.floating)):
        return "" if math.isnan(value) else repr(float(value))
    if isinstance(value, (bool, np.bool_, int, np.integer)):
        return int(value)
    return "" if value is None else safe_cell(str(value))
