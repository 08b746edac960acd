"""What states of confidence are worth: scores of the sure series and the others, and risk over coverage.

Series are ranked by state, then by how clear their answer is. At a coverage c the c most confident are answered; the
risk is the share of wrong answers among them: bleeding series that weren't flagged, flagged ones that don't bleed.

References:
    Geifman & El-Yaniv, Selective classification for deep neural networks, 2017.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from ich25d.evaluate.level import Cases
from ich25d.evaluate.scores import short
from ich25d.files import read_parquet
from ich25d.labels import ANY_INDEX
from ich25d.pages.chart import Line, LineChart
from ich25d.pages.table import table
from ich25d.training.confidence import STATES, SURE, WORDS
from ich25d.training.intervals import LEVEL, Measure, bootstrap, patient_weights, percentiles, wilson_interval
from ich25d.training.metrics import auc
from ich25d.training.operating_point import OperatingPoint

COVERAGES = np.linspace(0.05, 1, 39)
"""Shares of answered series at which the risk is given."""

COLUMNS = ("confidence", "clearness")
"""What `predictions.parquet` holds of the series of each slice."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GroupScores:
    """The series of one state, or several."""

    name: str
    n: int
    share: Measure
    """Of all series, with Wilson's interval."""
    n_positive: int
    auc: Measure
    """Of any bleed, resampled by patient."""
    sensitivity: Measure
    """Share of bleeding series that are flagged, with Wilson's interval."""
    specificity: Measure
    risk: Measure
    """Share of wrong answers, with Wilson's interval."""


@dataclass(frozen=True, slots=True, eq=False)
class Selective:
    """What the states are worth on the series at hand."""

    groups: tuple[GroupScores, ...]
    """All, the sure ones, each other state, and all but the sure."""
    risk: Floats
    """Risk at each of `COVERAGES`, and its pointwise band; shape (3, C)."""
    area: Measure
    """Mean risk over all coverages: the area under the curve."""
    point: str
    """Whose thresholds flag."""

    def to_dict(self) -> dict[str, Any]:
        """Return what `evaluation.json` holds."""
        return {
            "operating_point": self.point,
            "groups": {one.name: {name: getattr(one, name) for name in _MEASURED} for one in self.groups},
            "area_under_risk_coverage": self.area,
        }

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the CSV tables by name."""
        rows = []
        for one in self.groups:
            row: dict[str, Any] = {"group": one.name, "n": one.n, "n_positive": one.n_positive}
            for name in ("share", "auc", "sensitivity", "specificity", "risk"):
                measure: Measure = getattr(one, name)
                row |= {name: measure.value, f"{name}_low": measure.low, f"{name}_high": measure.high}
            rows.append(row)
        risk, low, high = self.risk
        curve = pd.DataFrame({"coverage": COVERAGES, "risk": risk, "low": low, "high": high})
        return {"confidence": pd.DataFrame(rows), "risk_coverage": curve}

    def chart(self) -> LineChart:
        """Return the risk-coverage curve."""
        risk, low, high = self.risk
        top = float(min(1.0, 1.1 * np.nanmax([*high, *risk, 0.05])))
        whole = float(risk[-1])
        lines = [
            Line(COVERAGES, risk, f"area {short(self.area)}", low=low, high=high, style=5),
            Line([0, 1], [whole, whole], f"answered at random {whole:.3f}", style=6),
        ]
        return LineChart(
            lines, title="Risk over coverage: series", x_label="share of series answered, the most confident first",
            y_label="share of wrong answers", x_range=(0.0, 1.0), y_range=(0.0, top), size=(440, 360),
        )  # fmt: skip

    def parts(self) -> tuple[Markup, Markup]:
        """Return table and curve for the page."""
        rows = [
            [WORDS.get(one.name, one.name), one.n, _iv(one.share), one.n_positive,
             *(_iv(measure) for measure in (one.auc, one.sensitivity, one.specificity, one.risk))]
            for one in self.groups
        ]  # fmt: skip
        columns = ["series", "number", "share", "bleeding", "AUC any", "sensitivity", "specificity", "wrong answers"]
        caption = "series by state of confidence"
        return table(columns, rows, caption=caption, sortable=False), self.chart().to_svg()

    @property
    def note(self) -> str:
        """What the page says of them."""
        return (
            f"Flagged by {self.point}. AUC: {LEVEL:.0%} interval from resampled patients; shares: Wilson's interval, "
            "which takes series as independent. A dash is what isn't defined."
        )

    def lines(self) -> list[str]:
        """Return the lines of the terminal."""
        head = f"  {'series by confidence':<30}{'n':>6}{'share':>21}{'AUC any':>21}{'sensitivity':>21}{'wrong':>21}"
        return ["", head] + [
            f"  {one.name:<30}{one.n:>6}"
            + "".join(f"{short(measure):>21}" for measure in (one.share, one.auc, one.sensitivity, one.risk))
            for one in self.groups
        ]  # fmt: skip


_MEASURED = ("n", "share", "n_positive", "auc", "sensitivity", "specificity", "risk")


def states_of(predictions: Path, series: Cases, slices: Cases, *, own: bool) -> pd.DataFrame | None:
    """Return state and clearness of each series, in its order; None where the predictions hold none.

    Args:
        predictions: The file of predictions.
        series: The series.
        slices: Their slices.
        own: Whether the tables beside the predictions are its own.
    """
    path = predictions if predictions.suffix == ".parquet" else predictions.with_name("predictions.parquet")
    if slices.series_id is None or series.series_id is None or not (path == predictions or own):
        return None
    content = read_parquet(path)
    if any(name not in content for name in COLUMNS):
        return None
    of_image = content.drop_duplicates("image_id").set_index(content["image_id"].astype(str))[list(COLUMNS)]
    found = of_image.reindex([str(image) for image in slices.case_id])
    by_series = found.groupby(np.asarray(slices.series_id)).first().reindex(series.series_id)
    by_series["confidence"] = by_series["confidence"].fillna("")
    return by_series if (by_series["confidence"] != "").any() else None


def measure_selective(
    series: Cases, states: pd.DataFrame, point: OperatingPoint, *, replicates: int, seed: int
) -> Selective | None:
    """Measure what states of confidence are worth.

    Args:
        series: The series, of which those with a known `any` and a state count.
        states: From `states_of`.
        point: The operating point that flags; one without thresholds flags by `any` from .5 on.
        replicates: Resamplings of the patients.
        seed: Seed of the draws.

    Returns:
        None where no series counts.
    """
    state = states["confidence"].to_numpy(dtype=object)
    known = ~np.isnan(series.target[:, ANY_INDEX]) & (state != "")
    if not known.any():
        return None
    if not point.of_series:
        point = OperatingPoint("any from .5 on", {}, {"any": 0.5})
    truth, probability = series.target[known, ANY_INDEX], series.probability[known]
    flagged = np.array([bool(point.over(row)) for row in probability])
    patient, state = series.patient[known].astype(str), state[known]
    clearness = states["clearness"].to_numpy(dtype=np.float64, na_value=np.nan)[known]
    wrong = flagged != (truth == 1)
    groups = [("all", np.ones(len(truth), dtype=bool)), *((name, state == name) for name in STATES)]
    groups.append(("all but sure", state != SURE))
    scored = tuple(
        _group(name, chosen, truth, probability[:, ANY_INDEX], flagged, patient, replicates=replicates, seed=seed)
        for name, chosen in groups
    )
    rank = np.array([-list(STATES).index(name) for name in state], dtype=np.float64)
    order = np.lexsort((-np.nan_to_num(clearness, nan=-np.inf), -rank))
    curves = [risk_over_coverage(wrong[order], np.ones((1, len(order))))]
    curves += [
        risk_over_coverage(wrong[order], weight[:, order])
        for weight in patient_weights(patient, replicates=replicates, seed=seed)
    ]
    values = np.concatenate(curves)
    low, high = percentiles(values[1:])
    area = values.mean(axis=1)
    ends = percentiles(area[1:])
    return Selective(
        scored, np.stack([values[0], low, high]), Measure(float(area[0]), float(ends[0]), float(ends[1])), point.name
    )


def risk_over_coverage(wrong: npt.NDArray[np.bool_], weight: Floats) -> Floats:
    """Return the share of wrong answers among the most confident, at each of `COVERAGES`.

    Args:
        wrong: Shape (N,), the most confident first.
        weight: Of each case, shape (R, N), not negative.

    Returns:
        Shape (R, C): a case that a coverage cuts counts in part.
    """
    reached = np.cumsum(weight, axis=1)
    mistakes = np.cumsum(weight * wrong, axis=1)
    rows = []
    for row_reached, row_mistakes in zip(reached, mistakes, strict=True):
        asked = COVERAGES * row_reached[-1]
        start = np.concatenate([[0.0], row_reached]), np.concatenate([[0.0], row_mistakes])
        rows.append(np.interp(asked, *start) / np.maximum(asked, 1e-12))
    return np.stack(rows)


def _group(
    name: str,
    chosen: npt.NDArray[np.bool_],
    truth: Floats,
    probability: Floats,
    flagged: npt.NDArray[np.bool_],
    patient: npt.NDArray[Any],
    *,
    replicates: int,
    seed: int,
) -> GroupScores:
    positive, flagged, value = truth[chosen] == 1, flagged[chosen], probability[chosen]
    area = Measure(*[float("nan")] * 3)
    if positive.any() and not positive.all():
        drawn = bootstrap(
            lambda weight: auc(truth[chosen], value, weight), patient[chosen], replicates=replicates, seed=seed
        )  # fmt: skip
        low, high = percentiles(drawn)
        area = Measure(float(auc(truth[chosen], value)), float(low), float(high))
    return GroupScores(
        name, int(chosen.sum()), _share(int(chosen.sum()), len(chosen)), int(positive.sum()), area,
        _share(int(flagged[positive].sum()), int(positive.sum())),
        _share(int((~flagged)[~positive].sum()), int((~positive).sum())),
        _share(int((flagged != positive).sum()), len(positive)),
    )  # fmt: skip


def _share(n_hit: int, n: int) -> Measure:
    return Measure(n_hit / n, *wilson_interval(n_hit, n)) if n else Measure(*[float("nan")] * 3)


def _iv(measure: Measure) -> Markup:
    return Markup('<span class="iv">{}</span>').format(short(measure))
