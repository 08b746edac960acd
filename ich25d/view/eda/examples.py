"""Which slices stand for a class: in the middle of its longest runs, from different patients, with little else."""

from typing import NamedTuple

import numpy as np

from ich25d.labels import ANY_INDEX, LABELS
from ich25d.view.eda.counts import find_runs
from ich25d.view.eda.rows import LabelRows


class Example(NamedTuple):
    """One slice to show."""

    row: int
    """Its row."""
    labels: tuple[str, ...]
    """What it is labelled with."""


def examples_of(rows: LabelRows, label: int, most: int, taken: frozenset[int] = frozenset()) -> list[Example]:
    """Choose slices of a label.

    Args:
        rows: Labels in scan order.
        label: Index of the label.
        most: So many at most, each from another patient.
        taken: Rows that are shown already; others are preferred.
    """
    runs = find_runs(rows, label)
    others = (rows.target[runs.middle, :ANY_INDEX] == 1).sum(axis=1)
    is_taken = np.isin(runs.middle, list(taken)) if taken else np.zeros(len(runs.middle), dtype=bool)
    order = np.lexsort((runs.start, -runs.length, others, is_taken))
    return _of_different_patients(rows, runs.middle[order].tolist(), most)


def examples_without(rows: LabelRows, most: int) -> list[Example]:
    """Choose slices from the middle of series that are labelled throughout and hold no bleed."""
    if rows.series is None:
        return []
    n_series = int(rows.series.max(initial=-1)) + 1
    bad = np.bincount(rows.series, weights=(rows.target != 0).any(axis=1), minlength=n_series) > 0
    n = np.bincount(rows.series, minlength=n_series)
    first = np.concatenate([[0], np.cumsum(n)[:-1]])
    middle = (first + n * 0.55).astype(np.int64)[~bad]
    return _of_different_patients(rows, middle.tolist(), most)


def _of_different_patients(rows: LabelRows, candidates: list[int], most: int) -> list[Example]:
    chosen: list[Example] = []
    seen: set[int] = set()
    owner = rows.patient if rows.patient is not None else rows.series
    for row in candidates:
        number = row if owner is None else int(owner[row])
        if number in seen:
            continue
        seen.add(number)
        chosen.append(
            Example(row, tuple(name for name, value in zip(LABELS, rows.target[row], strict=True) if value == 1))
        )
        if len(chosen) == most:
            break
    return chosen
