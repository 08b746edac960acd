"""One complete study in; its pages, its DICOM objects and its record out, all through `predict`'s own answer.

spool/closed/STUDY/
  images/            what was received
  objects/           DICOM objects, until the record is written; then they move to the outbox as one
  .answer.parts/     series that are predicted; a killed node goes on with them
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom

from ich25d.dicom_out.writer import DicomWriter
from ich25d.files import sync_folder
from ich25d.node.records import Record, Records
from ich25d.node.refusals import Refusals
from ich25d.node.spool import IMAGES
from ich25d.predict.answer import Answer, Watcher, resumable_answer
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.found import find_series
from ich25d.predict.network import Network
from ich25d.predict.series import FoundSeries, UnreadSeries
from ich25d.studies.no_usable_input import NoUsableInputError
from ich25d.studies.pool.local_pool import ONE_PROCESS
from ich25d.studies.qc import QcRow
from ich25d.studies.series.own_series import free_name
from ich25d.training.operating_point import OperatingPoint
from ich25d.view.report.beforehand import PAGES
from ich25d.view.report.worklist import Row
from ich25d.view.report.writer import ROWS, PageWriter, refused_rows, rows_of, write_worklist

OBJECTS = "objects"
_SHOW_S = 5.0


class StudyPages:
    """Writes the pages of a study while it is predicted, and keeps the rows of the worklist.

    Args:
        each: Writes a page.
    """

    def __init__(self, each: PageWriter) -> None:
        self.each = each
        self.rows: list[Row] = []
        self.files: list[QcRow] = []

    def start(self, found: FoundSeries) -> None:
        """Make the folder."""
        del found
        (self.each.out / PAGES).mkdir(parents=True, exist_ok=True)

    def finish(
        self,
        network: Network,
        found: FoundSeries,
        answer: Answer[FinishedSeries],
        kept: Callable[[UnreadSeries], FinishedSeries | None],
    ) -> None:
        """Keep the rows."""
        self.rows, self.files = rows_of(self.each, network, found, answer, kept)


@dataclass(slots=True)
class Desk:
    """Where studies are answered, one after the other."""

    network: Network
    points: tuple[OperatingPoint, ...]
    report: Path
    """Folder of the worklist and its pages."""
    outbox: Path | None
    """Folder of what is to be sent; None where results go nowhere."""
    records: Records
    refusals: Refusals
    accept: tuple[str, ...] = ()
    captures: bool = False
    heat: bool = False
    n_shown: int = 200
    shown: tuple[int, float] = (-1, 0.0)
    """Refusals that the worklist shows, and when it was written."""

    def answer(self, study: str, folder: Path) -> Record:
        """Predict a study, write its pages and objects, and note that it is answered.

        Args:
            study: Its key.
            folder: Of the spool, with its `images`.

        Raises:
            OSError: The disk is full or fails; the same call goes on later.
            ModelError: The network gave numbers that aren't finite, or a slab is too much for the device's memory.
        """
        earlier = self.records.read(study)
        names = tuple(sorted(path.name for path in (folder / IMAGES).glob("*.dcm")))
        pages = StudyPages(PageWriter(self.report, self.network.about.text, True))
        watchers: list[Watcher] = [pages]
        if self.outbox is not None:
            shutil.rmtree(folder / OBJECTS, ignore_errors=True)  # without a record they are of an unfinished answer
            writer = DicomWriter(folder / OBJECTS, self.network.folder, captures=self.captures, heat=self.heat)
            watchers.append(writer)
        try:
            found = find_series([folder / IMAGES], self.network, accept=self.accept, pool=ONE_PROCESS)
        except NoUsableInputError as error:
            rows, files = refused_rows((), set(), error.qc)
            return self._note(study, folder, Record(names, (), tuple(rows), tuple(files), error.qc), earlier)
        found = self._own_names(study, found)
        with resumable_answer(
            found, self.network, folder / "answer", watchers=watchers, may_be_empty=True
        ) as answer:  # whose parts go when the record is written
            objects = self._new_objects(folder, earlier)
            record = Record(names, objects, tuple(pages.rows), tuple(pages.files), tuple(answer.qc))
            return self._note(study, folder, record, earlier)

    def refuse(self, study: str, folder: Path, detail: str) -> Record:
        """Note that a study can't be answered."""
        names = tuple(sorted(path.name for path in (folder / IMAGES).glob("*.dcm")))
        row = QcRow("", "", "", "series", "NODE_FAILED", detail)
        shutil.rmtree(folder / OBJECTS, ignore_errors=True)
        return self._note(study, folder, Record(names, files=(row,), qc=(row,)), self.records.read(study))

    def _own_names(self, study: str, found: FoundSeries) -> FoundSeries:
        """Give series of different studies different names: each has a page of its own."""
        others = {row.series_id for row in self.records.rows(but=study)}
        series, qc = [], list(found.qc)
        for one in found.series:
            name = free_name(one.series_id, others)
            if name != one.series_id:
                detail = "an earlier study has a series of this SeriesInstanceUID as well"
                qc = [replace(row, series_id=name) if row.series_id == one.series_id else row for row in qc]
                qc.append(QcRow("", "", name, "series", "DUP_SERIES_UID", detail))
            series.append(replace(one, series_id=name) if name != one.series_id else one)
            others.add(name)
        return FoundSeries(series, qc, found.n_seen)

    def _new_objects(self, folder: Path, earlier: Record | None) -> tuple[str, ...]:
        """Remove objects that an earlier answer has sent; return the UIDs of the others."""
        uids = []
        for path in sorted((folder / OBJECTS).glob("*/*.dcm")):
            uid = str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)
            if earlier is not None and uid in earlier.objects:
                path.unlink()
            else:
                uids.append(uid)
        return tuple(uids)

    def _note(self, study: str, folder: Path, record: Record, earlier: Record | None) -> Record:
        whole = record.after(earlier)
        self.records.write(study, whole)  # from here on it is answered
        self.post(study, folder)
        self.write_worklist()
        return record

    def post(self, study: str, folder: Path) -> None:
        """Move the objects of an answered study to the outbox, all at once."""
        made = folder / OBJECTS
        if self.outbox is None or not made.is_dir():
            return
        if any(made.glob("*/*.dcm")):
            made.rename(self.outbox / f"{study}-{time.time_ns()}")
            sync_folder(self.outbox)
        else:
            shutil.rmtree(made)

    def post_left(self, study: str, folder: Path, record: Record) -> bool:
        """Move objects to the outbox that a kill left behind after their record was written.

        Returns:
            Whether there were any.
        """
        names = {path.name for path in (folder / IMAGES).glob("*.dcm")}
        if self.outbox is None or not (folder / OBJECTS).is_dir() or not names <= set(record.images):
            return False
        self.post(study, folder)
        return True

    def show_refusals(self) -> None:
        """Write the worklist anew where images were refused since, every few seconds at most."""
        shown, when = self.shown
        if shown != self.refusals.n and time.monotonic() - when > _SHOW_S:
            self.write_worklist()

    def write_worklist(self) -> None:
        """Write the worklist of the studies that were answered last, and remove the pages of others."""
        self.shown = (self.refusals.n, time.monotonic())
        shown = self.records.newest(self.n_shown)
        rows = [row for record in shown for row in record.rows]
        refused = self.refusals.rows()
        files = [*(row for record in shown for row in record.files), *refused]
        qc = [*(row for record in shown for row in record.qc), *refused]
        (self.report / PAGES).mkdir(parents=True, exist_ok=True)
        write_worklist(self.report, rows, files, qc, points=self.points, model=self.network.about.text)
        named = {row.page for row in rows}
        for path in (self.report / PAGES).glob("*.html"):
            if f"{PAGES}/{path.name}" not in named:
                path.unlink()
        shutil.rmtree(self.report / ROWS, ignore_errors=True)
