"""Two prediction files on the same cases: differences with DeLong's test and with resampled patients."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.errors import UsageError
from ich25d.evaluate.delong import Difference, delong, difference
from ich25d.evaluate.inputs import Joined
from ich25d.evaluate.scores import Measure
from ich25d.labels import LABELS
from ich25d.training.intervals import bootstrap, percentiles, replicates_for
from ich25d.training.metrics import auc, mean_log_loss

CLUSTERED = (
    "DeLong's test takes cases as independent. Slices of one patient aren't: for slices its interval is too narrow and "
    "its p too small; the intervals of resampled patients hold"
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelComparison:
    """One label: this file minus the other."""

    level: str
    label: str
    n: int
    n_positive: int
    auc: float
    other_auc: float
    delong: Difference
    resampled: Measure
    """Difference of the areas."""
    log_loss: Measure
    """Difference of the log losses; below 0 this file is better."""

    def to_row(self) -> dict[str, Any]:
        """Return it as a row of a table."""
        return {
            "level": self.level, "label": self.label, "n": self.n, "n_positive": self.n_positive,
            "auc": self.auc, "other_auc": self.other_auc, "difference": self.delong.value,
            "delong_low": self.delong.low, "delong_high": self.delong.high, "z": self.delong.z, "p": self.delong.p,
            "resampled_low": self.resampled.low, "resampled_high": self.resampled.high,
            "log_loss_difference": self.log_loss.value, "log_loss_low": self.log_loss.low,
            "log_loss_high": self.log_loss.high,
        }  # fmt: skip


def compare(this: Joined, other: Joined, *, replicates: int, seed: int) -> tuple[list[LabelComparison], list[str]]:
    """Compare two files joined with the same labels, on the cases that both predict.

    Returns:
        A comparison a level and label, and remarks.

    Raises:
        UsageError: They share no labelled image.
    """
    levels = [
        ("slices", this.slice_id, this.slice_target, this.slice_probability, this.slice_patient,
         other.slice_id, other.slice_probability),
        ("series", this.series_id, this.series_target, this.series_probability, this.series_patient,
         other.series_id, other.series_probability),
    ]  # fmt: skip
    found: list[LabelComparison] = []
    remarks: list[str] = []
    for name, ids, target, probability, patient, other_ids, other_probability in levels:
        if ids is None or target is None or probability is None or patient is None:
            continue
        if other_ids is None or other_probability is None:
            continue
        place = {case: row for row, case in enumerate(other_ids)}
        rows = np.array([row for row, case in enumerate(ids) if case in place], dtype=np.int64)
        if not len(rows):
            raise UsageError(f"--against must share labelled {name} with the predictions (got none)")
        if len(rows) < max(len(ids), len(other_ids)):
            remarks.append(f"comparison: {len(rows)} {name} are in both files, of {len(ids)} and {len(other_ids)}")
        theirs = other_probability[[place[ids[row]] for row in rows]]
        found += compare_level(
            name, target[rows], probability[rows], theirs, patient[rows], replicates=replicates, seed=seed
        )
    return found, [*remarks, CLUSTERED]


def compare_level(
    name: str,
    target: Floats,
    this: Floats,
    other: Floats,
    patient: npt.NDArray[np.object_],
    *,
    replicates: int,
    seed: int,
) -> list[LabelComparison]:
    """Compare two sets of probabilities of the same cases, label by label; a label without both classes is left out.

    Args:
        name: What the cases are.
        target: Shape (N, 6), NaN where unknown.
        this: Shape (N, 6).
        other: Shape (N, 6).
        patient: What is resampled together, shape (N,).
        replicates: Number of resamplings.
        seed: Seed of the draws.
    """
    found = []
    for column, label in enumerate(LABELS):
        known = ~np.isnan(target[:, column])
        truth, mine, theirs = target[known, column], this[known, column], other[known, column]
        if not 0 < truth.sum() < len(truth):
            continue

        def both(weight: Floats, truth: Floats = truth, mine: Floats = mine, theirs: Floats = theirs) -> Floats:
            pairs = [
                np.atleast_1d(measure(truth, mine, weight)) - np.atleast_1d(measure(truth, theirs, weight))
                for measure in (auc, mean_log_loss)
            ]
            return np.stack(pairs, axis=1)

        areas = delong(truth, np.stack([theirs, mine]))
        value = both(np.ones((1, len(truth))))[0]
        times = replicates_for(len(truth), replicates)
        low, high = percentiles(bootstrap(both, patient[known].astype(str), replicates=times, seed=seed))
        found.append(
            LabelComparison(
                name, label, len(truth), int(truth.sum()), float(areas.auc[1]), float(areas.auc[0]), difference(areas),
                Measure(float(value[0]), float(low[0]), float(high[0])),
                Measure(float(value[1]), float(low[1]), float(high[1])),
            )
        )  # fmt: skip
    return found
