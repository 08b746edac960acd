"""`ich25d eda`: a study store or a label table in; one page, its figures as PNG and its tables as CSV out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ich25d.dicom.codes import CODES
from ich25d.errors import UsageError
from ich25d.files import check_folder, check_there, claim_folder
from ich25d.labels import LABELS
from ich25d.pages.page import facts, remarks
from ich25d.studies.labelfile import read_labels
from ich25d.studies.pool.local_pool import LocalPool
from ich25d.studies.qc import QcRow
from ich25d.summary import Summary
from ich25d.view.eda.counts import LevelCounts, positive_series
from ich25d.view.eda.output import NO_PLOTS, Output
from ich25d.view.eda.rows import LabelRows, labelled_slices, rows_of_store, rows_of_table
from ich25d.view.eda.section_labels import add_along_scan, add_counts, add_oddities, add_together

PAGE_FILE = "index.html"

_LEAD = (
    "What the data hold, before anything is trained on them. Look for labels that contradict themselves, for scans "
    "that stand apart, and for anything but blood that predicts the label."
)


@dataclass(frozen=True, slots=True)
class EdaSummary(Summary):
    """What was found, and where it is."""

    page: Path
    n_images: int
    n_series: int
    """0 where series aren't known."""
    n_refused: int
    """Label rows or images that this call left out."""
    positives: dict[str, int]
    """Positive slices by label."""
    n_tables: int
    n_figures: int
    warnings: list[str]
    """What predicts the label and isn't blood."""

    @property
    def exit_code(self) -> int:
        """1 when labels were refused."""
        return 1 if self.n_refused else 0

    def lines(self) -> list[str]:
        """Return the command's report."""
        series = f" in {self.n_series:,} series" if self.n_series else ""
        counts = ", ".join(f"{label} {n:,}" for label, n in self.positives.items()) or "no labels"
        lines = [f"{self.n_images:,} images{series}", f"positive slices: {counts}"]
        if self.n_refused:
            lines.append(f"{self.n_refused:,} label rows or images left out; tables/label_oddities.csv names them")
        lines += [f"mind: {warning}" for warning in self.warnings]
        lines.append(f"page    {self.page}")
        lines.append(f"beside it {self.n_tables} tables (CSV) and {self.n_figures} figures (PNG)")
        return lines


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
    if only and not sources:
        raise UsageError("--only picks files of --source (got no --source)")
    check_there(sources=sources, labels=labels)
    check_folder(out, "eda", (PAGE_FILE,))
    if studies is not None:
        return _explore_store(studies, out, labels, sources, only, workers)
    assert labels is not None
    return _explore_labels(labels, out)


def _explore_labels(path: Path, out: Path) -> EdaSummary:
    table, oddities = read_labels(path)
    rows = rows_of_table(path, table)
    del table
    claim_folder(out, "eda")
    output = Output(out, f"Labels of {path.name}", "The labels alone", _LEAD)
    _add_overview(output, rows, oddities, {}, [])
    levels = _add_labels(output, rows, oddities, path.name)
    return _finish(output, rows, levels, oddities, [])


def _explore_store(
    studies: Path, out: Path, labels: Path | None, sources: Sequence[Path], only: Sequence[str], workers: int
) -> EdaSummary:
    from ich25d.studies.store_dir.store import StudyStore

    store = StudyStore.open(studies)
    # Torch comes with the pictures; labels alone don't need it, nor does a store that isn't there.
    from ich25d.view.eda.attributes import attribute_table
    from ich25d.view.eda.header_table import kept_headers, read_headers
    from ich25d.view.eda.section_pictures import Gallery
    from ich25d.view.eda.section_series import add_attributes, add_hu, add_remarks, add_shortcut, count_hu
    from ich25d.view.eda.shortcut import find_shortcut

    if store.slices.empty:
        raise UsageError(f"a study store must hold slices to be explored (got none) in {studies}; see its qc.csv")
    qc = store.qc()
    notes: list[str] = []
    table, oddities = None, [row for row in qc if row.level == "label"]
    place = "the store's labels"
    if labels is not None:
        table, oddities = read_labels(labels)
        place = labels.name
        n_met = int(store.slices["image_id"].isin(table.index).sum())
        if not n_met:
            raise UsageError(f"labels and studies must share images (got none of {len(store.slices)}) in {labels}")
        notes.append(f"Labels are those of {place}: it knows {n_met:,} of the {len(store.slices):,} images.")
    rows = rows_of_store(store.slices, table)
    headers, origin = kept_headers(store.root, store.slices), "from all headers, as the store's builder kept them"
    if headers is None and sources:
        headers = read_headers(sources, store.slices, only=only, pool=LocalPool(workers))
        origin = "from all headers, read again"
    if headers is None:
        origin = "from the store's tables alone, since its build.sqlite is gone (--source reads the headers again)"
    gallery = Gallery(store, rows, sources, only)
    if sources:
        notes += gallery.check_sources()
    claim_folder(out, "eda")
    attributes = attribute_table(store.series, store.slices, headers)
    positive = positive_series(rows)
    units = store.series.set_index("series_id")["split_unit"]
    shortcut = find_shortcut(attributes, positive, labelled_slices(rows), units)
    subtitle = f"{len(store.series):,} series, {len(rows):,} slices"
    output = Output(out, "Exploration of a study store", subtitle, _LEAD)
    stored = {"stored px": f"{store.size} x {store.size}", "crop": str(store.marker.get("crop"))}
    _add_overview(output, rows, oddities, stored, notes + shortcut.warnings)
    levels = _add_labels(output, rows, oddities, place)
    add_attributes(output, attributes, positive["any"], origin=origin)
    add_shortcut(output, shortcut)
    add_hu(output, count_hu(store, rows))
    add_remarks(output, qc)
    gallery.add_all(output, qc)
    return _finish(output, rows, levels, oddities if labels is not None else [], shortcut.warnings)


def _add_overview(
    output: Output, rows: LabelRows, oddities: Sequence[QcRow], stored: dict[str, str], notes: list[str]
) -> None:
    overview: dict[str, object] = {"images": len(rows), "with all six labels": int(rows.is_labelled.sum())}
    if rows.series is not None:
        overview["series"] = rows.n_series
    if rows.patient is not None:
        overview["patients"] = int(rows.patient.max(initial=-1)) + 1
    overview["label rows or images left out"] = sum(CODES[row.code].is_refused for row in oddities)
    missing = [] if output.draws else [NO_PLOTS]
    output.section("Overview", facts(overview | stored), remarks(missing + notes))


def _add_labels(output: Output, rows: LabelRows, oddities: Sequence[QcRow], place: str) -> list[LevelCounts]:
    if not rows.is_labelled.any():
        output.section("Labels", "No image here has labels.")
        return []
    levels = add_counts(output, rows)
    add_together(output, rows)
    if rows.is_ordered:
        add_along_scan(output, rows)
    add_oddities(output, oddities, source=place)
    return levels


def _finish(
    output: Output, rows: LabelRows, levels: Sequence[LevelCounts], oddities: Sequence[QcRow], warnings: list[str]
) -> EdaSummary:
    item = Markup('<li><a href="{0}/{1}">{1}</a></li>')
    parts = [
        Markup('<div class="files"><h3>{}</h3><ul>{}</ul></div>').format(
            heading, Markup("").join(item.format(folder, name) for name in names)
        )
        for heading, folder, names in (
            ("Tables, CSV", "tables", output.tables),
            ("Figures, PNG", "figures", output.figures),
        )
        if names
    ]
    output.section("Files beside this page", *parts)
    output.write(output.out / PAGE_FILE)
    return EdaSummary(
        page=output.out / PAGE_FILE,
        n_images=len(rows),
        n_series=0 if rows.series is None else rows.n_series,
        n_refused=sum(CODES[row.code].is_refused for row in oddities),
        positives={label: int(n) for label, n in zip(LABELS, levels[0].n_positive, strict=True)} if levels else {},
        n_tables=len(output.tables),
        n_figures=len(output.figures),
        warnings=warnings,
    )
