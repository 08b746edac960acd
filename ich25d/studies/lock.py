"""The store's lock, so that one process at a time builds it, and the notebook that belongs to it."""

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ich25d.errors import StoreError, UsageError
from ich25d.files import locked
from ich25d.progress import remark
from ich25d.studies.headers.notebook import NAME, Notebook, unreadable
from ich25d.studies.store_dir.store import read_marker


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Hold a store's lock while it's built; the lock of a killed process is free again.

    Files that a killed builder left half written are removed. So is a folder that was made for the lock, when the
    block raises UsageError.

    Raises:
        StoreError: Another process holds the lock, or the folder can't be written.
    """
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "build.lock").touch()
    except OSError as error:
        raise StoreError(f"the store's folder must be writable (got {error.strerror}) in {out}") from error
    with locked(out / "build.lock", f"builds the store {out}", StoreError):
        for part in [*out.glob(".*.part"), *out.glob("hu/*/.*.part")]:
            part.unlink(missing_ok=True)
        try:
            yield
        except UsageError:
            if is_new:
                shutil.rmtree(out, ignore_errors=True)
            raise


@contextmanager
def opened_notebook(out: Path, parameters: Mapping[str, Any]) -> Iterator[Notebook]:
    """Open the builder's notebook of a claimed store.

    Raises:
        StoreError: The store was made with other parameters, or by another version, or the disk is full or fails.
    """
    marker = read_marker(out)
    if marker is not None and not (out / NAME).exists():
        remark(f"{out} has no {NAME}: everything is read again")
    try:
        notebook = Notebook(out / NAME)
        try:
            before = notebook.setting("parameters") or (marker and {name: marker[name] for name in parameters})
            if before and before != parameters:
                made = " ".join(f"--{name} {value}" for name, value in before.items())
                raise StoreError(
                    f"a store keeps the size and crop it was made with (made with {made}) in {out}; "
                    "give the same, or another --out"
                )
            notebook.set("parameters", dict(parameters))
            notebook.commit()
            yield notebook
        finally:
            notebook.close()
    except sqlite3.OperationalError as error:  # what SQLite makes of a disk that is full or fails
        raise unwritable(out, error) from error
    except sqlite3.DatabaseError as error:
        raise unreadable(out / NAME, error) from error


def unwritable(out: Path, error: Exception) -> StoreError:
    """Return the error of a store whose disk is full or fails."""
    return StoreError(f"the store must be writable (got {error}) in {out}; what is there stays, run again")
