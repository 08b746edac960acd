"""Tables of PNG and JPEG slices, as windowed distributions of head CT have them: a file in, a row a slice out."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ich25d.dicom.interpret import GOOD_ID
from ich25d.errors import DicomError, LabelError, UsageError
from ich25d.studies.labelfile import labels_of_wide, wide_columns
from ich25d.studies.pictures.columns import (
    DIRECTION_KEYS,
    ORIGIN_KEYS,
    ImageColumns,
    named_windows,
    number_of,
    numbers_of,
    spacing_of,
    text_of,
    windows_of,
)
from ich25d.studies.pictures.names import SUFFIXES, PictureNames
from ich25d.studies.pictures.picture_hu import Picture
from ich25d.studies.qc import QcRow
from ich25d.studies.table_file import DCM_SUFFIX, read_table
from ich25d.windows import Window

_ODD_LETTERS = re.compile(r"[^0-9A-Za-z._#-]+")
"""What a picture's name may hold and an image id may not."""


class ImageRow(NamedTuple):
    """One slice of the table; at least one of patient, study and series isn't empty."""

    image_id: str
    patient_id: str
    study_id: str
    series_id: str
    pictures: tuple[Picture, ...]
    """In the order of the table's columns."""
    origin_mm: tuple[float, float, float] | None
    """Only z is known where the table has no more; x and y are 0 then."""
    directions: tuple[float, ...] | None
    """Cosines of row and column; None where unknown."""
    rank: int | None
    """Rank from the feet to the head, as the table has it."""
    pixel_spacing_mm: float | None


class ImageRows(NamedTuple):
    """The rows of a table."""

    rows: list[ImageRow]
    labels: pd.DataFrame | None
    """As `read_labels` gives it; None when the table has no labels."""
    qc: list[QcRow]
    """Rows that can't be used, and labels refused."""
    index_name: str
    """The column that ranks slices; empty where there is none."""


def read_image_rows(table: Path) -> ImageRows:
    """Read a table of images.

    It must have windows, a name of image or picture, and one of series, study or patient. docs/image-tables.md says
    what columns may be called and how windows are written; `COLUMN_KEYS` has every name.

    Args:
        table: CSV, parquet or feather; its folder is where the pictures' paths start.

    Raises:
        UsageError: It isn't such a table; the message says what is missing.
    """
    try:
        columns, bad_lines = read_table(table)
    except LabelError as error:
        raise UsageError(str(error)) from error
    reader = _Reader(table, columns)
    qc = [QcRow(table.name, "", "", "file", "BAD_TABLE", "a line with too few or too many cells") for _ in bad_lines]
    rows = []
    for number, row in enumerate(reader.rows(), 1):
        if isinstance(row, DicomError):
            qc.append(QcRow(f"{table.name}:{number}", "", "", "slice", row.code, row.detail))
        else:
            rows.append(row)
    rows, more = _single(rows)
    qc += more
    wide = wide_columns(columns.column_names)
    labels = None
    if wide and reader.found.names.get("image"):
        labels, label_qc = labels_of_wide(columns, reader.found.names["image"], wide, table.name)
        qc += label_qc
    return ImageRows(rows, labels, qc, reader.found.names.get("index", ""))


def _single(rows: Sequence[ImageRow]) -> tuple[list[ImageRow], list[QcRow]]:
    """Keep one row an image id; where rows of one id differ, none."""
    by_id: dict[str, list[ImageRow]] = {}
    for row in rows:
        by_id.setdefault(row.image_id, []).append(row)
    kept: list[ImageRow] = []
    qc: list[QcRow] = []
    for image_id, same in by_id.items():
        differ = len(set(same)) > 1
        if not differ:
            kept.append(same[0])
        code = "DUP_UID_DIFF" if differ else "DUP_UID_SAME"
        detail = "rows of one image id differ" if differ else "the row comes twice"
        qc += [
            QcRow(row.pictures[0].path, image_id, row.series_id, "slice", code, detail)
            for row in (same if differ else same[1:])
        ]
    return kept, qc


class _Reader:
    """One table's rows."""

    def __init__(self, table: Path, columns: Any) -> None:  # noqa: ANN401  # pyarrow has no types
        self.table = table
        self.columns = columns
        self.found = ImageColumns(table, columns)
        self.names = PictureNames(table.parent)
        self.interned: dict[tuple[Window, ...], tuple[Window, ...]] = {}

    def rows(self) -> Iterator[ImageRow | DicomError]:
        """Yield each row, or why it can't be used."""
        chosen = self.columns.select(self.found.used())
        for batch in chosen.to_batches(max_chunksize=10_000):
            for cells in batch.to_pylist():
                try:
                    row: ImageRow | DicomError = self._image(cells)
                except DicomError as error:
                    row = error
                yield row

    def _image(self, cells: dict[str, Any]) -> ImageRow:
        windows = self._windows(cells)
        named, series_id, study_id, patient_id = (
            self._id(cells, what) for what in ("image", "series", "study", "patient")
        )
        pictures = self._pictures(cells, windows, named)
        if not pictures:
            raise DicomError("BAD_TABLE", "the row names no picture, and none is called as its image")
        image_id = re.sub(DCM_SUFFIX, "", named) or _ODD_LETTERS.sub("_", Path(pictures[0].path).stem)
        if not GOOD_ID(image_id):
            raise DicomError(
                "BAD_UID",
                "an image id must be 1 to 80 letters A to Z, digits or . _ # -; give such in a column image_id",
            )
        if not (study_id or series_id or patient_id):
            raise DicomError("BAD_TABLE", "a row must name its series, study or patient")
        position, index, spacing = (
            self._number(cells, self.found.names.get(what, ""), spacing_of if what == "spacing" else number_of)
            for what in ("position", "index", "spacing")
        )
        origin, directions = self._geometry(cells)
        if origin is None and position is not None:
            origin = (0.0, 0.0, position)
        return ImageRow(
            image_id=image_id,
            patient_id=patient_id,
            study_id=study_id,
            series_id=series_id,
            pictures=pictures,
            origin_mm=origin,
            directions=directions,
            rank=None if index is None or index != int(index) else int(index),
            pixel_spacing_mm=spacing,
        )

    def _id(self, cells: dict[str, Any], what: str) -> str:
        name = self.found.names.get(what, "")
        try:
            return text_of(cells.get(name))
        except ValueError:
            raise DicomError("BAD_UID", f"{name} must be a text or a finite number") from None

    @staticmethod
    def _number(cells: dict[str, Any], name: str, parse: Callable[[Any], float | None] = number_of) -> float | None:
        try:
            return parse(cells.get(name))
        except ValueError:
            raise DicomError("BAD_TABLE", f"{name} must be one number, as 2.5 or 2,5") from None

    def _geometry(self, cells: dict[str, Any]) -> tuple[tuple[float, float, float] | None, tuple[float, ...] | None]:
        """Return origin and directions where the table has them whole, in one column or in several."""
        found = []
        for whole, parts in (("imagepositionpatient", ORIGIN_KEYS), ("imageorientationpatient", DIRECTION_KEYS)):
            numbers = self._listed(cells, whole, len(parts))
            if len(numbers) < len(parts):  # fastai's tables: the first has this name, the others end in 1, 2
                names = [self.found.keys.get(key, "") for key in parts[len(numbers) :]]
                others = (self._number(cells, name) for name in names)
                numbers = (*numbers, *(number for number in others if number is not None))
            found.append(numbers if len(numbers) == len(parts) else None)
        origin, directions = found
        return (None if origin is None or directions is None else (origin[0], origin[1], origin[2])), directions

    def _listed(self, cells: dict[str, Any], key: str, n: int) -> tuple[float, ...]:
        """Return the n numbers of one cell, none, or the first where further columns hold the others."""
        name = self.found.keys.get(key, "")
        try:
            numbers = numbers_of(cells.get(name))
        except ValueError:
            numbers = (0.0,)
        if len(numbers) not in (0, n) and not (len(numbers) == 1 and f"{key}1" in self.found.keys):
            raise DicomError("BAD_TABLE", f"{name} must be {n} numbers, as [-125.0, -120.5, 30]")
        return numbers

    def _windows(self, cells: dict[str, Any]) -> dict[str, tuple[Window, ...]]:
        """Return the windows of each file's channels, by the file's tag."""
        if "windows" in self.found.keys:
            try:
                return {"": self._intern(named_windows(cells[self.found.keys["windows"]]))}
            except ValueError:
                detail = "windows must be names or level/width pairs, as 'brain,40/80' or [[40, 80], [600, 2800]]"
                raise DicomError("BAD_TABLE", detail) from None
        found: dict[str, tuple[Window, ...]] = {}
        for tag, (level_name, width_name) in self.found.window_columns.items():
            try:
                windows = windows_of(cells[level_name], cells[width_name])
            except ValueError:
                detail = f"{level_name} and {width_name} must be a level and a width above 0, HU, or lists as [40, 600]"
                raise DicomError("BAD_TABLE", detail) from None
            if windows:
                home = tag if tag in self.found.path_columns else ""
                found[home] = (*found.get(home, ()), *windows)
        if not found:
            raise DicomError("BAD_TABLE", "a row must say the windows of its pictures")
        return {tag: self._intern(windows) for tag, windows in found.items()}

    def _intern(self, windows: tuple[Window, ...]) -> tuple[Window, ...]:
        return self.interned.setdefault(windows, windows)

    def _pictures(
        self, cells: dict[str, Any], windows: dict[str, tuple[Window, ...]], image_id: str
    ) -> tuple[Picture, ...]:
        found = []
        for tag, of_channels in windows.items():
            path = text_of(cells.get(self.found.path_columns.get(tag, ""))).replace("\\", "/")
            if path.lower().endswith(SUFFIXES):
                path = self.names.found(path, is_only=len(windows) == 1)
            elif tag == "":
                path = self.names.called(image_id or Path(path).stem)
            found.append(Picture(path, of_channels))
        # One file of several may be missing; the reader says so.
        return tuple(sorted(found, key=lambda picture: not picture.path)) if any(path for path, _ in found) else ()
