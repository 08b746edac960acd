"""Tables of images as a source: rows of pictures in, plans of series in scan order out."""

import stat
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.dicom.header import Header, Remark
from ich25d.dicom.series import order_series
from ich25d.errors import DicomError
from ich25d.labels import LABELS
from ich25d.studies.headers.packed import Privacy, Scan, pseudonym
from ich25d.studies.pictures.picture_hu import Picture, picture_shape, read_image_hu
from ich25d.studies.pictures.saturated_bone import ends_below_bone
from ich25d.studies.pictures.table import ImageRow, read_image_rows
from ich25d.studies.qc import QcRow
from ich25d.studies.series.own_series import free_name
from ich25d.studies.series.series_plan import SeriesPlan, turned
from ich25d.windows import Window

UNKNOWN_SHAPE = (0, 0)
"""Rows and columns of a plan whose pictures weren't opened yet; `TableImages.shape` opens one."""
_SHARED = "{} scans of different studies or patients have this series id in the table"


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
    """The series of a table of images."""

    series: list[SeriesPlan]
    """Sorted by study and series."""
    qc: list[QcRow]
    """Refusals and remarks."""
    n_seen: int
    """Rows of the table."""
    n_refused: int
    """Rows refused."""


def plan_images(table: Path, privacy: Privacy, accept: Collection[str] = ()) -> PlannedImages:
    """Group the rows of a table of images into series in scan order.

    A series is what has one patient, study and series in the table; see `_named` for what it is called.
    No picture is opened. The rules of order are DICOM's; where the table has a position and no orientation,
    slices lie across it, and where it has an index alone, that is the order, from the feet to the head.

    Args:
        table: CSV, parquet or feather.
        privacy: Hides the patients.
        accept: Reason codes that refuse no series.

    Raises:
        UsageError: It isn't a table of images.
    """
    found = read_image_rows(table)
    labels: dict[str, tuple[int, ...]] = {}
    if found.labels is not None:
        values = found.labels[list(LABELS)].to_numpy(dtype=np.int8).tolist()
        labels = dict(zip(found.labels.index.tolist(), map(tuple, values), strict=True))
    studies: defaultdict[str, list[ImageRow]] = defaultdict(list)
    named, shared = _named(found.rows, privacy)
    for row in named:
        studies[row.study_id].append(row)
    series: list[SeriesPlan] = []
    names = {row.series_id for row in named}
    given: set[str] = set()
    qc = list(found.qc)
    n_refused = sum(row.level != "label" for row in found.qc)
    for _, rows in sorted(studies.items()):
        headers = [_header(row, privacy) for row in rows]
        ordering = order_series(headers, accept)
        for refused in ordering.refusals:
            row = rows[refused.member]
            qc.append(QcRow(row.pictures[0].path, row.image_id, row.series_id, "slice", refused.code, refused.detail))
        n_refused += len(ordering.refusals)
        for ordered in ordering.series:
            members = [rows[member] for member in ordered.members]
            # `1#2`, the second pass of series 1, may be what another series is called.
            is_pass = ordered.series_id != members[0].series_id
            name = free_name(ordered.series_id, names | given) if is_pass else ordered.series_id
            given.add(name)
            # The rules of order speak of DICOM; here a column of the table was read in its place.
            qc += [
                QcRow("", "", name, "series", code, detail.replace("InstanceNumber", f"column {found.index_name}"))
                for code, detail in ordered.remarks
            ]
            plan, remarks = turned(
                SeriesPlan(
                    series_id=name,
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
                    windows=tuple(min(_windows(row), key=lambda window: window[1]) for row in members),
                    highest_hu=min(max(level + width / 2 for level, width in _windows(row)) for row in members),
                    images=TableImages(table.parent.absolute(), tuple(row.pictures for row in members)),
                    labels=tuple(labels.get(row.image_id) for row in members) if labels else (),
                ),
                members[0].directions,
            )
            series.append(plan)
            qc += [QcRow("", "", name, "series", *remark) for remark in (*remarks, *_saturated(members))]
    qc += [row for row in shared if row.series_id in given]
    return PlannedImages(series, qc, len(found.rows) + sum(row.level != "label" for row in found.qc), n_refused)


def _named(rows: Sequence[ImageRow], privacy: Privacy) -> tuple[list[ImageRow], list[QcRow]]:
    """Give every row the names of its study and series.

    An id that several studies or patients share is that of the first by study and image id; the others get `@2`,
    `@3`. Patients don't count in that order: their pseudonyms differ from call to call.

    Returns:
        The rows, and a remark for each series that shares its id.
    """
    scans = _scans(rows, privacy)
    first: dict[Scan, str] = {}
    of_study: dict[tuple[str, str], str] = {}
    for row, scan in zip(rows, scans, strict=True):
        first[scan] = min(first.get(scan, row.image_id), row.image_id)
        of_study[scan[1:]] = min(of_study.get(scan[1:], row.image_id), row.image_id)
    studies = _unique({study: (study[0], ("", image_id)) for study, image_id in of_study.items()})
    series = _unique({scan: (scan.series_id, (scan.study_id, image_id)) for scan, image_id in first.items()})
    n_sharing = Counter(scan.series_id for scan in first)
    qc = [
        QcRow("", "", series[scan], "series", "DUP_SERIES_UID", _SHARED.format(n))
        for scan in first
        if (n := n_sharing[scan.series_id]) > 1
    ]
    named = [
        row._replace(patient_id=scan.patient_id, study_id=studies[scan[1:]], series_id=series[scan])
        for row, scan in zip(rows, scans, strict=True)
    ]
    return named, qc


def _unique(wanted: Mapping[Any, tuple[str, tuple[str, str]]]) -> dict[Any, str]:
    """Give each key a name of its own, out of the one it wants and its rank among those that want the same."""
    taken = {name for name, _ in wanted.values()}
    names: dict[Any, str] = {}
    before: set[str] = set()
    for key, (name, _) in sorted(wanted.items(), key=lambda item: item[1]):
        names[key] = free_name(name, taken) if name in before else name
        before.add(name)
        taken.add(names[key])
    return names


def _scans(rows: Sequence[ImageRow], privacy: Privacy) -> list[Scan]:
    """Return the scan of each row; an empty patient or study is the only one that its series names elsewhere.

    Where a row names its patient alone, the first image id stands in for the series: patients stay hidden.
    """
    patients: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    studies: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    alone: dict[str, str] = {}
    for row in rows:
        patients[row.study_id, row.series_id].add(row.patient_id)
        studies[row.patient_id, row.series_id].add(row.study_id)
        if not (row.study_id or row.series_id):
            alone[row.patient_id] = min(alone.get(row.patient_id, row.image_id), row.image_id)
    hidden = {name: first for name, first in alone.items() if pseudonym(name, privacy.key) != name}
    scans = []
    for row in rows:
        patient_id = row.patient_id or _only(patients[row.study_id, row.series_id])
        study_id = row.study_id or (_only(studies[row.patient_id, row.series_id]) if row.series_id else "")
        series_id = row.series_id or study_id or hidden.get(patient_id, patient_id)
        scans.append(Scan(series_id, study_id or series_id, patient_id))
    return scans


def _only(names: set[str]) -> str:
    """Return the only name that isn't empty; "" where there are several or none."""
    known = names - {""}
    return known.pop() if len(known) == 1 else ""


def _windows(row: ImageRow) -> list[Window]:
    return [window for picture in row.pictures for window in picture.windows]


def _saturated(members: Sequence[ImageRow]) -> list[Remark]:
    tops = [max(level + width / 2 for level, width in _windows(row)) for row in members]
    low = [top for top in tops if ends_below_bone(top)]
    detail = "{} of {} slices show nothing over {:g} HU: what is white and lies like skull is taken for bone"
    return [Remark("SATURATED", detail.format(len(low), len(tops), max(low)))] if low else []


def _spacing(row: ImageRow) -> tuple[float, float] | None:
    return None if row.pixel_spacing_mm is None else (row.pixel_spacing_mm, row.pixel_spacing_mm)


def _header(row: ImageRow, privacy: Privacy) -> Header:
    """Return a row as a DICOM header, so that one set of rules orders all series."""
    directions = row.directions
    if row.origin_mm is not None and directions is None:
        directions = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    first: Sequence[float] = directions or ()
    return Header(
        image_id=row.image_id, series_id=row.series_id, study_id=row.study_id, rows=0, columns=0, bits_allocated=8,
        bits_stored=8, high_bit=7, is_signed=False, origin_mm=row.origin_mm,
        directions=(first[0], first[1], first[2], first[3], first[4], first[5]) if first else None,
        pixel_spacing_mm=_spacing(row), instance_number=row.rank,
        patient_id=pseudonym(row.patient_id, privacy.key),
    )  # fmt: skip
