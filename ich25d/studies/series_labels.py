"""Labels of whole series: a report's "bleed, yes or no", where nobody has labelled slices.

A table has a column `series_id` or `study_id` (or both: where a row has a series, that counts) and one column or more
of the six labels; 1 is "somewhere in the series", 0 "nowhere in it", and an empty cell is unknown. A study's labels are
those of each of its series.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.errors import LabelError, UsageError
from ich25d.labels import ANY_INDEX, LABELS, N_LABELS
from ich25d.progress import remark
from ich25d.studies.labelfile import BAD_CELL, LABEL_KEYS, MISSING_CELL, as_text, cell_values
from ich25d.studies.table_file import keys_of, read_table

SERIES_KEYS = ("seriesid", "seriesinstanceuid", "seriesuid", "series")
STUDY_KEYS = ("studyid", "studyinstanceuid", "studyuid", "study")
"""Names of the columns of ids, best first, as `column_key` writes them."""

_SHOWN = 3


def read_series_labels(path: Path, series: pd.DataFrame) -> pd.DataFrame:
    """Read a table of labels of whole series, for the series of a store.

    What follows from the others is filled in: a subtype makes `any`, `any` = 0 denies all subtypes, and five subtypes
    of 0 deny `any`.

    Args:
        path: CSV, parquet or feather.
        series: The store's table, with `series_id` and `study_id`.

    Returns:
        A row a series that the table names, in the store's order: `series_id`, and six columns float32, 0, 1 or NaN.

    Raises:
        LabelError: The table is of another form, holds other values than 0, 1 and nothing, contradicts itself, or names
            none of these series.
    """
    columns, bad_lines = read_table(path)
    keys = keys_of(columns.column_names)
    names = {label: next((keys[key] for key in LABEL_KEYS[label] if key in keys), None) for label in LABELS}
    of_series, of_study = (
        next((keys[key] for key in wanted if key in keys), None) for wanted in (SERIES_KEYS, STUDY_KEYS)
    )
    if (of_series is None and of_study is None) or not any(names.values()):
        raise LabelError(
            f"a table of series labels must have a column series_id or study_id, and any or more of "
            f"{', '.join(LABELS)} (got {columns.column_names[:12]}) in {path.name}"
        )
    if bad_lines:
        raise LabelError(f"every line must have as many cells as the first (got {bad_lines[0][:60]!r}) in {path.name}")
    ids = [_ids(columns, name) for name in (of_series, of_study)]
    values = np.full((len(columns), N_LABELS), np.nan, np.float32)
    for place, name in enumerate(names.values()):
        if name is None:
            continue
        found = cell_values(as_text(columns[name]))
        if (odd := np.flatnonzero(found == BAD_CELL)).size:
            row = int(odd[0])
            raise LabelError(
                f"a label of a series must be 0, 1 or empty (got {as_text(columns[name])[row].as_py()[:40]!r} for "
                f"{ids[0][row] or ids[1][row]}, {len(odd)} such cells in {name}) in {path.name}"
            )
        values[:, place] = np.where(found == MISSING_CELL, np.nan, found)
    whose = [ids[0][row] or ids[1][row] for row in range(len(values))]
    _complete(values, whose, path.name)
    return _joined(ids, values, series, path.name)


def _ids(columns: Any, name: str | None) -> list[str]:  # noqa: ANN401  # pyarrow has no types
    if name is None:
        return [""] * len(columns)
    return [str(text).strip() for text in as_text(columns[name]).to_pylist()]


def _complete(values: npt.NDArray[np.float32], whose: Sequence[str], place: str) -> None:
    """Fill in what follows from the labels given, in place.

    Raises:
        LabelError: `any` is 0 and a subtype 1.
    """
    subtypes, any_label = values[:, :ANY_INDEX], values[:, ANY_INDEX]
    has_subtype = (subtypes == 1).any(axis=1)
    _refuse(has_subtype & (any_label == 0), whose, "any must be 1 where a subtype is", place)
    any_label[has_subtype] = 1
    any_label[np.isnan(any_label) & (subtypes == 0).all(axis=1)] = 0
    subtypes[any_label == 0] = 0


def _joined(
    ids: Sequence[Sequence[str]], values: npt.NDArray[np.float32], series: pd.DataFrame, place: str
) -> pd.DataFrame:
    """Give every series of the store the labels of its row, or of its study's.

    Raises:
        LabelError: Two rows contradict each other, or none is of a series of the store.
    """
    table = np.full((len(series), N_LABELS), np.nan, np.float32)
    own, study = (series[name].astype(str).to_numpy() for name in ("series_id", "study_id"))
    met = np.zeros(len(values), dtype=bool)
    for given, stored, takes in ((ids[1], study, [not name for name in ids[0]]), (ids[0], own, [True] * len(values))):
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(given):
            if name and takes[row]:
                rows.setdefault(name, []).append(row)
        for number, name in enumerate(stored):
            found = rows.get(name, [])
            met[found] = True
            for row in found:
                is_known = ~np.isnan(values[row])
                clash = is_known & ~np.isnan(table[number]) & (table[number] != values[row])
                _refuse(np.array([clash.any()]), [name], "one label of a series must not be both 0 and 1", place)
                table[number, is_known] = values[row, is_known]
    named = ~np.isnan(table).all(axis=1)
    if not named.any():
        example = next((name for pair in zip(*ids, strict=True) for name in pair if name), "none")
        raise LabelError(
            f"a table of series labels must name series or studies of the store (got ids as {example!r}; the store has "
            f"{own[0] if len(own) else 'none'!r}, of the study {study[0] if len(study) else 'none'!r}) in {place}"
        )
    if not met.all():
        remark(f"{int((~met).sum())} of {len(met)} rows of {place} are of no series of the store; they are passed over")
    labels = pd.DataFrame(table[named], columns=list(LABELS))
    labels.insert(0, "series_id", own[named])
    return labels


def refuse_contradictions(
    table: pd.DataFrame, slices: pd.DataFrame, positive: npt.NDArray[np.bool_], place: str
) -> None:
    """Check that no slice has what its whole series is said not to have.

    Args:
        table: Labels of series, from `read_series_labels`.
        slices: The store's table of slices.
        positive: Labels of slices that are known and 1, shape (slices, 6).
        place: Name of the table's file.

    Raises:
        UsageError: One has.
    """
    known = table.set_index("series_id")[list(LABELS)]
    own = known.reindex(slices["series_id"].astype(str)).to_numpy(dtype=np.float32)
    wrong = (own == 0) & positive
    if wrong.any():
        row, label = (int(places[0]) for places in np.nonzero(wrong))
        n_series = slices["series_id"][wrong.any(axis=1)].nunique()
        raise UsageError(
            f"a series without {LABELS[label]} must have no slice with it (got slice {slices['image_id'].iloc[row]} of "
            f"series {slices['series_id'].iloc[row]}, and {n_series} such series) in {place}; correct the table or the "
            "labels of the store"
        )


def _refuse(wrong: npt.NDArray[np.bool_], whose: Sequence[str], rule: str, place: str) -> None:
    if wrong.any():
        names = [whose[row] for row in np.flatnonzero(wrong).tolist()]
        shown = ", ".join(names[:_SHOWN])
        raise LabelError(f"{rule} (got {len(names)} such rows: {shown}) in {place}")
