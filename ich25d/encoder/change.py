"""What a training that goes on from another run changed: the same slices by the parent's network and by the child's.

`new` are slices that neither network learnt from; `old` are those among them that the parent held out when it was
trained: what the child loses there is what it has forgotten.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from ich25d.files import read_parquet, replacing
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.card import Cell, with_interval
from ich25d.training.intervals import bootstrap_interval, replicates_for
from ich25d.training.metrics import auc, average_precision, case_losses
from ich25d.training.ranking import ratio

CHANGE_FILE = "change.parquet"
NEW, OLD = "new", "old"

Floats = npt.NDArray[np.float64]


class Measured(NamedTuple):
    """One measure before and after, and its difference with the 95 % interval over patients; NaN where undefined."""

    before: float
    after: float
    low: float
    """Of the difference, after less before."""
    high: float


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What a training changed on one part of the slices."""

    n_slices: int
    """Labelled slices; one that several networks held out counts for each."""
    n_patients: int
    n_positive: int
    """Slices with any bleed."""
    measures: dict[str, Measured]
    """`AUC any`, `AP any`, and `log loss` (the competition's, before calibration)."""


def change_rows(
    store: StudyStore, rows: npt.NDArray[np.int64], is_old: npt.NDArray[np.bool_], before: Floats, after: Floats
) -> pd.DataFrame:
    """Put the logits of both networks beside the labels of some slices.

    Args:
        store: Their store.
        rows: Rows of its slice table, shape (N,).
        is_old: Which of them the parent had held out, shape (N,).
        before: The parent's logits, shape (N, 6).
        after: The child's, shape (N, 6).
    """
    slices = store.slices.iloc[rows]
    table = slices[["image_id", "series_id", "split_unit"]].reset_index(drop=True)
    table["part"] = np.where(is_old, OLD, NEW)
    truth = slices[list(LABELS)].to_numpy(dtype=np.float32, na_value=np.nan)
    for name, values in (("before", before), ("after", after), ("truth", truth)):
        table[[f"{name}_{label}" for label in LABELS]] = values.astype(np.float32)
    return table


def write_change(path: Path, tables: Sequence[pd.DataFrame]) -> None:
    """Write `change.parquet` of a fold."""
    with replacing(path) as part:
        pd.concat(tables, ignore_index=True).to_parquet(part, index=False)


def read_changes(out: Path, content: Mapping[str, Any]) -> dict[str, Change]:
    """Measure what a training changed, over all finished folds, by part; empty for a run without a parent.

    Args:
        out: A model directory of either kind.
        content: Its `model.json`.
    """
    paths = [out / f"fold{number}" / CHANGE_FILE for number in content["folds"]]
    tables = [read_parquet(path) for path in paths if path.is_file()]
    if not tables or content.get("parent") is None:
        return {}
    table = pd.concat(tables, ignore_index=True)
    return {part: _measured(table[table["part"] == part]) for part in (NEW, OLD) if (table["part"] == part).any()}


def _measured(table: pd.DataFrame) -> Change:
    before, after, target = (
        table[[f"{name}_{label}" for label in LABELS]].to_numpy(dtype=np.float64)
        for name in ("before", "after", "truth")
    )
    unit = np.asarray(table["split_unit"].astype(str), dtype=np.str_)
    any_target = target[:, ANY_INDEX]
    of_any = {"AUC any": auc, "AP any": average_precision}
    measures = {}
    for name, measure in of_any.items():
        sides = [partial(measure, any_target, logit[:, ANY_INDEX]) for logit in (before, after)]
        measures[name] = _paired(sides, unit)
    measures["log loss"] = _paired(
        [partial(_log_loss, *case_losses(target, expit(logit))) for logit in (before, after)], unit
    )
    return Change(len(table), len(set(unit)), int(np.nansum(any_target)), measures)


def _log_loss(loss: Floats, weight: Floats, drawn: Floats) -> Any:  # noqa: ANN401  # a float, or R of them
    return ratio(drawn @ loss, drawn @ weight)


def _paired(sides: Sequence[Any], unit: npt.NDArray[np.str_]) -> Measured:
    """Measure before and after, and the interval of their difference on the same resampled patients."""
    ones = np.ones((1, len(unit)))
    before, after = (float(np.ravel(side(ones))[0]) for side in sides)
    low, high = bootstrap_interval(
        lambda drawn: np.asarray(sides[1](drawn) - sides[0](drawn)), unit, replicates=replicates_for(len(unit))
    )
    return Measured(before, after, low, high)


_WHAT = {
    NEW: "slices that neither run was trained on",
    OLD: "slices that the run before held out when it was trained (what it knew of them may be forgotten)",
}


def change_table(changes: dict[str, Change]) -> list[list[Cell]]:
    """Return a row a part and measure: slices, patients, measure, before, after, difference with interval."""
    return [
        [
            _WHAT[part], found.n_slices, found.n_patients, found.n_positive, name, one.before, one.after,
            with_interval(one.after - one.before, one.low, one.high),
        ]
        for part, found in changes.items()
        for name, one in found.measures.items()
    ]  # fmt: skip


def change_lines(changes: dict[str, Change]) -> list[str]:
    """Return the same in lines for people."""
    lines = []
    for part, found in changes.items():
        lines.append(f"before and after, {found.n_slices} {_WHAT[part]}, of {found.n_patients} patients:")
        for name, one in found.measures.items():
            difference = with_interval(one.after - one.before, one.low, one.high)
            lines.append(f"{name:>16} {one.before:>9.4f} {one.after:>9.4f}   {difference}")
    return lines
