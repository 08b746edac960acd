"""Nothing came of all that was named: the one sentence that every command ends with then."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from ich25d.dicom.codes import CODES, is_refusal
from ich25d.errors import UsageError
from ich25d.studies.qc import NO_DICOM, QcRow, safe_cell

_COPY = "copy it again from where it is whole"
_PLAIN = "name the plain axial series"
_IMAGES = "name the folder or archive that holds the DICOM, or a table of images by --images"
_CURES: dict[str, str] = {
    **dict.fromkeys(("EMPTY", "TRUNCATED", "PIXEL_SHORT", "CHANGED", "ZIP_DAMAGED", "BAD_STREAM"), _COPY),
    **dict.fromkeys(("NOT_AXIAL", "LOCALIZER", "CONTRAST", "PERFUSION"), _PLAIN),
    **dict.fromkeys(("NOT_DICOM", "NOT_CT", "SECONDARY", "NOT_GRAY"), _IMAGES),
    **dict.fromkeys(("ZIP_ENCRYPTED", "ZIP_METHOD", "ZIP_NESTED"), "unpack the archive and name the folder"),
    **dict.fromkeys(("BAD_TABLE", "BAD_UID"), "correct what it says; qc.csv of a store names every such row"),
    "MULTIFRAME": "have it split into single images",
    "NO_ACCESS": "change its permissions",
    "NO_DECODER": "pip install 'ich25d[codecs]'",
}

_LONGEST = 80
"""Letters of a path that a sentence shows, from its end."""


def nothing_used(n_seen: int, qc: Sequence[QcRow], what: str = "head CT series") -> UsageError:
    """Return the error for sources of which nothing is left: all codes with their counts, an example and its cure.

    Args:
        n_seen: Files, archive members and table rows looked at.
        qc: All rows that they gave rise to.
        what: What there must be.
    """
    rows = [row for row in qc if is_refusal(row.code)]
    seen = f"{n_seen} {'file or image' if n_seen == 1 else 'files or images'}"
    if not rows:
        return UsageError(f"there must be a {what} (got {seen}); name the folder that holds it; see --only")
    counts = Counter(row.code for row in rows)
    codes = ", ".join(f"{n} {code}" for code, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    # What is no DICOM at all was hardly meant: an example of what was is worth more.
    first = min(rows, key=lambda row: (row.code in NO_DICOM, -counts[row.code], row.code, row.source))
    place = first.image_id if not first.source else str(PurePosixPath(first.source))
    place = safe_cell(place if len(place) <= _LONGEST else f"...{place[-_LONGEST:]}")
    cure = _CURES.get(first.code, "name other sources")
    detail = f"; e.g. {place or 'one'}: {first.code}, {CODES[first.code].meaning}; {cure}"
    return UsageError(f"there must be a {what} (got {seen}: {codes}{detail})")
