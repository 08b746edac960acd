"""Tables of users: CSV in any of its dialects, parquet, feather."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from ich25d.errors import LabelError, cause_of
from ich25d.files import check_rows

EMPTY_CELLS = {"", "nan", "na", "n/a", "null", "none", "<na>"}
"""What programs write for nothing, in small letters."""

DCM_SUFFIX = r"\.[dD][cC][mM]$"
"""What image ids may end in where a table names files; it isn't part of the id."""

IMAGE_ID_KEYS = ("sopinstanceuid", "imageid", "sopuid", "imageuid", "instanceuid", "image", "id", "uid")
"""Names of a column of image ids, best first, as `column_key` writes them."""

FILE_KEYS = ("filename", "file", "name")
"""Names of a column of files whose names are image ids, where a table has no column of ids."""

_SEPARATORS = ",;\t|"
_PARQUET = (".parquet", ".pq")
_FEATHER = (".feather", ".fth", ".ftr", ".arrow")
_CELLS_AT_ONCE = 1000


class TableFile(NamedTuple):
    """The content of a table's file."""

    columns: pa.Table
    """Of a CSV, text in every column, empty text in empty cells; else the types of the file."""
    bad_lines: list[str]
    """Lines of a CSV with too few or too many cells; they aren't in `columns`."""


def column_key(name: str) -> str:
    """Return a column's name without case, spaces and marks: one for `Image_id`, `imageId` and `IMAGE ID`."""
    return re.sub(r"[^0-9a-z]", "", name.lower())


def first_filled(columns: pa.Table, wanted: Sequence[str]) -> str | None:
    """Return the name of the first column wanted that says something; an empty one of a better name is passed over.

    Args:
        columns: The table.
        wanted: Keys of columns (`column_key`), best first. Of several columns with one key, the first counts.
    """
    keys = keys_of(columns.column_names)
    return next((keys[key] for key in wanted if key in keys and not is_blank(columns[keys[key]])), None)


def keys_of(names: Sequence[str]) -> Mapping[str, str]:
    """Return the name of the first column of each key."""
    return {column_key(name): name for name in reversed(names)}


def is_blank(column: Any) -> bool:  # noqa: ANN401  # pyarrow has no types
    """Say whether no cell of a column says anything; a column without cells isn't blank."""
    return len(column) > 0 and all(
        cell is None or cell != cell or (isinstance(cell, str) and cell.strip().lower() in EMPTY_CELLS)  # noqa: PLR0124
        for start in range(0, len(column), _CELLS_AT_ONCE)
        for cell in column.slice(start, _CELLS_AT_ONCE).to_pylist()
    )


def read_table(path: Path) -> TableFile:
    """Read a table, in the form of the file's suffix.

    Args:
        path: `.parquet`, `.feather` (also `.fth`, as fastai names it), else CSV: with commas, semicolons,
            tabs or bars, with or without a byte order mark and quotes.

    Raises:
        LabelError: It can't be read as such.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in _PARQUET:
            check_rows(path)
            return TableFile(pa.parquet.read_table(path), [])
        if suffix in _FEATHER:
            return TableFile(pa.feather.read_table(path), [])
        return _read_csv(path)
    except (pa.ArrowException, ValueError, OSError, csv.Error) as error:
        raise LabelError(
            f"a table must be readable CSV, parquet or feather (got {cause_of(error)}) in {path.name}"
        ) from error


def column_names(path: Path) -> list[str]:
    """Return a table's column names; of a CSV, whose reading takes long, only the start is read.

    Raises:
        LabelError: As `read_table`.
    """
    is_csv = path.suffix.lower() not in (*_PARQUET, *_FEATHER)
    return _csv_head(path).names if is_csv else list(map(str, read_table(path).columns.column_names))


class _CsvHead(NamedTuple):
    n_blank: int
    """Blank lines before the column names."""
    separator: str
    names: list[str]


def _csv_head(path: Path) -> _CsvHead:
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
        raise LabelError(f"a CSV must be UTF-8 text (got other bytes) in {path.name}; save it as UTF-8")
    lines = start.decode("utf-8-sig", "replace").splitlines()
    n_blank = next((index for index, line in enumerate(lines) if line.strip()), None)
    if n_blank is None:
        raise LabelError(f"a table must hold a line of column names (got an empty file) in {path.name}")
    first = lines[n_blank]
    separator = max(_SEPARATORS, key=lambda mark: (first.count(mark), -_SEPARATORS.index(mark)))
    return _CsvHead(n_blank, separator, [name.strip() for name in next(csv.reader([first], delimiter=separator))])


def _read_csv(path: Path) -> TableFile:
    n_blank, separator, names = _csv_head(path)
    numbered = [f"f{index}" for index in range(len(names))]
    options = {
        "read_options": pa.csv.ReadOptions(column_names=numbered, skip_rows=n_blank + 1),
        "convert_options": pa.csv.ConvertOptions(
            column_types=dict.fromkeys(numbered, pa.string()), strings_can_be_null=False
        ),
    }
    bad_lines: list[str] = []
    try:
        table = pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(delimiter=separator), **options)
    except pa.ArrowInvalid:
        _check_text(path)
        # A table with such lines needs the handler. An Arrow thread may release it while the interpreter ends, which
        # aborts the process, one time in some hundreds; without threads it can't.
        options["read_options"].use_threads = False
        parsing = pa.csv.ParseOptions(delimiter=separator, invalid_row_handler=_skip_into(bad_lines))
        table = pa.csv.read_csv(path, parse_options=parsing, **options)
    unique = [name if name not in names[:index] else f"{name}.{index}" for index, name in enumerate(names)]
    return TableFile(table.rename_columns(unique), bad_lines)


def _check_text(path: Path) -> None:
    """Check that a file is UTF-8 to its end: of a bad line that isn't, Arrow prints a traceback and goes on.

    Raises:
        UnicodeDecodeError: It isn't.
    """
    with path.open(encoding="utf-8", newline="") as file:
        while file.read(1 << 20):
            pass


def _skip_into(lines: list[str]) -> Callable[[pyarrow.csv.InvalidRow], str]:
    """Return a handler that notes and skips lines with too few or too many cells."""

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        lines.append(str(row.text))
        return "skip"

    return skip
