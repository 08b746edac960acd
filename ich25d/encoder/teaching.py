"""What teaches the slices of a store in a training: their own labels, and what is given beside them.

A series that only a report says something of has labels as a whole (`--series-labels`). Where it has none, none of its
slices has; where it has one, one of its slices at least does. Labels of slices always go before.
"""

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ich25d.files import replacing
from ich25d.labels import LABELS, N_LABELS
from ich25d.progress import remark
from ich25d.studies.series_labels import read_series_labels, refuse_contradictions
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.loss import OpenBags
from ich25d.training.processes import Processes
from ich25d.training.series_target import spread_series_labels

TARGETS_FILE = ".targets.npy"
"""In a fold's folder while it is trained: what the slices are taught, for the processes that read."""

USUAL_SHARE, USUAL_SLICES = 0.25, 16
"""Share of the slices of a positive series that are taken for positive, and for how many slices that guess counts
beside series whose slices have labels."""

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Teaching:
    """What the N slices of a store are taught by."""

    truth: Floats
    """Labels of slices as the store has them, shape (N, 6), NaN where unknown: these alone validate."""
    target: Floats
    """What the slices are taught, shape (N, 6), 0 to 1; NaN where unknown."""
    is_open: npt.NDArray[np.bool_]
    """Slices of which one at least has the label, nobody knows which, shape (N, 6)."""
    whose: npt.NDArray[np.int64]
    """Number of the slice's series, shape (N,)."""
    series_target: Floats
    """Labels of whole series that were given, shape (number of series, 6), NaN where none was."""
    series_id: list[str]
    """The series, by number."""

    @property
    def is_known(self) -> npt.NDArray[np.bool_]:
        """Slices with a label of their own, shape (N,)."""
        return np.asarray(~np.isnan(self.truth).all(axis=1))

    @property
    def is_told(self) -> npt.NDArray[np.bool_]:
        """Slices of series with a label as a whole, shape (N,)."""
        return np.asarray(~np.isnan(self.series_target).all(axis=1))[self.whose]

    @property
    def in_bag(self) -> npt.NDArray[np.bool_]:
        """Slices of series that are shown in bags, shape (N,)."""
        has_open = np.zeros(len(self.series_id), dtype=bool)
        np.logical_or.at(has_open, self.whose, self.is_open.any(axis=1))
        return np.asarray(has_open[self.whose])

    def counted(self) -> Floats:
        """Return the targets with shares where a label is open, for counting how frequent labels are, shape (N, 6)."""
        has_one = np.zeros_like(self.series_target, dtype=bool)
        np.logical_or.at(has_one, self.whose, self.truth == 1)
        own = has_one[self.whose] & ~np.isnan(self.truth)
        positive, known = (self.truth == 1).sum(axis=0), own.sum(axis=0)
        share = (positive + USUAL_SHARE * USUAL_SLICES) / (known + USUAL_SLICES)
        return np.where(self.is_open, share.astype(np.float32), self.target)

    def write(self, folder: Path, processes: Processes) -> Path | None:
        """Write the targets for processes that read; return the file, or None where the store's own labels are all.

        Args:
            folder: `foldK/`; the file is hidden in it, and `TARGETS_FILE`.
            processes: This process among several; the first one writes.
        """
        if np.array_equal(self.truth, self.target, equal_nan=True):
            return None
        if processes.is_first:
            with replacing(folder / TARGETS_FILE) as part, part.open("wb") as file:
                np.save(file, self.target)
        processes.wait()
        return folder / TARGETS_FILE

    def bags(self, rows: torch.Tensor, device: torch.device) -> OpenBags | None:
        """Return which slices of a batch share a label that is open; None where none does.

        Args:
            rows: The batch's rows of the slice table, shape (B,), on the CPU.
            device: Where the loss is computed.
        """
        is_open = torch.from_numpy(self.is_open[rows.numpy()])
        if not is_open.any():
            return None
        return OpenBags(torch.from_numpy(self.whose[rows.numpy()]).to(device), is_open.to(device))


def teaching_of(store: StudyStore, series_labels: pd.DataFrame | None = None) -> Teaching:
    """Join a store's labels with those given beside them.

    Args:
        store: The study store.
        series_labels: Labels of whole series, from `checked_series_labels`.
    """
    return teaching_of_slices(store.slices, series_labels)


def teaching_of_slices(slices: pd.DataFrame, series_labels: pd.DataFrame | None = None) -> Teaching:
    """Join the labels of a table of slices with those given beside them.

    Args:
        slices: A row a slice, with `series_id` and the six labels.
        series_labels: As in `teaching_of`.
    """
    code, series_id = pd.factorize(slices["series_id"].astype(str))
    whose = np.asarray(code, dtype=np.int64)
    truth = slices[list(LABELS)].to_numpy(dtype=np.float32, na_value=np.nan)
    series_target = np.full((len(series_id), N_LABELS), np.nan, np.float32)
    if series_labels is not None:
        known = series_labels.set_index("series_id")[list(LABELS)]
        series_target = known.reindex(list(series_id)).to_numpy(dtype=np.float32)
    spread = spread_series_labels(truth, series_target, whose)
    return Teaching(truth, spread.target, spread.is_open, whose, series_target, [str(name) for name in series_id])


def checked_series_labels(path: Path, store: StudyStore, canvas: StudyStore | None = None) -> pd.DataFrame:
    """Read `--series-labels` for a store and its canvases, and check it against the labels of their slices.

    Raises:
        LabelError: The table is none of that form, or of other series.
        UsageError: A slice has what its series is said not to have.
    """
    stores = [store] if canvas is None else [store, canvas]
    series = pd.concat([one.series[["series_id", "study_id"]] for one in stores]).drop_duplicates("series_id")
    labels = read_series_labels(path, series)
    for one in stores:
        refuse_contradictions(labels, one.slices, teaching_of(one).truth == 1, path.name)
    found = teaching_of(store, labels)
    known = pd.Series(~np.isnan(found.truth).any(axis=1)).groupby(found.whose).all().to_numpy()
    has_none = pd.Series((found.truth != 1).all(axis=1)).groupby(found.whose).all().to_numpy()
    lost = np.flatnonzero(known & has_none & (found.series_target == 1).any(axis=1))
    if len(lost):
        remark(
            f"{len(lost)} series have a label in {path.name} that none of their slices has, though all have labels "
            f"(as {found.series_id[lost[0]]}): the slices count; the bleed may lie in a slice that was refused"
        )
    return labels
