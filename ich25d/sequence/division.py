"""Which series the sequence models train on and are measured on: folds in which patients are never split."""

import dataclasses
from collections.abc import Collection

import numpy as np
import pandas as pd

from ich25d.errors import UsageError
from ich25d.features.store import FeatureStore
from ich25d.features.table import NO_FOLD, targets
from ich25d.labels import LABELS
from ich25d.studies.folds import assign_folds

N_FOLDS = 5
"""New folds that are made where there are as many patients."""


@dataclasses.dataclass(frozen=True, slots=True)
class Division:
    """Series by fold."""

    fold: dict[str, int]
    """By series id: every series that teaches, painted copies too; `NO_FOLD` is held out by no fold."""
    judged: tuple[str, ...]
    """Series that count in blend, calibration and comparison."""
    made_here: bool
    """The feature store had no two folds, so that these are new."""
    told: tuple[str, ...] = ()
    """Series of which only the whole has a label: they teach, and judge nothing."""

    @property
    def folds(self) -> list[int]:
        """Return the numbers of the folds that judged series are in."""
        return sorted({self.fold[series_id] for series_id in self.judged})

    @property
    def n_copies(self) -> int:
        """Return the number of painted copies."""
        return len(self.fold) - len(self.judged) - len(self.told)

    def train(self, fold: int) -> list[str]:
        """Return the series that a fold's models learn from."""
        return [series_id for series_id, number in self.fold.items() if number != fold]

    def held_out(self, fold: int) -> list[str]:
        """Return the judged series of a fold."""
        return [series_id for series_id in self.judged if self.fold[series_id] == fold]


def divide(store: FeatureStore, seed: int, named: Collection[str] = ()) -> Division:
    """Divide the labelled series of a feature store by its own folds, or by new ones where it has fewer than two.

    New folds are needed for features of one encoder (a foreign one, or a CNN of which one fold is trained), which
    wasn't trained on any of these patients.

    Args:
        store: The feature store.
        seed: Seed of new folds.
        named: Series that have labels as a whole. Those of them without a label of a slice teach the models of the
            other folds. Where folds are new, those of patients whom nobody judges teach all of them.

    Raises:
        UsageError: Fewer than two patients have a label.
    """
    target = targets(store.slices)
    groups = store.slices.groupby("series_id", sort=False)
    rows = {str(name): indices for name, indices in groups.indices.items()}
    labelled = [name for name in rows if not np.isnan(target[rows[name]]).all()]
    series = store.series
    judged = tuple(name for name in labelled if not series.at[name, "train_only"])
    patient = {name: str(series.at[name, "patient_id"]) for name in labelled}
    if len({patient[name] for name in judged}) < 2:
        raise UsageError(
            f"the sequence model needs labelled series of at least 2 patients (got {len(judged)} series) "
            f"in {store.path}"
        )
    known, whole = set(labelled), set(named)
    told = tuple(name for name in rows if name in whole and name not in known and not series.at[name, "train_only"])
    fold_of = series["fold"].to_dict()
    fold = {name: int(fold_of[name]) for name in (*labelled, *told)}
    numbers = {fold[name] for name in judged}
    if len(numbers) >= 2 and NO_FOLD not in numbers:
        return Division(fold, judged, made_here=False, told=told)
    n_positive = {name: np.nansum(target[rows[name]], axis=0) for name in judged}
    table = pd.DataFrame.from_dict(n_positive, orient="index", columns=list(LABELS)).rename_axis("series_id")
    table = table.reset_index().assign(
        split_unit=[patient[name] for name in judged], n_slices=[len(rows[name]) for name in judged]
    )
    n_folds = min(N_FOLDS, table["split_unit"].nunique())
    dealt = dict(zip(table["split_unit"], assign_folds(table, n_folds, seed).tolist(), strict=True))
    new = {name: dealt[patient[name]] for name in labelled if patient[name] in dealt}
    new |= {name: dealt.get(str(series.at[name, "patient_id"]), NO_FOLD) for name in told}
    return Division(new, judged, made_here=True, told=told)
