"""Labels of whole series that teach sequence models: those that the encoders' run was begun with.

The run keeps them (`train-cnn --series-labels`). They teach as they taught its encoders: slices of a series without a
label have none, one of those with a label has it, and labels of slices go before. They judge nothing.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.encoder.beside import kept_series_labels
from ich25d.features.store import FeatureStore
from ich25d.features.table import targets
from ich25d.labels import LABELS
from ich25d.sequence.division import Division
from ich25d.studies.series_labels import refuse_contradictions
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.model_file import SERIES_LABELS_FILE
from ich25d.training.series_target import series_target

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SeriesLabels:
    """A table of labels of whole series."""

    table: pd.DataFrame
    """A row a series: `series_id`, and the six labels, 0, 1 or NaN."""
    told: dict[str, Floats]
    """The same by series id, shape (6,) each."""

    @classmethod
    def of(cls, table: pd.DataFrame) -> "SeriesLabels":
        """Take a table as `read_series_labels` and `kept_series_labels` return it."""
        ids = table["series_id"].astype(str)
        values = table[list(LABELS)].to_numpy(dtype=np.float32, na_value=np.nan)
        return cls(table, dict(zip(ids, values, strict=True)))

    @property
    def digest(self) -> str:
        """Return a hash of the table, whatever the order of its rows."""
        return hashlib.sha256(self.table.sort_values("series_id").to_csv(index=False).encode()).hexdigest()

    def describe(self, store: FeatureStore, division: Division) -> dict[str, Any]:
        """Return what `model.json` says of them: counts and a hash, no ids.

        Args:
            store: The features that the models learn from; its series count if their own slices leave something open.
            division: Their folds.
        """
        slices = store.slices[store.slices["series_id"].isin(list(self.told))]
        n_taught = 0
        for series_id, own in slices.groupby("series_id", sort=False):
            is_open = np.isnan(series_target(targets(own))) & ~np.isnan(self.told[str(series_id)])
            n_taught += int(str(series_id) in division.fold and bool(is_open.any()))
        return {"n_series": n_taught, "n_unlabelled": len(division.told), "sha256": self.digest}


def series_labels_of(cnn: Path, store: StudyStore) -> SeriesLabels | None:
    """Return the labels of whole series that a CNN's run was begun with; None where there were none.

    Args:
        cnn: The CNN's run.
        store: The study store that it was trained on.

    Raises:
        ModelError: The run's table is damaged.
        UsageError: A slice of the store has what its series is said not to have.
    """
    table = kept_series_labels(cnn)
    if table is None:
        return None
    refuse_contradictions(table, store.slices, targets(store.slices) == 1, f"{cnn / SERIES_LABELS_FILE}")
    return SeriesLabels.of(table)
