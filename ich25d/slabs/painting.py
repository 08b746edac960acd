"""Bleeds painted into negative slabs while they are read, a new one in every epoch."""

import hashlib
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import ich25d
from ich25d.bleeds.anatomy import Anatomy, find_anatomy
from ich25d.bleeds.decoys import plan_decoys
from ich25d.bleeds.paint import Painted, paint
from ich25d.bleeds.plan import plan_bleeds
from ich25d.files import file_key
from ich25d.slabs.anatomies import MEMORY_BYTES, Anatomies
from ich25d.slabs.augment import draw
from ich25d.slabs.spacing import store_spacing_mm
from ich25d.studies.store_dir.store import StudyStore


class Painter:
    """Paints one or two bleeds, and decoys (bright structures that are no bleeds), into shares of the negative slabs.

    Pickled as its store's path and its settings.

    Args:
        store: The study store.
        share: Share of negative slabs to paint bleeds into.
        seed: Seed of the run; what is painted depends on it, the epoch and the image alone.
        decoys: Share of negative slabs to paint a decoy into, with a bleed or without.
        folder: Keeps anatomies for other processes and epochs; None keeps them in memory alone.
        memory_bytes: Memory for the anatomies of this process.
    """

    def __init__(
        self,
        store: StudyStore,
        share: float,
        seed: int,
        *,
        decoys: float = 0.0,
        folder: Path | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._store, self._share, self._seed, self._decoys = store, share, seed, decoys
        self._folder, self._memory_bytes = folder, memory_bytes
        self._anatomies = Anatomies(folder, memory_bytes)
        series = store.series
        columns = (series[name].to_numpy(dtype=float) for name in ("slice_spacing_mm", "pixel_spacing_mm", "scale"))
        self._spacing = dict(zip(series["series_id"], zip(*columns, strict=True), strict=True))
        self._file_hash = dict(zip(series["series_id"], series["file_hash"], strict=True))
        of_slice = store.slices["series_id"].to_numpy(dtype=object)
        bounds = [0, *(np.flatnonzero(of_slice[1:] != of_slice[:-1]) + 1).tolist(), len(of_slice)]
        self._span = {str(of_slice[first]): (first, end) for first, end in pairwise(bounds) if end > first}
        self._position = store.slices["slice_position_mm"].to_numpy(dtype=np.float64, na_value=np.nan)

    def __reduce__(self) -> tuple[Any, ...]:
        settings: dict[str, Any] = {"decoys": self._decoys, "folder": self._folder, "memory_bytes": self._memory_bytes}
        return (partial(Painter, **settings), (self._store, self._share, self._seed))

    def chosen(
        self, target: npt.NDArray[np.float32], keys: npt.NDArray[np.int64], epoch: int
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Draw the slabs to paint a bleed into, and those to paint a decoy into, among the known negatives.

        Args:
            target: Labels of the slices in the middle, shape (B, 6); NaN where unknown.
            keys: Keys of the images (`image_key`), shape (B,).
            epoch: Number of the epoch.

        Returns:
            Bleeds and decoys, bool, shape (B,) each.
        """
        negative = (target == 0).all(axis=1)
        drawn = keys.astype(np.uint64)
        bleeds = negative & (draw(drawn, self._seed, epoch, "paint") < self._share)
        return bleeds, negative & (draw(drawn, self._seed, epoch, "decoy") < self._decoys)

    def paint(
        self,
        series_id: str,
        index: int,
        slices: Sequence[int],
        hu: npt.NDArray[np.int16],
        *,
        key: int,
        epoch: int,
        bleed: bool,
        decoy: bool,
    ) -> Painted | None:
        """Paint into a slab, where the head has room.

        Args:
            series_id: The series.
            index: The slice in the middle of the slab.
            slices: The slices of the slab, without repeats.
            hu: Their HU, shape (k, H, W), int16.
            key: The image's key.
            epoch: Number of the epoch.
            bleed: Paint a bleed.
            decoy: Paint a decoy.

        Returns:
            The painted slices, with labels and masks of the slice in the middle; None where nothing was painted.
        """
        anatomy = self.anatomy(series_id)
        if not anatomy.usable:
            return None
        rng = np.random.default_rng([self._seed, epoch, key])
        decoys = plan_decoys(anatomy, rng, around_slice=index) if decoy else []
        bleeds = plan_bleeds(anatomy, rng, around_slice=index) if bleed else []
        if not decoys and not bleeds:
            return None
        # The decoys first, the blood over it: a labelled bleed must be visible.
        before = paint(hu, slices, decoys, labelled=()).hu if decoys else hu
        return paint(before, slices, bleeds, labelled=(index,))

    def anatomy(self, series_id: str) -> Anatomy:
        """Find a series' anatomy, or take the one found before."""
        return self._anatomies.get(self._key(series_id), partial(self._find, series_id))

    def forget(self, series_id: str) -> None:
        """Free the memory of an anatomy that isn't needed again."""
        if series_id in self._span:
            self._anatomies.forget(self._key(series_id))

    def _find(self, series_id: str) -> Anatomy:
        hu = self._store.hu(series_id)
        position = self._position_mm(series_id)
        return find_anatomy(
            hu,
            store_spacing_mm(hu, *self._spacing[series_id]),
            slice_position_mm=position if np.isfinite(position).all() else None,
        )

    def _position_mm(self, series_id: str) -> npt.NDArray[np.float64]:
        """Return the positions of a series' slices, mm; NaN where unknown."""
        first, end = self._span[series_id]
        return self._position[first:end]

    def _key(self, series_id: str) -> str:
        """Return a file name that changes with everything that the anatomy depends on."""
        found_from = [ich25d.__version__, self._file_hash[series_id], self._spacing[series_id]]
        digest = hashlib.blake2b(repr(found_from).encode() + self._position_mm(series_id).tobytes(), digest_size=8)
        return f"{file_key(series_id)}-{digest.hexdigest()}"
