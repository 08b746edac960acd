"""What is explored: the labels of all images, and where each lies, from a study store or from a label table alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.labels import LABELS
from ich25d.studies.labelfile import wide_columns
from ich25d.studies.pictures.columns import COLUMN_KEYS
from ich25d.studies.split_unit import split_units
from ich25d.studies.table_file import DCM_SUFFIX, FILE_KEYS, IMAGE_ID_KEYS, column_names, first_filled, read_table

UNKNOWN = -1

Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class LabelRows:
    """An image a row; where series are known, sorted by series and, inside, in scan order."""

    image_id: npt.NDArray[np.object_]
    """Shape (n,)."""
    target: npt.NDArray[np.int8]
    """Shape (n, 6), in the order of `LABELS`: 0, 1 or -1 for unknown."""
    series: Ints | None = None
    """Number of each image's series, rising, shape (n,); None where the table doesn't say."""
    series_id: npt.NDArray[np.object_] | None = None
    """Id of each series number."""
    patient: Ints | None = None
    """Number of each image's patient, shape (n,); None where the table doesn't say."""
    position_mm: npt.NDArray[np.float64] | None = None
    """Place along the scan, shape (n,), mm, NaN where unknown; None without a scan order."""

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def n_series(self) -> int:
        """Number of series; they must be known."""
        assert self.series is not None
        return int(self.series.max(initial=-1)) + 1

    @property
    def is_ordered(self) -> bool:
        """Series and scan order are known."""
        return self.series is not None and self.position_mm is not None

    @property
    def is_labelled(self) -> npt.NDArray[np.bool_]:
        """All six labels are known, shape (n,)."""
        known: npt.NDArray[np.bool_] = (self.target != UNKNOWN).all(axis=1)
        return known


def labelled_slices(rows: LabelRows) -> pd.DataFrame:
    """Return the labelled slices of known series as a table: `series_id` and the six labels."""
    assert rows.series is not None
    assert rows.series_id is not None
    labelled = rows.is_labelled
    table = pd.DataFrame(rows.target[labelled].astype(np.float64), columns=list(LABELS))
    table.insert(0, "series_id", rows.series_id[rows.series[labelled]])
    return table


def rows_of_store(slices: pd.DataFrame, labels: pd.DataFrame | None = None) -> LabelRows:
    """Return the labels of a store's slices.

    Args:
        slices: The store's table of slices.
        labels: Another label table, indexed by image id: where it knows an image, it is preferred.
    """
    target = _target(slices)
    if labels is not None:
        other = labels.reindex(slices["image_id"])
        known = other["any"].notna().to_numpy()
        target[known] = _target(other)[known]
    series, series_id = _numbered(slices["series_id"])
    patient, _ = _numbered(slices["split_unit"])
    position = slices["slice_position_mm"].to_numpy(dtype=np.float64, na_value=np.nan)
    return LabelRows(slices["image_id"].to_numpy(dtype=object), target, series, series_id, patient, position)


def rows_of_table(path: Path, labels: pd.DataFrame) -> LabelRows:
    """Return the labels of a table alone; a wide one may also name series, patients and positions.

    Args:
        path: The label table.
        labels: What `read_labels` made of it.
    """
    alone = LabelRows(labels.index.to_numpy(dtype=object), _target(labels))
    places = _places(path)
    if places is None:
        return alone
    places = places[~places.index.duplicated()].reindex(labels.index)
    position = pd.to_numeric(places["position"], errors="coerce") if "position" in places else None
    order = np.lexsort((np.zeros(len(places)) if position is None else position, places["series"].fillna("")))
    places, position = places.iloc[order], None if position is None else position.iloc[order]
    series, series_id = _numbered(places["series"].fillna(""))
    units = split_units(places.add_suffix("_id"))
    return LabelRows(
        alone.image_id[order],
        alone.target[order],
        series,
        series_id,
        _numbered(units)[0] if "patient" in places else None,
        None if position is None or position.isna().all() else position.to_numpy(dtype=np.float64),
    )


def _places(path: Path) -> pd.DataFrame | None:
    """Read series, patient, study and position of each image, where a wide table names its series."""
    if not wide_columns(column_names(path)):
        return None
    table = read_table(path).columns
    names = {what: first_filled(table, COLUMN_KEYS[what]) for what in ("series", "patient", "study", "position")}
    image = first_filled(table, (*IMAGE_ID_KEYS, *FILE_KEYS))
    if image is None or names["series"] is None:
        return None
    places = pd.DataFrame({what: table[name].to_pandas() for what, name in names.items() if name is not None})
    places = places.replace("", None)
    places.index = pd.Index(table[image].to_pandas().astype(str).str.strip().str.replace(DCM_SUFFIX, "", regex=True))
    return places


def _target(table: pd.DataFrame) -> npt.NDArray[np.int8]:
    columns = [table[label].fillna(UNKNOWN).to_numpy(dtype=np.int8) for label in LABELS]
    return np.stack(columns, axis=1)


def _numbered(ids: "pd.Series[Any]") -> tuple[Ints, npt.NDArray[np.object_]]:
    """Number ids in the order in which they come."""
    codes, names = pd.factorize(ids)
    return codes.astype(np.int32), np.asarray(names, dtype=object)
