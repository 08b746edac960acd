"""Which charts an evaluation has: each label's four, and all labels' ROC curves in one frame."""

import math

import numpy as np
import numpy.typing as npt

from ich25d.evaluate.chart import Chart
from ich25d.evaluate.curves import Curve
from ich25d.evaluate.paper import LabelCurves, LevelPaper
from ich25d.evaluate.scores import Measure
from ich25d.labels import LABELS
from ich25d.pages.chart import Line

_OTHER = 6  # style of a line that is no label's


def short(measure: Measure, digits: int = 3) -> str:
    """Write a measure with its interval, as `.912 [.880, .941]`; a dash where it isn't defined."""
    if math.isnan(measure.value):
        return "\N{EN DASH}"
    value = _number(measure.value, digits)
    return value if math.isnan(measure.low) else f"{value} {interval((measure.low, measure.high), digits)}"


def interval(ends: tuple[float, float], digits: int = 3) -> str:
    """Write an interval alone, as `[.880, .941]`; a dash where it isn't defined."""
    if math.isnan(ends[0]):
        return "\N{EN DASH}"
    return f"[{_number(ends[0], digits)}, {_number(ends[1], digits)}]"


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    text = text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
    return text.replace("-", "\N{MINUS SIGN}")


def overviews(paper: LevelPaper) -> list[Chart]:
    """Return ROC and precision-recall curves of all labels in a frame each; bands are in the labels' own charts."""
    lines: tuple[list[Line], list[Line]] = ([], [])
    for curves in paper.curves:
        found = paper.level.scores.label[curves.label]
        for part, curve, name in zip(lines, (curves.roc, curves.precision), ("auc", "average_precision"), strict=True):
            part.append(_line(curve, f"{curves.label} {short(found[name])}", curves.label, band=False))
    name = f"{paper.level.name}, all labels"
    return [
        Chart(f"ROC: {name} (AUC)", "1 - specificity", "sensitivity", tuple(lines[0]), diagonal=True),
        Chart(f"Precision-recall: {name} (AP)", "sensitivity (recall)", "precision", tuple(lines[1])),
    ]


def label_charts(paper: LevelPaper, curves: LabelCurves) -> dict[str, Chart]:
    """Return a label's charts by kind: roc, precision_recall, reliability, decision_curve."""
    label, level = curves.label, paper.level
    measures = level.scores.label[label]
    n, positive = level.scores.n_known[label], level.scores.n_positive[label]
    name = f"{label}, {level.name}"
    prevalence = Line([0, 1], [positive / n] * 2, f"share of positives {positive / n:.3f}", style=_OTHER)
    groups = curves.reliability
    top = float(min(1.0, 1.15 * max(np.nanmax(groups.curve.x), np.nanmax(groups.curve.high), 0.05)))
    best = float(np.nanmax([curves.benefit.high.max(), positive / n]))
    shown = curves.benefit.x <= max(0.1, min(0.6, 4 * positive / n))
    last = float(curves.benefit.x[shown][-1])
    return {
        "roc": Chart(
            f"ROC: {name}", "1 - specificity", "sensitivity",
            (_line(curves.roc, f"AUC {short(measures['auc'])}", label),), diagonal=True,
        ),
        "precision_recall": Chart(
            f"Precision-recall: {name}", "sensitivity (recall)", "precision (positive predictive value)",
            (_line(curves.precision, f"AP {short(measures['average_precision'])}", label), prevalence),
        ),
        "reliability": Chart(
            f"Reliability: {name}", "mean probability of a tenth of the cases", "observed share of positives",
            (_line(groups.curve, f"slope {short(groups.slope, 2)}", label),),
            (0.0, top), (0.0, top), diagonal=True, is_points=True,
        ),
        "decision_curve": Chart(
            f"Decision curve: {name}", "probability at which an alarm is wanted", "net benefit a case",
            (
                _line(_cut(curves.benefit, shown), "model", label),
                _line(_cut(curves.everything, shown), "call everything", "", band=False),
                Line([0, last], [0, 0], "call nothing", style=7),
            ),
            (0.0, last), (-0.25 * best, 1.1 * best),
        ),
    }  # fmt: skip


def figures_of(paper: LevelPaper) -> dict[str, list[Chart]]:
    """Return a level's figures for a paper: all ROC curves in one, and a panel a label of each kind."""
    if not paper.curves:
        return {}
    name = paper.level.name
    figures = {f"{name}_all_labels": overviews(paper)}
    for curves in paper.curves:
        for kind, chart in label_charts(paper, curves).items():
            figures.setdefault(f"{name}_{kind}", []).append(chart)
    return figures


def _cut(curve: Curve, shown: npt.NDArray[np.bool_]) -> Curve:
    return Curve(*(part[shown] for part in (curve.x, curve.y, curve.low, curve.high)))


def _line(curve: Curve, label: str, of: str, *, band: bool = True) -> Line:
    style = LABELS.index(of) if of in LABELS else _OTHER
    if band:
        return Line(curve.x, curve.y, label, low=curve.low, high=curve.high, style=style)
    return Line(curve.x, curve.y, label, style=style)
