"""The series to predict, whatever holds them (DICOM, a table of images, a study store, an array): listed, then read.

list_series(sources) -> FoundSeries of UnreadSeries;  read_pixels(series) -> SeriesPixels
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.bleeds.brain_hu import find_brain_hu
from ich25d.dicom.header import Remark
from ich25d.errors import StoreError, UsageError
from ich25d.files import check_there
from ich25d.studies.plan import make_plan
from ich25d.studies.pool.local_pool import ONE_PROCESS
from ich25d.studies.pool.pool import Pool
from ich25d.studies.qc import QcRow
from ich25d.studies.series.series_plan import SeriesPlan
from ich25d.studies.store_dir.store import StudyStore, is_store
from ich25d.studies.volumes.headbox import Box
from ich25d.studies.volumes.volume import Crop, Fit, fit_box, read_series


@dataclass(frozen=True, slots=True, eq=False)
class StoredSeries:
    """A series of a study store, or some of its slices."""

    root: Path
    """Of the store."""
    series_id: str
    study_id: str
    patient_id: str
    image_ids: tuple[str, ...]
    """In scan order."""
    file_hash: str
    """SHA-256 of its volume."""
    stored_id: str = ""
    """Its id in the store, where it goes by another one here."""

    def __len__(self) -> int:
        return len(self.image_ids)


UnreadSeries = SeriesPlan | StoredSeries
"""A series in scan order whose pixels haven't been read; pickles, and is small."""


@dataclass(slots=True)
class FoundSeries:
    """All series of the sources, before their pixels are read."""

    series: list[UnreadSeries] = field(default_factory=list)
    qc: list[QcRow] = field(default_factory=list)
    """Refusals of files and series, and remarks on series."""
    n_seen: int = 0
    """Files, archive members, table rows and stored slices looked at."""


@dataclass(frozen=True, slots=True)
class SeriesPixels:
    """A series as the network takes it."""

    hu: npt.NDArray[np.int16]
    """Shape (n, size, size), HU, in scan order; n is 0 when no slice could be read."""
    image_ids: tuple[str, ...]
    slice_position_mm: npt.NDArray[np.float64]
    """Shape (n,), mm; NaN where unknown."""
    window: npt.NDArray[np.float32]
    """The files' own level and width, shape (n, 2); NaN where they name none."""
    qc: tuple[QcRow, ...]
    """Refusals and remarks that reading the pixels gave rise to."""
    pixel_mm: float | None = None
    """Side of a px of `hu`; None where the files don't say."""
    orientation: str = ""
    """Where rows and columns run in the patient, as `LP`; empty where unknown (`dicom.geometry.patient_axes`)."""
    brain_hu: float = float("nan")
    """HU of its brain tissue; NaN where no brain was found."""
    fit: Fit | None = None
    """Which part of the source's slices `hu` shows, and where; None where that isn't known."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayImages:
    """Slices that are in memory already, as `Images` of a plan."""

    hu: npt.NDArray[np.int16]
    """Shape (n, rows, columns), HU."""

    def __len__(self) -> int:
        return len(self.hu)

    def read(
        self, index: int, out: npt.NDArray[np.int16] | None = None
    ) -> tuple[npt.NDArray[np.int16], tuple[Remark, ...]]:
        """Return one slice."""
        del out
        return self.hu[index], ()

    def source(self, index: int) -> str:
        """Name no file."""
        del index
        return ""

    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.hu.shape[1]), int(self.hu.shape[2])

    def stamps(self) -> list[str]:
        """Return what changes with the content."""
        return [hashlib.sha256(self.hu.tobytes()).hexdigest()]

    @property
    def is_native(self) -> bool:
        """No codec takes part."""
        return True


def plan_array(
    hu: npt.NDArray[np.integer[Any]],
    slice_position_mm: npt.ArrayLike,
    *,
    image_ids: Sequence[str] | None = None,
    pixel_spacing_mm: tuple[float, float] | None = None,
) -> SeriesPlan:
    """Plan a series from an array of HU, in any order of slices.

    Args:
        hu: Shape (n, rows, columns), whole numbers in HU: the full field, not cropped.
        slice_position_mm: Shape (n,), mm from caudal to cranial.
        image_ids: One a slice; default `slice_0000` and so on, in the array's order.
        pixel_spacing_mm: Distance of rows and of columns; None takes pixels for square.

    Raises:
        UsageError: Shapes, numbers or ids that can't be a series.
    """
    try:
        position = np.asarray(slice_position_mm, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"slice_position_mm must be numbers, mm (got {slice_position_mm!r})") from None
    if hu.ndim != 3 or len(hu) == 0 or position.shape != (len(hu),):
        raise UsageError(
            f"a series must be HU of shape (n, rows, columns) and n positions (got {hu.shape}, {position.shape})"
        )
    if hu.dtype.kind not in "iu" or not np.isfinite(position).all():
        raise UsageError(f"HU must be whole numbers and positions finite, in mm (got {hu.dtype}, {position.tolist()})")
    ids = [f"slice_{index:04d}" for index in range(len(hu))] if image_ids is None else [str(name) for name in image_ids]
    if pixel_spacing_mm is not None:
        pixel_spacing_mm = _spacing(pixel_spacing_mm)
    if len(ids) != len(hu) or len(set(ids)) != len(ids):
        raise UsageError(f"image ids must be one a slice, each once (got {len(ids)} for {len(hu)} slices)")
    order = np.argsort(position, kind="stable")
    clipped = np.clip(hu[order], -1024, 3071).astype(np.int16)
    gaps = np.diff(position[order])
    return SeriesPlan(
        series_id="array", study_id="", patient_id="", image_ids=tuple(ids[index] for index in order),
        slice_position_mm=tuple(position[order].tolist()), tilt_deg=None, order_key="position",
        slice_spacing_mm=float(np.median(gaps)) if len(gaps) else None,
        spacing_is_regular=bool(len(gaps) and np.allclose(gaps, gaps[0])),
        shape=(int(hu.shape[1]), int(hu.shape[2])), pixel_spacing_mm=pixel_spacing_mm, pixel_family="array",
        kernel="", thickness_mm=None, windows=(None,) * len(hu), images=ArrayImages(clipped),
    )  # fmt: skip


def _spacing(spacing: npt.ArrayLike) -> tuple[float, float]:
    try:
        pair = np.asarray(spacing, dtype=np.float64)
    except (TypeError, ValueError):
        pair = np.zeros(0)
    if pair.shape != (2,) or not (np.isfinite(pair) & (pair > 0)).all():
        raise UsageError(f"pixel_spacing_mm must be the distances of rows and of columns, above 0 mm (got {spacing!r})")
    return float(pair[0]), float(pair[1])


def list_series(
    sources: Sequence[Path],
    *,
    only: Sequence[str] = (),
    images: Sequence[Path] = (),
    accept: Collection[str] = (),
    size: int,
    crop: str,
    pool: Pool = ONE_PROCESS,
) -> FoundSeries:
    """List all series of the sources.

    Args:
        sources: Folders, files, zip archives and study stores, in any mix.
        only: Globs that files and archive members must match, any of them.
        images: Tables of images, as further sources.
        accept: Codes of refused series to use nevertheless, of `codes.ACCEPTABLE`.
        size: Side of the slices that the model takes; a study store must be of it.
        crop: How those are cropped, likewise.
        pool: Reads headers.

    Raises:
        UsageError: A source isn't there, or there is nothing to read.
        StoreError: A study store is of another size or crop than the model's.
    """
    if not sources and not images:
        raise UsageError("there must be something to read; name folders, files, archives, a study store or --images")
    check_there(sources=sources, images=images)
    stores = [path for path in sources if is_store(path)]
    found = FoundSeries()
    for root in stores:
        store = StudyStore.open(root)
        if (store.size, str(store.marker["crop"])) != (size, crop):
            raise StoreError(
                f"a study store must be made with the model's --size {size} --crop {crop} (got --size {store.size} "
                f"--crop {store.marker['crop']}) in {root}; build another, or predict from its sources"
            )
        found.series += _stored(store)
        found.qc += [row for row in store.qc() if row.level != "label"]
        found.n_seen += len(store.slices)
    rest = [path for path in sources if path not in stores]
    if rest or images:
        plan = make_plan(rest, only, images, accept=accept, pool=pool)
        found.series += plan.series
        found.qc += plan.qc
        found.n_seen += plan.n_seen
    elif accept:
        raise UsageError(f"--accept is for files; a study store holds what it was built with (got {sorted(accept)})")
    elif only:
        raise UsageError(f"--only picks files and archive members; a study store has none (got {list(only)})")
    return found


def _stored(store: StudyStore) -> list[UnreadSeries]:
    images = store.slices.groupby("series_id", sort=False)["image_id"].agg(tuple).to_dict()
    rows = store.series[["series_id", "study_id", "patient_id", "file_hash"]].fillna("").to_numpy().tolist()
    return [
        StoredSeries(store.root, series_id, study_id, patient_id, images[series_id], file_hash)
        for series_id, study_id, patient_id, file_hash in rows
    ]


def read_pixels(series: UnreadSeries, *, crop: str, size: int) -> SeriesPixels:
    """Read a series, wherever it is; the reading processes' unit of work.

    Args:
        series: What to read.
        crop: How slices are cropped, `head` or `none`; a stored series is so already.
        size: Side in px of the slices.

    Raises:
        StoreError: The study store is damaged, or changed since it was listed.
    """
    if isinstance(series, StoredSeries):
        return _read_stored(series)
    volume = read_series(series, crop=cast(Crop, crop), size=size)
    slices = volume.slices
    return SeriesPixels(
        hu=volume.hu,
        image_ids=tuple(slices["image_id"]),
        slice_position_mm=np.array(slices["slice_position_mm"], dtype=np.float64),
        window=np.array([slices["window_level"], slices["window_width"]], dtype=np.float32).T,  # None becomes NaN
        qc=tuple(volume.qc),
        pixel_mm=_pixel_mm(volume.series),
        orientation=series.orientation,
        brain_hu=_number(volume.series.get("brain_hu")),
        fit=_fit(volume.series, series, size),
    )


def _fit(row: Mapping[str, Any], series: SeriesPlan, size: int) -> Fit | None:
    """Return how the volume lies in its source; None where no slice was read."""
    if not row:
        return None
    return fit_box(Box(*(row[f"box_{side}"] for side in Box._fields)), size, series.pixel_spacing_mm)


def _pixel_mm(series: Mapping[str, Any] | pd.Series) -> float | None:
    """Return the side of a px of the volume: `scale` px of the source."""
    spacing, scale = series.get("pixel_spacing_mm"), series.get("scale")
    return float(spacing * scale) if spacing is not None and scale is not None and spacing * scale > 0 else None


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _read_stored(series: StoredSeries) -> SeriesPixels:
    store, rows = _open_store(series.root, _version(series.root))
    name = series.stored_id or series.series_id
    known = store.series.loc[store.series["series_id"] == name]
    if known["file_hash"].tolist() != [series.file_hash]:
        raise StoreError(f"a study store mustn't change while it is read (got a new one in {series.root}); run again")
    row, table, hu = known.iloc[0], store.slices.iloc[rows[name]], store.hu(name)
    if len(series) < len(table):
        chosen = table["image_id"].isin(series.image_ids).to_numpy()
        table, hu = table[chosen], hu[chosen]
    return SeriesPixels(
        hu=hu,
        image_ids=series.image_ids,
        slice_position_mm=table["slice_position_mm"].to_numpy(dtype=np.float64, na_value=np.nan),
        window=table[["window_level", "window_width"]].to_numpy(dtype=np.float32, na_value=np.nan),
        qc=(),
        pixel_mm=_pixel_mm(row),
        orientation=str(row.get("orientation", "")),  # older stores don't say
        brain_hu=_number(row["brain_hu"] if "brain_hu" in row else find_brain_hu(store.hu(name))),
    )


def _version(root: Path) -> tuple[int, int]:
    """Return what changes when a store is built anew in the same folder."""
    try:
        status = (root / "store.json").stat()
    except OSError as error:
        raise StoreError(f"a study store must hold a readable store.json (got {error.strerror}) in {root}") from error
    return status.st_ino, status.st_mtime_ns


@lru_cache(maxsize=4)
def _open_store(root: Path, _: tuple[int, int]) -> tuple[StudyStore, dict[str, npt.NDArray[np.int64]]]:
    store = StudyStore.open(root)
    groups = store.slices.groupby("series_id", sort=False).indices
    return store, {str(name): np.asarray(rows) for name, rows in groups.items()}


def images_hash(series: UnreadSeries) -> str:
    """Return a hash that changes when a series' images or their places in the scan do."""
    if isinstance(series, StoredSeries):
        parts = [str(series.root.resolve()), series.series_id, series.file_hash, *series.image_ids]
    else:
        parts = [series.series_id, *series.image_ids, *map(repr, series.slice_position_mm), *series.images.stamps()]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
