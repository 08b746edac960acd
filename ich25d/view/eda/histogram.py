"""How often each HU comes, over a sample of slices with and without blood."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.dicom.hounsfield import HU_MAX, HU_MIN
from ich25d.labels import ANY_INDEX
from ich25d.progress import track
from ich25d.studies.store_dir.store import StudyStore
from ich25d.view.eda.counts import relative_position
from ich25d.view.eda.rows import LabelRows

SAMPLED = 400
"""Slices at most, half of them positive where there are enough."""

MIDDLE = (0.4, 0.8)
"""Relative scan positions between which slices are looked at."""

AIR_END = -1000
"""Up to here, inclusive, a pixel counts as air or padding."""

TISSUE = (-100, 200)
"""Range of the charts of soft tissue, HU."""

Floats = npt.NDArray[np.float64]

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
        total: npt.NDArray[np.int64] = np.sum(list(self.counts.values()), axis=0).astype(np.int64)
        return total


def count_hu(store: StudyStore, rows: LabelRows) -> HuCounts:
    """Count HU over slices spread evenly over the store, all from the middle of their scans.

    Most positives lie there: the base of the skull and the vertex have other tissue, with and without blood.
    """
    any_label, place = rows.target[:, ANY_INDEX], relative_position(rows)
    inside = np.isnan(place) | ((place >= MIDDLE[0]) & (place <= MIDDLE[1]))
    if not inside.any():  # scans of two slices have no middle
        inside = np.ones(len(place), dtype=bool)
    groups = {
        "none": inside & (any_label == 0),
        "any": inside & (any_label == 1),
        "unlabelled": inside & (any_label < 0),
    }
    n_groups = max(1, sum(bool(flags.any()) for flags in groups.values()))
    family_of = store.series.set_index("series_id")["pixel_family"].to_dict()
    chosen = pd.DataFrame(
        [
            (int(row), name)
            for name, flags in groups.items()
            for row in _spread(np.flatnonzero(flags), SAMPLED // n_groups)
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
    return HuCounts({str(name): int(n) for name, n in chosen["group"].value_counts().items()}, counts, families)


def _spread(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Return `most` rows at most, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]


def tissue_shares(counts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return middles of bins of 2 HU over `TISSUE`, and the share of its pixels in each bin."""
    low, high = TISSUE
    part = counts[low - HU_MIN : high - HU_MIN].reshape(-1, 2).sum(axis=1).astype(np.float64)
    middles = np.arange(low, high, 2, dtype=np.float64) + 0.5
    return middles, np.divide(part, max(float(part.sum()), 1.0), dtype=np.float64)
