"""Tables of refusals and remarks, counted: how many rows of `qc.csv` say what."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ich25d.dicom.codes import CODES
from ich25d.errors import UsageError


@dataclass(frozen=True, slots=True)
class Reason:
    """Rows of a `qc.csv` with one code."""

    where: str
    """Which table: of the predictions, or of the study store."""
    code: str
    level: str
    is_refused: bool
    n: int
    meaning: str


def reasons_of(tables: Sequence[tuple[str, Path]]) -> tuple[Reason, ...]:
    """Count the rows of `qc.csv` tables by code, refusals first, most frequent first.

    Args:
        tables: What each is called, and where it is; those that aren't there are passed over.

    Raises:
        UsageError: A file isn't such a table.
    """
    found = []
    for name, path in tables:
        if not path.is_file():
            continue
        counts: Counter[tuple[str, str]] = Counter()
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            reader = csv.DictReader(file)
            if not {"code", "level"} <= set(reader.fieldnames or ()):
                raise UsageError(f"a table of refusals must have the columns code and level (got {path})")
            for row in reader:
                counts[row["code"] or "", row["level"] or ""] += 1
        for (code, level), n in counts.items():
            known = CODES.get(code)
            found.append(
                Reason(name, code, level, known is not None and known.is_refused, n, known.meaning if known else "")
            )
    return tuple(sorted(found, key=lambda one: (one.where, not one.is_refused, -one.n, one.code)))
