"""The numbers of an evaluation as CSV tables: whatever a figure or the page shows can be drawn again from them."""

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ich25d.evaluate.decisions import PointResult
from ich25d.evaluate.level import Level
from ich25d.evaluate.paper import LevelPaper, Paper
from ich25d.evaluate.scores import DECIDED, RANKED
from ich25d.files import replacing
from ich25d.labels import LABELS
from ich25d.studies.qc import safe_cell
from ich25d.training.operating_point import F_RULES

_DIGITS = "%.6g"

Row = dict[str, Any]
Rows = defaultdict[str, list[Row]]


def tables_of(paper: Paper) -> dict[str, pd.DataFrame]:
    """Return all tables by name; those without a row are left out."""
    rows: Rows = defaultdict(list)
    rows["exclusions"] = paper.flow.rows()
    for part in paper.levels:
        _add_level(rows, part)
    rows["comparison"] = [found.to_row() for found in paper.comparison]
    rows["mistakes"] = [{**asdict(found), "truth": ";".join(found.truth)} for found in paper.mistakes]
    return {name: pd.DataFrame(found) for name, found in rows.items() if found}


def write_tables(tables: dict[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Write tables as CSV, numbers with six significant digits, texts so that no spreadsheet runs them."""
    written = []
    for name, table in tables.items():
        safe = table.copy()
        for column in safe.columns:
            if any(isinstance(value, str) for value in safe[column]):
                safe[column] = [safe_cell(value) if isinstance(value, str) else value for value in safe[column]]
        path = folder / f"{name}.csv"
        with replacing(path) as part:
            safe.to_csv(part, index=False, float_format=_DIGITS, lineterminator="\n")
        written.append(path)
    return written


def _add_level(rows: Rows, part: LevelPaper) -> None:
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
                row = {
                    **known,
                    "threshold": scores.threshold[rule][label],
                    "measure": f"{measure} at {rule}'s threshold",
                }
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
