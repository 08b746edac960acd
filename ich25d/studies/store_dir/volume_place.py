"""Where a store keeps the volume of a series."""

import hashlib
from pathlib import Path

from ich25d.files import file_key


def volume_path(root: Path, series_id: str) -> Path:
    """Return where a series' volume lies; 256 folders keep each of them small."""
    key = file_key(series_id)
    return root / "hu" / hashlib.sha256(key.encode()).hexdigest()[:2] / f"{key}.b2nd"
