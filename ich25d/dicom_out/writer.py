"""The files of `predict --dicom` and `Prediction.to_dicom`.

    DIR/
      objects.csv             a row an object: series, study, file, class and UID
      SERIES/                 one folder a series
        report.dcm            structured report
        key-objects.dcm       key object selection, where slices are flagged
        capture_001.dcm ...   pictures of the key slices, where asked for
        heat_LABEL.dcm        parametric map of a finding's heat, where asked for

The objects carry the patient and the study of their input.
"""

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from pydicom import uid
from pydicom.dataset import Dataset

from ich25d.dicom_out.beforehand import TABLE_FILE, check_place
from ich25d.dicom_out.objects import dicom_objects
from ich25d.dicom_out.source import as_in_the_files, is_dicom
from ich25d.errors import DicomError, UsageError
from ich25d.files import claim_folder, file_key, replacing, write_json, write_text
from ich25d.predict.answer import Answer
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.judgement import judge
from ich25d.predict.network import Network
from ich25d.predict.series import FoundSeries, SeriesPixels, UnreadSeries, images_hash, read_pixels
from ich25d.progress import many, remark
from ich25d.studies.qc import QcRow, remark_texts, safe_cell, settled
from ich25d.training.confidence import WORDS

_ROWS = ".rows"
_FORMAT = "2"  # changes with the objects' form, so that a resumed run doesn't mix two
_REPORT, _KEY_OBJECTS, _CAPTURE, _HEAT = "report", "key-objects", "capture", "heat"


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One object that was written."""

    series_id: str
    study_id: str
    file: str
    """Path in the folder."""
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class ObjectWriter:
    """Writes the objects of a series, and their rows for the table; pickles."""

    folder: Path
    captures: bool = False
    """Write pictures of key slices too."""
    heat: bool = False
    """Write parametric maps too."""

    def __call__(
        self,
        network: Network,
        series: UnreadSeries,
        pixels: SeriesPixels,
        finished: FinishedSeries,
        remarks: tuple[QcRow, ...],
    ) -> list[QcRow]:
        """Write the objects of a series.

        Args:
            network: The model.
            series: The series.
            pixels: Its slices.
            finished: Its probabilities.
            remarks: What its headers gave rise to.

        Returns:
            A refusal where its files couldn't be read again.
        """
        rows = settled([*remarks, *finished.qc])
        judgement = judge(network, finished, rows)
        state = [f"Confidence: {WORDS[judgement.state]}. {judgement.text}"] if judgement.state else []
        texts = (*state, *remark_texts(tuple(rows)))
        try:
            made = dicom_objects(
                network, series, pixels, finished, point=network.point, remarks=texts, captures=self.captures,
                heat=self.heat,
            )  # fmt: skip
        except DicomError as error:
            return [QcRow("", "", series.series_id, "series", "NO_OBJECTS", f"{error.code}: {error.detail}")]
        written = self._write(series, made)  # before the rows: a row means a file
        write_json(self._kept(network, series), [asdict(row) for row in written])
        return []

    def earlier(self, network: Network, series: UnreadSeries) -> list[ObjectRow] | None:
        """Return the rows of a series whose objects are written."""
        try:
            kept = json.loads(self._kept(network, series).read_text(encoding="utf-8"))
            rows = [ObjectRow(**row) for row in kept]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return rows if all((self.folder / row.file).is_file() for row in rows) else None

    def _write(self, series: UnreadSeries, made: Sequence[Dataset]) -> list[ObjectRow]:
        """Write objects, then remove those of an earlier run that this one doesn't make."""
        folder = self.folder / file_key(series.series_id)
        rows = []
        for one in made:
            path = folder / file_name(one)
            save_object(one, path)
            rows.append(
                ObjectRow(
                    series.series_id, series.study_id, path.relative_to(self.folder).as_posix(), str(one.SOPClassUID),
                    str(one.SOPInstanceUID),
                )
            )  # fmt: skip
        written = {Path(row.file).name for row in rows}
        for old in folder.glob("*.dcm"):
            if old.name not in written and old.stem.split("_")[0] in (_REPORT, _KEY_OBJECTS, _CAPTURE, _HEAT):
                old.unlink()
        return rows

    def _kept(self, network: Network, series: UnreadSeries) -> Path:
        made_from = f"{_FORMAT} {self.captures} {self.heat} {network.made_by} {images_hash(series)}"
        return self.folder / _ROWS / f"{hashlib.sha256(made_from.encode()).hexdigest()[:40]}.json"


class DicomWriter:
    """Writes the DICOM objects of every series while a prediction runs; what an unfinished run has written is kept.

    Args:
        folder: Where to.
        model: The model directory, for its operating point.
        sources: What is predicted; the folder must lie apart from it.
        captures: Write pictures of key slices too.
        heat: Write parametric maps too.

    Raises:
        UsageError: highdicom is absent, or the folder is a file, holds what isn't of this kind, or holds the sources.
        ModelError: The thresholds can't be read.
    """

    def __init__(
        self, folder: Path, model: Path, sources: Sequence[Path] = (), *, captures: bool = False, heat: bool = False
    ) -> None:
        check_place(folder, sources)
        self.folder = folder
        self.each = ObjectWriter(folder, captures, heat)
        self._rows: list[list[ObjectRow]] = []

    @property
    def files(self) -> list[Path]:
        """The objects' files, series after series."""
        return [self.folder / row.file for rows in self._rows for row in rows]

    @property
    def line(self) -> str:
        """What people are told at the end."""
        n_series = sum(bool(rows) for rows in self._rows)
        return f"{self.folder / TABLE_FILE}: {many(len(self.files), 'DICOM object')} of {n_series} series"

    def start(self, found: FoundSeries) -> None:
        """Claim the folder for the series.

        Raises:
            UsageError: A series doesn't come from DICOM files.
        """
        check_dicom(found.series)
        claim_folder(self.folder, "predict --dicom")

    def finish(
        self,
        network: Network,
        found: FoundSeries,
        answer: Answer[FinishedSeries],
        kept: Callable[[UnreadSeries], FinishedSeries | None],
    ) -> None:
        """Write objects that an earlier run left out, then the table.

        Args:
            network: The model.
            found: All series.
            answer: Those that were predicted.
            kept: Gives one of them with the maps of its pixels.
        """
        for series, finished in answer.series:
            if any(row.code == "NO_OBJECTS" for row in finished.qc):
                continue
            if (rows := self.each.earlier(network, series)) is None:
                pixels = read_pixels(series, crop=network.crop, size=network.size)
                remarks = tuple(row for row in found.qc if row.series_id == series.series_id)
                for row in self.each(network, series, pixels, kept(series) or finished, remarks):
                    remark(f"{row.series_id} has no DICOM objects: {row.detail}")
                rows = self.each.earlier(network, series)
            self._rows.append(rows or [])
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(field.name for field in fields(ObjectRow))
        table.writerows(map(safe_cell, astuple(row)) for rows in self._rows for row in rows)
        write_text(self.folder / TABLE_FILE, text.getvalue())
        shutil.rmtree(self.folder / _ROWS, ignore_errors=True)


def file_name(made: Dataset) -> str:
    """Return the name of an object's file."""
    match made.SOPClassUID:
        case uid.EnhancedSRStorage:
            stem = _REPORT
        case uid.KeyObjectSelectionDocumentStorage:
            stem = _KEY_OBJECTS
        case uid.SecondaryCaptureImageStorage:
            stem = f"{_CAPTURE}_{made.InstanceNumber:03d}"
        case _:
            stem = f"{_HEAT}_{made.ContentLabel.lower()}"
    return f"{stem}.dcm"


def save_object(made: Dataset, path: Path) -> None:
    """Write an object as a DICOM file, whole or not at all."""
    with as_in_the_files(), replacing(path) as part:
        made.save_as(part, enforce_file_format=True)


def check_dicom(series: Sequence[UnreadSeries]) -> None:
    """Check that series come from DICOM files.

    Raises:
        UsageError: One doesn't.
    """
    others = [one.series_id for one in series if not is_dicom(one)]
    if others:
        raise UsageError(
            "DICOM objects refer to DICOM files, so that all series must come from such (got "
            f"{len(others)} of {len(series)} from a table of pictures, NIfTI, a study store or an array, as "
            f"{others[0]}); predict from the DICOM files"
        )
