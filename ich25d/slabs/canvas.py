"""Slabs of a store together with those of a store of canvases: scans to paint into, of which nothing else is known.

The rows of the canvases (M of them) come three times behind the N of the store: N to N + M are taught what is known of
them, as all others; the next M are painted in every case; the last M are the same slices as they were scanned. So a
painted slab and its own original can stand side by side in a batch, moved alike, since both have one key.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ich25d.slabs.dataset import SlabBatch, SlabReader


class CanvasReader:
    """Reads slabs of a store and of its canvases by one row number.

    Args:
        own: The store's.
        told: The canvases', with what is known of them; negatives are painted at the recipe's share.
        painted: The canvases', with targets of 0, all painted.
    """

    def __init__(self, own: SlabReader, told: SlabReader, painted: SlabReader) -> None:
        self._own, self._told, self._painted = own, told, painted
        self.n_own, self.n_canvas = len(own.target), len(painted.target)

    def __reduce__(self) -> tuple[Any, ...]:
        return (CanvasReader, (self._own, self._told, self._painted))

    def read(self, rows: npt.NDArray[np.int64], *, epoch: int | None = None) -> SlabBatch:
        """Read slabs, as `SlabReader.read`.

        The target of a painted canvas is 1 for what was painted in, that of its original NaN; all else of both is NaN.

        Args:
            rows: Rows, shape (B,), 0 to N + 3 M.
            epoch: Number of the epoch, from which painting is drawn.
        """
        n, m = self.n_own, self.n_canvas
        band = np.where(rows < n, 0, 1 + (rows - n) // max(1, m))
        parts, places = [], []
        for number, reader in enumerate((self._own, self._told, self._painted, self._painted)):
            place = np.flatnonzero(band == number)
            if not len(place):
                continue
            inner = rows[place] - (0 if number == 0 else n + (number - 1) * m)
            batch = reader.read(inner, epoch=epoch if number < 3 else None)
            if number >= 2:
                seen = (batch.target == 1) & batch.painted[:, None]
                batch = dataclasses.replace(batch, target=torch.where(seen, 1.0, torch.nan))
            parts.append(dataclasses.replace(batch, row=torch.from_numpy(rows[place])))
            places.append(place)
        order = torch.from_numpy(np.argsort(np.concatenate(places), kind="stable"))
        return _joined(parts, order)


def _joined(parts: Sequence[SlabBatch], order: torch.Tensor) -> SlabBatch:
    """Put batches behind each other and their slabs in an order; those without masks get empty ones."""
    largest = max((part.mask for part in parts), key=lambda mask: mask.shape[-1])
    fields = {}
    for field in dataclasses.fields(SlabBatch):
        values = [getattr(part, field.name) for part in parts]
        if field.name == "mask":
            values = [
                value if value.shape[1:] == largest.shape[1:] else value.new_zeros((len(value), *largest.shape[1:]))
                for value in values
            ]
        fields[field.name] = torch.cat(values)[order]
    return SlabBatch(**fields)
