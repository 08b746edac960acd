"""The columns of slices.parquet and series.parquet: name, dtype on disk and meaning, written once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ich25d.labels import LABELS

TEXT = "text"


class Column(NamedTuple):
    """A column of one of the store's tables."""

    name: str
    dtype: str
    """`TEXT`, or a dtype of NumPy or pandas."""
    meaning: str
    is_planned: bool = False
    """Taken from the series' plan as it is, from the attribute of the same name."""


ID_COLUMNS = (
    Column("series_id", TEXT, "(0020,000E), or what names the series in a table of images", True),
    Column("study_id", TEXT, "(0020,000D), or what names the study; the series where nothing does", True),
    Column("patient_id", TEXT, "(0010,0020), as a pseudonym where it isn't one already; empty where unknown", True),
    Column("split_unit", TEXT, "what folds never divide: the patient, else the study, else the series"),
)

SERIES_COLUMNS = (
    *ID_COLUMNS,
    Column("n_slices", "int32", "slices kept"),
    Column("slice_spacing_mm", "float64", "median distance of neighbours along the normal", True),
    Column("spacing_is_regular", "bool", "no gap and no slice lost"),
    Column("tilt_deg", "float64", "gantry tilt", True),
    Column("rows", "int32", "of the source, in the usual display as all that speaks of source px"),
    Column("columns", "int32", "of the source"),
    Column("pixel_spacing_mm", "float64", "distance of the source's columns; NaN where unknown"),
    Column("row_spacing_mm", "float64", "distance of the source's rows; NaN where unknown"),
    Column("scale", "float64", "source columns per stored px"),
    Column("box_top", "int32", "first row of the stored box, source px"),
    Column("box_left", "int32", "first column of the stored box, source px"),
    Column("box_bottom", "int32", "row after the stored box, source px"),
    Column("box_right", "int32", "column after the stored box, source px"),
    Column("pixel_family", TEXT, "how stored values become HU", True),
    Column("kernel", TEXT, "(0018,1210)", True),
    Column("thickness_mm", "float64", "(0018,0050)", True),
    Column("order_key", TEXT, "what the slices are ordered by", True),
    Column("orientation", TEXT, "where rows and columns run in the patient, as LP; empty where unknown", True),
    Column("source_orientation", TEXT, "the same of the source's slices, before they were turned", True),
    Column("brain_hu", "float64", "HU of its brain tissue; NaN where no brain is found"),
    Column("content_hash", TEXT, "hash of the volume's shape and of some of its rows"),
    Column("file_hash", TEXT, "SHA-256 of the volume's file"),
    Column("n_bytes", "int64", "size of the volume's file"),
    Column("fold", "int16", "fold that holds the series out"),
)

SLICE_COLUMNS = (
    Column("image_id", TEXT, "(0008,0018), or what names the image in a table"),
    *ID_COLUMNS,
    Column("slice_index", "int32", "rank in scan order, from 0"),
    Column("slice_position_mm", "float64", "distance along the normal; NaN where unknown"),
    Column("source", TEXT, "file, archive member or table row"),
    Column("window_level", "float64", "first of (0028,1050), HU; NaN where absent"),
    Column("window_width", "float64", "first of (0028,1051), HU; NaN where absent"),
    Column("pixel_hash", "int64", "hash of some of the source's rows; 0 where they show air alone"),
    *(Column(label, "Int8", "label: 0, 1 or missing") for label in LABELS),
)

READ_SERIES_COLUMNS = tuple(column.name for column in SERIES_COLUMNS if column.name not in ("split_unit", "fold"))
"""What is known once a series is read and written; the rest needs all of them."""

OWN_SLICE_COLUMNS = tuple(
    column.name for column in SLICE_COLUMNS if column not in ID_COLUMNS and column.name not in LABELS
)
"""What is known of a slice once its series is read, beside what the series' row says."""


def table_of(columns: Sequence[Column], values: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Make a table of those columns that have values, in the schema's order.

    Args:
        columns: A table's schema.
        values: Values by column, all of one length; None becomes NaN in columns of floats.
    """
    table = {}
    for name, dtype, *_ in columns:
        if name in values:
            is_text = dtype == TEXT
            # An empty list would become a column of floats.
            given = values[name]
            table[name] = given if is_text and len(given) else np.array(given, dtype=object if is_text else dtype)
    return pd.DataFrame(table)
