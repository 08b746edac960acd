"""Batches of slabs, read from a study store or cut from an open series."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from ich25d.config import SlabConfig
from ich25d.errors import StoreError
from ich25d.labels import LABELS, SUBTYPES
from ich25d.slabs.neighbours import neighbour_indices
from ich25d.slabs.painting import Painter
from ich25d.slabs.slab import sized
from ich25d.studies.store_dir.store import StudyStore

MASK_STEP = 4
"""px of the store a px of the masks: twice as fine as the pixel head's maps at usual sizes."""


@dataclasses.dataclass(frozen=True, slots=True)
class SlabBatch:
    """Slabs as they come from the store: HU, before windows and augmentation."""

    hu: torch.Tensor
    """Shape (B, S, H, W), int16; float32 where it has the network's size already."""
    target: torch.Tensor
    """Shape (B, 6), float32, in the order of `LABELS`; NaN where unknown."""
    row: torch.Tensor
    """Shape (B,), int64: the slice's row in the store's table, or its index in the series."""
    key: torch.Tensor
    """Shape (B,), int64: the image's key, from which its augmentation is drawn."""
    window: torch.Tensor
    """Shape (B, 2), float32: the file's own level and width; NaN where it names none."""
    painted: torch.Tensor
    """Shape (B,), bool: something was painted in."""
    brain_hu: torch.Tensor
    """Shape (B,), float32: HU of brain tissue in the slice's series; NaN where unknown."""
    mask: torch.Tensor
    """Shape (B, 5, H / 4, W / 4), uint8: share of each px, 0 to 255, in which a painted bleed of each subtype is seen;
    shape (B, 5, 0, 0) where nothing is ever painted."""

    def __len__(self) -> int:
        """Return the number of slabs."""
        return len(self.row)

    def pin_memory(self) -> "SlabBatch":
        """Copy to pinned memory; torch's DataLoader calls this by its name."""
        return SlabBatch(*(getattr(self, field.name).pin_memory() for field in dataclasses.fields(self)))


def image_key(image_id: str) -> int:
    """Return a hash of an image's id, 0 <= key < 2**63, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(image_id.encode(), digest_size=8).digest(), "little") >> 1


class SlabReader:
    """Reads slabs of a store by row of its slice table.

    Pickled as its store's path and its settings, for the processes of `ich25d.slabs.loading`.

    Args:
        store: The study store.
        slab: Which neighbours stand beside a slice.
        painter: Paints bleeds into negative slabs in training; None paints nothing.
        taught: A .npy file with what the slices are taught in place of the store's labels, shape (rows, 6), float32,
            NaN where unknown. A file, as an array of a large store wouldn't fit into the pipe.
    """

    def __init__(
        self, store: StudyStore, slab: SlabConfig, painter: Painter | None = None, taught: Path | None = None
    ) -> None:
        self._store = store
        self._slab = slab
        self._painter = painter
        self._taught = taught
        slices = store.slices
        self._image_id = slices["image_id"].to_numpy(dtype=object)
        self._series_code, self._series_ids = _codes(slices["series_id"].to_numpy(dtype=object))
        self._brain_hu = brain_hu_of(store, slab, self._series_ids)
        self._first = np.searchsorted(self._series_code, np.arange(len(self._series_ids)), side="left")
        self._end = np.searchsorted(self._series_code, np.arange(len(self._series_ids)), side="right")
        self._position = slices["slice_position_mm"].to_numpy(dtype=np.float64, na_value=np.nan)
        self._target = (
            slices[list(LABELS)].to_numpy(dtype=np.float32, na_value=np.nan)
            if taught is None
            else np.load(taught, mmap_mode="r")
        )
        self._window = slices[["window_level", "window_width"]].to_numpy(dtype=np.float32, na_value=np.nan)
        self._neighbours: dict[int, npt.NDArray[np.int64]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (SlabReader, (self._store, self._slab, self._painter, self._taught))

    @property
    def target(self) -> npt.NDArray[np.float32]:
        """What all rows are taught, their labels: shape (rows, 6), in the order of `LABELS`; NaN where unknown."""
        return self._target

    def rows_of(self, series_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the rows of the named series, in scan order."""
        code_of = {series_id: code for code, series_id in enumerate(self._series_ids)}
        spans = [np.arange(self._first[code], self._end[code]) for code in (code_of[name] for name in series_ids)]
        return np.concatenate(spans).astype(np.int64) if spans else np.zeros(0, np.int64)

    def read(self, rows: npt.NDArray[np.int64], *, epoch: int | None = None) -> SlabBatch:
        """Read slabs.

        Args:
            rows: Rows of the slice table, shape (B,).
            epoch: Number of the epoch, from which painting is drawn; None paints nothing.
        """
        targets, painted = np.array(self._target[rows]), np.zeros(len(rows), bool)
        with_bleed = with_decoy = np.zeros_like(painted)
        slabs = np.empty((len(rows), len(self._slab.neighbours), self._store.size, self._store.size), np.int16)
        masks = _no_masks(len(rows), self._store.size if self._painter is not None and epoch is not None else 0)
        keys = np.array([image_key(self._image_id[row]) for row in rows], dtype=np.int64)
        if self._painter is not None and epoch is not None:
            with_bleed, with_decoy = self._painter.chosen(targets, keys, epoch)
        for number, row in enumerate(rows):
            code = int(self._series_code[row])
            index = int(row - self._first[code])
            wanted = self._neighbours_of(code)[index].tolist()
            slices = sorted(set(wanted))
            series_id = self._series_ids[code]
            hu = self._store.hu(series_id, slices)
            if self._painter is not None and epoch is not None and (with_bleed[number] or with_decoy[number]):
                result = self._painter.paint(
                    series_id, index, slices, hu,
                    key=int(keys[number]), epoch=epoch, bleed=bool(with_bleed[number]), decoy=bool(with_decoy[number]),
                )  # fmt: skip
                if result is not None:
                    middle = slices.index(index)
                    hu, targets[number], painted[number] = result.hu, result.labels[middle], True
                    for subtype in np.flatnonzero(result.labels[middle, : len(SUBTYPES)]):
                        seen = result.masks[middle, subtype].astype(np.uint8) * 255
                        masks[number, subtype] = cv2.resize(seen, masks.shape[2:], interpolation=cv2.INTER_AREA)
            for place, slice_index in enumerate(wanted):
                slabs[number, place] = hu[slices.index(slice_index)]
        return SlabBatch(
            hu=torch.from_numpy(slabs),
            target=torch.from_numpy(targets),
            row=torch.from_numpy(np.asarray(rows, dtype=np.int64)),
            key=torch.from_numpy(keys),
            window=torch.from_numpy(self._window[rows]),
            painted=torch.from_numpy(painted),
            brain_hu=torch.from_numpy(self._brain_hu[self._series_code[rows]]),
            mask=torch.from_numpy(masks),
        )

    def _neighbours_of(self, code: int) -> npt.NDArray[np.int64]:
        found = self._neighbours.get(code)
        if found is None:
            found = neighbour_indices(self._position[self._first[code] : self._end[code]], self._slab)
            self._neighbours[code] = found
        return found


def series_batches(
    hu: npt.NDArray[np.int16],
    slice_position_mm: npt.NDArray[np.float64],
    window: npt.NDArray[np.float32] | None,
    slab: SlabConfig,
    batch_size: int,
    *,
    brain_hu: float = float("nan"),
    device: torch.device | str = "cpu",
) -> Iterator[SlabBatch]:
    """Yield the slabs of one whole series in scan order, from an array.

    The whole series is copied to the device and resized once, as a slice stands in several slabs.

    Args:
        hu: Shape (n, H, W), int16.
        slice_position_mm: Shape (n,), mm, rising; NaN where unknown.
        window: The files' own level and width, shape (n, 2); NaN or None where they name none.
        slab: Which neighbours stand beside a slice.
        batch_size: Slabs a batch.
        brain_hu: HU of the series' brain tissue; NaN where unknown.
        device: Of the network.
    """
    neighbours = torch.from_numpy(neighbour_indices(slice_position_mm, slab)).to(device)
    parts = torch.from_numpy(np.ascontiguousarray(hu)).to(device).split(batch_size)
    volume = torch.cat([sized(part[None], slab.size)[0] for part in parts])
    own = np.full((len(hu), 2), np.nan, np.float32) if window is None else window.astype(np.float32)
    for start in range(0, len(hu), batch_size):
        rows = torch.arange(start, min(start + batch_size, len(hu)))
        yield SlabBatch(
            hu=volume[neighbours[start : start + batch_size]],
            target=torch.full((len(rows), len(LABELS)), torch.nan),
            row=rows,
            key=rows.clone(),
            window=torch.from_numpy(own[start : start + batch_size]),
            painted=torch.zeros(len(rows), dtype=torch.bool),
            brain_hu=torch.full((len(rows),), brain_hu),
            mask=torch.from_numpy(_no_masks(len(rows), 0)),
        )


def brain_hu_of(store: StudyStore, slab: SlabConfig, series_ids: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return the HU of brain tissue of series of a store, in the order of their ids; NaN where unknown.

    Raises:
        StoreError: The slabs need them, and the store is of a version that didn't find them.
    """
    if "brain_hu" in store.series:
        known = store.series.set_index("series_id")["brain_hu"]
        return known.loc[list(series_ids)].to_numpy(dtype=np.float32, na_value=np.nan)
    if slab.brain_hu:
        raise StoreError(
            f"slab.brain_hu = {slab.brain_hu:g} needs the column brain_hu of series.parquet (got a store of an earlier "
            f"version) in {store.root}; build it again, or set slab.brain_hu = 0"
        )
    return np.full(len(series_ids), np.nan, np.float32)


def _no_masks(n: int, size: int) -> npt.NDArray[np.uint8]:
    return np.zeros((n, len(SUBTYPES), size // MASK_STEP, size // MASK_STEP), np.uint8)


def _codes(ids: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Number the series in the order in which they stand in the table, where each is contiguous."""
    if len(ids) == 0:
        return np.zeros(0, np.int64), []
    starts = np.concatenate([[True], ids[1:] != ids[:-1]])
    return np.cumsum(starts) - 1, [str(name) for name in ids[starts]]
