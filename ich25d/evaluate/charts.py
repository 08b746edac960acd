"""The charts of an evaluation.

To add one, write a function from a label's curves to a `LabelChart` and name it in `LABEL_CHARTS`. By its name it gets
a place among the label's charts on the page, `figures/<level>_<name>.png` and `.pdf`, and `tables/<name>.csv`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.evaluate.curves import Curve, LabelCurves
from ich25d.evaluate.level import Level
from ich25d.evaluate.scores import short
from ich25d.labels import LABELS
from ich25d.pages.chart import Line, LineChart

Row = dict[str, Any]

_OTHER, _NOTHING = 6, 7  # styles of lines that are no label's
_SIZE = (440, 360)
_UNIT: dict[str, Any] = {"x_range": (0.0, 1.0), "y_range": (0.0, 1.0), "size": _SIZE}


@dataclass(frozen=True, slots=True, eq=False)
class LabelChart:
    """A chart of one label, and its numbers."""

    chart: LineChart
    rows: list[Row]
    """Rows of the CSV table: name of a column and value."""


def roc(one: LabelCurves) -> LabelChart:
    """Sensitivity over the share of negatives that are called positive."""
    line = _line(one.roc, f"AUC {short(one.measures['auc'])}", one.label)
    chart = LineChart(
        [line], title=f"ROC: {one.name}", x_label="1 - specificity", y_label="sensitivity", diagonal=True, **_UNIT
    )
    return LabelChart(chart, _rows(one.roc, "false_positive_rate", "sensitivity"))


def precision_recall(one: LabelCurves) -> LabelChart:
    """Precision over sensitivity, beside the share of positives."""
    line = _line(one.precision, f"AP {short(one.measures['average_precision'])}", one.label)
    prevalence = Line([0, 1], [one.prevalence] * 2, f"share of positives {one.prevalence:.3f}", style=_OTHER)
    chart = LineChart(
        [line, prevalence], title=f"Precision-recall: {one.name}", x_label="sensitivity (recall)",
        y_label="precision (positive predictive value)", **_UNIT,
    )  # fmt: skip
    return LabelChart(chart, _rows(one.precision, "sensitivity", "precision"))


def reliability(one: LabelCurves) -> LabelChart:
    """Observed share of positives over the mean probability, by tenths of the cases."""
    curve = one.reliability.curve
    top = float(min(1.0, 1.15 * max(np.nanmax(curve.x), np.nanmax(curve.high), 0.05)))
    chart = LineChart(
        [_line(curve, f"slope {short(one.reliability.slope, 2)}", one.label)], title=f"Reliability: {one.name}",
        x_label="mean probability of a tenth of the cases", y_label="observed share of positives", size=_SIZE,
        x_range=(0.0, top), y_range=(0.0, top), diagonal=True, has_points=True,
    )  # fmt: skip
    return LabelChart(chart, _rows(curve, "mean_probability", "observed_share", n=one.reliability.n))


def decision_curve(one: LabelCurves) -> LabelChart:
    """Net benefit of the model, of calling everything, and of calling nothing, over the threshold probability."""
    shown = one.benefit.x <= max(0.1, min(0.6, 4 * one.prevalence))
    last, best = float(one.benefit.x[shown][-1]), float(np.nanmax([one.benefit.high.max(), one.prevalence]))
    model, everything = (Curve(*(part[shown] for part in curve)) for curve in (one.benefit, one.everything))
    lines = [
        _line(model, "model", one.label),
        Line(everything.x, everything.y, "call everything", style=_OTHER),
        Line([0, last], [0, 0], "call nothing", style=_NOTHING),
    ]
    chart = LineChart(
        lines, title=f"Decision curve: {one.name}", x_label="probability at which an alarm is wanted",
        y_label="net benefit a case", x_range=(0.0, last), y_range=(-0.25 * best, 1.1 * best), size=_SIZE,
    )  # fmt: skip
    everything_called = {"net_benefit_of_calling_everything": one.everything.y}
    return LabelChart(chart, _rows(one.benefit, "threshold_probability", "net_benefit", **everything_called))


LABEL_CHARTS = (roc, precision_recall, reliability, decision_curve)
"""The charts of a label, in the order of the page."""


def label_charts(one: LabelCurves) -> dict[str, LabelChart]:
    """Return all charts of a label, by name."""
    return {make.__name__: make(one) for make in LABEL_CHARTS}


def overviews(level: Level, charts: Mapping[str, Mapping[str, LabelChart]]) -> list[LineChart]:
    """Return ROC and precision-recall curves of all labels in one chart each; bands are in the labels' own charts.

    Args:
        level: What the cases are.
        charts: By label and name, at least one.
    """
    found = []
    for name, measure, short_name in (("roc", "auc", "AUC"), ("precision_recall", "average_precision", "AP")):
        of_labels = {label: by_name[name].chart for label, by_name in charts.items()}
        lines = []
        for label, chart in of_labels.items():
            line = chart.lines[0]
            text = f"{label} {short(level.scores.label[label][measure])}"
            lines.append(replace(line, label=text, low=None, high=None))
        kind, _, _ = chart.title.partition(":")
        found.append(replace(chart, lines=lines, title=f"{kind}: {level.name}, all labels ({short_name})"))
    return found


def figures(level: Level, charts: Mapping[str, Mapping[str, LabelChart]]) -> dict[str, Sequence[LineChart]]:
    """Return the figures of a level by their files' names: the overviews, and for each kind of chart all labels'."""
    if not charts:
        return {}
    by_kind: dict[str, Sequence[LineChart]] = {f"{level.name}_all_labels": overviews(level, charts)}
    for make in LABEL_CHARTS:
        by_kind[f"{level.name}_{make.__name__}"] = [of_label[make.__name__].chart for of_label in charts.values()]
    return by_kind


def _line(curve: Curve, text: str, label: str) -> Line:
    return Line(curve.x, curve.y, text, low=curve.low, high=curve.high, style=LABELS.index(label))


def _rows(curve: Curve, x: str, y: str, **more: npt.NDArray[Any]) -> list[Row]:
    columns = {x: curve.x, y: curve.y, "low": curve.low, "high": curve.high, **more}
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in values]
