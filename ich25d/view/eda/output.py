"""What leaves the exploration: each table as CSV, each figure as PNG, and both as parts of the page."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ich25d.files import replacing
from ich25d.pages import chart
from ich25d.pages.picture import picture
from ich25d.pages.table import table
from ich25d.studies.qc import safe_cell
from ich25d.view.eda.plots import Painter

STYLE = """
.pair {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 0 1.5rem;
  align-items: start;
}
.pair > * { min-width: 0; }
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

SHOWN_ROWS = 40
"""Rows of a table that the page shows; the CSV holds all."""


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One picture among others."""

    pixels: npt.NDArray[np.uint8]
    """Shape (H, W) grey or (H, W, 3) RGB."""
    caption: str
    """What stands under it."""
    alt: str
    """What it shows, for those who don't see it."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """Pictures side by side."""

    tiles: Sequence[Tile]
    head: str = ""
    """What stands over them."""


@dataclass(slots=True)
class Output:
    """Writes tables and figures into a folder, and returns what the page shows of them."""

    out: Path
    """The folder; `tables/` and `figures/` are made in it."""
    painter: Painter | None
    """Draws the PNG; None leaves them out."""
    tables: list[str] = field(default_factory=list)
    """Names of the CSV files written."""
    figures: list[str] = field(default_factory=list)
    """Names of the PNG files written."""

    def table(
        self,
        name: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        caption: str,
        shown: int = SHOWN_ROWS,
        collapsed: bool = False,
    ) -> Markup:
        """Write a table as CSV and return it for the page.

        Args:
            name: Name of the file, without `.csv`.
            columns: Headings, with units where there are any.
            rows: Cells, numbers or text.
            caption: What the table shows.
            shown: Rows on the page; the file holds all.
            collapsed: Show the caption alone until it is opened.
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
        return table(columns, filled[:shown], caption=caption + more, collapsed=collapsed)

    def lines(self, name: str, lines: Sequence[chart.Line], **options: Any) -> Markup:  # noqa: ANN401
        """Draw curves; options are those of `pages.chart.line_chart`."""
        if self.painter is not None:
            self.painter.lines(self._figure(name), lines, **options)
        return chart.line_chart(lines, **options)

    def bars(self, name: str, names: Sequence[str], values: npt.NDArray[Any], **options: Any) -> Markup:  # noqa: ANN401
        """Draw bars; options are those of `pages.chart.bar_chart`."""
        if self.painter is not None:
            self.painter.bars(self._figure(name), names, values, **options)
        return chart.bar_chart(names, values, **options)

    def histogram(self, name: str, counts: npt.NDArray[Any], edges: npt.NDArray[Any], **options: Any) -> Markup:  # noqa: ANN401
        """Draw a histogram; options are those of `pages.chart.histogram`."""
        if self.painter is not None:
            self.painter.histogram(self._figure(name), counts, edges, **options)
        return chart.histogram(counts, edges, **options)

    def matrix(
        self, name: str, values: npt.NDArray[Any], rows: Sequence[str], columns: Sequence[str], *, title: str
    ) -> Markup:
        """Draw a matrix whose cells hold their numbers."""
        if self.painter is not None:
            self.painter.matrix(self._figure(name), values, rows, columns, title=title)
        return chart.matrix_chart(values, rows, columns, title=title)

    def tiles(self, name: str, lines: Sequence[Line], *, title: str) -> Markup:
        """Draw pictures in lines, one line under the other.

        Args:
            name: Name of the PNG.
            lines: The lines, of up to five pictures each.
            title: What they show; stands over the PNG.
        """
        if self.painter is not None:
            drawn = [(line.head, [(tile.pixels, tile.caption) for tile in line.tiles]) for line in lines]
            self.painter.tiles(self._figure(name), drawn, title=title)
        return Markup("").join(map(_line, lines))

    def _figure(self, name: str) -> Path:
        self.figures.append(f"{name}.png")
        return self.out / "figures" / f"{name}.png"


def pair(*charts: Markup) -> Markup:
    """Return charts side by side where the window is wide enough."""
    return Markup('<div class="pair">{}</div>').format(Markup("").join(charts))


def _line(line: Line) -> Markup:
    head = Markup('<p class="tile-head">{}</p>').format(line.head) if line.head else Markup("")
    shown = [picture(tile.pixels, alt=tile.alt, caption=tile.caption) for tile in line.tiles]
    return Markup('{}<div class="tiles n{}">{}</div>').format(head, len(shown), Markup("").join(shown))


def _cell(value: object) -> object:
    """Return a value as the CSV holds it: numbers plain, nothing empty, text that no spreadsheet runs."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, (int, float, np.integer)):
        return repr(float(value)) if isinstance(value, float) else int(value)
    if isinstance(value, np.floating):
        return "" if np.isnan(value) else repr(float(value))
    return safe_cell(str(value))
