"""What became of every study: a small JSON file each, from which the worklist is written.

studies/STUDY.json    when it was answered, its images and objects, its rows of the worklist and of `qc.csv`
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from ich25d.files import write_json
from ich25d.studies.qc import QcRow
from ich25d.view.report.worklist import Row

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Record:
    """An answered study."""

    images: tuple[str, ...] = ()
    """Names of the files that were read; the same image that comes again isn't new."""
    objects: tuple[str, ...] = ()
    """SOP Instance UIDs of what was made of them; none is sent twice."""
    rows: tuple[Row, ...] = ()
    """Its series."""
    files: tuple[QcRow, ...] = ()
    """Files that were refused and belong to none of them."""
    qc: tuple[QcRow, ...] = ()
    """All refusals and remarks."""
    answered_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="microseconds"))

    def after(self, earlier: "Record | None") -> "Record":
        """Join what an earlier answer knew of images that aren't there any more."""
        if earlier is None:
            return self
        names = {row.series_id for row in self.rows}
        kept = {row.series_id for row in earlier.rows} - names
        return replace(
            self,
            images=_joined(earlier.images, self.images),
            objects=_joined(earlier.objects, self.objects),
            rows=(*(row for row in earlier.rows if row.series_id in kept), *self.rows),
            files=_joined(earlier.files, self.files),
            qc=_joined(tuple(row for row in earlier.qc if not row.series_id or row.series_id in kept), self.qc),
        )


def _joined(first: Sequence[T], second: Sequence[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys((*first, *second)))


class Records:
    """The records of a node's folder.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def __len__(self) -> int:
        return sum(1 for _ in self._folder.glob("*.json"))

    def read(self, study: str) -> Record | None:
        """Return a study's record; None where it hasn't been answered, or the file is damaged."""
        try:
            found = json.loads((self._folder / f"{study}.json").read_text(encoding="utf-8"))
            return Record(
                images=tuple(found["images"]), objects=tuple(found["objects"]),
                rows=tuple(Row(**row) for row in found["rows"]), files=tuple(QcRow(**row) for row in found["files"]),
                qc=tuple(QcRow(**row) for row in found["qc"]), answered_at=str(found["answered_at"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, study: str, record: Record) -> None:
        """Keep a study's record."""
        write_json(self._folder / f"{study}.json", asdict(record))

    def rows(self, *, but: str) -> list[Row]:
        """Return the worklist's rows of all studies but one."""
        keys = (path.stem for path in self._folder.glob("*.json") if path.stem != but)
        return [row for key in keys if (record := self.read(key)) is not None for row in record.rows]

    def newest(self, n_shown: int) -> list[Record]:
        """Return the records of the studies that were answered last, and forget the others.

        Args:
            n_shown: How many.
        """
        found = [(record, path) for path in self._folder.glob("*.json") if (record := self.read(path.stem)) is not None]
        found.sort(key=lambda one: (one[0].answered_at, one[1].name))
        for _, path in found[: max(0, len(found) - n_shown)]:
            path.unlink()
        return [record for record, _ in found[-n_shown:]]
