"""The study store on disk: one compressed volume of HU a series, and tables of slices and series.

    store.json            format version, size, crop, counts, software versions, hashes of the tables
    slices.parquet        a row a slice kept, in scan order, series after series
    series.parquet        a row a series kept
    qc.csv                a row a refusal or remark
    hu/XX/<key>.b2nd      int16 HU, shape (n_slices, size, size), chunk = 1 slice, Blosc2: LZ4, or zstd

                          with byte differences where the full field is kept

The tables' columns are in `schema`. Without `store.json`, which is written last, there is no store. `build.sqlite`
beside it is the builder's private notebook: going on needs it, reading doesn't.
"""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.errors import StoreError, UsageError, cause_of
from ich25d.files import read_parquet, sha256_file
from ich25d.progress import remark, track
from ich25d.studies.qc import QcRow, read_qc
from ich25d.studies.split_unit import split_units
from ich25d.studies.store_dir.volume_place import volume_path

FORMAT = "ich25d-studies"
VERSION = 1
_NEEDED = ("size", "crop")
"""What no store.json of this version lacks."""

OPEN_VOLUMES = 32
"""Volumes that a thread keeps open; opening one takes longer than reading a slice."""


def is_store(folder: Path) -> bool:
    """Say whether a folder is a study store, finished or not."""
    return any((folder / name).is_file() for name in ("store.json", "build.sqlite"))


def read_marker(root: Path) -> dict[str, Any] | None:
    """Return the content of `store.json`, or None without a finished store.

    Raises:
        StoreError: The file is damaged or of another form.
    """
    try:
        content = json.loads((root / "store.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"store.json must be readable JSON (got {cause_of(error)}) in {root}; build it again"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise StoreError(f"store.json must be that of a study store (got another format) in {root}")
    if content.get("version") == VERSION and (lost := [name for name in _NEEDED if name not in content]):
        raise StoreError(f"store.json must have all that was written (got no {lost[0]!r}) in {root}; build it again")
    if content.get("version") != VERSION:
        raise StoreError(
            f"a study store must be of version {VERSION} (got {content.get('version')!r}) in {root}; "
            "build it again into an empty folder"
        )
    return content


def finished_marker(root: Path) -> dict[str, Any]:
    """Return the content of `store.json`.

    Raises:
        StoreError: The store is absent, unfinished, damaged or of another form.
    """
    marker = read_marker(root)
    if marker is None:
        cause = "an unfinished one" if (root / "build.sqlite").exists() else "none"
        raise StoreError(f"there must be a study store (got {cause}) in {root}; run `ich25d build-studies`")
    return marker


def seal(marker: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `store.json` with a hash of itself, so that a flipped byte in it shows too."""
    plain = {key: value for key, value in marker.items() if key != "seal"}
    return {**plain, "seal": hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()}


class StudyStore:
    """A finished study store, opened for reading.

    It pickles as its path, and loader processes open it anew; every thread opens its own files.
    """

    def __init__(self, root: Path, marker: dict[str, Any], slices: pd.DataFrame, series: pd.DataFrame) -> None:
        self.root = root
        """The store's folder."""
        self.marker = marker
        """Content of `store.json`."""
        self.slices = slices
        """A row a slice, in scan order, series after series; columns as in `SLICE_COLUMNS`."""
        self.series = series
        """A row a series; columns as in `SERIES_COLUMNS`."""
        self.size = int(marker["size"])
        """Side of the stored slices in px."""
        self._n_slices = dict(zip(series["series_id"], series["n_slices"], strict=True))
        self._hashes = dict(zip(series["series_id"], series["file_hash"], strict=True))
        self._local = threading.local()

    @classmethod
    def open(cls, path: Path | str) -> "StudyStore":
        """Open a store.

        Raises:
            StoreError: It is absent, unfinished, damaged or of another form.
        """
        root = Path(path)
        marker = finished_marker(root)
        try:
            slices, series = (read_parquet(root / name) for name in ("slices.parquet", "series.parquet"))
            if "split_unit" not in series:  # a store of an earlier version
                series["split_unit"] = split_units(series)
                slices["split_unit"] = slices["series_id"].map(series.set_index("series_id")["split_unit"])
            return cls(root, marker, slices, series)
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(
                f"the tables must be readable (got {cause_of(error)}) in {root}; build it again"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return (StudyStore.open, (str(self.root),))

    def hu(self, series_id: str, indices: Sequence[int] | slice | None = None) -> npt.NDArray[np.int16]:
        """Read slices of a series.

        Args:
            series_id: Which series.
            indices: Slice indices in any order, repeats allowed. None reads the whole series and first checks its file
                against its hash, since a flipped bit may decompress into other HU without an error.

        Returns:
            HU, shape (k, size, size), int16, in the order of `indices`.

        Raises:
            StoreError: The series isn't in the store, or its file is damaged.
        """
        n_slices = self._n_slices.get(series_id)
        if n_slices is None:
            raise StoreError(f"the series must be in the store (got {series_id!r}) in {self.root}")
        is_whole = indices is None
        if indices is None:
            indices = slice(None)
        wanted = list(range(n_slices)[indices]) if isinstance(indices, slice) else [int(index) for index in indices]
        if any(not 0 <= index < n_slices for index in wanted):
            raise StoreError(f"slice indices must lie in 0 .. {n_slices - 1} (got {wanted}) in series {series_id}")
        out = np.empty((len(wanted), self.size, self.size), dtype=np.int16)
        try:
            if is_whole and sha256_file(volume_path(self.root, series_id)) != self._hashes[series_id]:
                raise ValueError("a file that has changed since it was written")
            volume = self._volume(series_id)
            # A chunk of one block is decompressed in place, in half the time of blosc2's slicing.
            is_plain = volume.chunks == volume.blocks == (1, self.size, self.size)
            for place, index in enumerate(wanted):
                if is_plain:
                    volume.schunk.decompress_chunk(index, out[place])
                else:
                    out[place] = volume[index]
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreError(
                f"the volume of series {series_id} must be readable (got {cause_of(error)}) in {self.root}; "
                "build-studies makes it again"
            ) from error
        return out

    def qc(self) -> list[QcRow]:
        """Read the refusals and remarks of the store's builder; none, with a remark, where qc.csv was removed.

        Raises:
            StoreError: Their table is damaged.
        """
        path = self.root / "qc.csv"
        if not path.exists():
            remark(f"{self.root} has no qc.csv: what was refused or odd when it was built isn't known")
            return []
        try:
            return read_qc(path)
        except UsageError as error:
            raise StoreError(f"{error}; build the store again") from error

    def verify(self) -> list[str]:
        """Check every file against its hash and return what is wrong, a sentence each."""
        wrong = [] if seal(self.marker) == self.marker else ["store.json isn't what was written"]
        expected = {self.root / name: file_hash for name, file_hash in self.marker.get("tables", {}).items()}
        expected |= {volume_path(self.root, series_id): file_hash for series_id, file_hash in self._hashes.items()}
        for path, file_hash in track(expected.items(), "verify", len(expected), "files"):
            if not path.is_file():
                wrong.append(f"{path.relative_to(self.root)} is missing")
            elif sha256_file(path) != file_hash:
                wrong.append(f"{path.relative_to(self.root)} isn't what was written")
        if not wrong:
            # The bytes are those that were written; this blosc2 must also decode them.
            for series_id in self.series["series_id"][: min(3, len(self.series))]:
                self.hu(series_id, [0])
        return wrong

    def _volume(self, series_id: str) -> Any:  # noqa: ANN401  # blosc2 is untyped
        volumes: OrderedDict[str, Any] | None = getattr(self._local, "volumes", None)
        if volumes is None:
            volumes = self._local.volumes = OrderedDict()
        volume = volumes.pop(series_id, None)
        if volume is None:
            import blosc2

            volume = blosc2.open(str(volume_path(self.root, series_id)), mode="r", dparams={"nthreads": 1})
            if volume.shape != (self._n_slices[series_id], self.size, self.size) or volume.dtype != np.int16:
                raise ValueError("shape")
        volumes[series_id] = volume
        if len(volumes) > OPEN_VOLUMES:
            volumes.popitem(last=False)
        return volume
