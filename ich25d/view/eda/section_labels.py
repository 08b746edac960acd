"""The page's part on labels: counts at three levels, together, along the scan, in runs; and what is odd."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from ich25d.dicom.codes import CODES
from ich25d.labels import ANY_FIRST, ANY_INDEX, LABELS
from ich25d.pages.chart import BarChart, Line, LineChart, Matrix
from ich25d.pages.page import pair
from ich25d.studies.qc import QcRow
from ich25d.view.eda.counts import (
    SCAN_BINS,
    LevelCounts,
    Runs,
    along_scan,
    co_occurrence,
    count_levels,
    find_runs,
    subtypes_a_slice,
)
from ich25d.view.eda.output import Output
from ich25d.view.eda.rows import LabelRows

SHOWN_IDS = 12
"""Ids of an oddity on the page; the CSV holds all."""

PLURAL = {"slice": "slices", "series": "series", "patient": "patients"}
_HOW_MANY = ("none", "one", "two", "three", "four", "five")

_LEVELS_NOTE = (
    "A series or a patient is positive where one slice is. Intervals are Wilson's, 95 %, for series and patients; "
    "slices of one scan aren't independent, so theirs would be too narrow."
)
_SLICES_NOTE = (
    "A label table alone knows slices; series and patients come from a study store, or columns that name them."
)
_RUNS_NOTE = (
    "A run is a stretch of positive slices that nothing interrupts. Readers label ranges of slices: runs of one slice, "
    "and holes between two runs, are where to look for slips."
)


def add_counts(output: Output, rows: LabelRows) -> list[LevelCounts]:
    """Add counts and rates at each level that is known, and return them."""
    levels = count_levels(rows)
    unknown = np.full(len(LABELS), np.nan)
    ends = [(unknown, unknown) if level.level == "slice" else level.interval for level in levels]
    columns = ["label", "level", "labelled", "positive", "share", "95 % from", "to"]
    table_rows = [
        [label, PLURAL[level.level], int(level.n[at]), int(level.n_positive[at]), level.rate[at], low[at], high[at]]
        for at, label in enumerate(LABELS)
        for level, (low, high) in zip(levels, ends, strict=True)
    ]
    output.section(
        "Labels: counts and rates",
        output.chart("label_rates", BarChart(
            LABELS, np.stack([level.rate for level in levels]), title="Share of positives", x_label="label",
            y_label="share", low=np.stack([low for low, _ in ends]), high=np.stack([high for _, high in ends]),
            groups=[PLURAL[level.level] for level in levels],
        )),
        output.table("label_counts", columns, table_rows, caption="Positives by label and level"),
        note=_LEVELS_NOTE if len(levels) > 1 else _SLICES_NOTE,
    )  # fmt: skip
    return levels


def add_together(output: Output, rows: LabelRows) -> None:
    """Add which labels come together, and how many a slice has."""
    counts = co_occurrence(rows)
    own = np.diag(counts)[:, None]
    shares = np.where(own > 0, counts / np.maximum(own, 1), np.nan)
    n_subtypes = subtypes_a_slice(rows)
    total = max(int(n_subtypes.sum()), 1)
    of_row = "Share of the row's slices that also have the column's label"
    titles = ("Slices positive for both labels", of_row, "Subtypes on one slice")
    columns = ["label", *LABELS]
    output.table("co_occurrence", columns, _named(counts.tolist()), caption=titles[0])
    output.table("co_occurrence_share", columns, _named(shares.tolist()), caption=titles[1])
    output.section(
        "Labels together",
        output.chart("co_occurrence", Matrix(counts, LABELS, LABELS, title=titles[0])),
        output.chart("co_occurrence_share", Matrix(shares.round(4), LABELS, LABELS, title=titles[1])),
        pair(
            output.chart(
                "subtypes_a_slice",
                BarChart(_HOW_MANY, n_subtypes, title=titles[2], x_label="subtypes", y_label="slices"),
            ),
            output.table(
                "subtypes_a_slice",
                ["subtypes on the slice", "slices", "share of slices"],
                [[name, int(n), int(n) / total] for name, n in zip(_HOW_MANY, n_subtypes, strict=True)],
                caption=titles[2],
            ),
        ),
    )


def _named(rows: list[list[float]]) -> list[list[object]]:
    return [[label, *row] for label, row in zip(LABELS, rows, strict=True)]


def add_along_scan(output: Output, rows: LabelRows) -> None:
    """Add where in the scan positives lie, and how long their runs are."""
    runs = [find_runs(rows, index) for index in range(len(LABELS))]
    charts = [_positions(output, rows)]
    if any(len(run.length) for run in runs):
        charts.append(_lengths(output, runs))
    table_rows: list[list[object]] = []
    for label, run in zip(LABELS, runs, strict=True):
        if not len(run.length):
            table_rows.append([label, 0, *[None] * 5, 0, None])
            continue
        cuts = np.quantile(run.length, [0.25, 0.5, 0.75, 0.95, 1], method="nearest").tolist()
        of_one = int((run.length == 1).sum())
        table_rows.append([label, len(run.length), *map(int, cuts), of_one, float((run.a_series() > 1).mean())])
    columns = ["label", "runs", "25 %", "median", "75 %", "95 %", "longest", "of one slice", "series with several"]
    shown = output.table("run_lengths", columns, table_rows, caption="Runs of positive slices: their lengths in slices")
    output.section("Labels along the scan", pair(*charts), shown, note=_RUNS_NOTE)


def _positions(output: Output, rows: LabelRows) -> Markup:
    labelled, positive = along_scan(rows)
    rate = np.where(labelled > 0, positive / np.maximum(labelled, 1), np.nan)
    place = (np.arange(SCAN_BINS) + 0.5) / SCAN_BINS
    table_rows = [
        [at / SCAN_BINS, (at + 1) / SCAN_BINS, int(labelled[at, ANY_INDEX]), *map(int, positive[at])]
        for at in range(SCAN_BINS)
    ]
    title = "Positives along the scan"
    output.table("along_scan", ["from", "to", "slices", *LABELS], table_rows, caption=title)
    return output.chart("along_scan", LineChart(
        [Line(place, rate[:, index], LABELS[index], style=index) for index in ANY_FIRST], title=title,
        x_label="relative position: 0 lowest slice, 1 highest", y_label="share of slices", x_range=(0.0, 1.0),
    ))  # fmt: skip


def _lengths(output: Output, runs: Sequence[Runs]) -> Markup:
    longest = max(int(run.length.max(initial=1)) for run in runs)
    lengths = np.arange(1, longest + 1)
    counted = [np.bincount(run.length, minlength=longest + 1)[1:] for run in runs]
    table_rows = [[int(n), *(int(count[n - 1]) for count in counted)] for n in lengths]
    output.table("run_length_counts", ["slices in a row", *LABELS], table_rows, caption="Runs by length")
    lines = [
        Line(lengths, counted[index][::-1].cumsum()[::-1] / counted[index].sum(), LABELS[index], style=index)
        for index in ANY_FIRST
        if counted[index].sum()
    ]
    return output.chart("run_lengths", LineChart(
        lines, title="How long positives run", x_label="slices in a row, at least", y_label="share of runs",
        y_range=(0.0, 1.0), x_range=(1.0, float(max(longest, 2))),
    ))  # fmt: skip


def add_oddities(output: Output, oddities: Sequence[QcRow], *, source: str) -> None:
    """Add what is odd about the labels, each kind with its ids.

    Args:
        output: Where the tables go.
        oddities: Rows of label level.
        source: Where the labels are from.
    """
    by_kind: dict[str, list[QcRow]] = defaultdict(list)
    for row in sorted(oddities):
        by_kind[row.code].append(row)
    columns = ["code", "image_id", "what", "detail"]
    listed = [[row.code, row.image_id, CODES[row.code].meaning, row.detail] for row in sorted(oddities)]
    output.table("label_oddities", columns, listed, caption="Oddities")
    if not by_kind:
        said = f"None in {source}: no duplicates, no conflicts, nothing missing, and any agrees with the subtypes."
        output.section("Labels: oddities", said)
        return
    kinds = []
    for code, found in sorted(by_kind.items(), key=lambda item: (-len(item[1]), item[0])):
        ids = [row.image_id or row.detail for row in found]
        more = f" and {len(ids) - SHOWN_IDS:,} more" if len(ids) > SHOWN_IDS else ""
        result = "left out" if CODES[code].is_refused else "used"
        kinds.append([code, CODES[code].meaning, len(found), result, ", ".join(ids[:SHOWN_IDS]) + more])
    columns = ["code", "meaning", "rows", "these are", "ids"]
    output.section(
        "Labels: oddities",
        output.table("label_oddity_kinds", columns, kinds, caption=f"What is odd in {source}"),
        note="tables/label_oddities.csv has every id. An image whose labels contradict themselves is left out, never "
        "averaged.",
    )
