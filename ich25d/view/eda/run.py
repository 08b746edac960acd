"""`ich25d eda`: a study store or a label table in; one page, its figures as PNG and its tables as CSV out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from ich25d.dicom.codes import CODES
from ich25d.errors import UsageError
from ich25d.labels import LABELS
from ich25d.pages.page import Page, facts, remarks
from ich25d.progress import remark
from ich25d.studies.labelfile import read_labels
from ich25d.studies.qc import HEADER, QcRow
from ich25d.view.eda.counts import LevelCounts, series_positive
from ich25d.view.eda.output import Output
from ich25d.view.eda.plots import find_painter
from ich25d.view.eda.rows import UNKNOWN, LabelRows, rows_of_store, rows_of_table
from ich25d.view.eda.section_labels import add_along_scan, add_counts, add_oddities, add_together

NO_PLOTS = "figures as PNG need matplotlib (not installed); pip install 'ich25d[plots]'"


@dataclass(frozen=True, slots=True)
class EdaSummary:
    """What was found, and where it is."""

    page: Path
    n_images: int
    n_series: int
    n_refused: int
    """Images whose labels contradict themselves and are left out."""
    positives: dict[str, int]
    """Positive slices by label."""
    n_tables: int
    n_figures: int
    warnings: list[str]

    @property
    def exit_code(self) -> int:
        """1 when labels were refused."""
        return 1 if self.n_refused else 0

    def lines(self) -> list[str]:
        """Say it for people."""
        series = f" in {self.n_series:,} series" if self.n_series else ""
        shares = ", ".join(f"{label} {n:,}" for label, n in self.positives.items())
        return [
            f"{self.n_images:,} images{series}; positive slices: {shares}",
            *([f"{self.n_refused:,} rows or images of the labels are refused; see tables/label_oddities.csv"] if self.n_refused else []),
            *(f"! {warning}" for warning in self.warnings),
            f"page    {self.page}",
            f"tables  {self.n_tables} CSV, figures {self.n_figures} PNG beside it",
        ]  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Say it for machines."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in (
            (name, getattr(self, name)) for name in self.__slots__
        )}  # fmt: skip


def explore(
    studies: Path | None,
    out: Path,
    *,
    labels: Path | None = None,
    sources: Sequence[Path] = (),
    only: Sequence[str] = (),
    workers: int = 1,
) -> EdaSummary:
    """Look at data before anything is trained on them.

    Args:
        studies: A study store; None looks at the labels alone.
        out: The folder for page, figures and tables.
        labels: A label table: by itself, or instead of the store's own labels where it knows an image.
        sources: What the store was built from, for what it doesn't keep: the full field, files as they were.
        only: Globs, as for `build-studies`.
        workers: Processes that read headers again; 0 is one a core.

    Raises:
        UsageError: Neither store nor labels, or options that don't fit together.
        StoreError: There is no finished store.
        LabelError: The label table can't be read as one.
    """
    if studies is None and labels is None:
        raise UsageError("eda takes a study store or --labels (got neither)")
    if studies is None and sources:
        raise UsageError("--source belongs to a study store (got none)")
    for path in (labels, *sources):
        if path is not None and not path.exists():
            raise UsageError(f"a source must exist (got {path})")
    if (out / "store.json").exists() or (out.exists() and not out.is_dir()):
        raise UsageError(f"--out must be a folder of its own (got {out}); name another")
    painter = find_painter()
    if painter is None:
        remark(NO_PLOTS)
    output = Output(out, painter)
    if studies is not None:
        return _explore_store(studies, output, labels, sources, only, workers)
    assert labels is not None
    return _explore_labels(labels, output)


def _explore_labels(path: Path, output: Output) -> EdaSummary:
    table, oddities = read_labels(path)
    rows = rows_of_table(path, table)
    del table
    page = Page(f"Labels of {path.name}", subtitle="Exploration of the labels alone", lead=_lead())
    missing = [] if output.painter else [NO_PLOTS]
    levels = _add_labels(page, output, rows, oddities, path.name, missing)
    return _finish(page, output, rows, levels, oddities, missing)


def _explore_store(
    studies: Path, output: Output, labels: Path | None, sources: Sequence[Path], only: Sequence[str], workers: int
) -> EdaSummary:
    # Torch comes with the pictures; labels alone don't need it.
    from ich25d.studies.header_table import kept_headers, read_headers
    from ich25d.studies.store import StudyStore
    from ich25d.view.eda.attributes import attribute_table
    from ich25d.view.eda.histogram import count_hu
    from ich25d.view.eda.section_pictures import Gallery, shown_row
    from ich25d.view.eda.section_series import add_attributes, add_hu, add_shortcut

    store = StudyStore.open(studies)
    qc = _read_qc(store.root / "qc.csv")
    table, oddities = read_labels(labels) if labels is not None else (None, [row for row in qc if row.level == "label"])
    rows = rows_of_store(store.slices, table)
    missing = [] if output.painter else [NO_PLOTS]
    if table is not None:
        n_met = int(store.slices["image_id"].isin(table.index).sum())
        if not n_met:
            raise UsageError(f"labels and studies must share images (got none of {len(rows)}) in {labels}")
        missing.append(f"{n_met:,} of {len(rows):,} images of the store are in {labels.name if labels else ''}, {len(table):,} of whose images are usable.")  # fmt: skip
    headers = kept_headers(store.root, store.slices)
    origin = "of all headers, as the store's builder kept them"
    if headers is None and sources:
        headers, origin = read_headers(sources, store.slices, only=only, workers=workers), "of all headers, read again"
    if headers is None:
        origin = "of the store's tables alone; the headers are gone with build.sqlite (--source reads them again)"
    page = Page(
        "Exploration of a study store", subtitle=f"{len(store.series):,} series, {len(rows):,} slices", lead=_lead()
    )
    levels = _add_labels(page, output, rows, oddities, labels.name if labels else "the store's labels", missing, store)
    attribute = attribute_table(store.series, store.slices, headers)
    positive = _positive_series(rows)
    add_attributes(page, output, attribute, positive["any"], header_note=f"A row a series: {origin}.")
    labelled = pd.DataFrame(np.where(rows.target == UNKNOWN, np.nan, rows.target), columns=list(LABELS))
    labelled.insert(0, "series_id", store.slices["series_id"].to_numpy())
    patient = store.series.set_index("series_id")["patient_id"]
    study = store.series.set_index("series_id")["study_id"]
    warnings = add_shortcut(page, output, attribute, positive, labelled[labelled["any"].notna()], patient.where(patient != "", study))  # fmt: skip
    add_hu(page, output, count_hu(store, rows.target))
    _add_remarks(page, output, qc)
    gallery = Gallery(store, rows, sources, only)
    row = shown_row(rows)
    gallery.add_classes(page, output)
    gallery.add_windowing(page, output, row)
    gallery.add_repair(page, output, qc, row)
    gallery.add_head_box(page, output)
    gallery.add_slab(page, output, row)
    return _finish(page, output, rows, levels, oddities if table is not None else [], warnings)


def _lead() -> str:
    return (
        "What the data hold, before anything is trained on them: look for labels that contradict themselves, for scans that stand "
        "apart, and for anything but blood that tells the label."
    )


def _add_labels(
    page: Page, output: Output, rows: LabelRows, oddities: Sequence[QcRow], source: str, missing: list[str], store: Any = None  # noqa: ANN401
) -> list[LevelCounts]:  # fmt: skip
    known = (rows.target != UNKNOWN).all(axis=1)
    overview: dict[str, object] = {"images": len(rows), "images with all six labels": int(known.sum())}
    if rows.series is not None:
        overview["series"] = int(rows.series.max(initial=-1)) + 1
    if rows.patient is not None:
        overview["patients"] = int(rows.patient.max(initial=-1)) + 1
    refused = [row for row in oddities if CODES[row.code].is_refused]
    overview["label rows or images left out"] = len(refused)
    if store is not None:
        overview["stored px"] = f"{store.size} x {store.size}"
        overview["crop"] = str(store.marker.get("crop"))
    page.section("Overview", facts(overview), remarks(missing))
    if not known.any():
        page.section("Labels", "None of the images has labels.")
        return []
    levels = add_counts(page, output, rows)
    add_together(page, output, rows)
    if rows.is_ordered:
        add_along_scan(page, output, rows)
    add_oddities(page, output, oddities, source=source)
    return levels


def _positive_series(rows: LabelRows) -> pd.DataFrame:
    """Return which series have a positive slice, 0, 1 or NaN where none is labelled; indexed by series id."""
    assert rows.series is not None
    n_known = np.bincount(
        rows.series, weights=rows.target[:, -1] != UNKNOWN, minlength=int(rows.series.max(initial=-1)) + 1
    )
    values = np.where(n_known[:, None] > 0, series_positive(rows).astype(float), np.nan)
    return pd.DataFrame(values, index=pd.Index(rows.series_id, name="series_id"), columns=list(LABELS))


def _read_qc(path: Path) -> list[QcRow]:
    if not path.is_file():
        return []
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return [QcRow(*row) for row in table[list(HEADER)].to_numpy().tolist()]


def _add_remarks(page: Page, output: Output, qc: Sequence[QcRow]) -> None:
    codes = pd.Series([row.code for row in qc if row.level != "label"], dtype=object).value_counts()
    rows = [
        [code, CODES[str(code)].meaning if code in CODES else "", int(n), "refused" if code in CODES and CODES[str(code)].is_refused else "remark"]
        for code, n in codes.items()
    ]  # fmt: skip
    if rows:
        page.section(
            "Refusals and remarks",
            output.table(
                "qc_codes", ["code", "meaning", "rows", "what"], rows, caption="What build-studies found, by code"
            ),
            note="Every row with its file stands in the store's own qc.csv.",
        )


def _finish(
    page: Page,
    output: Output,
    rows: LabelRows,
    levels: Sequence[LevelCounts],
    oddities: Sequence[QcRow],
    warnings: list[str],
) -> EdaSummary:
    links = [
        Markup("<h3>{}</h3><ul>{}</ul>").format(
            heading, Markup("").join(Markup('<li><a href="{0}/{1}">{1}</a></li>').format(folder, name) for name in names)
        )
        for heading, folder, names in (("Tables, CSV", "tables", output.tables), ("Figures, PNG", "figures", output.figures))
        if names
    ]  # fmt: skip
    page.section("Files beside this page", *links)
    page.write(output.out / "index.html")
    return EdaSummary(
        page=output.out / "index.html",
        n_images=len(rows),
        n_series=0 if rows.series is None else int(rows.series.max(initial=-1)) + 1,
        n_refused=sum(CODES[row.code].is_refused for row in oddities),
        positives={label: int(n) for label, n in zip(LABELS, levels[0].n_positive, strict=True)} if levels else {},
        n_tables=len(output.tables),
        n_figures=len(output.figures),
        warnings=warnings,
    )
