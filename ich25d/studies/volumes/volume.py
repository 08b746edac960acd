"""One series read: its plan in, its HU volume and its rows out, for `build-studies` and `predict` alike."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ich25d.bleeds.brain_hu import find_brain_hu
from ich25d.dicom.geometry import SAME_POSITION_MM
from ich25d.dicom.hounsfield import HU_MIN
from ich25d.errors import DicomError
from ich25d.studies.qc import QcRow
from ich25d.studies.series.series_plan import SeriesPlan
from ich25d.studies.store_dir.schema import SERIES_COLUMNS
from ich25d.studies.volumes.area import resize_area
from ich25d.studies.volumes.headbox import BONE_HU, TISSUE_HU, Box, brain_share, find_head_box, full_field, tissue_grid

HELD_BYTES = 768 * 2**20
"""A series whose full-size HU take more is read twice instead of held."""

LOOKED_AT, BRAIN_SLICES, BRAIN_SHARE = 12, 2, 0.02
"""Slices looked at, spread over the scan; how many of them must show brain; the share of px that is enough of it."""

PIXEL_HASH_STEP = 32
"""Every 32nd row of the source counts in a slice's hash."""

Crop = Literal["head", "none"]


@dataclass(frozen=True, slots=True)
class SeriesVolume:
    """A series as the store keeps it and the network is given it."""

    series: dict[str, Any]
    """The row of series.parquet, but for fold and hashes; empty when no slice could be used."""
    slices: dict[str, list[Any]]
    """Columns of slices.parquet, but for ids of the series and labels; a value a slice, in scan order."""
    hu: npt.NDArray[np.int16]
    """Shape (n, size, size), HU; n is 0 when no slice could be used."""
    qc: list[QcRow]
    """Refusals and remarks on the pixels."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a box of source px is placed in a square of store px."""

    box: Box
    """In source px."""
    height: int
    """Store px that the box fills, in the middle of the square."""
    width: int
    """Likewise."""
    size: int
    """Side of the square."""

    @property
    def scale(self) -> float:
        """Source columns per store px."""
        return self.box.width / self.width


def fit_box(box: Box, size: int, pixel_spacing_mm: tuple[float, float] | None) -> Fit:
    """Fit a box into a square, with square pixels and its aspect kept.

    Args:
        box: In source px.
        size: Side of the square in px.
        pixel_spacing_mm: Distance of rows and of columns; None counts as square.
    """
    row_mm, column_mm = pixel_spacing_mm or (1.0, 1.0)
    height_mm, width_mm = box.height * row_mm, box.width * column_mm
    store_px_mm = max(height_mm, width_mm) / size
    height, width = (max(1, round(side / store_px_mm)) for side in (height_mm, width_mm))
    return Fit(box, min(size, height), min(size, width), size)


def fit_slice(hu: npt.NDArray[np.int16], fit: Fit, out: npt.NDArray[np.int16]) -> None:
    """Cut the box out of a slice and resize it by area into a square padded with air.

    Args:
        hu: Shape (rows, columns), HU.
        fit: Box and place.
        out: Shape (size, size), int16; written.
    """
    box = fit.box
    cut = hu[box.top : box.bottom, box.left : box.right]
    top, left = (fit.size - fit.height) // 2, (fit.size - fit.width) // 2
    if fit.height < fit.size or fit.width < fit.size:
        out[:] = HU_MIN  # air
    resize_area(cut, out[top : top + fit.height, left : left + fit.width])


def pixel_hash(hu: npt.NDArray[np.int16]) -> int:
    """Return a hash of a slice as its file has it, whatever crop and size; 0 where its rows show nothing but air.

    Equal hashes in different series are one image under two names: such series mustn't be split over folds.
    """
    rows = np.ascontiguousarray(hu[PIXEL_HASH_STEP // 2 :: PIXEL_HASH_STEP], dtype="<i2")
    if rows[:, ::8].max(initial=TISSUE_HU) <= TISSUE_HU:
        return 0
    digest = hashlib.sha256(rows.data).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def read_series(plan: SeriesPlan, *, crop: Crop = "head", size: int = 256) -> SeriesVolume:
    """Read a series in scan order into a volume of HU.

    A slice that can't be read is refused by name and left out; the slices on either side of the gap aren't neighbours.

    Args:
        plan: Which files, in which order.
        crop: `head` cuts the box of the head out, one for the series; `none` keeps the full field.
        size: Side of a slice in px.
    """
    return _SeriesReading(plan, crop, size).run()


class _SeriesReading:
    """One call of `read_series`."""

    def __init__(self, plan: SeriesPlan, crop: Crop, size: int) -> None:
        self.plan = plan
        self.crop = crop
        self.size = size
        self.qc: list[QcRow] = []
        self.hashes: list[int] = []
        self.shape = plan.shape if plan.shape != (0, 0) else plan.images.shape()
        self.spacing = plan.pixel_spacing_mm

    def run(self) -> SeriesVolume:
        everything = range(len(self.plan))
        box: Box | None = full_field(self.shape)
        if self.crop == "head":
            tissue, slices = self._look(everything)
            box = find_head_box(tissue, self.shape, self.spacing)
            if box is None and tissue:
                self._remark("NO_HEAD_BOX", "nothing has the size of a head; the full field is kept")
        else:
            slices = self._read(everything, np.empty((1, *self.shape), dtype=np.int16))
        box = box or full_field(self.shape)
        out = np.empty((len(everything), self.size, self.size), dtype=np.int16)
        kept: list[int] = []
        fits: dict[tuple[int, int], Fit] = {}
        looked_at = set(np.linspace(0, len(everything) - 1, LOOKED_AT).round().astype(int).tolist())
        n_looked = n_brain = 0
        for index, hu in slices:
            fit_slice(hu, self._fit_of(hu, box, fits), out[len(kept)])
            kept.append(index)
            self.hashes.append(pixel_hash(hu))
            if index in looked_at and n_brain < BRAIN_SLICES:
                n_looked += 1
                n_brain += brain_share(hu) > BRAIN_SHARE
        # A window that ends below bone can't show the ring of bone that a brain is known by.
        if n_brain < min(BRAIN_SLICES, n_looked) and self.plan.highest_hu > BONE_HU:
            self._remark("NOT_HEAD?", f"brain inside bone on {n_brain} of {n_looked} slices looked at")
        self._name_doubles(kept)
        return SeriesVolume(
            series=self._series_row(kept, box, find_brain_hu(out[: len(kept)])) if kept else {},
            slices=self._slice_columns(kept),
            hu=out[: len(kept)],
            qc=self.qc,
        )

    def _look(
        self, indices: Sequence[int]
    ) -> tuple[list[npt.NDArray[np.uint8]], Iterator[tuple[int, npt.NDArray[np.int16]]]]:
        """Read all slices; return where tissue is in each, and the slices again: held in one array, or read twice."""
        n_bytes = 2 * len(indices) * self.shape[0] * self.shape[1]
        is_held = n_bytes <= HELD_BYTES
        # One array for all: memory fresh from the system costs least in large pages.
        memory = np.empty((len(indices) if is_held else 1, *self.shape), dtype=np.int16)
        tissue, held = [], []
        for index, hu in self._read(indices, memory):
            tissue.append(tissue_grid(hu))
            held.append((index, hu if is_held else None))
        if not is_held:
            return tissue, self._read([index for index, _ in held], memory, quiet=True)
        return tissue, ((index, hu) for index, hu in held if hu is not None)

    def _read(
        self, indices: Sequence[int], memory: npt.NDArray[np.int16], *, quiet: bool = False
    ) -> Iterator[tuple[int, npt.NDArray[np.int16]]]:
        """Yield the slices that can be read; the others get their row.

        Slices of the series' shape are read into the places of `memory`, (n, rows, columns), in turn.
        """
        for index in indices:
            try:
                hu, remarks = self.plan.images.read(index, memory[index % len(memory)])
            except DicomError as error:
                if not quiet:
                    # The plan's name, not the file's: a split or renamed series has one of its own.
                    self.qc.append(self._slice_row(index, error.code, error.detail))
                continue
            if not quiet:
                self.qc.extend(self._slice_row(index, *remark) for remark in remarks)
            yield index, hu

    def _fit_of(self, hu: npt.NDArray[np.int16], box: Box, fits: dict[tuple[int, int], Fit]) -> Fit:
        """Return the fit for a slice's shape; a slice of another matrix shows the same part of the field."""
        shape = (hu.shape[0], hu.shape[1])
        if shape not in fits:
            rows, columns = shape[0] / self.shape[0], shape[1] / self.shape[1]
            own = Box(
                round(box.top * rows), round(box.left * columns), round(box.bottom * rows), round(box.right * columns)
            )
            main = fit_box(box, self.size, self.spacing)
            fits[shape] = Fit(own, main.height, main.width, self.size)
        return fits[shape]

    def _name_doubles(self, kept: list[int]) -> None:
        """Remark on slices with position and pixels of the slice before; they are kept and predicted all the same."""
        position, ids = self.plan.slice_position_mm, self.plan.image_ids
        for rank in range(1, len(kept)):
            before, index = kept[rank - 1], kept[rank]
            is_same_place = abs(position[index] - position[before]) < SAME_POSITION_MM
            if is_same_place and self.hashes[rank] and self.hashes[rank] == self.hashes[rank - 1]:
                detail = f"the same pixels and position as {ids[before]}"
                self.qc.append(self._slice_row(index, "DUP_PIXELS", detail))

    def _slice_row(self, index: int, code: str, detail: str) -> QcRow:
        plan = self.plan
        return QcRow(plan.images.source(index), plan.image_ids[index], plan.series_id, "slice", code, detail)

    def _remark(self, code: str, detail: str) -> None:
        self.qc.append(QcRow("", "", self.plan.series_id, "series", code, detail))

    def _series_row(self, kept: list[int], box: Box, brain_hu: float | None) -> dict[str, Any]:
        row_mm, column_mm = self.spacing or (None, None)
        return {
            **{column.name: getattr(self.plan, column.name) for column in SERIES_COLUMNS if column.is_planned},
            "n_slices": len(kept),
            "spacing_is_regular": self.plan.spacing_is_regular and len(kept) == len(self.plan),
            "rows": self.shape[0],
            "columns": self.shape[1],
            "pixel_spacing_mm": column_mm,
            "row_spacing_mm": row_mm,
            "scale": fit_box(box, self.size, self.spacing).scale,
            **{f"box_{side}": value for side, value in box._asdict().items()},
            "brain_hu": brain_hu,
        }

    def _slice_columns(self, kept: list[int]) -> dict[str, list[Any]]:
        plan = self.plan
        windows = [plan.windows[index] or (None, None) for index in kept]
        return {
            "image_id": [plan.image_ids[index] for index in kept],
            "slice_index": list(range(len(kept))),
            "slice_position_mm": [plan.slice_position_mm[index] for index in kept],
            "source": [plan.images.source(index) for index in kept],
            "window_level": [level for level, _ in windows],
            "window_width": [width for _, width in windows],
            "pixel_hash": self.hashes,
        }
