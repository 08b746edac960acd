"""The feature store: embeddings of whole series, ours or anybody's.

    FEATURES/  features.json               dim, views, and what is known of the encoder
               slices.parquet              a row a slice: ids, six labels, patient, fold
               <series key>.safetensors    embedding, logit (optional), slice_position_mm

Nothing in it is executed on reading, and every file is checked against the two tables.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ich25d.errors import StoreError
from ich25d.features.table import check_slices
from ich25d.files import file_key, read_parquet, replacing, write_bytes, write_json
from ich25d.labels import N_LABELS

FORMAT = 1
JSON_FILE, TABLE_FILE = "features.json", "slices.parquet"
_MAX_JSON_BYTES = 1024**2
_MAX_DIM, _MAX_VIEWS = 65_536, 64
_FLOATS = ("F16", "F32")


@dataclasses.dataclass(frozen=True, slots=True)
class SeriesFeatures:
    """Embeddings and logits of one series of n slices, in scan order."""

    embedding: npt.NDArray[np.float16]
    """Shape (V, n, E), V views."""
    logit: npt.NDArray[np.float32] | None
    """Shape (V, n, 6), in the order of `LABELS`; None where the encoder has none."""
    slice_position_mm: npt.NDArray[np.float64]
    """Shape (n,), mm, never falling; all NaN where unknown."""


class FeatureStore:
    """A feature store, opened for reading.

    Args:
        path: Its folder.
        dim: Length E of an embedding.
        views: Names of the versions of every slice that were embedded.
        encoder: SHA-256 of the encoder's weights by fold: fold K's series were embedded by encoder K. One entry
            "" is one encoder for all series.
        size: Side in px of what the encoder saw; None where unknown.
        slices: The checked table (`check_slices`).
    """

    def __init__(
        self,
        path: Path,
        *,
        dim: int,
        views: tuple[str, ...],
        encoder: dict[str, str],
        size: int | None,
        slices: pd.DataFrame,
    ) -> None:
        self.path, self.dim, self.views, self.encoder, self.size = path, dim, views, encoder, size
        self.slices = slices
        """A row a slice, the series one after another, each in scan order."""
        first = slices.drop_duplicates("series_id").set_index("series_id")
        counts = slices.groupby("series_id", sort=False).size()
        self.series = first[["patient_id", "fold", "train_only"]].assign(n_slices=counts)
        """A row a series, by series_id: patient_id, fold (-1 unknown), train_only, n_slices."""
        self._n_slices = {str(name): int(count) for name, count in counts.items()}

    @classmethod
    def open(cls, path: Path) -> "FeatureStore":
        """Open a feature store and check its tables; the series' files are checked as they are read.

        Raises:
            StoreError: A file is absent, damaged or not of this form.
        """
        content = read_description(path / JSON_FILE)
        try:
            table = read_parquet(path / TABLE_FILE)
        except OSError as error:
            raise StoreError(f"a feature store must hold a readable {TABLE_FILE} (got {error}) in {path}") from error
        except Exception as error:  # border around one foreign file: parquet readers raise what the bytes make them
            raise StoreError(
                f"{TABLE_FILE} must be a parquet table (got {type(error).__name__}: {error}) in {path}"
            ) from error
        slices = check_slices(table, path / TABLE_FILE)
        encoder = content["encoder"]
        if len(encoder) > 1 and (strange := sorted({str(fold) for fold in slices["fold"]} - set(encoder))):
            raise StoreError(
                f"every fold must have its encoder in {JSON_FILE} (got none for fold {strange[0]}) in {path}"
            )
        return cls(path, slices=slices, **content)

    def encoder_of(self, series_id: str) -> str:
        """Return the key in `encoder` of the encoder that embedded a series."""
        return next(iter(self.encoder)) if len(self.encoder) == 1 else str(self.series.at[series_id, "fold"])

    def file_of(self, series_id: str) -> Path:
        """Return the path of a series' file."""
        return self.path / f"{file_key(series_id)}.safetensors"

    def read(self, series_id: str) -> SeriesFeatures:
        """Read a series and check it.

        Raises:
            StoreError: The file is absent, damaged, of other shapes than the tables say, not finite, or out of
                scan order.
        """
        n_slices = self._n_slices[series_id]
        return read_series(self.file_of(series_id), n_views=len(self.views), n_slices=n_slices, dim=self.dim)


def read_series(path: Path, *, n_views: int, n_slices: int, dim: int) -> SeriesFeatures:
    """Read one series' file; its shapes are checked before its numbers are read.

    Args:
        path: The file.
        n_views: V that it must have.
        n_slices: n, likewise.
        dim: E, likewise.

    Raises:
        StoreError: See `FeatureStore.read`.
    """
    wanted = {
        "embedding": ((n_views, n_slices, dim), _FLOATS),
        "logit": ((n_views, n_slices, N_LABELS), _FLOATS),
        "slice_position_mm": ((n_slices,), ("F32", "F64")),
    }
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            if missing := [name for name in ("embedding", "slice_position_mm") if name not in names]:
                raise StoreError(f"a series' features must hold {missing[0]} (got {sorted(names)[:5]}) in {path}")
            for name in names & set(wanted):
                view = file.get_slice(name)
                shape, kinds = tuple(view.get_shape()), view.get_dtype()
                if shape != wanted[name][0] or kinds not in wanted[name][1]:
                    raise StoreError(
                        f"{name} must have shape {wanted[name][0]} and type {' or '.join(wanted[name][1])} "
                        f"(got {shape}, {kinds}) in {path}"
                    )
            embedding = file.get_tensor("embedding")
            logit = file.get_tensor("logit").astype(np.float32) if "logit" in names else None
            position = file.get_tensor("slice_position_mm").astype(np.float64)
    except (SafetensorError, OSError, ValueError) as error:
        raise StoreError(f"a series' features must be a readable safetensors file (got {error}) in {path}") from error
    if not np.isfinite(embedding).all() or (logit is not None and not np.isfinite(logit).all()):
        raise StoreError(f"embeddings and logits must be finite (got NaN or infinity) in {path}")
    if np.isinf(position).any() or (np.isnan(position).any() and not np.isnan(position).all()):
        raise StoreError(f"slice positions must be finite, or all NaN where unknown (got a mixture) in {path}")
    if (np.diff(position) < 0).any():
        place = int(np.flatnonzero(np.diff(position) < 0)[0])
        raise StoreError(
            f"slices must be in scan order, their positions in mm never falling "
            f"(got {position[place]:g} before {position[place + 1]:g}) in {path}; sort the series by position"
        )
    return SeriesFeatures(_half(embedding, path), logit, position)


def write_series(
    folder: Path,
    series_id: str,
    *,
    embedding: npt.NDArray[np.floating[Any]],
    logit: npt.NDArray[np.floating[Any]] | None,
    slice_position_mm: npt.NDArray[np.floating[Any]],
    extra: Mapping[str, npt.NDArray[Any]] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write one series' file, whole or not at all, and return its path.

    Args:
        folder: The feature store.
        series_id: Any identifier; the file's name is made from it.
        embedding: Shape (V, n, E).
        logit: Shape (V, n, 6), or None.
        slice_position_mm: Shape (n,).
        extra: Further tensors, which readers of the form leave alone.
        metadata: Kept in the file's header.

    Raises:
        StoreError: An embedding doesn't fit into 16 bits.
    """
    path = folder / f"{file_key(series_id)}.safetensors"
    tensors: dict[str, npt.NDArray[Any]] = {
        "embedding": _half(embedding, path),
        "slice_position_mm": np.asarray(slice_position_mm, np.float64),
        **(extra or {}),
    }
    if logit is not None:
        tensors["logit"] = np.asarray(logit, np.float32)
    write_bytes(
        path, save({name: np.ascontiguousarray(values) for name, values in tensors.items()}, dict(metadata or {}))
    )
    return path


def write_tables(
    folder: Path,
    slices: pd.DataFrame,
    *,
    dim: int,
    views: Sequence[str],
    encoder: Mapping[str, str] | None = None,
    size: int | None = None,
) -> None:
    """Write both tables, `features.json` last: a store without it isn't finished.

    Args:
        folder: The feature store.
        slices: A row a slice (`check_slices`); further columns are kept.
        dim: Length E of an embedding.
        views: Names of the versions of every slice that were embedded.
        encoder: SHA-256 of the encoder's weights by fold, or under "" of the only one; None where unknown.
        size: Side in px of what the encoder saw; None where unknown.

    Raises:
        StoreError: The table isn't of the form.
    """
    checked = check_slices(slices, folder / TABLE_FILE)
    further = [name for name in slices.columns if name not in checked.columns]
    checked = checked.join(slices.set_axis(slices["image_id"].astype(str))[further], on="image_id")
    with replacing(folder / TABLE_FILE) as part:
        checked.to_parquet(part, index=False)
    content = {"format": FORMAT, "dim": dim, "views": list(views), "encoder": dict(encoder or {}) or None, "size": size}
    write_json(folder / JSON_FILE, content)


def _half(embedding: npt.NDArray[Any], path: Path) -> npt.NDArray[np.float16]:
    if embedding.dtype == np.float16:
        return embedding
    with np.errstate(over="ignore"):
        half = embedding.astype(np.float16)
    if not np.isfinite(half).all():
        raise StoreError(
            f"embeddings must be finite and fit into 16 bits, within 65504 "
            f"(got {float(np.abs(embedding).max()):g}) in {path}; scale them"
        )
    return half


def read_description(path: Path) -> dict[str, Any]:
    """Read `features.json` into the arguments of `FeatureStore`.

    Raises:
        StoreError: It is absent, damaged or not of this form.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise StoreError(
                f"{JSON_FILE} must be at most {_MAX_JSON_BYTES} bytes (got {path.stat().st_size}) in {path}"
            )
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(
            f"a feature store must hold a readable {JSON_FILE} (got {error.strerror}) in {path.parent}; "
            "was its making interrupted? The same command goes on"
        ) from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{JSON_FILE} must be JSON (got {error}) in {path}") from error
    if not isinstance(content, dict) or content.get("format", FORMAT) != FORMAT:
        got = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise StoreError(f"{JSON_FILE} must be an object of format {FORMAT} (got {got!r}) in {path}")
    dim, views, size, encoder = (content.get(name) for name in ("dim", "views", "size", "encoder"))
    encoder = {"": encoder or ""} if encoder is None or isinstance(encoder, str) else encoder
    is_dim = isinstance(dim, int) and not isinstance(dim, bool) and 1 <= dim <= _MAX_DIM
    is_views = isinstance(views, list) and 1 <= len(views) <= _MAX_VIEWS and all(isinstance(v, str) for v in views)
    is_encoder = isinstance(encoder, dict) and encoder and all(isinstance(value, str) for value in encoder.values())
    for is_sound, rule, value in (
        (is_dim, f"dim must be a whole number from 1 to {_MAX_DIM}", dim),
        (is_views, 'views must be a list of names, as ["plain"]', views),
        (size is None or isinstance(size, int), "size must be a number of px or null", size),
        (is_encoder, "encoder must be a SHA-256, one a fold, or null", encoder),
    ):
        if not is_sound:
            raise StoreError(f"{rule} (got {value!r}) in {path}")
    return {"dim": dim, "views": tuple(views or ()), "encoder": encoder, "size": size}
