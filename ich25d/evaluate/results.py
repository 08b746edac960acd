"""The results of an evaluation: what its page, tables and figures are made from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from ich25d.evaluate.charts import LabelChart, label_charts
from ich25d.evaluate.comparison import LabelComparison
from ich25d.evaluate.curves import LabelCurves
from ich25d.evaluate.decisions import PREVALENCES, PointResult, decide
from ich25d.evaluate.level import Level
from ich25d.evaluate.mistakes import Mistake
from ich25d.evaluate.selective import Selective
from ich25d.labels import LABELS
from ich25d.progress import bar
from ich25d.studies.qc import Reason
from ich25d.training.operating_point import HOLDING_RULES, RULES

NO_THRESHOLDS = (
    "no operating points: their thresholds must have been chosen on validation, before these cases were seen; "
    "--model names a model that has them"
)
NOT_CHOSEN = (
    f"no operating points: the model has none for {' and '.join(RULES[rule].meaning for rule in HOLDING_RULES)} at "
    "this level; its held-out cases had too few positives or negatives to choose any"
)


@dataclass(frozen=True, slots=True)
class Flow:
    """Counts from all cases to those judged, and the reasons in tables of refusals and remarks."""

    steps: tuple[tuple[str, int], ...]
    """Name and count of each step."""
    reasons: tuple[Reason, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """Return both as rows of one table."""
        steps = [{"kind": "step", "what": what, "n": n, "level": "", "code": "", "where": ""} for what, n in self.steps]
        reasons = [
            {
                "kind": "refused" if reason.is_refused else "remark", "what": reason.meaning, "n": reason.n,
                "level": reason.level, "code": reason.code, "where": reason.where,
            }
            for reason in self.reasons
        ]  # fmt: skip
        return [*steps, *reasons]


@dataclass(frozen=True, slots=True, eq=False)
class LevelResults:
    """The results of one level."""

    level: Level
    curves: tuple[LabelCurves, ...]
    """Of each label that has both classes."""
    charts: dict[str, dict[str, LabelChart]]
    """By label of `curves`, then by name."""
    points: tuple[PointResult, ...]
    """Empty where the model has no thresholds for them."""
    subgroups: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A further section of the page."""

    heading: str
    parts: tuple[str | Markup, ...]
    note: str = ""


@dataclass(slots=True, eq=False)
class Results:
    """All results of an evaluation."""

    title: str
    levels: list[LevelResults]
    flow: Flow
    thresholds: str
    """Where the thresholds are from."""
    has_model: bool = False
    """The thresholds are a model's; a level without operating points then has a model that chose none."""
    comparison: list[LabelComparison] = field(default_factory=list)
    other: str = ""
    """Name of the other file of the comparison."""
    mistakes: list[Mistake] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    prevalences: tuple[float, ...] = PREVALENCES
    intro: str = ""
    selective: Selective | None = None
    """What states of confidence are worth; None for predictions without."""
    sections: list[Section] = field(default_factory=list)
    """Shown after the summary."""

    @property
    def why_no_points(self) -> str:
        """Reason of a level without operating points."""
        return NOT_CHOSEN if self.has_model else NO_THRESHOLDS

    def point_remarks(self) -> list[str]:
        """Return a remark on the levels without operating points, if there are any."""
        absent = [part.level.name for part in self.levels if not part.points]
        return [f"{', '.join(absent)}: {self.why_no_points}"] if absent else []

    def to_dict(self) -> dict[str, Any]:
        """Return what `evaluation.json` holds beside the scores."""
        return {
            "operating_points": {
                part.level.name: {
                    point: {found.label: found for found in part.points if found.point == point}
                    for point in dict.fromkeys(found.point for found in part.points)
                }
                for part in self.levels
            },
            "calibration": {
                part.level.name: {
                    curves.label: {
                        name: getattr(curves.reliability, name)
                        for name in ("slope", "intercept", "observed", "expected")
                    }
                    for curves in part.curves
                }
                for part in self.levels
            },
            "flow": self.flow.rows(),
            **({} if self.selective is None else {"confidence": self.selective.to_dict()}),
        }


def measure_level(
    level: Level, *, prevalences: Sequence[float] = PREVALENCES, subgroups: Sequence[dict[str, Any]] = ()
) -> LevelResults:
    """Measure curves and operating points of one level.

    Args:
        level: Its cases.
        prevalences: Shares of positives at which predictive values are stated.
        subgroups: From `measure_subgroups`.
    """
    curves, charts = [], {}
    with bar(f"curves of {level.name}", len(LABELS), "labels") as advance:
        for column, label in enumerate(LABELS):
            if len(np.unique(level.of_label(column).positive)) == 2:
                curves.append(LabelCurves(level, label))
                charts[label] = label_charts(curves[-1])
            advance()
    return LevelResults(level, tuple(curves), charts, tuple(decide(level, prevalences)), tuple(subgroups))
