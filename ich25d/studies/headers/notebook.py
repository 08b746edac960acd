"""The builder's notebook, `build.sqlite`: what earlier calls read, so that nothing is read twice.

It holds the header of every file seen, with the file's stamp, and the rows of every series done. Each commit survives
a kill at any byte. It's private (mode 600): it also holds the key of the pseudonyms.
"""

import json
import os
import random
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, NamedTuple

from ich25d.dicom.header import OF_SLICE, Header
from ich25d.errors import StoreError
from ich25d.files import shown_name
from ich25d.studies.headers.packed import Indexed, Privacy, RefusedImage, frame_source, indexed, shared_attributes
from ich25d.studies.qc import HEADER, QcRow
from ich25d.studies.sources.listing import Entry

NAME = "build.sqlite"

READER_VERSION = 10
"""Rises when headers or pixels are read differently: what older versions read is then read again."""

READ_BY = [READER_VERSION, *Header._fields]
"""What a notebook's headers were read by; they are kept without the names of their fields."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shared (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS seen (
    root INTEGER NOT NULL, source TEXT NOT NULL, stamp TEXT NOT NULL, images TEXT NOT NULL,
    PRIMARY KEY (root, source)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS done (
    series_id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, n_bytes INTEGER, text TEXT NOT NULL) WITHOUT ROWID;
"""
# `images` is a JSON list with, for each image of the file, its header ([id in `shared`, the slice's own part]) or its
# refusal ([null, the fields of its row]).

_FRAME = OF_SLICE.index("frame")
_to_json = json.JSONEncoder(separators=(",", ":")).encode
"""Made once: with options, `json.dumps` makes an encoder a call."""


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
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._connection = _connect(path)
        try:
            self._connection.executescript(f"BEGIN; {_SCHEMA}")
        except sqlite3.OperationalError:  # the disk's fault, not the file's
            raise
        except sqlite3.DatabaseError as error:
            raise unreadable(path, error) from error
        read_by = self.setting("reader_version")
        if read_by != READ_BY:
            if read_by is not None:
                self._connection.executescript(f"DROP TABLE seen; DROP TABLE done; DROP TABLE shared; BEGIN; {_SCHEMA}")
            self.set("reader_version", READ_BY)
        if self.setting("privacy") is None:
            offset_s = round(random.SystemRandom().uniform(1e5, 9e5), 3)
            self.set("privacy", [secrets.token_hex(16), offset_s])
        self.commit()
        self._shared = _read_shared(self._connection)
        self._id_of = {shared: number for number, shared in self._shared.items()}
        self._is_empty = not self._connection.execute("SELECT EXISTS (SELECT 1 FROM seen)").fetchone()[0]

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
        try:
            self._connection.commit()
        finally:
            self._connection.close()

    def seen(self, entry: Entry) -> list[Indexed | QcRow] | None:
        """Return the images of a file as they were last read; None when the file is new or has changed since."""
        if self._is_empty:
            return None
        key = (entry.root, shown_name(entry.source))
        row = self._connection.execute("SELECT stamp, images FROM seen WHERE root = ? AND source = ?", key).fetchone()
        if row is None or row[0] != _stamp(entry):
            return None
        return [
            _refused(values) if number is None else indexed(entry, self._shared[number], _tuples(values))
            for number, values in json.loads(row[1])
        ]

    def note_seen(self, entry: Entry, images: Sequence[Indexed | QcRow]) -> None:
        """Keep the images of a file."""
        text = _to_json(
            [
                (None, astuple(image)) if isinstance(image, QcRow) else (self._shared_id(image.shared), image.own())
                for image in images
            ]
        )
        row = (entry.root, shown_name(entry.source), _stamp(entry), text)
        self._connection.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)", row)

    def _shared_id(self, shared: tuple[Any, ...]) -> int:
        number = self._id_of.get(shared)
        if number is None:
            number = self._id_of[shared] = len(self._shared) + 1
            self._shared[number] = shared
            self._connection.execute("INSERT INTO shared VALUES (?, ?)", (number, _to_json(shared)))
        return number

    def known(self) -> dict[str, tuple[str, int | None]]:
        """Return fingerprint and size of volume of every series done; None for the size when nothing was of use."""
        rows = self._connection.execute("SELECT series_id, fingerprint, n_bytes FROM done")
        return {series_id: (fingerprint, n_bytes) for series_id, fingerprint, n_bytes in rows}

    def note_done(self, series_id: str, fingerprint: str, done: Done) -> None:
        """Keep the rows of a series.

        Args:
            series_id: The series.
            fingerprint: `SeriesPlan.source_hash` of its plan.
            done: Its rows.
        """
        text = json.dumps([done.series, done.slices, [astuple(row) for row in done.qc]])
        n_bytes = None if done.series is None else done.series["n_bytes"]
        self._connection.execute(
            "INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?)", (shown_name(series_id), fingerprint, n_bytes, text)
        )

    def done(self, series_id: str) -> Done | None:
        """Return the rows of a series, or None."""
        key = (shown_name(series_id),)
        row = self._connection.execute("SELECT text FROM done WHERE series_id = ?", key).fetchone()
        if row is None:
            return None
        series, slices, qc = json.loads(row[0])
        return Done(series, slices, [QcRow(*values) for values in qc])

    def forget_done(self, series_ids: Iterable[str]) -> None:
        """Drop series that the sources no longer hold."""
        self._connection.executemany("DELETE FROM done WHERE series_id = ?", ((shown_name(key),) for key in series_ids))


def unreadable(path: Path, error: Exception) -> StoreError:
    """Return the error of a notebook that is damaged."""
    return StoreError(
        f"the builder's notebook must be readable (got {error}) in {path}; remove it to build everything again"
    )


def kept_attributes(path: Path) -> dict[str, dict[str, Any]] | None:
    """Return what a notebook holds of the headers that an image shares with its series; no source is opened.

    Args:
        path: The notebook.

    Returns:
        Fields of `Header` by the name of the image's source, one dict for all that share it; None where there is no
        notebook, or one of another version.
    """
    if not path.is_file():
        return None
    try:
        connection = _connect(path, mode="ro")
        try:
            (read_by,) = connection.execute("SELECT value FROM setting WHERE name = 'reader_version'").fetchone()
            if json.loads(read_by) != READ_BY:
                return None
            shared = {number: shared_attributes(values) for number, values in _read_shared(connection).items()}
            seen = connection.execute("SELECT source, images FROM seen").fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, ValueError, TypeError):
        return None
    return {
        frame_source(source, own[_FRAME]): shared[number]
        for source, images in seen
        for number, own in json.loads(images)
        if number is not None
    }


def _connect(path: Path, mode: str = "rwc") -> sqlite3.Connection:
    # The store's lock file guards already, and network file systems often can't do SQLite's own locks.
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}&nolock=1", uri=True)


def _read_shared(connection: sqlite3.Connection) -> dict[int, tuple[Any, ...]]:
    return {number: _tuples(json.loads(text)) for number, text in connection.execute("SELECT id, text FROM shared")}


def _refused(values: Sequence[str]) -> QcRow:
    return QcRow(*values) if len(values) == len(HEADER) else RefusedImage(*values)


def _stamp(entry: Entry) -> str:
    return f"{entry.size}:{entry.stamp}"


def _tuples(value: Any) -> Any:  # noqa: ANN401  # any field of a header
    return tuple([_tuples(item) for item in value]) if isinstance(value, list) else value
