"""The page's part on how the scans were made: technical attributes, pixel families and the shortcut, HU."""

import numpy as np
import pandas as pd
from markupsafe import Markup

from ich25d.config import NAMED_WINDOWS
from ich25d.dicom.hounsfield import HU_MIN
from ich25d.labels import LABELS
from ich25d.pages.chart import Line
from ich25d.pages.page import Page, remarks
from ich25d.view.eda import attributes
from ich25d.view.eda.histogram import AIR_END, HuCounts, shares
from ich25d.view.eda.output import Output
from ich25d.view.eda.shortcut import Told, family_rows, warnings_of, what_headers_tell

CHARTED = ("n_slices", "slice_spacing_mm", "pixel_spacing_mm", "tilt_deg", "scan_mm", "thickness_mm")
"""Numeric attributes that get a histogram each."""

BRAIN = (-100, 200)
"""HU between which tissue is shown by the HU."""


def add_attributes(
    page: Page, output: Output, table: pd.DataFrame, any_positive: "pd.Series[float]", *, header_note: str
) -> None:
    """Add the technical attributes: distributions, groups, outliers."""
    output.table(
        "series_attributes",
        ["series_id", *(name for name in (*attributes.NUMBERS, "pixel_family", *attributes.KINDS) if name in table)],
        [
            [series_id, *row]
            for series_id, row in zip(
                table.index,
                table[[name for name in (*attributes.NUMBERS, "pixel_family", *attributes.KINDS) if name in table]]
                .to_numpy(dtype=object)
                .tolist(),
                strict=True,
            )
        ],
        caption="Attributes of each series",
    )
    numbers = output.table(
        "attribute_numbers",
        ["attribute", "series", "not given", "least", "1 %", "25 %", "median", "75 %", "99 %", "most"],
        attributes.number_rows(table),
        caption="Attributes that are numbers, over series",
    )
    kinds = output.table(
        "attribute_kinds",
        ["attribute", "value", "series", "share", "slices", "share of series with any"],
        attributes.kind_rows(table, any_positive),
        caption="Attributes that are kinds",
        shown=120,
    )
    charts = [_histogram(output, table, name) for name in CHARTED if name in table and table[name].nunique() > 1]
    unknown = attributes.unknown_attributes(table)
    parts: list[str | Markup] = [numbers, *charts, kinds]
    if unknown:
        parts.append(f"Not known of any series here: {', '.join(unknown)}.")
    page.section("Technical attributes", *parts, note=header_note)
    columns, groups = attributes.group_rows(table, any_positive)
    page.section(
        "Groups of series",
        output.table("series_groups", columns, groups, caption="Series that came the same way"),
        note="A group is most often one scanner or one export. A network that does well on one may not on the next.",
    )
    outliers = attributes.find_outliers(table)
    heading = "Series that stand apart"
    if not outliers:
        page.section(heading, "None.")
        return
    page.section(
        heading,
        output.table("outliers", ["series_id", "attribute", "value", "the others have"], outliers, caption="Outliers"),
        note="Beyond three interquartile ranges from a quartile, or with a value that hardly any other series has. That is no "
        "fault: it's where to look first.",
    )


def _histogram(output: Output, table: pd.DataFrame, name: str) -> Markup:
    values = table[name].dropna().to_numpy(dtype=np.float64)
    counts, edges = np.histogram(values, bins=min(30, max(5, int(np.sqrt(len(values)) * 2))))
    meaning = attributes.NUMBERS[name]
    title = meaning[0].upper() + meaning[1:]
    return output.histogram(f"series_{name}", counts, edges, title=title, x_label=meaning, y_label="series")


def add_shortcut(
    page: Page,
    output: Output,
    table: pd.DataFrame,
    positive: pd.DataFrame,
    labelled: pd.DataFrame,
    patient: "pd.Series[str]",
) -> list[str]:
    """Add pixel families and their label rates, and what the header alone tells; return the warnings."""
    families = family_rows(table, positive, labelled)
    told: list[Told] = what_headers_tell(table, positive["any"], patient)
    warnings = warnings_of(told, families)
    names = [str(row[0]) for row in families]
    rates, low, high = (
        np.array([np.nan if row[place] is None else row[place] for row in families], dtype=float)
        for place in (9, 10, 11)
    )
    parts: list[str | Markup] = [
        remarks(warnings) if warnings else "Nothing in the header tells more of the labels than chance would, as far as these series show.",
        output.bars(
            "family_rates", names, rates, low=low, high=high, title="Series with any, by pixel family (95 % interval)",
            x_label="pixel family", y_label="share of series",
        ),
        output.table(
            "pixel_families",
            ["pixel family", "series", "labelled slices", *(f"{label}, share of slices" for label in LABELS),
             "series with any", "95 % from", "to"],
            families, caption="Pixel families and their label rates",
        ),
    ]  # fmt: skip
    if told:
        parts.append(
            output.table(
                "header_tells",
                [
                    "attribute",
                    "groups",
                    "labelled series",
                    "log loss without",
                    "log loss with",
                    "fall",
                    "p (chi-square)",
                ],
                [[one.attribute, one.n_groups, one.n_series, one.base, one.loss, one.fall, one.p] for one in told],
                caption="What an attribute alone tells of any, on patients that it wasn't learned from",
            )
        )
    page.section(
        "Pixel families and the shortcut",
        *parts,
        note="A pixel family is bits stored, u or s for unsigned or signed, and the rescale intercept: 12u-1024. It's a matter of "
        "scanner and export, not of blood. Where it tells the label all the same, a network can learn it instead of blood, "
        "and its score falls in the next hospital.",
    )
    return warnings


def add_hu(page: Page, output: Output, found: HuCounts) -> None:
    """Add the HU histogram: all of it, and the range of the brain with and without blood."""
    step = 16
    total = found.total
    edges = np.arange(HU_MIN, HU_MIN + len(total) + 1, step)
    whole = output.histogram(
        "hu_all", total.reshape(-1, step).sum(axis=1), edges,
        title="All pixels", x_label="HU", y_label=f"pixels a bin of {step} HU", log_y=True,
    )  # fmt: skip
    names = {"any": "slices with any", "none": "slices without", "unlabelled": "slices without a label"}
    styles = {"any": 4, "none": 2, "unlabelled": 5}
    lines = [
        Line(*shares(counts, *BRAIN, 2), f"{names[group]} ({found.n_slices[group]:,})", style=styles[group])
        for group, counts in found.counts.items()
    ]
    marks = [(0.0, "water, 0"), (34.0, "brain, 25 to 40"), (65.0, "clotted blood, 50 to 80")]
    brain = output.lines(
        "hu_tissue", lines, title="Soft tissue: share of the pixels shown", x_label="HU", y_label="share of pixels",
        x_range=(float(BRAIN[0]), float(BRAIN[1])), marks=marks,
    )  # fmt: skip
    parts = [whole, brain]
    if len(found.families) > 1:
        family_lines = [Line(*shares(counts, *BRAIN, 2), name) for name, counts in sorted(found.families.items())[:8]]
        parts.append(output.lines(
            "hu_by_family", family_lines, title="Soft tissue by pixel family", x_label="HU", y_label="share of pixels",
            x_range=(float(BRAIN[0]), float(BRAIN[1])),
        ))  # fmt: skip
    windows = [
        [name, level, width, level - width / 2, level + width / 2, _inside(total, level, width)]
        for name, (level, width) in NAMED_WINDOWS.items()
    ]
    columns = ["window", "level, HU", "width, HU", "black up to, HU", "white from, HU", "share of tissue pixels inside"]
    parts.append(output.table("windows", columns, windows, caption="What each window spreads over the grey values"))
    output.table(
        "hu_counts",
        ["hu", *(names[group] for group in found.counts)],
        [[HU_MIN + at, *(int(counts[at]) for counts in found.counts.values())] for at in range(len(total))],
        caption="Pixels by HU",
    )
    air = float(total[: AIR_END - HU_MIN + 1].sum()) / max(float(total.sum()), 1.0)
    page.section(
        "Hounsfield units",
        *parts,
        note=f"Of {sum(found.n_slices.values()):,} slices spread over the store, at their stored size. {air:.0%} of the pixels are air "
        f"or padding (at most {AIR_END} HU). Blood is a thin foot on the right side of the brain's peak: that is why narrow "
        "windows are used, and why no threshold finds it.",
    )


def _inside(total: "np.ndarray[tuple[int], np.dtype[np.int64]]", level: float, width: float) -> float:
    """Return the share of pixels above air that lie inside a window."""
    hu = HU_MIN + np.arange(len(total))
    tissue = hu > AIR_END
    inside = tissue & (hu > level - width / 2) & (hu < level + width / 2)
    return float(total[inside].sum()) / max(float(total[tissue].sum()), 1.0)
