"""Writes a page a series while a prediction runs, and the worklist at its end."""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ich25d.explain.explanation import explain_series
from ich25d.files import claim_folder, file_key, write_json
from ich25d.predict.answer import Answer
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.judgement import judge
from ich25d.predict.network import Network
from ich25d.predict.series import FoundSeries, SeriesPixels, UnreadSeries, images_hash, read_pixels
from ich25d.progress import many, remark
from ich25d.studies.qc import QcRow, is_refused, settled, write_qc
from ich25d.training.model_file import about_model, read_kind
from ich25d.training.operating_point import OperatingPoint
from ich25d.view.report.beforehand import INDEX_FILE, PAGES, QC_FILE, TABLE_FILE, check_place
from ich25d.view.report.page import findings_texts, study_page
from ich25d.view.report.shown import ShownSeries
from ich25d.view.report.worklist import Row, worklist_page, write_worklist_csv

ROWS = ".rows"
"""Folder of what a run that isn't finished keeps."""
_FORMAT = "3"  # changes with the pages' form, so that a resumed run doesn't mix two


@dataclass(frozen=True, slots=True)
class PageWriter:
    """Writes the page of a series, and the row of it for the worklist; pickles."""

    out: Path
    """The folder of the report."""
    model: str
    """What the model says of itself."""
    heat: bool
    """Explain the series that are flagged."""

    def __call__(
        self,
        network: Network,
        series: UnreadSeries,
        pixels: SeriesPixels,
        finished: FinishedSeries,
        remarks: tuple[QcRow, ...],
    ) -> tuple[QcRow, ...]:
        """Write the page of a series; nothing can go wrong with it alone.

        Args:
            network: The model.
            series: The series.
            pixels: Its slices.
            finished: Its probabilities.
            remarks: What its headers gave rise to.
        """
        every = tuple(settled([*remarks, *finished.qc]))
        shown = ShownSeries(
            series, pixels, finished, network.slab, network.points, every, judge(network, finished, every)
        )
        if self.heat and shown.over():
            explained = explain_series(network, pixels, finished, point=shown.point)
            shown = replace(shown, heat=explained.heat, findings=explained.findings, masks=explained.masks)
        page = _page(series)
        study_page(shown, model=self.model).write(self.out / page)
        row = _row(shown, page)
        write_json(self._kept(network, series), asdict(row))  # after its page, so that a row means a whole page
        return ()

    def earlier(self, network: Network, series: UnreadSeries) -> Row | None:
        """Return the row of a series whose page is written."""
        try:
            row = Row(**json.loads(self._kept(network, series).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return row if row.page == _page(series) and (self.out / row.page).is_file() else None

    def _kept(self, network: Network, series: UnreadSeries) -> Path:
        key = hashlib.sha256(f"{_FORMAT} {self.heat} {network.made_by} {images_hash(series)}".encode()).hexdigest()[:40]
        return self.out / ROWS / f"{key}.json"


class ReportWriter:
    """Writes a page a series, then the index; what an unfinished run has written is kept.

    Args:
        out: The folder of the report.
        model: The model directory, for its thresholds.
        heat: Explain the series that are flagged: heat maps, places and sizes.

    Raises:
        UsageError: `out` is a file, or holds what isn't a report's.
        ModelError: The thresholds can't be read.
    """

    def __init__(self, out: Path, model: Path, *, heat: bool = True) -> None:
        check_place(out)
        self.out = out
        self.model = about_model(model, read_kind(model)[1]).text
        self.each = PageWriter(out, self.model, heat)
        self.n_pages = self.n_flagged = self.n_refused = 0

    @property
    def index(self) -> Path:
        """The worklist."""
        return self.out / INDEX_FILE

    @property
    def line(self) -> str:
        """What people are told at the end."""
        return f"{self.index}: {many(self.n_pages, 'study', 'studies')}, {self.n_flagged} flagged"

    def start(self, found: FoundSeries) -> None:
        """Claim the folder."""
        del found
        claim_folder(self.out, "report")
        (self.out / PAGES).mkdir(exist_ok=True)

    def finish(
        self,
        network: Network,
        found: FoundSeries,
        answer: Answer[FinishedSeries],
        kept: Callable[[UnreadSeries], FinishedSeries | None],
    ) -> None:
        """Write pages that an earlier run left out, then table and index.

        Args:
            network: The model.
            found: All series.
            answer: Those that were predicted, and all refusals and remarks.
            kept: Gives one of them with the maps of its pixels.
        """
        rows, files = rows_of(self.each, network, found, answer, kept)
        self.n_pages = len(answer.series)
        self.n_refused = len(rows) - self.n_pages
        self.n_flagged = sum(row.state == "flagged" for row in rows)
        write_worklist(
            self.out, rows, files, answer.qc, points=network.points, model=self.model,
            site=None if network.site is None else network.site.told,
        )  # fmt: skip
        named = {row.page for row in rows}
        n_old = sum(f"{PAGES}/{path.name}" not in named for path in (self.out / PAGES).glob("*.html"))
        if n_old:
            remark(f"{self.out / PAGES} also holds {many(n_old, 'page')} of an earlier report, not in the index")
        shutil.rmtree(self.out / ROWS, ignore_errors=True)


def rows_of(
    each: PageWriter,
    network: Network,
    found: FoundSeries,
    answer: Answer[FinishedSeries],
    kept: Callable[[UnreadSeries], FinishedSeries | None],
) -> tuple[list[Row], list[QcRow]]:
    """Return the worklist's rows of an answer, and write pages that an earlier run left out.

    Args:
        each: Writes a page.
        network: The model.
        found: All series.
        answer: Those that were predicted, and all refusals and remarks.
        kept: Gives one of them with the maps of its pixels.

    Returns:
        A row a series, the refused ones last; and the refused files that belong to none of them.
    """
    rows = []
    for series, finished in answer.series:
        if (row := each.earlier(network, series)) is None:
            pixels = read_pixels(series, crop=network.crop, size=network.size)
            remarks = tuple(row for row in found.qc if row.series_id == series.series_id)
            each(network, series, pixels, kept(series) or finished, remarks)
            row = each.earlier(network, series)
        assert row is not None
        rows.append(row)
    refused, files = refused_rows(found.series, {series.series_id for series, _ in answer.series}, answer.qc)
    return rows + refused, files


def write_worklist(
    out: Path,
    rows: Sequence[Row],
    files: Sequence[QcRow],
    qc: Sequence[QcRow],
    *,
    points: Sequence[OperatingPoint],
    model: str,
    site: str | None = None,
) -> None:
    """Write the index of a report and the tables beside it.

    Args:
        out: The report's folder.
        rows: The series.
        files: Files that were refused and belong to none of them.
        qc: All refusals and remarks.
        points: The operating points; the first flags.
        model: What the model says of itself.
        site: How common bleeds are there, for people; None where nobody has said so.
    """
    write_qc(out / QC_FILE, qc)
    write_worklist_csv(out / TABLE_FILE, rows, point=points[0])
    worklist_page(rows, files, points=points, model=model, site=site).write(out / INDEX_FILE)


def _page(series: UnreadSeries) -> str:
    return f"{PAGES}/{file_key(series.series_id)}.html"


def _row(shown: ShownSeries, page: str) -> Row:
    over = shown.over()
    return Row(
        "none" if not shown.point.of_series else "flagged" if over else "clear",
        shown.listed.series_id, shown.listed.study_id, shown.listed.patient_id, page, len(shown),
        probability=[float(f"{value:.6g}") for value in shown.finished.series_probability],
        over=over,
        codes=sorted({row.code for row in shown.remarks}),
        confidence=shown.judgement.state,
        why=shown.judgement.reasons,
        found=findings_texts(shown.findings),
        over_at={point.rule: point.over(shown.finished.series_probability) for point in shown.points},
    )  # fmt: skip


def refused_rows(every: Sequence[UnreadSeries], done: set[str], qc: Sequence[QcRow]) -> tuple[list[Row], list[QcRow]]:
    """Return a row for every series that wasn't predicted, and the refused files that belong to no series."""
    reasons: defaultdict[str, list[QcRow]] = defaultdict(list)
    files = []
    for row in qc:
        if not is_refused(row):
            continue
        if row.series_id and row.series_id not in done:
            reasons[row.series_id].append(row)
        elif not row.series_id:
            files.append(row)
    known = {series.series_id: series for series in every}
    rows = []
    for series_id in sorted({*reasons, *(name for name in known if name not in done)}):
        found = reasons[series_id]
        codes = sorted({row.code for row in found})
        details = list(dict.fromkeys(row.detail for row in found if row.detail))
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        series = known.get(series_id)
        study_id, patient_id = (series.study_id, series.patient_id) if series else ("", "")
        reason = (details[0] + more) if details else "no slice of it could be read"
        n_slices = len(series) if series else len(found)
        rows.append(Row("refused", series_id, study_id, patient_id, n_slices=n_slices, codes=codes, reason=reason))
    return rows, files
