"""Folds for cross-validation: patients and identical pixels stay together, labels and collections are spread evenly."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.labels import LABELS
from ich25d.studies.linked import Linked

SLICE_WEIGHT, SERIES_WEIGHT, COLLECTION_WEIGHT = 1.0, 1.0, 1.0
"""Costs of uneven shares of positive slices, of positive series and of a collection's series."""
SIZE_WEIGHT = 2.0
"""Cost of uneven shares of all slices and of all series."""
_PASSES = 4

MOST_COLLECTIONS = 20
"""Above this many, the small ones are evened out as one: a column for each would need memory by series squared."""
SMALL_COLLECTION = 0.01
"""Share of all series below which a collection is small, where there are more than `MOST_COLLECTIONS`."""
_REST = "(others)"

# A UID under 2.25 is a UUID, and a number without a point is a count: neither names a collection.
_COLLECTION = re.compile(r"[A-Za-z]+|2\.25(?=\.)|\d+(?:\.\d+){1,4}")


def assign_folds(series: pd.DataFrame, n_folds: int, seed: int) -> "pd.Series[int]":
    """Deal series into folds.

    Series that share a split unit, a study or their pixels, directly or over others, are never split. Units are
    dealt one by one, the largest first, to the fold where they even out positives, sizes and collections most;
    then single units move while that helps. The result depends on ids, counts and seed, not on the rows' order.

    Args:
        series: A row a series: `series_id`, `split_unit`, `content_hash`, `n_slices`, a count of positive slices for
            each of `LABELS`; `study_id`, `n_labelled` (slices with labels) and `collection` (what it came from) where
            known. Without `collection`, the start of `series_id` stands in (`ctich_049_1`: ctich; a UID: its root;
            a bare number or a UUID says nothing). Of more than `MOST_COLLECTIONS`, the small ones count as one.
        n_folds: Number of folds, at least 1.
        seed: Another seed deals otherwise.

    Returns:
        The fold of each series, 0 to `n_folds` - 1, with the index of `series`. Folds are empty only where
        there are fewer units than folds.
    """
    if series.empty or n_folds <= 1:
        return pd.Series(0, index=series.index, name="fold", dtype="int64")
    # In one order of rows: the last bits of sums depend on it, and they decide ties.
    index = series.index
    place = np.argsort(series["series_id"].astype(str).to_numpy(dtype=object), kind="stable")
    series = series.iloc[place]
    unit = unit_numbers([series[name] for name in ("split_unit", "study_id", "content_hash") if name in series])
    demand = _demands(series)
    units, n_units = unit.tolist(), int(unit.max()) + 1
    total = np.zeros((n_units, demand.shape[1]))
    np.add.at(total, unit, demand)
    names = [""] * n_units
    for number, name in sorted(zip(units, series["series_id"].astype(str), strict=True), reverse=True):
        names[number] = name
    fold_of_unit = _deal(total, names, n_folds, seed)
    fold = np.empty(len(series), dtype=np.int64)
    fold[place] = fold_of_unit[unit]
    return pd.Series(fold, index=index, name="fold", dtype="int64")


def unit_numbers(columns: "Sequence[pd.Series[str]]") -> npt.NDArray[np.int64]:
    """Number rows so that those that share a value in any column, directly or over others, get one number.

    Args:
        columns: Columns of one length; empty text and missing values are shared by none.

    Returns:
        Shape (rows,), 0 to the number of units - 1.
    """
    n_rows = len(columns[0])
    linked: Linked[int] = Linked()
    for column in columns:
        first: dict[str, int] = {}
        for row, (value, is_absent) in enumerate(zip(column.tolist(), column.isna().tolist(), strict=True)):
            if is_absent or value == "":
                continue
            linked.link(first.setdefault(value, row), row)
    return np.unique([linked.first(row) for row in range(n_rows)], return_inverse=True)[1].astype(np.int64)


def _demands(series: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return each series' share of all quantities that are to be even, weighted; shape (rows, k)."""
    positives = series[list(LABELS)].to_numpy(dtype=np.float64)
    sizes = series[["n_slices"]].to_numpy(dtype=np.float64)
    if "collection" in series:
        collection = series["collection"].astype(str)
    else:
        collection = series["series_id"].astype(str).map(_collection_of)
    of_collection = pd.get_dummies(_merge_small(collection)).to_numpy(dtype=np.float64)
    is_labelled = (
        (series["n_labelled"] > 0).to_numpy(dtype=np.float64) if "n_labelled" in series else np.ones(len(series))
    )
    is_positive = (positives > 0).astype(np.float64)
    parts = (
        (SIZE_WEIGHT, sizes),
        (SIZE_WEIGHT, np.ones_like(sizes)),
        (SLICE_WEIGHT, positives),
        (SERIES_WEIGHT, is_positive),
        (COLLECTION_WEIGHT, of_collection),
        (COLLECTION_WEIGHT, of_collection * is_labelled[:, None]),
        (COLLECTION_WEIGHT, of_collection * is_positive[:, -1:]),
    )
    # Costs are squares: each weight enters by its root.
    columns = [np.sqrt(weight) * part / np.maximum(part.sum(axis=0), 1) for weight, part in parts]
    return np.concatenate(columns, axis=1)


def _collection_of(series_id: str) -> str:
    found = _COLLECTION.match(series_id)
    return found.group() if found else ""


def _merge_small(collection: "pd.Series[str]") -> "pd.Series[str]":
    """Put the small ones among too many collections together; few collections stay as they are, however small."""
    n_series = collection.value_counts()
    if len(n_series) <= MOST_COLLECTIONS:
        return collection
    # A collection of one series can't be spread.
    large = n_series[n_series >= max(2, SMALL_COLLECTION * len(collection))]
    kept = sorted(large.index, key=lambda name: (-large[name], name))[: MOST_COLLECTIONS - 1]
    return collection.where(collection.isin(kept), _REST)


def _deal(total: npt.NDArray[np.float64], names: list[str], n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Deal units, shape (units, k), to folds; greedy, then single moves."""
    lots = [hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).hexdigest() for name in names]
    # Units of about one size go in the order of their lots: the seed decides among them.
    magnitude = np.round(2 * np.log2(np.maximum(total.sum(axis=1), 1e-12)))
    order = sorted(range(len(names)), key=lambda unit: (-magnitude[unit], lots[unit]))
    load = np.zeros((n_folds, total.shape[1]))
    fold_of = np.zeros(len(names), dtype=np.int64)
    for unit in order:
        fold = int(_cheapest(load, total[unit]))
        fold_of[unit] = fold
        load[fold] += total[unit]
    for _ in range(_PASSES):
        n_moved = 0
        for unit in order:
            load[fold_of[unit]] -= total[unit]
            fold = int(_cheapest(load, total[unit], at_present=int(fold_of[unit])))
            n_moved += fold != fold_of[unit]
            fold_of[unit] = fold
            load[fold] += total[unit]
        if not n_moved:
            break
    return fold_of


def _cheapest(load: npt.NDArray[np.float64], unit: npt.NDArray[np.float64], at_present: int | None = None) -> np.intp:
    """Return the fold whose squared load grows least; the present one in a tie, but for rounding."""
    growth = load @ unit  # (load + unit)^2 - load^2, but for what is the same for all folds
    if at_present is not None:
        growth[at_present] -= 1e-12
    return np.argmin(growth)
