"""Which slices stand for a class: in the middle of its longest runs, from different patients, with little else."""

from collections.abc import Iterable

import numpy as np

from ich25d.labels import ANY_INDEX
from ich25d.view.eda.counts import find_runs
from ich25d.view.eda.rows import LabelRows


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
