"""Label tables: Kaggle's long CSV, or one column a label, in; a checked table of six labels an image out.

An image whose labels are incomplete or contradict themselves is refused by name; nothing is averaged or guessed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ich25d.errors import LabelError
from ich25d.labels import ANY_INDEX, LABELS, N_LABELS, SUBTYPES
from ich25d.studies.qc import QcRow
from ich25d.studies.table_file import (
    DCM_SUFFIX,
    EMPTY_CELLS,
    FILE_KEYS,
    IMAGE_ID_KEYS,
    first_filled,
    keys_of,
    read_table,
)

LABEL_KEYS: dict[str, tuple[str, ...]] = {
    "epidural": ("epidural", "edh"),
    "intraparenchymal": ("intraparenchymal", "iph"),
    "intraventricular": ("intraventricular", "ivh"),
    "subarachnoid": ("subarachnoid", "sah"),
    "subdural": ("subdural", "sdh"),
    "any": ("any", "anyhemorrhage", "anyhaemorrhage"),
}
"""Names of the six columns of the wide form."""
_LONG_ID_KEYS = ("id", "rowid", "imageid")
_LONG_VALUE_KEYS = ("label", "target", "value")

MISSING_CELL, BAD_CELL = -1, -2
"""What `cell_values` gives for an empty cell, and for one that holds neither 0 nor 1."""
_LISTED_LINES = 1000


def read_labels(path: Path) -> tuple[pd.DataFrame, list[QcRow]]:
    """Read a label table.

    Args:
        path: CSV, parquet or feather; `ID,Label` with rows as `ID_0002bd10a_any,1`, or a column of image ids
            and one for each label (`any` may be absent: it is the largest of the five).

    Returns:
        The labels, indexed by `image_id` (sorted), six Int8 columns in the order of `LABELS`, complete for
        every image in it; and a row for each image or line that was refused or is odd.

    Raises:
        LabelError: The table is of neither form, or no image in it can be used.
    """
    columns, bad_lines = read_table(path)
    rows = [_line_row(path, line) for line in bad_lines[:_LISTED_LINES]]
    keys = keys_of(columns.column_names)
    long_id = first_filled(columns, _LONG_ID_KEYS)
    long_value = next((keys[key] for key in _LONG_VALUE_KEYS if key in keys), None)
    if wide := wide_columns(columns.column_names):
        image_id = first_filled(columns, (*IMAGE_ID_KEYS, *FILE_KEYS))
        if image_id is None:
            raise LabelError(
                f"a label table must have a column image_id with ids (got {columns.column_names}) in {path.name}"
            )
        labels, more = labels_of_wide(columns, image_id, wide, path.name)
    elif long_id is not None and long_value is not None:
        labels, more = _labels_of_long(as_text(columns[long_id]), as_text(columns[long_value]), path)
    elif len(columns.column_names) == 2 and _is_long_row(columns.column_names):
        # Without column names: the first line is data.
        first, second = (
            pa.chunked_array([pa.array([name]), *as_text(columns[name]).chunks]) for name in columns.column_names
        )
        labels, more = _labels_of_long(first, second, path)
    else:
        raise LabelError(
            f"a label table must have the columns ID and Label, or image_id and {', '.join(LABELS)} "
            f"(got {columns.column_names[:12]}) in {path.name}"
        )
    if len(bad_lines) > max(_LISTED_LINES, len(labels)):
        raise LabelError(
            f"most lines of a CSV must have as many cells as the first (got {bad_lines[:3]}) in {path.name}"
        )
    if labels.empty:
        example = f"; e.g. {more[0].image_id}: {more[0].detail}" if more else ""
        raise LabelError(f"a label table must hold an image that can be used (got none) in {path.name}{example}")
    return labels, rows + more


def wide_columns(names: list[str]) -> dict[str, str]:
    """Return the column of each label; empty unless the five subtypes have one."""
    keys = keys_of(names)
    found: dict[str, str] = {}
    for label, aliases in LABEL_KEYS.items():
        name = next((keys[alias] for alias in aliases if alias in keys), None)
        if name is not None:
            found[label] = name
    return found if set(SUBTYPES) <= set(found) else {}


def labels_of_wide(
    columns: pa.Table, image_id: str, names: dict[str, str], place: str
) -> tuple[pd.DataFrame, list[QcRow]]:
    """Check the labels of a table with one column a label.

    Args:
        columns: The table.
        image_id: Name of the column of image ids.
        names: Name of each label's column, from `wide_columns`.
        place: Name of the file.

    Returns:
        As `read_labels`.
    """
    image_codes, image_ids = _numbered(_clean_ids(as_text(columns[image_id])))
    texts = [as_text(columns[names[label]]) for label in LABELS if label in names]
    values = [cell_values(text) for text in texts]
    if len(values) < N_LABELS:  # without `any`, the last
        subtypes = np.stack(values)
        values.append(np.where((subtypes < 0).any(axis=0), MISSING_CELL, subtypes.max(axis=0)).astype(np.int8))
    cells = np.concatenate([image_codes.astype(np.int64) * N_LABELS + index for index in range(N_LABELS)])

    def text_at(index: int) -> str:
        return str(texts[index // len(columns)][index % len(columns)].as_py())

    return _checked(cells, np.concatenate(values), image_ids, text_at, place)


def _is_long_row(cells: list[str]) -> bool:
    return any(cells[0].endswith(f"_{label}") for label in LABELS) and _value(cells[1]) >= 0


def _labels_of_long(ids: Any, values: Any, path: Path) -> tuple[pd.DataFrame, list[QcRow]]:  # noqa: ANN401
    """Check the labels of Kaggle's long form; both columns as pyarrow text."""
    ids = pc.utf8_trim_whitespace(ids)
    lowered = pc.utf8_lower(ids)
    given = cell_values(values)
    parts, of_label, rows_of = [], [], []
    is_known = np.zeros(len(ids), dtype=bool)
    for index, label in enumerate(LABELS):
        # The label follows the last underscore: image ids may hold underscores too.
        ends = pc.ends_with(lowered, f"_{label}")
        mask = _numpy(ends)
        parts.append(pc.utf8_slice_codeunits(ids.filter(ends), 0, -len(label) - 1))
        rows_of.append(np.flatnonzero(mask))
        of_label.append(np.full(len(rows_of[-1]), index, dtype=np.int64))
        is_known |= mask
    foreign = np.flatnonzero(~is_known)
    if len(foreign) > len(ids) / 2:
        examples = [ids[int(row)].as_py() for row in foreign[:3]]
        raise LabelError(f"ids of the long form must end in one of {', '.join(LABELS)} (got {examples}) in {path.name}")
    more = [_line_row(path, ids[int(row)].as_py()) for row in foreign[:_LISTED_LINES]]
    joined = pa.chunked_array([chunk for part in parts for chunk in part.chunks], type=ids.type)
    image_codes, image_ids = _numbered(_clean_ids(joined))
    cells = image_codes.astype(np.int64) * N_LABELS + np.concatenate(of_label)
    rows = np.concatenate(rows_of)
    labels, checked = _checked(
        cells, given[rows], image_ids, lambda index: str(values[int(rows[index])].as_py()), path.name
    )
    return labels, more + checked


def _checked(
    cells: npt.NDArray[np.int64],
    given: npt.NDArray[np.int8],
    image_ids: npt.NDArray[np.object_],
    text_at: Callable[[int], str],
    place: str,
) -> tuple[pd.DataFrame, list[QcRow]]:
    """Put values into a grid of images and labels, and refuse images whose labels aren't complete and consistent.

    Args:
        cells: Image number x 6 + label number, a value; shape (n,).
        given: 0, 1, `MISSING_CELL` or `BAD_CELL`; shape (n,).
        image_ids: Id of each image number.
        text_at: Returns a value as the table has it, for messages.
        place: Name of the file.
    """
    shape = (len(image_ids), N_LABELS)
    zeros, ones, empty, odd = (
        np.bincount(cells[given == value], minlength=shape[0] * N_LABELS).reshape(shape)
        for value in (0, 1, MISSING_CELL, BAD_CELL)
    )
    is_odd = (odd > 0).any(axis=1)
    is_unlabelled = ((zeros + ones + odd) == 0).all(axis=1)
    is_missing = ((empty > 0) | (zeros + ones + odd == 0)).any(axis=1)
    is_conflict = ((zeros > 0) & (ones > 0)).any(axis=1)
    grid = (ones > 0).astype(np.int8)
    has_subtype = grid[:, :ANY_INDEX].any(axis=1)
    is_denied = has_subtype & (grid[:, ANY_INDEX] == 0)
    is_alone = ~has_subtype & (grid[:, ANY_INDEX] == 1)
    is_double = (zeros + ones + empty + odd > 1).any(axis=1)
    refused = np.zeros(len(image_ids), dtype=bool)
    bad_rows = np.flatnonzero(given == BAD_CELL)
    bad_images, firsts = np.unique(cells[bad_rows] // N_LABELS, return_index=True)
    rows = [
        QcRow(place, str(image_ids[image]), "", "label", "L_VALUE", f"labels must be 0 or 1 (got {text_at(at)[:40]!r})")
        for image, at in zip(bad_images.tolist(), bad_rows[firsts].tolist(), strict=True)
    ]
    refused |= is_odd
    for code, is_so, detail in (
        ("L_CONFLICT", is_conflict, "one label is both 0 and 1"),
        ("L_MISSING", is_missing & ~is_unlabelled, "all six labels must be given"),
        ("L_MISSING", is_unlabelled, "no label is given"),
        ("L_ANY", is_denied, "any must be 1 where a subtype is"),
        ("L_ANY_ALONE", is_alone, "any is 1 and no subtype is"),
        ("L_DUP", is_double, "the same labels are given several times"),
    ):
        where = is_so & ~refused  # one reason an image
        rows += [QcRow(place, str(image_ids[index]), "", "label", code, detail) for index in np.flatnonzero(where)]
        if code not in ("L_ANY_ALONE", "L_DUP"):
            refused |= where
    kept = np.flatnonzero(~refused)
    names = image_ids[kept]
    order = np.argsort(names, kind="stable")
    labels = pd.DataFrame(
        {label: pd.array(grid[kept[order], index], dtype="Int8") for index, label in enumerate(LABELS)},
        index=pd.Index(names[order], name="image_id"),
    )
    return labels, rows


def as_text(column: Any) -> Any:  # noqa: ANN401  # pyarrow has no types
    """Return a column as text, missing values as empty text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):
        # pandas may have made truth values of 0 and 1; the text "True" in a CSV is a mistake.
        column = column.cast(pa.int8())
    return pc.fill_null(column.cast(pa.string()), "")


def _numpy(column: Any) -> npt.NDArray[Any]:  # noqa: ANN401  # pyarrow has no types
    return np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())


def _clean_ids(ids: Any) -> Any:  # noqa: ANN401  # pyarrow has no types
    """Take off spaces around ids, and `.dcm` behind them."""
    return pc.replace_substring_regex(pc.utf8_trim_whitespace(ids), DCM_SUFFIX, "")


def _numbered(ids: Any) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.object_]]:  # noqa: ANN401
    """Number the distinct ids; return the number of each row, and the ids by number."""
    encoded = ids.combine_chunks().dictionary_encode() if isinstance(ids, pa.ChunkedArray) else ids.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    codes = np.asarray(encoded.indices, dtype=np.int32)
    return codes, np.asarray(encoded.dictionary.to_pylist(), dtype=object)


def cell_values(column: Any) -> npt.NDArray[np.int8]:  # noqa: ANN401  # pyarrow has no types
    """Return 0, 1, `MISSING_CELL` or `BAD_CELL` for each cell of a column of text (`as_text`), shape (n,), int8."""
    codes, texts = _numbered(column)
    return np.array([_value(text) for text in texts], dtype=np.int8)[codes]


def _value(text: str) -> int:
    stripped = text.strip().strip("'\"").lower()
    if stripped in EMPTY_CELLS:
        return MISSING_CELL
    try:
        number = float(stripped)
    except ValueError:
        return BAD_CELL
    return int(number) if number in (0, 1) else BAD_CELL


def _line_row(path: Path, line: str) -> QcRow:
    return QcRow(path.name, "", "", "label", "L_FORM", f"not an image id and one of the six labels: {line[:60]!r}")
