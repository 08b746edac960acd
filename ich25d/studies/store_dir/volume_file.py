"""A volume's file: HU of one series in, a compressed `.b2nd` with its hashes out."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.files import file_key, replacing
from ich25d.studies.store_dir.frame import Packing, frame_of

HASHED_ROWS = 16
"""Every so many rows count in the hash of the pixels: noise makes no two scans alike in a sixteenth of them."""


class Volume(NamedTuple):
    """What is known of a volume once it's on disk."""

    content_hash: str
    """Hash of shape and of every so many rows: whether two series are the same scan, by another name."""
    file_hash: str
    """SHA-256 of the file."""
    n_bytes: int
    """Size of the file."""


def volume_path(root: Path, series_id: str) -> Path:
    """Return where a series' volume lies; 256 folders keep each of them small."""
    key = file_key(series_id)
    return root / "hu" / hashlib.sha256(key.encode()).hexdigest()[:2] / f"{key}.b2nd"


def write_volume(root: Path, series_id: str, hu: npt.NDArray[np.int16], packing: Packing = "quick") -> Volume:
    """Compress a volume into its file, whole or not at all.

    Args:
        root: The store.
        series_id: Whose volume it is.
        hu: Shape (n_slices, size, size), int16, HU.
        packing: Which compression.
    """
    hu = np.ascontiguousarray(hu, dtype=np.int16)
    content = frame_of(hu, packing)
    with replacing(volume_path(root, series_id)) as part:
        part.write_bytes(content)
    return Volume(content_hash(hu), hashlib.sha256(content).hexdigest(), len(content))


def content_hash(hu: npt.NDArray[np.int16]) -> str:
    """Return a hash of a volume's shape and pixels, the same on every machine.

    It names equal series; whether a file is whole, or still the same, is the question of its own hash.
    """
    digest = hashlib.sha256(repr(hu.shape).encode())
    digest.update(np.ascontiguousarray(hu[:, ::HASHED_ROWS], dtype="<i2").data)
    return digest.hexdigest()
