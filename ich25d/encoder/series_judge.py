"""Validation of a fold by whole series, where none of its held-out slices has a label."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ich25d.encoder.teaching import Teaching
from ich25d.encoder.validate import score
from ich25d.labels import N_LABELS
from ich25d.training.sampling import LabelCount


class SeriesJudge:
    """Scores whole held-out series by their largest slice logit.

    Args:
        teaching: What the store's slices are taught, with the labels of whole series.
        held_out: Rows of the slice table that the fold holds out.
        seen: Slices of patients whom the network knew before, bool (slices,); None is nobody.
    """

    def __init__(self, teaching: Teaching, held_out: npt.NDArray[np.int64], seen: npt.NDArray[np.bool_] | None) -> None:
        rows = held_out[teaching.is_told[held_out]]
        self.rows = rows if seen is None else rows[~seen[rows]]
        """Slices of the held-out series that have a label as a whole."""
        own, self._number = np.unique(teaching.whose[self.rows], return_inverse=True)
        self._target = teaching.series_target[own]
        others = LabelCount(N_LABELS)
        others.add(torch.from_numpy(np.delete(teaching.series_target, np.unique(teaching.whose[held_out]), axis=0)))
        self._constant = others.logit().numpy()

    def score(self, logit: npt.NDArray[np.float64]) -> dict[str, Any]:
        """Score logits of `rows`, shape (N, 6), as `encoder.validate.score` does slices."""
        return score(largest(logit, self._number), self._target, self._constant)


def largest(logit: npt.NDArray[np.float64], whose: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
    """Return the largest logit of each series, shape (series, 6), from those of its slices, shape (N, 6).

    Args:
        logit: Of slices.
        whose: Number of each slice's series, from 0 on, shape (N,); each has a slice.
    """
    found = np.full((int(whose.max()) + 1 if len(whose) else 0, logit.shape[1]), -np.inf)
    np.maximum.at(found, whose, logit)
    return found
