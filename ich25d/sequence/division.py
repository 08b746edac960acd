"""Which series the sequence models train on and are judged on: folds by patient, never split."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ich25d.errors import UsageError
from ich25d.features.store import FeatureStore
from ich25d.features.table import NO_FOLD, targets
from ich25d.labels import N_LABELS

_N_FOLDS = 5
_MAGIC = 0x666F6C64


@dataclasses.dataclass(frozen=True, slots=True)
class Division:
    """Series by fold."""

    fold: dict[str, int]
    """Of every series with a known label, painted copies too."""
    judged: tuple[str, ...]
    """Series that count in blend, calibration and comparison."""
    made_here: bool
    """The feature store had no folds to go by."""

    @property
    def folds(self) -> list[int]:
        """Return the numbers of the folds that judged series are in."""
        return sorted({self.fold[series_id] for series_id in self.judged})

    def train(self, fold: int) -> list[str]:
        """Return the series that a fold's models learn from."""
        return [series_id for series_id, number in self.fold.items() if number != fold]

    def held_out(self, fold: int) -> list[str]:
        """Return the judged series of a fold."""
        return [series_id for series_id in self.judged if self.fold[series_id] == fold]


def divide(store: FeatureStore, seed: int) -> Division:
    """Divide the labelled series of a feature store by its own folds, or by new ones where it has fewer than two.

    New folds are the sequence models' own affair (a store of one encoder, or a CNN of which one fold is
    trained): its embeddings are all from one encoder, which saw none of the patients.

    Raises:
        UsageError: Fewer than two patients have a label.
    """
    target = targets(store.slices)
    groups = store.slices.groupby("series_id", sort=False)
    rows = {str(name): found for name, found in groups.indices.items()}
    labelled = [name for name in rows if not np.isnan(target[rows[name]]).all()]
    series = store.series
    judged = tuple(name for name in labelled if not series.at[name, "train_only"])
    patient = {name: str(series.at[name, "patient_id"]) for name in labelled}
    if len({patient[name] for name in judged}) < 2:
        raise UsageError(
            f"the sequence model needs labelled series of at least 2 patients (got {len(judged)} series) "
            f"in {store.path}"
        )
    fold_of = series["fold"].to_dict()
    fold = {name: int(fold_of[name]) for name in labelled}
    numbers = {fold[name] for name in judged}
    if len(numbers) >= 2 and NO_FOLD not in numbers:
        return Division(fold, judged, made_here=False)
    positives = {name: np.nansum(target[rows[name]], axis=0) for name in judged}
    dealt = _deal([(patient[name], positives[name]) for name in judged], seed)
    return Division({name: dealt[patient[name]] for name in labelled if patient[name] in dealt}, judged, made_here=True)


def _deal(series: Sequence[tuple[str, np.ndarray]], seed: int) -> dict[str, int]:
    """Deal patients to folds, those with the rarest labels first, each to the fold that has least of them."""
    found: dict[str, np.ndarray] = {}
    for name, positives in series:
        found[name] = found.get(name, np.zeros(N_LABELS + 1)) + np.append(positives > 0, 1.0)
    names = sorted(found)
    names = [names[place] for place in np.random.default_rng([seed, _MAGIC]).permutation(len(names))]
    rarity = 1 / np.maximum(np.sum([found[name] for name in names], axis=0), 1)
    names.sort(key=lambda name: -float((found[name] * rarity).max()))
    n_folds = min(_N_FOLDS, len(names))
    load = np.zeros((n_folds, N_LABELS + 1))
    dealt = {}
    for name in names:
        # Least of what this patient brings, weighted by how rare it is; then fewest series.
        cost = load @ (rarity * (found[name] > 0)) + 1e-6 * load[:, -1]
        dealt[name] = int(np.argmin(cost))
        load[dealt[name]] += found[name]
    return dealt
