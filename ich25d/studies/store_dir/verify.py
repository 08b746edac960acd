"""Does a store still hold what was written: every file against the hash taken when it was made."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from ich25d.files import sha256_file
from ich25d.progress import track
from ich25d.studies.store_dir.volume_file import volume_path


def seal(marker: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `store.json` with a hash of itself, so that a flipped byte in it shows too."""
    plain = {key: value for key, value in marker.items() if key != "seal"}
    return {**plain, "seal": hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()}


def verify_store(root: Path, marker: dict[str, Any], series: pd.DataFrame) -> list[str]:
    """Check the marker, the tables and every volume; return what is wrong, a sentence each.

    Args:
        root: The store.
        marker: What `store.json` says.
        series: Its table of series.
    """
    wrong = []
    if seal(marker) != marker:
        wrong.append("store.json isn't what was written")
    expected = {root / name: file_hash for name, file_hash in marker["tables"].items()}
    for series_id, file_hash in zip(series["series_id"], series["file_hash"], strict=True):
        expected[volume_path(root, series_id)] = file_hash
    for path, file_hash in track(expected.items(), "verify", len(expected), "files"):
        if not path.is_file():
            wrong.append(f"{path.relative_to(root)} is missing")
        elif sha256_file(path) != file_hash:
            wrong.append(f"{path.relative_to(root)} isn't what was written")
    return wrong
