"""What an evaluation writes beside its scores: the page, the tables as CSV, the figures as PNG and PDF."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ich25d.evaluate.charts import figures as figures_of
from ich25d.evaluate.page import evaluation_page
from ich25d.evaluate.paper import Paper
from ich25d.evaluate.tables import tables_of, write_tables
from ich25d.pages.plot import can_plot, plot
from ich25d.studies.store_dir.store import StudyStore

FILES = PAGE_FILE, SCORES_FILE, TEXT_FILE = "index.html", "evaluation.json", "evaluation.txt"
QC_FILE, TABLES_FOLDER, FIGURES_FOLDER = "qc.csv", "tables", "figures"


def write_paper(
    paper: Paper,
    out: Path,
    *,
    store: StudyStore | None = None,
    more: Mapping[str, pd.DataFrame] | None = None,
    figures: bool = True,
) -> list[str]:
    """Write `index.html`, `tables/*.csv` and `figures/*.png` and `.pdf`; return what to remark.

    Args:
        paper: What was measured.
        out: The folder.
        store: Where the gallery's pictures are from.
        more: Further tables, by name.
        figures: Draw PNG and PDF; the page has its charts anyway.
    """
    said = []
    write_tables({**tables_of(paper), **(more or {})}, out / TABLES_FOLDER)
    if figures and can_plot():
        for part in paper.levels:
            for name, charts in figures_of(part.level, part.charts).items():
                plot(charts, *(out / FIGURES_FOLDER / f"{name}.{kind}" for kind in ("png", "pdf")))
    elif figures:
        said.append("no PNG and PDF figures: matplotlib isn't installed; pip install 'ich25d[plots]'")
    evaluation_page(paper, store=store).write(out / PAGE_FILE)
    return said
