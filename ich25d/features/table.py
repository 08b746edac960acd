"""The slice table of a feature store: its columns, checked and filled in."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.errors import StoreError
from ich25d.labels import LABELS
from ich25d.studies.split_unit import split_units

COLUMNS = ("image_id", "series_id", "patient_id", "slice_index", "fold", "train_only", *LABELS)
"""Columns of the checked table, in this order."""

NO_FOLD = -1
"""Fold of a series where the table names none."""


def check_slices(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Check a slice table and fill in what may be left out.

    `image_id`, `series_id` and the six labels (0, 1 or missing) are needed. `patient_id`, the unit that folds never
    split, is the series itself where it is absent or empty, `slice_index` the order of rows, `fold` unknown (-1) and
    `train_only` (the series is trained on but never judged) false.

    Args:
        table: A row a slice.
        path: Where it is from, for messages.

    Returns:
        The columns `COLUMNS`, series one after another, each in scan order.

    Raises:
        StoreError: A column is missing or holds something else, an image occurs twice, the slices of a series
            aren't numbered 0 to n - 1, or a patient is in two folds.
    """
    if missing := [name for name in ("image_id", "series_id", *LABELS) if name not in table.columns]:
        raise StoreError(
            f"a slice table must have the columns image_id, series_id and six labels (got no {missing[0]}) in {path}"
        )
    if len(table) == 0:
        raise StoreError(f"a slice table must have at least one row (got none) in {path}")
    checked = pd.DataFrame({name: _identifiers(table, name, path) for name in ("image_id", "series_id")})
    if "patient_id" in table:
        known = _identifiers(table.fillna({"patient_id": ""}), "patient_id", path)
        checked["patient_id"] = split_units(checked.assign(patient_id=known))
    else:
        checked["patient_id"] = checked["series_id"]
    if (twice := checked["image_id"].duplicated()).any():
        raise StoreError(f"every image must have one row (got {checked['image_id'][twice].iloc[0]!r} twice) in {path}")
    groups = checked.groupby("series_id", sort=False)
    checked["slice_index"] = _whole(table, "slice_index", path) if "slice_index" in table else groups.cumcount()
    checked["fold"] = _whole(table, "fold", path) if "fold" in table else np.int64(NO_FOLD)
    checked["train_only"] = _flags(table, path) if "train_only" in table else False
    for label in LABELS:
        checked[label] = _label(table, label, path)
    order = np.lexsort([checked["slice_index"].to_numpy(), groups.ngroup().to_numpy()])
    checked = checked.iloc[order].reset_index(drop=True)[list(COLUMNS)]
    groups = checked.groupby("series_id", sort=False)
    wrong = checked["slice_index"].to_numpy() != groups.cumcount().to_numpy()
    if wrong.any():
        raise StoreError(
            f"the slices of a series must be numbered 0 to n - 1 "
            f"(series {checked['series_id'][wrong].iloc[0]!r} isn't) in {path}"
        )
    for name in ("patient_id", "fold", "train_only"):
        several = groups[name].nunique(dropna=False) > 1
        if several.any():
            raise StoreError(
                f"{name} must be the same in all slices of a series (series {several.idxmax()!r}) in {path}"
            )
    folds = checked.groupby("patient_id")["fold"].nunique()
    if (folds > 1).any():
        raise StoreError(f"a patient must be in one fold (got {folds.idxmax()!r} in {folds.max()}) in {path}")
    return checked


def targets(slices: pd.DataFrame) -> npt.NDArray[np.float32]:
    """Return the labels of a table, shape (rows, 6), in the order of `LABELS`; NaN where unknown."""
    return slices[list(LABELS)].to_numpy(dtype=np.float32, na_value=np.nan)


def _identifiers(table: pd.DataFrame, name: str, path: Path) -> npt.NDArray[Any]:
    values = table[name]
    if values.isna().any():
        raise StoreError(f"{name} must be in every row (got {int(values.isna().sum())} rows without) in {path}")
    if not all(isinstance(value, str | int | np.integer) for value in values):
        raise StoreError(f"{name} must be text or a whole number (got {values.dtype}) in {path}")
    return np.array([str(value) for value in values], dtype=object)


def _whole(table: pd.DataFrame, name: str, path: Path) -> npt.NDArray[np.int64]:
    numbers = _numbers(table, name, path)
    if not (np.isfinite(numbers).all() and (numbers == np.round(numbers)).all() and (np.abs(numbers) < 2**31).all()):
        raise StoreError(f"{name} must be a whole number in every row (got others) in {path}")
    return numbers.astype(np.int64)


def _flags(table: pd.DataFrame, path: Path) -> npt.NDArray[np.bool_]:
    numbers = _numbers(table, "train_only", path)
    if not np.isin(numbers, (0, 1)).all():
        raise StoreError(f"train_only must be true or false in every row (got others) in {path}")
    return numbers.astype(bool)


def _label(table: pd.DataFrame, label: str, path: Path) -> pd.Series:
    numbers = _numbers(table, label, path)
    known = ~np.isnan(numbers)
    if not np.isin(numbers[known], (0, 1)).all():
        strange = numbers[known][~np.isin(numbers[known], (0, 1))][0]
        raise StoreError(f"labels must be 0, 1 or missing (got {strange:g} in {label}) in {path}")
    return pd.Series(numbers).astype("Int8")


def _numbers(table: pd.DataFrame, name: str, path: Path) -> npt.NDArray[np.float64]:
    try:
        return table[name].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise StoreError(f"{name} must be numbers (got {table[name].dtype}) in {path}") from error
