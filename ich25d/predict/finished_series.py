"""Predicted series kept on disk one by one, so that a killed run loses nothing that it has finished."""

import fcntl
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.errors import UsageError
from ich25d.files import replacing
from ich25d.studies.qc import QcRow

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """What is known of one series once it went through the network."""

    image_ids: tuple[str, ...]
    slice_position_mm: Floats
    """Shape (n,), mm."""
    encoder_probability: Floats
    """Shape (n, 6)."""
    probability: Floats
    """Shape (n, 6)."""
    series_probability: Floats
    """Shape (6,)."""
    qc: tuple[QcRow, ...]
    """Refusals and remarks that reading its pixels gave rise to."""


class Parts:
    """A folder of predicted series; a part is found only under the very model and files it was made from."""

    def __init__(self, folder: Path, stamp: str) -> None:
        self._folder = folder
        self._stamp = stamp

    def _path(self, fingerprint: str) -> Path:
        return self._folder / (hashlib.sha256(f"{self._stamp} {fingerprint}".encode()).hexdigest()[:40] + ".npz")

    def load(self, fingerprint: str) -> Part | None:
        """Return a series that is done, or None; a damaged part counts as none."""
        try:
            with np.load(self._path(fingerprint), allow_pickle=False) as arrays:
                text = json.loads(arrays["text"].tobytes())
                part = Part(
                    image_ids=tuple(text["image_ids"]),
                    slice_position_mm=arrays["slice_position_mm"],
                    encoder_probability=arrays["encoder_probability"],
                    probability=arrays["probability"],
                    series_probability=arrays["series_probability"],
                    qc=tuple(QcRow(**row) for row in text["qc"]),
                )
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None
        return part if part.probability.shape == (len(part.image_ids), 6) else None

    def save(self, fingerprint: str, part: Part) -> None:
        """Keep a series."""
        text: dict[str, Any] = {"image_ids": part.image_ids, "qc": [asdict(row) for row in part.qc]}
        with replacing(self._path(fingerprint)) as path, path.open("wb") as file:
            np.savez(
                file,
                text=np.frombuffer(json.dumps(text).encode(), dtype=np.uint8),
                slice_position_mm=part.slice_position_mm,
                encoder_probability=part.encoder_probability,
                probability=part.probability,
                series_probability=part.series_probability,
            )


@contextmanager
def kept_parts(out: Path, stamp: str) -> Iterator[Parts]:
    """Open the hidden folder of parts beside an output; it goes when the block ends well, and stays when it doesn't.

    Args:
        out: The file that the parts are for.
        stamp: What changes with the model.

    Raises:
        UsageError: Another process is at it.
    """
    folder = out.parent / f".{out.name}.parts"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(f"one process at a time predicts into a file (got a second one) for {out}") from None
        yield Parts(folder, stamp)
        shutil.rmtree(folder, ignore_errors=True)
