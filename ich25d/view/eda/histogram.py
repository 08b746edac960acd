"""How often each HU comes, over a sample of slices with and without blood."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.dicom.hounsfield import HU_MAX, HU_MIN
from ich25d.progress import track
from ich25d.studies.store import StudyStore

SAMPLED = 400
"""Slices at most, half of them positive where there are as many."""

AIR_END = -1000
"""Up to here, inclusive, a pixel counts as air or padding."""

N_HU = HU_MAX - HU_MIN + 1


@dataclass(frozen=True, slots=True, eq=False)
class HuCounts:
    """Pixels by HU."""

    n_slices: dict[str, int]
    """Slices looked at, by group."""
    counts: dict[str, npt.NDArray[np.int64]]
    """Shape (4096,), from -1024 HU on, by group: `any`, `none`, `unlabelled`."""
    families: dict[str, npt.NDArray[np.int64]]
    """The same by pixel family."""

    @property
    def total(self) -> npt.NDArray[np.int64]:
        """Pixels of all groups by HU, shape (4096,)."""
        return np.sum(list(self.counts.values()), axis=0).astype(np.int64)


def count_hu(store: StudyStore, target: npt.NDArray[np.int8], *, sampled: int = SAMPLED) -> HuCounts:
    """Count HU over slices spread evenly over the store.

    Args:
        store: The study store.
        target: Its slices' labels, shape (n, 6), -1 where unknown.
        sampled: Slices at most.
    """
    any_label = target[:, -1]
    groups = {"none": any_label == 0, "any": any_label == 1, "unlabelled": any_label < 0}
    n_groups = max(1, sum(bool(rows.any()) for rows in groups.values()))
    family_of = store.series.set_index("series_id")["pixel_family"].to_dict()
    chosen = pd.DataFrame(
        [
            (int(row), name)
            for name, rows in groups.items()
            for row in spread(np.flatnonzero(rows), sampled // n_groups)
        ],
        columns=["row", "group"],
    ).sort_values("row")
    counts: dict[str, npt.NDArray[np.int64]] = {}
    families: dict[str, npt.NDArray[np.int64]] = {}
    places = store.slices[["series_id", "slice_index"]].iloc[chosen["row"]]
    slices = list(zip(places["series_id"], places["slice_index"], chosen["group"], strict=True))
    for series_id, index, group in track(slices, "HU", len(slices), "slices"):
        hu = store.hu(series_id, [int(index)])
        found = np.bincount(hu.ravel().astype(np.int64) - HU_MIN, minlength=N_HU)[:N_HU]
        for name, where in ((group, counts), (str(family_of[series_id]), families)):
            where[name] = where[name] + found if name in where else found
    return HuCounts(chosen["group"].value_counts().to_dict(), counts, families)


def spread(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Return at most so many of the rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]


def shares(counts: npt.NDArray[np.int64], low: int, high: int, step: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:  # fmt: skip
    """Return middles of bins of `step` HU from `low` to below `high`, and the share of their pixels in each bin."""
    part = counts[low - HU_MIN : high - HU_MIN].reshape(-1, step).sum(axis=1).astype(np.float64)
    middles = np.arange(low, high, step) + (step - 1) / 2
    return middles, part / max(part.sum(), 1.0)
