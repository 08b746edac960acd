"""The files of an evaluation beside its scores: the page, tables as CSV, figures as PNG and PDF."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ich25d.evaluate.charts import figures as figures_of
from ich25d.evaluate.decisions import PointResult
from ich25d.evaluate.level import Level
from ich25d.evaluate.page import evaluation_page
from ich25d.evaluate.results import LevelResults, Results
from ich25d.evaluate.scores import DECIDED, RANKED
from ich25d.files import replacing
from ich25d.labels import LABELS
from ich25d.pages.chart import LineChart
from ich25d.pages.plot import can_plot, plot
from ich25d.studies.qc import safe_cell
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.operating_point import F_RULES

FILES = PAGE_FILE, SCORES_FILE, TEXT_FILE = "index.html", "evaluation.json", "evaluation.txt"
_DIGITS = "%.6g"

Row = dict[str, Any]
Rows = defaultdict[str, list[Row]]
QC_FILE, TABLES_FOLDER, FIGURES_FOLDER = "qc.csv", "tables", "figures"


def write_results(
    results: Results,
    out: Path,
    *,
    store: StudyStore | None = None,
    more: Mapping[str, pd.DataFrame] | None = None,
    figures: bool = True,
    more_figures: Mapping[str, Sequence[LineChart]] | None = None,
) -> list[str]:
    """Write `index.html`, `tables/*.csv` and `figures/*.png` and `.pdf`; return remarks.

    Args:
        results: The results.
        out: The folder.
        store: The study store that pictures of mistakes are from.
        more: Further tables, by name.
        figures: Also draw the charts as PNG and PDF.
        more_figures: Further figures, by name.
    """
    remarks = []
    write_tables({**tables_of(results), **(more or {})}, out / TABLES_FOLDER)
    if figures and can_plot():
        drawn: dict[str, Sequence[LineChart]] = dict(more_figures or {})
        for part in results.levels:
            drawn |= figures_of(part.level, part.charts)
        for name, charts in drawn.items():
            plot(charts, *(out / FIGURES_FOLDER / f"{name}.{kind}" for kind in ("png", "pdf")))
    elif figures:
        remarks.append("no PNG and PDF figures: matplotlib isn't installed; pip install 'ich25d[plots]'")
    evaluation_page(results, store=store).write(out / PAGE_FILE)
    return remarks


def tables_of(results: Results) -> dict[str, pd.DataFrame]:
    """Return all tables by name; those without a row are left out."""
    rows: Rows = defaultdict(list)
    rows["exclusions"] = results.flow.rows()
    for part in results.levels:
        _add_level(rows, part)
    rows["comparison"] = [found.to_row() for found in results.comparison]
    rows["mistakes"] = [{**asdict(found), "truth": ";".join(found.truth)} for found in results.mistakes]
    return {name: pd.DataFrame(found) for name, found in rows.items() if found}


def write_tables(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Write tables as CSV: numbers with six significant digits, texts so that no spreadsheet runs them."""
    for name, table in tables.items():
        safe = table.map(lambda value: safe_cell(value) if isinstance(value, str) else value)
        with replacing(folder / f"{name}.csv") as part:
            safe.to_csv(part, index=False, float_format=_DIGITS, lineterminator="\n")


def _add_level(rows: Rows, part: LevelResults) -> None:
    name = part.level.name
    _add_scores(rows, part.level)
    for curves in part.curves:
        who = {"level": name, "label": curves.label}
        for kind, chart in part.charts[curves.label].items():
            rows[kind] += [{**who, **row} for row in chart.rows]
        fit = curves.reliability
        line: Row = {**who, "observed": fit.observed, "expected": fit.expected}
        for one, measure in (("intercept", fit.intercept), ("slope", fit.slope)):
            line |= {one: measure.value, f"{one}_low": measure.low, f"{one}_high": measure.high}
        rows["calibration"].append(line)
    for point in part.points:
        _add_point(
            rows, {"level": name, "point": point.point, "label": point.label, "threshold": point.threshold}, point
        )
    rows["subgroups"] += [{"level": name, **row} for row in part.subgroups]


def _add_scores(rows: Rows, level: Level) -> None:
    scores = level.scores
    for label in LABELS:
        known: Row = {"level": level.name, "label": label}
        known |= {"n": scores.n_known[label], "n_positive": scores.n_positive[label]}
        for measure in RANKED:
            row = {**known, "threshold": None, "measure": measure}
            rows["scores"].append({**row, **asdict(scores.label[label][measure])})
        for rule in F_RULES:
            for measure in DECIDED:
                row = {**known, "threshold": scores.threshold[rule][label]}
                row["measure"] = f"{measure} at {rule}'s threshold"
                rows["scores"].append({**row, **asdict(scores.at[rule][label][measure])})


def _add_point(rows: Rows, who: Row, point: PointResult) -> None:
    for name, share in (("sensitivity", point.sensitivity), ("specificity", point.specificity)):
        rows["operating_points"].append({
            **who, "measure": name, "n_hit": share.n_hit, "n": share.n, "value": share.value,
            "wilson_low": share.wilson[0], "wilson_high": share.wilson[1],
            "resampled_low": share.resampled[0], "resampled_high": share.resampled[1],
        })  # fmt: skip
    for name, values in (("ppv", point.positive_predictive), ("npv", point.negative_predictive)):
        for prevalence, found in values.items():
            rows["predictive_values"].append({**who, "measure": name, "prevalence": prevalence, **asdict(found)})
