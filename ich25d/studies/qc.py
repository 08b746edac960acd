"""Rows of `qc.csv`: what was refused or odd, where, and why. Spreadsheets run nothing that stands in it."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ich25d.dicom.codes import CODES, ReasonCode, is_refusal
from ich25d.errors import DicomError, UsageError, cause_of
from ich25d.files import escaped, replacing, shown_name

NO_DICOM = frozenset({"NOT_DICOM", "EMPTY", "DICOMDIR"})
"""Codes of files that are no image at all: they are counted apart, not as refused."""


@dataclass(frozen=True, slots=True, order=True)
class QcRow:
    """One refusal or remark. Fields that don't apply are empty."""

    source: str
    """The file: path relative to its source's root, or `archive.zip::member`."""
    image_id: str
    """SOPInstanceUID."""
    series_id: str
    """SeriesInstanceUID."""
    level: str
    """What the row is about: file, slice, series or label."""
    code: str
    """Reason code; `ich25d.dicom.codes` has the table."""
    detail: str
    """One sentence without identifying values."""


def refusal(source: str, error: DicomError, *, level: str, image_id: str = "", series_id: str = "") -> QcRow:
    """Turn an error into its row.

    Args:
        source: The file's name.
        error: What was wrong with it.
        level: `file` or `slice`.
        image_id: Stands in where the error carries no id.
        series_id: Likewise.
    """
    return QcRow(source, error.image_id or image_id, error.series_id or series_id, level, error.code, error.detail)


def is_refused(row: QcRow) -> bool:
    """Return whether a row refuses a file that may be an image; it makes a command's exit code 1."""
    return is_refusal(row.code) and row.code not in NO_DICOM


def count_refused(rows: Iterable[QcRow]) -> Counter[str]:
    """Count what was refused, by code."""
    return Counter(row.code for row in rows if is_refused(row))


def remark_texts(rows: Sequence[QcRow]) -> list[str]:
    """Return remarks as sentences, one a code, with the number of slices."""
    by_code: dict[str, list[QcRow]] = {}
    for row in rows:
        by_code.setdefault(row.code, []).append(row)
    texts = []
    for code, found in sorted(by_code.items(), key=lambda item: (item[1][0].level != "series", item[0])):
        meaning = CODES[code].meaning if code in CODES else "a remark"
        count = f" ({len(found)} slices)" if len(found) > 1 and found[0].image_id else ""
        detail = f" Here: {found[0].detail}." if len(found) == 1 and found[0].detail else ""
        texts.append(f"{code}{count}: {meaning}.{detail}")
    return texts


HEADER: tuple[str, ...] = tuple(field.name for field in fields(QcRow))
"""First line of `qc.csv`."""

# Spreadsheets run cells that start so (OWASP, CSV injection; CVE-2021-41270).
_FORMULA = re.compile(r"[=+\-@\t\r]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def safe_cell(text: str) -> str:
    r"""Return a text as a CSV may hold it: one line, valid UTF-8, and nothing that a spreadsheet would run.

    Control characters are shown as `\xNN` too; a text that starts like a formula gets an apostrophe in front.
    """
    shown = text if text.isprintable() else _CONTROL.sub(escaped, shown_name(text))
    return "'" + shown if _FORMULA.match(text) else shown


def write_qc(path: Path, rows: Iterable[QcRow]) -> None:
    """Write `qc.csv`, sorted, whole or not at all.

    Args:
        path: The file to write.
        rows: In any order; the file doesn't depend on it.
    """
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for row in sorted(rows):
            writer.writerow([safe_cell(getattr(row, name)) for name in HEADER])


def read_qc(path: Path) -> list[QcRow]:
    """Read a `qc.csv` that `write_qc` wrote.

    Raises:
        UsageError: It isn't there, or isn't such a table.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            found = list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"a table of refusals must be a readable CSV (got {cause_of(error)}) in {path}") from error
    if not found or tuple(found[0]) != HEADER or any(len(row) != len(HEADER) for row in found):
        raise UsageError(f"a table of refusals must have the columns {','.join(HEADER)} (got others) in {path}")
    rows = [QcRow(*row) for row in found[1:]]
    if unknown := sorted({row.code for row in rows} - set(CODES)):
        raise UsageError(f"codes of refusals must be known ones (got {unknown}) in {path}")
    return rows


def settled(rows: Iterable[QcRow]) -> list[QcRow]:
    """Return rows in which no copy is called that of a used image where the pixels showed the copies to differ.

    Headers alone call a copy DUP_UID_SAME; that the image itself is refused, as DUP_UID_DIFF, shows later.
    """
    found = list(rows)
    differ = {row.image_id: row.detail for row in found if row.code == "DUP_UID_DIFF"}
    return [
        replace(row, code="DUP_UID_DIFF", detail=differ[row.image_id])
        if row.code == "DUP_UID_SAME" and row.image_id and row.image_id in differ
        else row
        for row in found
    ]


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
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            reader = csv.DictReader(file)
            if not {"code", "level"} <= set(reader.fieldnames or ()):
                raise UsageError(f"a table of refusals must have the columns code and level (got {path})")
            counts = Counter((row["code"] or "", row["level"] or "") for row in reader)
        for (code, level), n in counts.items():
            known = CODES.get(code, ReasonCode(False, ""))
            found.append(Reason(name, code, level, known.is_refused, n, known.meaning))
    return tuple(sorted(found, key=lambda one: (one.where, not one.is_refused, -one.n, one.code)))
