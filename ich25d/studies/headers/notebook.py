"""The builder's notebook, `build.sqlite`: what is known already, so that nothing is read twice.

It holds the packed header of every file seen, with the file's stamp, and the rows of every series done.
Each commit survives a kill at any byte. It's private (mode 600): it also holds the key of the pseudonyms.
"""

import json
import os
import random
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ich25d.dicom.header import Header
from ich25d.errors import StoreError
from ich25d.studies.headers.packed import Indexed, Privacy
from ich25d.studies.qc import QcRow
from ich25d.studies.sources.opened import Entry

NAME = "build.sqlite"

READER_VERSION = 5
"""Rises when headers or pixels are read differently: what older versions read is then read again."""

READ_BY = [READER_VERSION, *Header._fields]
"""What a notebook's headers were read by; they are kept without the names of their fields."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shared (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS seen (
    root INTEGER NOT NULL, source TEXT NOT NULL, frame INTEGER NOT NULL, stamp TEXT NOT NULL,
    shared INTEGER, text TEXT NOT NULL,
    PRIMARY KEY (root, source, frame)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS done (
    series_id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, n_bytes INTEGER, text TEXT NOT NULL) WITHOUT ROWID;
"""


class Done(NamedTuple):
    """What came of a series: rows, and nothing else."""

    series: dict[str, Any] | None
    """Its row; None when nothing of it could be used."""
    slices: dict[str, list[Any]]
    """A column a name, a value a slice kept; without the ids that the series' row has."""
    qc: list[QcRow]
    """Refusals and remarks."""


class Notebook:
    """Opened notebook of one store; one process at a time (the caller holds the store's lock)."""

    def __init__(self, path: Path) -> None:
        is_new = not path.exists()
        if is_new:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        # The lock file guards already, and network file systems often can't do SQLite's own locks.
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?nolock=1", uri=True)
        try:
            self._connection.executescript(f"BEGIN; {_SCHEMA}")
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"the builder's notebook must be readable (got {error}) in {path}; remove it to build everything again"
            ) from error
        self._shared: dict[tuple[Any, ...], int] = {}
        read_by = self.setting("reader_version")
        if read_by != READ_BY:
            if read_by is not None:
                self._connection.executescript(f"DROP TABLE seen; DROP TABLE done; DROP TABLE shared; BEGIN; {_SCHEMA}")
            self.set("reader_version", READ_BY)
        if self.setting("privacy") is None:
            offset_s = round(random.SystemRandom().uniform(1e5, 9e5), 3)
            self.set("privacy", [secrets.token_hex(16), offset_s])
        self.commit()
        self._knows_files = self._connection.execute("SELECT 1 FROM seen LIMIT 1").fetchone() is not None

    @property
    def privacy(self) -> Privacy:
        """Key of the pseudonyms and offset of the clock, made once."""
        key, offset_s = self.setting("privacy")
        return Privacy(bytes.fromhex(key), float(offset_s))

    def setting(self, name: str) -> Any:  # noqa: ANN401  # JSON holds what it holds
        """Return a setting, or None."""
        row = self._connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set(self, name: str, value: Any) -> None:  # noqa: ANN401  # whatever JSON holds
        """Set a setting."""
        self._connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, json.dumps(value)))

    def commit(self) -> None:
        """Make everything so far durable."""
        self._connection.commit()

    def close(self) -> None:
        """Commit and close."""
        self._connection.commit()
        self._connection.close()

    def seen(self, entry: Entry) -> list[Indexed | QcRow] | None:
        """Return what the images of a file were when last looked at, or None when it's new or has changed since."""
        if not self._knows_files:
            return None
        rows = self._connection.execute(
            "SELECT seen.stamp, shared.text, seen.text FROM seen LEFT JOIN shared ON shared.id = seen.shared"
            " WHERE root = ? AND source = ? ORDER BY frame",
            (entry.root, _text(entry.source)),
        ).fetchall()
        if not rows or rows[0][0] != _stamp(entry):
            return None
        return [
            QcRow(**json.loads(text)) if shared is None else Indexed.from_texts(entry, shared, text)
            for _, shared, text in rows
        ]

    def note_seen(self, entry: Entry, found: Sequence[Indexed | QcRow]) -> None:
        """Keep what the images of a file are."""
        key = (entry.root, _text(entry.source))
        if self._knows_files:  # there may have been more images in it
            self._connection.execute("DELETE FROM seen WHERE root = ? AND source = ?", key)
        has_frames = len(found) > 1 or (isinstance(found[0], Indexed) and found[0].frame > 0)
        for frame, image in enumerate(found, start=int(has_frames)):
            shared = None if isinstance(image, QcRow) else self._shared_id(image)
            text = json.dumps(asdict(image)) if isinstance(image, QcRow) else image.own_text()
            self._connection.execute(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?, ?, ?)", (*key, frame, _stamp(entry), shared, text)
            )

    def _shared_id(self, found: Indexed) -> int:
        known = self._shared.get(found.shared)
        if known is None:
            text = found.shared_text()
            self._connection.execute("INSERT OR IGNORE INTO shared (text) VALUES (?)", (text,))
            row = self._connection.execute("SELECT id FROM shared WHERE text = ?", (text,)).fetchone()
            known = self._shared[found.shared] = int(row[0])
        return known

    def known(self) -> dict[str, tuple[str, int | None]]:
        """Return fingerprint and size of volume of every series done; None for the size when nothing was of use."""
        rows = self._connection.execute("SELECT series_id, fingerprint, n_bytes FROM done")
        return {series_id: (fingerprint, n_bytes) for series_id, fingerprint, n_bytes in rows}

    def note_done(self, series_id: str, fingerprint: str, done: Done) -> None:
        """Keep the rows of a series."""
        text = json.dumps({"series": done.series, "slices": done.slices, "qc": [asdict(row) for row in done.qc]})
        n_bytes = None if done.series is None else done.series["n_bytes"]
        self._connection.execute(
            "INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?)", (_text(series_id), fingerprint, n_bytes, text)
        )

    def done(self, series_id: str) -> Done | None:
        """Return the rows of a series, or None."""
        row = self._connection.execute("SELECT text FROM done WHERE series_id = ?", (_text(series_id),)).fetchone()
        if row is None:
            return None
        content = json.loads(row[0])
        return Done(content["series"], content["slices"], [QcRow(**item) for item in content["qc"]])

    def forget_done(self, series_ids: Iterable[str]) -> None:
        """Drop series that the sources no longer hold."""
        self._connection.executemany("DELETE FROM done WHERE series_id = ?", ((_text(key),) for key in series_ids))


def _stamp(entry: Entry) -> str:
    return f"{entry.size}:{entry.stamp}"


def _text(name: str) -> str:
    """Return a name that SQLite can hold: file names may hold bytes that are no UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
