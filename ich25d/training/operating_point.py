"""Operating points: the probability from which on a label counts as found, on a slice and on a whole series.

A rule chooses one threshold a label on validation cases (`threshold_choice`); `model.json` keeps what all rules chose,
and what each reached there:

    {"thresholds": {"slice": {"f1": {label: threshold}, "f2": ..., "sensitivity_95": ...}, "series": ...},
     "operating_points": {"slice": {"f1": {label: {"sensitivity": ..., "n_positive": ..., ...}}}, "series": ...}}

An operating point is what one rule chose at both levels. `report` and `explain` use the same one by default: the most
sensitive that spares three fifths of the series without a bleed. A missed bleed costs more than a false alarm; but
where every other clean scan is flagged, a flag says no more than the toss of a coin, and nobody goes on reading it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.errors import ModelError, UsageError
from ich25d.labels import LABELS

Thresholds = dict[str, dict[str, float]]
"""By rule, then by label; a label for which none could be chosen (no positive, no negative) is absent."""

Held = Literal["sensitivity", "specificity"]

LEVELS = ("slice", "series")

FLAGGED = "flagged"
"""Stands beside the labels of series for what a reader sees: a series with any label over its threshold."""

SPARING = 0.6
"""Least specificity, of `FLAGGED`, that the default point has where there is one."""
_SPARES_FEW, _FLAGS_MOST, _ENOUGH_SERIES = 0.2, 0.9, 5
_MAX_JSON_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class Rule:
    """How thresholds are chosen: for the highest F measure, or so that sensitivity or specificity is held."""

    meaning: str
    beta: float | None = None
    """Of the F measure that is maximised: recall weighs beta times as much as precision. None for the other kind."""
    holds: tuple[Held, float] | None = None
    """The measure that is held and its least value; among such thresholds the other measure is highest."""


RULES: dict[str, Rule] = {
    "sensitivity_95": Rule("sensitivity at least .95", holds=("sensitivity", 0.95)),
    "f2": Rule("best F2", beta=2.0),
    "f1": Rule("best F1", beta=1.0),
    "specificity_90": Rule("specificity at least .90", holds=("specificity", 0.90)),
}
"""All rules by name, the most sensitive first."""

F_RULES: dict[str, float] = {name: rule.beta for name, rule in sorted(RULES.items()) if rule.beta is not None}
"""The rules that maximise an F measure, with its beta."""

HOLDING_RULES: dict[str, tuple[Held, float]] = {name: rule.holds for name, rule in RULES.items() if rule.holds}
"""The rules that hold a measure, with its least value."""


class Measured(NamedTuple):
    """What a threshold reached on validation."""

    sensitivity: float
    n_positive: int
    specificity: float
    n_negative: int


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One rule's thresholds by label, for slices and for whole series."""

    rule: str = "none"
    """A key of `RULES`; `none` where the model has no thresholds: then nothing counts as found."""
    of_slice: Mapping[str, float] = field(default_factory=dict)
    of_series: Mapping[str, float] = field(default_factory=dict)
    measured: Measured | None = None
    """What flagging by it reached on the series of validation; None where a model doesn't say."""
    share: float | None = None
    """Of bleeding series where it is used; None where nobody has said so."""

    @property
    def name(self) -> str:
        """What its thresholds were chosen for."""
        return RULES[self.rule].meaning if self.rule in RULES else self.rule

    @property
    def described(self) -> str:
        """Its name and what it reached on validation."""
        if self.measured is None:
            return self.name
        right, n_positive, spared, n_negative = self.measured
        at = f"; {self.predictive}" if self.share is not None else ""
        return (
            f"{self.name} (found {_share(right)} of {n_positive} positive, spared {_share(spared)} of {n_negative}{at})"
        )

    @property
    def predictive(self) -> str:
        """What a flag says where it is used, at the sensitivity and specificity of validation; else empty."""
        if self.measured is None or self.share is None:
            return ""
        hit, spared = self.measured.sensitivity * self.share, self.measured.specificity * (1 - self.share)
        false, missed = 1 - self.share - spared, self.share - hit
        ppv = _share(hit / (hit + false)) if hit + false > 0 else "-"
        npv = _share(spared / (spared + missed)) if spared + missed > 0 else "-"
        per_hit = f"{false / hit:.1f}" if hit > 0 else "-"
        return f"where {_share(self.share)} of series bleed: PPV {ppv}, NPV {npv}, {per_hit} false alarms per hit"

    @property
    def caution(self) -> str:
        """A sentence where it flags nearly everything; else empty."""
        if self.measured is None or self.measured.specificity >= _SPARES_FEW:
            return ""
        n = self.measured.n_negative
        flagged = round((1 - self.measured.specificity) * n)
        return (
            f"This operating point flags nearly everything: on validation {flagged} of {n} series without a bleed. "
            "A flag by it says little."
        )

    def doubt(self, n_flagged: int, n_series: int) -> str:
        """Return a sentence where it flagged nearly all of some series at hand; else nothing."""
        if n_series < _ENOUGH_SERIES or n_flagged <= _FLAGS_MOST * n_series:
            return ""
        return (
            f"{n_flagged} of {n_series} series are flagged: unless nearly all bleed, the operating point "
            f"({self.name} on validation) doesn't hold on these scans."
        )

    def over(self, probability: npt.NDArray[np.float64]) -> tuple[str, ...]:
        """Return the labels of a series at or over their threshold: `any` first, then by falling probability.

        Args:
            probability: Of the series, shape (6,), in the order of `LABELS`.
        """
        chosen = [
            (label != "any", -float(probability[number]), label)
            for number, label in enumerate(LABELS)
            if label in self.of_series and probability[number] >= self.of_series[label]
        ]
        return tuple(label for *_, label in sorted(chosen))

    def slices_over(self, probability: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return which slices are at or over the threshold of which label.

        Args:
            probability: Of n slices, shape (n, 6).

        Returns:
            Shape (n, 6); False throughout for a label without a threshold.
        """
        threshold = np.array([self.of_slice.get(label, np.inf) for label in LABELS])
        return np.asarray(probability >= threshold)


def _share(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def known_points(
    thresholds: Mapping[str, Thresholds], measured: Mapping[str, Measured] | None = None
) -> tuple[OperatingPoint, ...]:
    """Return the operating points that a model has, the default first; one without thresholds where it has none.

    The default is the most sensitive one that spares three fifths of the series without a bleed, else the one that
    spares most; where nothing was measured, the most sensitive.

    Args:
        thresholds: By level (`slice`, `series`). Where a rule has none for series, those for slices are taken.
        measured: By rule, what flagging series reached on validation.
    """
    of_slice, of_series = thresholds.get("slice", {}), thresholds.get("series", {})
    points = [
        OperatingPoint(
            rule, of_slice.get(rule, {}), of_series.get(rule, {}) or of_slice.get(rule, {}), (measured or {}).get(rule)
        )
        for rule in RULES
        if of_series.get(rule) or of_slice.get(rule)
    ]
    # True is more than any share below it: of several that spare enough, the first.
    points.sort(key=_spares, reverse=True)
    first = points[:1]
    return (*first, *(point for rule in RULES for point in points[1:] if point.rule == rule)) or (OperatingPoint(),)


def _spares(point: OperatingPoint) -> float:
    """Return 1 where a point spares enough clean series, or isn't known to flag too many; else what it spares."""
    if point.measured is None or point.measured.specificity >= SPARING:
        return 1.0
    return point.measured.specificity


def read_points(model: Path) -> tuple[OperatingPoint, ...]:
    """Return the operating points of a model directory, the default first.

    Raises:
        ModelError: Its thresholds, or what they reached, can't be read.
    """
    path = _file_of(model)
    return known_points(find_thresholds(model), _read_measured(_read_json(path), path))


def _read_measured(content: object, path: Path) -> dict[str, Measured]:
    """Return by rule what flagging series reached; empty for models that don't say."""
    kept = content.get("operating_points") if isinstance(content, dict) else None
    if not kept:
        return {}
    try:
        by_rule = {rule: found[FLAGGED] for rule, found in kept["series"].items() if rule in RULES and FLAGGED in found}
        measured = {
            rule: Measured(
                float(one["sensitivity"]), int(one["n_positive"]), float(one["specificity"]), int(one["n_negative"])
            )
            for rule, one in by_rule.items()
        }
        shares = [share for one in measured.values() for share in (one.sensitivity, one.specificity)]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"what operating points reached must be given by rule (got {error!r}) in {path}") from error
    if not all(0 <= share <= 1 for share in shares):
        raise ModelError(f"what operating points reached must be shares of 0 to 1 (got {shares}) in {path}")
    return measured


def choose_point(points: tuple[OperatingPoint, ...], rule: str | None) -> OperatingPoint:
    """Return the point of a rule, or the default for None.

    Raises:
        UsageError: The model has no such point.
    """
    by_rule = {point.rule: point for point in points if point.rule in RULES}
    if rule is None:
        return points[0]
    if rule not in by_rule:
        known = ", ".join(by_rule) or "none"
        raise UsageError(f"an operating point must be one that the model knows: {known} (got {rule!r})")
    return by_rule[rule]


def find_thresholds(model: Path | None) -> dict[str, Thresholds]:
    """Return thresholds by level (`slice`, `series`); empty without a model, or if it has none.

    Args:
        model: A model directory, or a JSON file of thresholds.

    Raises:
        ModelError: The file is damaged.
    """
    if model is None:
        return {}
    path = _file_of(model)
    content = _read_json(path)
    if isinstance(content, dict) and "thresholds" in content:
        content = content["thresholds"]
    if not content:
        return {}
    if not isinstance(content, dict):
        raise ModelError(f"thresholds must be given by level, rule and label (got {type(content).__name__}) in {path}")
    if not set(LEVELS) & set(content):
        content = {"slice": content}
    return {level: read_thresholds(content.get(level, {})) for level in LEVELS}


def _file_of(model: Path) -> Path:
    return model / "model.json" if model.is_dir() else model


def _read_json(path: Path) -> Any:  # noqa: ANN401  # JSON
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ModelError(f"thresholds must be at most {_MAX_JSON_BYTES} bytes (got more) in {path}")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"thresholds must be in a readable file (got {error.strerror}) in {path}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"thresholds must be in JSON (got {error}) in {path}") from error


def read_thresholds(content: object) -> Thresholds:
    """Check the thresholds of one level, read from JSON.

    Raises:
        ModelError: They are damaged, or of unknown labels.
    """
    if not isinstance(content, Mapping):
        raise ModelError(f"thresholds must be given by rule and label (got {type(content).__name__})")
    thresholds: Thresholds = {}
    for rule in (*F_RULES, *HOLDING_RULES):
        by_label = content.get(rule, {})
        if not isinstance(by_label, Mapping):
            raise ModelError(f"thresholds of a rule must be given by label (got {type(by_label).__name__} for {rule})")
        for label, value in by_label.items():
            is_share = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
            if label not in LABELS or not is_share:
                raise ModelError(
                    f"a threshold must be a probability of one of the six labels (got {label!r}: {value!r})"
                )
        thresholds[rule] = {str(label): float(value) for label, value in by_label.items()}
    return thresholds


def holding_threshold(
    target: npt.NDArray[np.floating[Any]], probability: npt.NDArray[np.floating[Any]], measure: Held, least: float
) -> float:
    """Return the threshold at which one measure is at least so high, and the other as high as it can be.

    It lies half-way between two neighbouring probabilities; what is at least the threshold is called positive. NaN
    where a class is missing.

    Args:
        target: Shape (N,), NaN where unknown.
        probability: Shape (N,), 0 to 1.
        measure: The measure that is held.
        least: Its least value, above 0 and at most 1.
    """
    known = ~np.isnan(target)
    truth, value = target[known] == 1, np.asarray(probability[known], dtype=np.float64)
    positive, negative = np.sort(value[truth])[::-1], np.sort(value[~truth])[::-1]
    if not len(positive) or not len(negative):
        return float("nan")
    if measure == "sensitivity":
        # The k-th highest positive must be called; anything down to the next lower probability does the same.
        lowest_called = positive[math.ceil(least * len(positive) - 1e-9) - 1]
        below = value[value < lowest_called]
        return float((below.max() + lowest_called) / 2 if len(below) else lowest_called)
    n_false = math.floor((1 - least) * len(negative) + 1e-9)
    if n_false >= len(negative):
        return 0.0
    highest_spared = negative[n_false]
    above = value[value > highest_spared]
    return float((highest_spared + (above.min() if len(above) else 1.0)) / 2)
