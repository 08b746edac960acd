"""The error that every command ends with where nothing of its sources can be used."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from ich25d.dicom.codes import CODES, is_refusal
from ich25d.errors import UsageError
from ich25d.studies.qc import NO_DICOM, QcRow, safe_cell

_COPY = "copy it again from where it is whole"
_PLAIN = "name the plain axial series, or use them with --accept"
_IMAGES = "name the folder or archive that holds the DICOM, or a table of images by --images"
_CURES: dict[str, str] = {
    **dict.fromkeys(
        ("EMPTY", "TRUNCATED", "PIXEL_SHORT", "CHANGED", "ZIP_DAMAGED", "GZIP_DAMAGED", "BAD_NIFTI", "BAD_STREAM"),
        _COPY,
    ),
    **dict.fromkeys(("NOT_AXIAL", "LOCALIZER", "CONTRAST", "PERFUSION"), _PLAIN),
    **dict.fromkeys(("NOT_DICOM", "NOT_CT", "SECONDARY", "NOT_GRAY"), _IMAGES),
    **dict.fromkeys(("ZIP_ENCRYPTED", "ZIP_METHOD", "ZIP_NESTED"), "unpack the archive and name the folder"),
    **dict.fromkeys(("BAD_TABLE", "BAD_UID"), "correct it"),
    **dict.fromkeys(("ARCHIVE", "OTHER_FORMAT", "NO_DECODER"), ""),  # their details say it
    "DICOMDIR": "name the folder or archive that holds its files",
    "MULTIFRAME": "have it split into single images",
    "NO_ACCESS": "change its permissions",
    "NO_NIBABEL": "pip install 'ich25d[nifti]'",
    **dict.fromkeys(("GREY_VALUES", "MASK"), "name the scan in HU"),
}

_LONGEST = 80
"""Letters of a path that a sentence shows, from its end."""
_EXAMPLES = 3
"""Codes that are shown with an example."""


class NoUsableInputError(UsageError):
    """Sources that hold nothing that can be used.

    Args:
        sentence: What there must be, and what was refused.
        qc: All refusals and remarks; the command line writes them to a file that it names.
    """

    def __init__(self, sentence: str, qc: Sequence[QcRow] = ()) -> None:
        super().__init__(sentence)
        self.qc = tuple(qc)


def nothing_used(n_seen: int, qc: Sequence[QcRow], what: str = "head CT series") -> NoUsableInputError:
    """Return the error for sources of which nothing is left: codes and counts, and the commonest with an example.

    Args:
        n_seen: Files, archive members and table rows looked at.
        qc: All rows that they gave rise to.
        what: What there must be.
    """
    rows_of: defaultdict[str, list[QcRow]] = defaultdict(list)
    for row in sorted(qc):
        if is_refusal(row.code):
            rows_of[row.code].append(row)
    seen = f"{n_seen} {'file or image' if n_seen == 1 else 'files or images'}"
    if not rows_of:
        return NoUsableInputError(f"there must be a {what} (got {seen}); name the folder that holds it; see --only", qc)
    common = sorted(rows_of, key=lambda code: (-len(rows_of[code]), code))
    codes = ", ".join(f"{len(rows_of[code])} {code}" for code in common)
    lines = [f"there must be a {what} (got {seen}: {codes})"]
    # What is no DICOM at all was hardly meant: examples of what was are worth more.
    for code in sorted(common, key=lambda code: code in NO_DICOM)[:_EXAMPLES]:
        detail, _ = Counter(row.detail for row in rows_of[code]).most_common(1)[0]
        row = next(row for row in rows_of[code] if row.detail == detail)
        cure = _CURES.get(code, "name other sources")
        said = safe_cell(detail) or CODES[code].meaning
        lines.append(f"  {code}, as {_place(row)}: {said}" + (f"; {cure}" if cure else ""))
    return NoUsableInputError("\n".join(lines), qc)


def _place(row: QcRow) -> str:
    place = str(PurePosixPath(row.source)) if row.source else row.image_id or row.series_id or "one"
    return safe_cell(place if len(place) <= _LONGEST else f"...{place[-_LONGEST:]}")
