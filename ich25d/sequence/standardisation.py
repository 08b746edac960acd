"""Mean and spread of every encoder's embeddings, by which the embeddings of different folds are made comparable.

The encoders of all folds start from the same weights and train for a few epochs: a shift and a scale of each dimension
are enough. Labels aren't used.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ich25d.errors import ModelError
from ich25d.features.store import FeatureStore
from ich25d.files import write_bytes
from ich25d.progress import track

LIMIT = 8.0
"""Standardised embeddings are clipped to this many standard deviations: the range that training saw."""

_SMALLEST_SHARE = 0.05
"""Spreads below this share of the median one are raised to it: a nearly constant dimension isn't amplified."""

_MOST_SERIES = 2000
"""Most series that the statistics of one encoder are taken from."""


@dataclasses.dataclass(frozen=True, slots=True)
class Standardisation:
    """Statistics by the encoder's key: its fold, or "" for the only encoder."""

    mean: Mapping[str, npt.NDArray[np.float32]]
    """Shape (E,) each."""
    spread: Mapping[str, npt.NDArray[np.float32]]
    """Standard deviation, above 0, shape (E,) each."""

    def apply(self, embedding: npt.NDArray[np.floating], encoder: str) -> npt.NDArray[np.float32]:
        """Standardise embeddings of one encoder, shape (..., E)."""
        value = (embedding.astype(np.float32) - self.mean[encoder]) / self.spread[encoder]
        return np.clip(value, -LIMIT, LIMIT, out=value)

    def renamed(self, key_of: Mapping[str, str]) -> "Standardisation":
        """Return the statistics under other keys.

        Args:
            key_of: The key here of each new key.
        """
        return Standardisation(
            {new: self.mean[key] for new, key in key_of.items()}, {new: self.spread[key] for new, key in key_of.items()}
        )

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        kinds = {"mean": self.mean, "spread": self.spread}
        tensors = {f"{kind}.{key}": value for kind, values in kinds.items() for key, value in values.items()}
        write_bytes(path, save(tensors))

    @classmethod
    def load(cls, path: Path, dim: int) -> "Standardisation":
        """Read and check it.

        Args:
            path: The safetensors file.
            dim: Length E that the model reads.

        Raises:
            ModelError: The file is absent, damaged or not of this form.
        """
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(f"the embeddings' statistics must be a readable file (got {error}) in {path}") from error
        parts: dict[str, dict[str, npt.NDArray[np.float32]]] = {"mean": {}, "spread": {}}
        for name, value in tensors.items():
            kind, _, key = name.partition(".")
            sound = value.shape == (dim,) and value.dtype == np.float32 and bool(np.isfinite(value).all())
            if kind not in parts or not sound or (kind == "spread" and not (value > 0).all()):
                raise ModelError(f"statistics must be finite, shape ({dim},) (got {name}, {value.shape}) in {path}")
            parts[kind][key] = value
        if set(parts["mean"]) != set(parts["spread"]) or not parts["mean"]:
            raise ModelError(f"every encoder must have a mean and a spread (got {sorted(tensors)[:6]}) in {path}")
        return cls(parts["mean"], parts["spread"])


def fit_standardisation(store: FeatureStore) -> Standardisation:
    """Measure every encoder's statistics on the series that it embedded, without painted copies."""
    real = store.series[~store.series["train_only"]]
    by_encoder: dict[str, list[str]] = {}
    for series_id in real.index:
        by_encoder.setdefault(store.encoder_of(series_id), []).append(series_id)
    mean, spread = {}, {}
    for encoder, ids in by_encoder.items():
        total, squares, count = np.zeros(store.dim), np.zeros(store.dim), 0
        for series_id in track(ids[:: max(1, len(ids) // _MOST_SERIES)], "statistics", unit="series"):
            embedding = store.read(series_id).embedding.reshape(-1, store.dim).astype(np.float64)
            total += embedding.sum(axis=0)
            squares += (embedding**2).sum(axis=0)
            count += len(embedding)
        mean[encoder] = (total / count).astype(np.float32)
        deviation = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
        floor = max(_SMALLEST_SHARE * float(np.median(deviation)), 1e-6)
        spread[encoder] = np.maximum(deviation, floor).astype(np.float32)
    return Standardisation(mean, spread)
