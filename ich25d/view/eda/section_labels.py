"""The page's part on labels: counts at three levels, together, along the scan, in runs; and what is odd."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from ich25d.dicom.codes import CODES
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.pages.chart import Line
from ich25d.pages.page import Page
from ich25d.studies.qc import QcRow
from ich25d.view.eda.counts import (
    SCAN_BINS,
    LevelCounts,
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


def add_counts(page: Page, output: Output, rows: LabelRows) -> list[LevelCounts]:
    """Add counts and rates at each level that is known."""
    levels = count_levels(rows)
    columns = ["label"]
    for level in levels:
        name = PLURAL[level.level]
        columns += [f"{name} labelled", f"{name} positive", f"share of {name}"]
        if level.level != "slice":
            columns += [f"{name}: 95 % from", f"{name}: to"]
    table_rows = []
    for index, label in enumerate(LABELS):
        row: list[object] = [label]
        for level in levels:
            row += [int(level.n[index]), int(level.n_positive[index]), float(level.rate[index])]
            if level.level != "slice":
                low, high = level.interval
                row += [float(low[index]), float(high[index])]
        table_rows.append(row)
    unknown = np.full(len(LABELS), np.nan)
    bounds = [(unknown, unknown) if level.level == "slice" else level.interval for level in levels]
    page.section(
        "Labels: counts and rates",
        output.bars(
            "label_rates", LABELS, np.stack([level.rate for level in levels]),
            title="Share of positives", x_label="label", y_label="share",
            low=np.stack([low for low, _ in bounds]), high=np.stack([high for _, high in bounds]),
            groups=[PLURAL[level.level] for level in levels],
        ),
        output.table("label_counts", columns, table_rows, caption="Positives by label and level"),
        note="A series or a patient is positive where one slice is. Intervals are Wilson's, 95 %, for series and patients: "
        "slices of one scan aren't independent, so theirs would be too narrow."
        if len(levels) > 1
        else "A label table alone knows slices only; series and patients need a study store, or columns that name them.",
    )  # fmt: skip
    return levels


def add_together(page: Page, output: Output, rows: LabelRows) -> None:
    """Add which labels come together, and how many a slice has."""
    counts = co_occurrence(rows)
    own = np.diag(counts).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(own[:, None] > 0, counts / own[:, None], np.nan)
    n_subtypes = subtypes_a_slice(rows)
    names = ["none", "one", "two", "three", "four", "five"]
    total = max(int(n_subtypes.sum()), 1)
    page.section(
        "Labels together",
        output.matrix("co_occurrence", counts, LABELS, LABELS, title="Slices positive for both labels"),
        output.matrix(
            "co_occurrence_share", np.round(shares, 3), LABELS, LABELS,
            title="Of slices with the row's label, the share that also has the column's",
        ),
        output.bars(
            "subtypes_a_slice", names, n_subtypes, title="Subtypes on one slice", x_label="subtypes", y_label="slices"
        ),
        output.table(
            "subtypes_a_slice", ["subtypes on the slice", "slices", "share of slices"],
            [[name, int(n), int(n) / total] for name, n in zip(names, n_subtypes, strict=True)],
            caption="Subtypes on one slice",
        ),
        _silent(output, "co_occurrence", ["label", *LABELS], [[a, *map(int, row)] for a, row in zip(LABELS, counts, strict=True)]),
    )  # fmt: skip


def _silent(output: Output, name: str, columns: Sequence[str], rows: list[list[object]]) -> Markup:
    """Write a table whose numbers the page shows already."""
    output.table(name, columns, rows, caption=name)
    return Markup("")


def add_along_scan(page: Page, output: Output, rows: LabelRows) -> None:
    """Add where in the scan positives lie, and how long their runs are."""
    labelled, positive = along_scan(rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = np.where(labelled > 0, positive / np.maximum(labelled, 1), np.nan)
    place = (np.arange(SCAN_BINS) + 0.5) / SCAN_BINS
    order = [ANY_INDEX, *range(ANY_INDEX)]
    along = output.lines(
        "along_scan", [Line(place, rate[:, index], LABELS[index], style=index) for index in order],
        title="Positives along the scan", x_label="relative position: 0 lowest slice, 1 highest", y_label="share of slices",
        x_range=(0.0, 1.0),
    )  # fmt: skip
    output.table(
        "along_scan",
        ["from", "to", "slices", *(f"{label} positive" for label in LABELS)],
        [
            [
                number / SCAN_BINS,
                (number + 1) / SCAN_BINS,
                int(labelled[number, ANY_INDEX]),
                *map(int, positive[number]),
            ]
            for number in range(SCAN_BINS)
        ],
        caption="Positives along the scan",
    )
    runs = [find_runs(rows, index) for index in range(len(LABELS))]
    longest = max((int(run.length.max(initial=1)) for run in runs), default=1)
    lengths = np.arange(1, longest + 1)
    lines, table_rows = [], []
    for index in order:
        length = np.sort(runs[index].length)
        if len(length):
            lines.append(Line(lengths, 1 - np.searchsorted(length, lengths) / len(length), LABELS[index], style=index))
    for label, run in zip(LABELS, runs, strict=True):
        if len(run.length):
            several = run.a_series()
            cuts = np.quantile(run.length, [0.25, 0.5, 0.75, 0.95, 1]).tolist()
            table_rows.append(
                [label, len(run.length), *cuts, int((run.length == 1).sum()), float((several > 1).mean())]
            )
        else:
            table_rows.append([label, 0, *[None] * 5, 0, None])
    parts = [along]
    if lines:
        parts.append(output.lines(
            "run_lengths", lines, title="How long positives run", x_label="slices in a row, at least",
            y_label="share of runs", y_range=(0.0, 1.0), x_range=(1.0, float(max(longest, 2))),
        ))  # fmt: skip
    columns = [
        "label",
        "runs",
        "25 %",
        "median",
        "75 %",
        "95 %",
        "longest, slices",
        "of one slice",
        "series with several runs",
    ]
    parts.append(output.table("run_lengths", columns, table_rows, caption="Runs of positive slices"))
    output.table(
        "run_length_counts",
        ["slices in a row", *LABELS],
        [[int(n), *(int((run.length == n).sum()) for run in runs)] for n in lengths],
        caption="Runs by length",
    )
    page.section(
        "Labels along the scan",
        *parts,
        note="A run is a stretch of positive slices that nothing interrupts. Labels were painted over ranges of slices: runs of "
        "one slice, and holes between two runs, are where readers were unsure or slipped.",
    )


def add_oddities(page: Page, output: Output, oddities: Sequence[QcRow], *, source: str) -> None:
    """Add what is odd about the labels, each kind with its ids.

    Args:
        page: The page.
        output: Where the tables go.
        oddities: Rows of label level.
        source: Where the labels are from.
    """
    by_kind: dict[tuple[str, str], list[QcRow]] = defaultdict(list)
    for row in oddities:
        by_kind[row.code, CODES[row.code].meaning].append(row)
    rows = []
    for (code, meaning), found in sorted(by_kind.items(), key=lambda item: (-len(item[1]), item[0])):
        ids = [row.image_id or row.detail for row in found]
        more = f" and {len(ids) - SHOWN_IDS:,} more" if len(ids) > SHOWN_IDS else ""
        result = "left out" if CODES[code].is_refused else "used"
        rows.append([code, meaning, len(found), result, ", ".join(ids[:SHOWN_IDS]) + more])
    output.table(
        "label_oddities",
        ["code", "image_id", "what", "detail"],
        [[row.code, row.image_id, CODES[row.code].meaning, row.detail] for row in sorted(oddities)],
        caption="Oddities",
    )
    heading = "Labels: oddities"
    if not rows:
        page.section(
            heading, f"None: no duplicates, no conflicts, nothing missing, any agrees with the subtypes ({source})."
        )
        return
    page.section(
        heading,
        output.table("label_oddity_kinds", ["code", "meaning", "rows", "these images are", "ids"], rows, caption=f"What is odd in {source}"),
        note="tables/label_oddities.csv has every id. An image whose labels contradict themselves is left out, never averaged.",
    )  # fmt: skip
