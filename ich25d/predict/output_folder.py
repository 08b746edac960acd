"""Where a prediction may be written: its tables have fixed names, so that a folder holds the files of one."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ich25d.errors import UsageError
from ich25d.files import replacing

SLICES_FILE, SERIES_FILE, QC_FILE = "predictions.parquet", "studies.csv", "qc.csv"

_OWNER = b"ich25d.submission"


def check_out(out: Path, inputs: Sequence[Path]) -> None:
    """Check that a prediction may be written to a CSV and the tables beside it.

    Args:
        out: The CSV.
        inputs: Files that the prediction reads.

    Raises:
        UsageError: It isn't a CSV's path, is an input, lies in a study store, or another prediction's tables or files
            of other origin have the names of its tables.
    """
    if out.is_dir() or out.suffix.lower() != ".csv":
        kind = "folder" if out.is_dir() else "path"
        raise UsageError(
            f"--out must name a CSV file (got the {kind} {out}); its tables stand beside it: name "
            f"{out / 'submission.csv'}"
        )
    if any((out.parent / name).exists() for name in ("store.json", "build.sqlite")):
        raise UsageError(f"--out mustn't lie in a study store: its qc.csv would be replaced (got {out}); name another")
    if out.exists() and any(path.exists() and out.samefile(path) for path in inputs):
        raise UsageError(f"--out mustn't be what is read (got {out}); name another")
    tables = [name for name in (SLICES_FILE, SERIES_FILE, QC_FILE) if (out.parent / name).exists()]
    if out.name in (SERIES_FILE, QC_FILE):
        raise UsageError(f"--out mustn't have the name of a table beside it (got {out}); name another")
    owner = _owner(out.parent / SLICES_FILE)
    if tables and owner != out.name:
        whose = "of no prediction's" if owner is None else f"those of {owner}"
        raise UsageError(
            f"the tables beside a prediction must be its own (got {', '.join(tables)}, {whose}, in {out.parent}); name "
            f"a folder for this one, as {out.parent / out.stem / out.name}"
        )


def write_slices(out: Path, table: pd.DataFrame) -> None:
    """Write `predictions.parquet` beside a CSV, with the CSV's name in it."""
    content = pa.Table.from_pandas(table, preserve_index=False)
    content = content.replace_schema_metadata({**(content.schema.metadata or {}), _OWNER: out.name.encode()})
    with replacing(out.with_name(SLICES_FILE)) as path:
        pq.write_table(content, path)


def _owner(path: Path) -> str | None:
    """Return the name of the CSV that a table of slices belongs to; None where it isn't a prediction's."""
    try:
        found = pq.read_schema(path).metadata or {}
    except (OSError, ValueError):
        return None
    return found[_OWNER].decode("utf-8", "replace") if _OWNER in found else None
