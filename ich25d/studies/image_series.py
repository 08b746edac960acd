"""Image tables as a source of series: rows of pictures in, plans of series in scan order out."""

import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.dicom.geometry import patient_axes
from ich25d.dicom.header import Header, Remark
from ich25d.dicom.series import order_series
from ich25d.errors import DicomError
from ich25d.labels import LABELS
from ich25d.studies.image_table import ImageRow, read_image_rows
from ich25d.studies.images import Picture, picture_shape, read_image_hu
from ich25d.studies.index import Privacy, pseudonym
from ich25d.studies.qc import QcRow
from ich25d.studies.series_plan import SeriesPlan

UNKNOWN_SHAPE = (0, 0)
"""Rows and columns of a plan whose pictures weren't opened yet; `TableImages.shape` tells them."""


@dataclass(frozen=True, slots=True, eq=False)
class TableImages:
    """Slices as windowed pictures."""

    root: Path
    """The table's folder."""
    pictures: tuple[tuple[Picture, ...], ...]
    """Those of each slice."""

    def __len__(self) -> int:
        return len(self.pictures)

    def read(
        self, index: int, out: npt.NDArray[np.int16] | None = None
    ) -> tuple[npt.NDArray[np.int16], tuple[Remark, ...]]:
        """Read the pictures of one slice and put its HU together."""
        del out  # decoding makes an array of its own
        slice_ = read_image_hu(self.root, self.pictures[index])
        return slice_.hu, slice_.remarks

    def source(self, index: int) -> str:
        """Path of the first picture of one slice."""
        return self.pictures[index][0].path

    def stamps(self) -> list[str]:
        """Name, windows, size and time of change of each picture."""
        return [f"{picture}|{_stamp(self.root / picture.path)}" for slice_ in self.pictures for picture in slice_]

    @property
    def is_native(self) -> bool:
        """A codec takes part."""
        return False

    def shape(self) -> tuple[int, int]:
        """Return rows and columns of the first slice whose pictures can be opened."""
        for slice_ in self.pictures:
            shapes = [shape for picture in slice_ if (shape := _shape(self.root / picture.path))]
            if shapes:
                return max(shapes, key=lambda shape: shape[0] * shape[1])
        return (1, 1)


def _stamp(path: Path) -> str:
    """Return what changes with a file's content; a path that isn't there, or is the folder itself, is `absent`."""
    try:
        status = path.stat()
    except OSError:
        return "absent"
    if not stat.S_ISREG(status.st_mode):
        return "absent"
    return f"{status.st_size}|{status.st_mtime_ns}"


def _shape(path: Path) -> tuple[int, int] | None:
    try:
        with path.open("rb") as file:
            return picture_shape(file.read(1 << 20))
    except (OSError, DicomError):
        return None


class PlannedImages(NamedTuple):
    """What a table of images holds."""

    series: list[SeriesPlan]
    """Sorted by study and series."""
    qc: list[QcRow]
    """Refusals and remarks."""
    n_seen: int
    """Rows of the table."""
    n_refused: int
    """Rows refused."""


def plan_images(table: Path, privacy: Privacy) -> PlannedImages:
    """Group the rows of a table of images into series in scan order.

    No picture is opened. The rules of order are DICOM's; where the table has a position and no orientation,
    slices lie across it, and where it has an index alone, that is the order, from the feet to the head.

    Args:
        table: CSV, parquet or feather.
        privacy: Hides the patients.

    Raises:
        UsageError: It isn't a table of images.
    """
    found = read_image_rows(table)
    labels = {} if found.labels is None else dict(_labels_of(found.labels))
    studies: defaultdict[str, list[ImageRow]] = defaultdict(list)
    for row in found.rows:
        studies[row.study_id].append(row)
    series: list[SeriesPlan] = []
    qc = list(found.qc)
    n_refused = sum(row.level != "label" for row in found.qc)
    for _, rows in sorted(studies.items()):
        headers = [_header(row, privacy) for row in rows]
        ordering = order_series(headers)
        for refused in ordering.refusals:
            row = rows[refused.member]
            qc.append(QcRow(row.pictures[0].path, row.image_id, row.series_id, "slice", refused.code, refused.detail))
        n_refused += len(ordering.refusals)
        for ordered in ordering.series:
            members = [rows[member] for member in ordered.members]
            qc += [QcRow("", "", ordered.series_id, "series", *remark) for remark in ordered.remarks]
            series.append(
                SeriesPlan(
                    series_id=ordered.series_id,
                    study_id=ordered.study_id,
                    patient_id=ordered.patient_id,
                    image_ids=tuple(row.image_id for row in members),
                    slice_position_mm=tuple(float(position) for position in ordered.slice_position_mm),
                    slice_spacing_mm=ordered.slice_spacing_mm,
                    spacing_is_regular=ordered.spacing_is_regular,
                    tilt_deg=ordered.tilt_deg,
                    order_key=ordered.order_key,
                    shape=UNKNOWN_SHAPE,
                    pixel_spacing_mm=_spacing(members[0]),
                    pixel_family="windowed",
                    kernel="",
                    thickness_mm=None,
                    windows=tuple(
                        min((w for p in row.pictures for w in p.windows), key=lambda w: w[1]) for row in members
                    ),
                    images=TableImages(table.parent.absolute(), tuple(row.pictures for row in members)),
                    labels=tuple(labels.get(row.image_id) for row in members) if labels else (),
                    orientation=patient_axes(members[0].directions),
                )
            )
    return PlannedImages(series, qc, len(found.rows) + sum(row.level != "label" for row in found.qc), n_refused)


def _spacing(row: ImageRow) -> tuple[float, float] | None:
    return None if row.pixel_spacing_mm is None else (row.pixel_spacing_mm, row.pixel_spacing_mm)


def _labels_of(frame: pd.DataFrame) -> Iterator[tuple[str, tuple[int, ...]]]:
    values = frame[list(LABELS)].to_numpy(dtype=np.int8).tolist()
    yield from zip(frame.index.tolist(), map(tuple, values), strict=True)


def _header(row: ImageRow, privacy: Privacy) -> Header:
    """Say what the table says in the words of a header, so that one set of rules orders everything."""
    directions = row.directions
    if row.origin_mm is not None and directions is None:
        directions = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    first: Sequence[float] = directions or ()
    return Header(
        image_id=row.image_id,
        series_id=row.series_id,
        study_id=row.study_id,
        patient_id=pseudonym(row.patient_id, privacy.key),
        sop_class="",
        modality="CT",
        image_type=(),
        rows=0,
        columns=0,
        bits_allocated=8,
        bits_stored=8,
        high_bit=7,
        is_signed=False,
        samples_per_pixel=1,
        photometric="MONOCHROME2",
        n_frames=1,
        slope=None,
        intercept=None,
        padding=None,
        padding_limit=None,
        origin_mm=row.origin_mm,
        directions=(first[0], first[1], first[2], first[3], first[4], first[5]) if first else None,
        pixel_spacing_mm=_spacing(row),
        slice_location=None,
        instance_number=row.rank,
        acquisition_number=None,
        series_number=None,
        kernel="",
        thickness_mm=None,
        contrast=False,
        kvp=None,
        acquisition_time=None,
        temporal_position=None,
        frame_of_reference="",
        transfer_syntax="",
        window=(),
        pixel_offset=0,
        pixel_length=-1,
        description_flags=frozenset(),
        is_lossy=False,
        remarks=(),
    )
