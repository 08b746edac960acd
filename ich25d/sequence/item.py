"""One version of a series as the sequence models read it, and what several models say of each version."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ich25d.labels import N_LABELS

Runner = Callable[..., Sequence[npt.NDArray[np.float32]]]
"""One sequence model, whatever computes it: embeddings (B, T, E), logits (B, T, 6) and positions (B, T), float32, to
slice logits (B, T, 6) and series logits (B, 6)."""


@dataclasses.dataclass(frozen=True, slots=True)
class SeriesItem:
    """One version of one series, ready to be put in a batch."""

    embedding: npt.NDArray[np.float32]
    """Shape (n, E), standardised."""
    logit: npt.NDArray[np.float32]
    """Shape (n, 6), the encoder's."""
    position_mm: npt.NDArray[np.float32]
    """Shape (n,); falling in a reversed series."""
    target: npt.NDArray[np.float32]
    """Shape (n, 6), NaN where unknown."""
    told: npt.NDArray[np.float32] | None = None
    """Labels given for the whole series, shape (6,), NaN where none was; None where nothing was."""
    is_open: npt.NDArray[np.bool_] | None = None
    """Slices of which one at least has the label, nobody knows which, shape (n, 6); None is none."""

    def take(self, rows: npt.NDArray[np.int64]) -> "SeriesItem":
        """Return some of the slices, in the order of `rows`."""
        is_open = None if self.is_open is None else self.is_open[rows]
        return SeriesItem(
            self.embedding[rows], self.logit[rows], self.position_mm[rows], self.target[rows], self.told, is_open
        )


def reverse(item: SeriesItem) -> SeriesItem:
    """Turn the order of the slices round."""
    return item.take(np.arange(len(item.position_mm))[::-1])


def logits_of_each(
    models: Sequence[Runner], items: Sequence[SeriesItem]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Average the logits of several models, each reading in both directions, for every version of one series.

    Args:
        models: The models.
        items: M versions (views, encoders) of the same n slices.

    Returns:
        Slice logits, shape (M, n, 6), and series logits, shape (M, 6).
    """
    n_versions, versions = len(items), [*items, *(reverse(item) for item in items)]
    inputs = [np.stack([getattr(item, name) for item in versions]) for name in ("embedding", "logit", "position_mm")]
    slices, whole = np.zeros((n_versions, inputs[0].shape[1], N_LABELS)), np.zeros((n_versions, N_LABELS))
    for model in models:
        of_slices, of_series = (np.asarray(part, dtype=np.float64) for part in model(*inputs))
        slices += (of_slices[:n_versions] + of_slices[n_versions:, ::-1]) / 2
        whole += (of_series[:n_versions] + of_series[n_versions:]) / 2
    return slices / len(models), whole / len(models)
