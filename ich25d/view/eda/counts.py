"""Labels counted: at slice, series and patient level, together, along the scan, and in runs; and examples of each."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.labels import ANY_INDEX, LABELS, N_LABELS
from ich25d.training.intervals import wilson_interval
from ich25d.view.eda.rows import UNKNOWN, Ints, LabelRows

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

SCAN_BINS = 20
"""Bins of the relative scan position."""


class LevelCounts(NamedTuple):
    """Positives at one level."""

    level: str
    """slice, series or patient."""
    n: Counts
    """How many are labelled, shape (6,)."""
    n_positive: Counts
    """Shape (6,)."""

    @property
    def rate(self) -> Floats:
        """Share of positives, shape (6,); NaN where nothing is labelled."""
        with np.errstate(invalid="ignore"):
            return np.where(self.n > 0, self.n_positive / np.maximum(self.n, 1), np.nan)

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """Wilson's 95 % interval of the rate, two arrays of shape (6,)."""
        ends = [
            wilson_interval(int(hit), int(n)) if n else (np.nan, np.nan)
            for hit, n in zip(self.n_positive, self.n, strict=True)
        ]
        return np.array([low for low, _ in ends]), np.array([high for _, high in ends])


def count_levels(rows: LabelRows) -> list[LevelCounts]:
    """Count positives at each level that is known.

    A series, or a patient, is positive where one of its slices is, and counts where one is labelled.
    """
    known, positive = rows.target != UNKNOWN, rows.target == 1
    levels = [LevelCounts("slice", known.sum(axis=0), positive.sum(axis=0))]
    for name, group in (("series", rows.series), ("patient", rows.patient)):
        if group is not None and len(group):
            n_groups = int(group.max()) + 1
            of_group = [_any_of(flags, group, n_groups).sum(axis=0) for flags in (known, positive)]
            levels.append(LevelCounts(name, *of_group))
    return levels


def _any_of(flags: npt.NDArray[np.bool_], group: Ints, n_groups: int) -> npt.NDArray[np.bool_]:
    """Say for each group and label whether one of its rows has the flag, shape (n_groups, 6)."""
    inside = group >= 0
    columns = [np.bincount(group[inside], weights=column[inside], minlength=n_groups) > 0 for column in flags.T]
    return np.stack(columns, axis=1)


def positive_series(rows: LabelRows) -> pd.DataFrame:
    """Return which series have a positive slice: a row a series, a column a label; NaN where none is labelled."""
    assert rows.series is not None
    assert rows.series_id is not None
    known, positive = (
        _any_of(flags, rows.series, rows.n_series) for flags in (rows.target != UNKNOWN, rows.target == 1)
    )
    values = np.where(known, positive.astype(float), np.nan)
    return pd.DataFrame(values, index=pd.Index(rows.series_id, name="series_id"), columns=list(LABELS))


def co_occurrence(rows: LabelRows) -> Counts:
    """Count slices that are positive for two labels at once, shape (6, 6); a label's own count on the diagonal."""
    positive = (rows.target == 1).astype(np.float64)  # exact: counts stay far below 2**53
    counts: Counts = np.rint(positive.T @ positive).astype(np.int64)
    return counts


def subtypes_a_slice(rows: LabelRows) -> Counts:
    """Count slices by how many of the five subtypes they show, shape (6,): none to five."""
    subtypes = rows.target[:, :ANY_INDEX]
    complete = (subtypes != UNKNOWN).all(axis=1)
    return np.bincount((subtypes[complete] == 1).sum(axis=1), minlength=N_LABELS).astype(np.int64)


def relative_position(rows: LabelRows) -> Floats:
    """Return where each slice lies in its scan, shape (n,): 0 is the lowest slice, 1 the highest.

    In mm where all positions of the series are known, else in slices; NaN in series of one slice.
    """
    assert rows.series is not None
    assert rows.position_mm is not None
    n = np.bincount(rows.series, minlength=rows.n_series)
    first = np.concatenate([[0], np.cumsum(n)[:-1]]).astype(np.int64)
    rank = np.arange(len(rows)) - first[rows.series]
    last = first + n - 1
    start_mm, end_mm = rows.position_mm[first], rows.position_mm[last]
    gaps = np.isnan(rows.position_mm)
    has_gap = np.bincount(rows.series, weights=gaps, minlength=rows.n_series) > 0
    in_mm = ~has_gap & (end_mm > start_mm)
    with np.errstate(invalid="ignore", divide="ignore"):
        by_mm = (rows.position_mm - start_mm[rows.series]) / (end_mm - start_mm)[rows.series]
        by_rank = rank / (n - 1)[rows.series]
    return np.where(n[rows.series] < 2, np.nan, np.where(in_mm[rows.series], by_mm, by_rank))


def along_scan(rows: LabelRows) -> tuple[Counts, Counts]:
    """Count labelled slices, and positive ones, along the relative scan position, shape (SCAN_BINS, 6) each."""
    place = relative_position(rows)
    known = ~np.isnan(place)
    which = np.minimum((np.where(known, place, 0) * SCAN_BINS).astype(np.int64), SCAN_BINS - 1)
    labelled, positive = (
        np.stack([np.bincount(which[known & column], minlength=SCAN_BINS) for column in flags.T], axis=1)
        for flags in (rows.target != UNKNOWN, rows.target == 1)
    )
    return labelled.astype(np.int64), positive.astype(np.int64)


class Runs(NamedTuple):
    """Stretches of positive slices of one label that nothing interrupts."""

    start: Counts
    """Row of each run's first slice."""
    length: Counts
    """Slices of each run."""
    series: Ints
    """Its series."""

    @property
    def middle(self) -> Counts:
        """Row in the middle of each run."""
        return self.start + self.length // 2

    def a_series(self) -> Counts:
        """Return how many runs each positive series has."""
        return np.unique(self.series, return_counts=True)[1].astype(np.int64)


def find_runs(rows: LabelRows, label: int) -> Runs:
    """Find the runs of a label along the scans; a slice without a label ends a run."""
    assert rows.series is not None
    positive = rows.target[:, label] == 1
    before = np.zeros(len(rows), dtype=bool)
    before[1:] = positive[:-1] & (rows.series[1:] == rows.series[:-1])
    start = np.flatnonzero(positive & ~before)
    number = np.cumsum(positive & ~before) - 1
    length = np.bincount(number[positive], minlength=len(start))
    return Runs(start.astype(np.int64), length.astype(np.int64), rows.series[start])


def examples_of(rows: LabelRows, label: int, most: int, taken: frozenset[int] = frozenset()) -> list[int]:
    """Choose slices of a label.

    Args:
        rows: Labels in scan order.
        label: Index of the label.
        most: So many at most, each from another patient.
        taken: Rows that are shown already; others are preferred.

    Returns:
        Their rows.
    """
    runs = find_runs(rows, label)
    others = (rows.target[runs.middle, :ANY_INDEX] == 1).sum(axis=1)
    order = np.lexsort((runs.start, -runs.length, others, np.isin(runs.middle, list(taken))))
    return _of_different_patients(rows, runs.middle[order].tolist(), most)


def examples_without(rows: LabelRows, most: int) -> list[int]:
    """Choose rows from the middle of series that are labelled throughout and hold no bleed."""
    if rows.series is None:
        return []
    bad = np.bincount(rows.series, weights=(rows.target != 0).any(axis=1), minlength=rows.n_series) > 0
    n = np.bincount(rows.series, minlength=rows.n_series)
    first = np.concatenate([[0], np.cumsum(n)[:-1]])
    middle = (first + n * 0.55).astype(np.int64)[~bad]
    return _of_different_patients(rows, middle.tolist(), most)


def _of_different_patients(rows: LabelRows, candidates: Iterable[int], most: int) -> list[int]:
    owner = rows.patient if rows.patient is not None else rows.series
    first: dict[int, int] = {}
    for row in candidates:
        first.setdefault(row if owner is None else int(owner[row]), row)
    return list(first.values())[:most]
