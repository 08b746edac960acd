"""The operating point: from which probability on a label counts as found, on a slice and on a whole scan.

One rule for `report` and `explain`, so that a scan that the worklist flags is one that `explain` has findings for. The
default is the most sensitive point that the model knows: both commands show a reader where to look, and a bleed that
isn't shown costs more than one that is looked at in vain. What is shown can be narrowed afterwards (the pages of a
report switch the point, `explain` takes another by name); what was left out can't be seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ich25d.errors import UsageError
from ich25d.evaluate.inputs import find_thresholds
from ich25d.labels import LABELS

NAMES = {
    "sensitivity_95": "sensitivity at least .95",
    "f2": "best F2",
    "f1": "best F1",
    "specificity_90": "specificity at least .90",
}
"""What each point was chosen for on validation, in the order of choice: the first that a model knows is the default."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Thresholds by label, on slices and on whole series; labels without one (no positive on validation) are absent."""

    rule: str = "none"
    """A key of `NAMES`; `none` where the model has no thresholds, and nothing counts as found."""
    of_slice: Mapping[str, float] = field(default_factory=dict)
    of_series: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Say what it was chosen for."""
        return NAMES.get(self.rule, self.rule)

    def over(self, probability: npt.NDArray[np.float64]) -> tuple[str, ...]:
        """Return the labels of a series at or over their threshold, `any` first, then by probability.

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
        """Return which slices count as positive, by label.

        Args:
            probability: Of n slices, shape (n, 6).

        Returns:
            Shape (n, 6); nowhere true for a label without a threshold.
        """
        threshold = np.array([self.of_slice.get(label, np.inf) for label in LABELS])
        return np.asarray(probability >= threshold)


def known_points(thresholds: Mapping[str, Mapping[str, Mapping[str, float]]]) -> tuple[OperatingPoint, ...]:
    """Return the operating points that a model knows, the default first; one without thresholds where it knows none.

    Args:
        thresholds: By level (`slice`, `series`), rule and label. Where a rule has none of series, those of slices
            serve.
    """
    of_slice, of_series = thresholds.get("slice", {}), thresholds.get("series", {})
    return tuple(
        OperatingPoint(rule, of_slice.get(rule, {}), of_series.get(rule, {}) or of_slice.get(rule, {}))
        for rule in NAMES
        if of_series.get(rule) or of_slice.get(rule)
    ) or (OperatingPoint(),)


def read_points(model: Path) -> tuple[OperatingPoint, ...]:
    """Return the operating points of a model directory, the default first.

    Raises:
        ModelError: Its thresholds can't be read.
    """
    return known_points(find_thresholds(model)[0])


def choose_point(points: tuple[OperatingPoint, ...], rule: str | None) -> OperatingPoint:
    """Return the point of a rule; the default for None.

    Raises:
        UsageError: The model doesn't know it.
    """
    found = {point.rule: point for point in points}
    if rule is not None and (rule not in found or rule not in NAMES):
        known = ", ".join(name for name in found if name in NAMES) or "none"
        raise UsageError(f"an operating point must be one that the model knows: {known} (got {rule!r})")
    return points[0] if rule is None else found[rule]
