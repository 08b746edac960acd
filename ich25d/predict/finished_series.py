"""Predicted series, kept on disk one by one, so that a run that is killed goes on where it was."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ich25d.errors import UsageError
from ich25d.files import locked, replacing
from ich25d.predict.series import UnreadSeries, images_hash
from ich25d.sequence.model_directory import SequencePrediction
from ich25d.studies.qc import QcRow

Floats = npt.NDArray[np.float64]


_ARRAYS = (
    "encoder_probability", "probability", "series_probability", "member_logit", "measured", "slice_position_mm",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FinishedSeries(SequencePrediction):
    """A predicted series of n slices, in scan order."""

    measured: Floats
    """How the scan looks, shape (8,), in the order of `MEASURES`."""
    slice_position_mm: Floats
    """Shape (n,), mm; NaN where unknown."""
    image_ids: tuple[str, ...]
    qc: tuple[QcRow, ...]
    """Refusals and remarks that reading its pixels gave rise to."""
    pixel: npt.NDArray[np.float16] | None = None
    """Maps of the pixel heads, shape (n, 6, G, G) (`Network.predict`); None without any."""


def without_maps(finished: FinishedSeries) -> FinishedSeries:
    """Return a series without the maps of its pixels: 12 kB a slice, which stay on disk."""
    return replace(finished, pixel=None)


class FinishedFolder:
    """A folder of predicted series, each to be found under the model and the files it was made from alone."""

    def __init__(self, folder: Path, stamp: str) -> None:
        self._folder = folder
        self._stamp = stamp

    def _path(self, series: UnreadSeries) -> Path:
        key = hashlib.sha256(f"{self._stamp} {images_hash(series)}".encode()).hexdigest()
        return self._folder / f"{key[:40]}.npz"

    def load(self, series: UnreadSeries) -> FinishedSeries | None:
        """Return a series that is done; None where it isn't, or its file is damaged."""
        try:
            with np.load(self._path(series), allow_pickle=False) as arrays:
                text = json.loads(arrays["text"].tobytes())
                finished = FinishedSeries(
                    **{name: arrays[name] for name in _ARRAYS},
                    pixel=arrays.get("pixel"),
                    image_ids=tuple(text["image_ids"]),
                    qc=tuple(QcRow(**row) for row in text["qc"]),
                )
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None
        return finished if finished.probability.shape == (len(finished.image_ids), 6) else None

    def save(self, series: UnreadSeries, finished: FinishedSeries) -> None:
        """Keep a series."""
        text: dict[str, Any] = {"image_ids": finished.image_ids, "qc": [asdict(row) for row in finished.qc]}
        arrays: dict[str, Any] = {name: getattr(finished, name) for name in _ARRAYS}
        if finished.pixel is not None:
            arrays["pixel"] = finished.pixel
        with replacing(self._path(series)) as path, path.open("wb") as file:
            np.savez(file, text=np.frombuffer(json.dumps(text).encode(), dtype=np.uint8), **arrays)


@contextmanager
def finished_folder(out: Path, stamp: str) -> Iterator[FinishedFolder]:
    """Open the hidden folder of finished series next to an output.

    It is removed when the block ends without an error, and also with one where no series is finished.

    Args:
        out: The file that is made from them.
        stamp: Changes with the model.

    Raises:
        UsageError: Another process predicts into the same file.
    """
    folder = out.parent / f".{out.name}.parts"
    is_new = not out.parent.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "lock", f"predicts into {out}", UsageError):
        try:
            yield FinishedFolder(folder, stamp)
        except BaseException:
            if not any(folder.glob("*.npz")):
                shutil.rmtree(folder, ignore_errors=True)
                if is_new and not any(out.parent.iterdir()):
                    out.parent.rmdir()
            raise
        shutil.rmtree(folder, ignore_errors=True)
