"""The page's part on how the scans were made: technical attributes, pixel families and the shortcut, HU."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from ich25d.dicom.codes import CODES
from ich25d.dicom.hounsfield import HU_MAX, HU_MIN
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.pages.chart import BarChart, Histogram, Line, LineChart
from ich25d.pages.page import pair, remarks
from ich25d.progress import track
from ich25d.studies.qc import QcRow
from ich25d.studies.store_dir.store import StudyStore
from ich25d.view.eda import attributes
from ich25d.view.eda.counts import relative_position
from ich25d.view.eda.output import Output
from ich25d.view.eda.rows import LabelRows
from ich25d.view.eda.shortcut import Shortcut
from ich25d.windows import NAMED_WINDOWS

SAMPLED = 400
"""Slices at most, half of them positive where there are enough."""

MIDDLE = (0.4, 0.8)
"""Relative scan positions between which slices are looked at."""

AIR_END = -1000
"""Up to here, inclusive, a pixel counts as air or padding."""

TISSUE = (-100, 200)
"""Range of the charts of soft tissue, HU."""

Floats = npt.NDArray[np.float64]

N_HU = HU_MAX - HU_MIN + 1


@dataclass(frozen=True, slots=True, eq=False)
class HuCounts:
    """Pixels by HU."""

    n_slices: dict[str, int]
    """Slices looked at, by group."""
    counts: dict[str, npt.NDArray[np.int64]]
    """Shape (4096,), from -1024 HU on, by group: `any`, `none`, `unlabelled`."""
    families: dict[str, npt.NDArray[np.int64]]
    """The same by pixel family."""

    @property
    def total(self) -> npt.NDArray[np.int64]:
        """Pixels of all groups by HU, shape (4096,)."""
        total: npt.NDArray[np.int64] = np.sum(list(self.counts.values()), axis=0).astype(np.int64)
        return total


def count_hu(store: StudyStore, rows: LabelRows) -> HuCounts:
    """Count HU over slices spread evenly over the store, all from the middle of their scans.

    Most positives lie there: the base of the skull and the vertex have other tissue, with and without blood.
    """
    any_label, place = rows.target[:, ANY_INDEX], relative_position(rows)
    inside = np.isnan(place) | ((place >= MIDDLE[0]) & (place <= MIDDLE[1]))
    if not inside.any():  # scans of two slices have no middle
        inside = np.ones(len(place), dtype=bool)
    groups = {
        "none": inside & (any_label == 0),
        "any": inside & (any_label == 1),
        "unlabelled": inside & (any_label < 0),
    }
    n_groups = max(1, sum(bool(flags.any()) for flags in groups.values()))
    family_of = store.series.set_index("series_id")["pixel_family"].to_dict()
    chosen = pd.DataFrame(
        [
            (int(row), name)
            for name, flags in groups.items()
            for row in _spread(np.flatnonzero(flags), SAMPLED // n_groups)
        ],
        columns=["row", "group"],
    ).sort_values("row")
    counts: dict[str, npt.NDArray[np.int64]] = {}
    families: dict[str, npt.NDArray[np.int64]] = {}
    places = store.slices[["series_id", "slice_index"]].iloc[chosen["row"]]
    slices = list(zip(places["series_id"], places["slice_index"], chosen["group"], strict=True))
    for series_id, index, group in track(slices, "HU", len(slices), "slices"):
        hu = store.hu(series_id, [int(index)])
        found = np.bincount(hu.ravel().astype(np.int64) - HU_MIN, minlength=N_HU)[:N_HU]
        for name, where in ((group, counts), (str(family_of[series_id]), families)):
            where[name] = where[name] + found if name in where else found
    return HuCounts({str(name): int(n) for name, n in chosen["group"].value_counts().items()}, counts, families)


def _spread(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Return `most` rows at most, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.int64)]


def tissue_shares(counts: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return middles of bins of 2 HU over `TISSUE`, and the share of its pixels in each bin."""
    low, high = TISSUE
    part = counts[low - HU_MIN : high - HU_MIN].reshape(-1, 2).sum(axis=1).astype(np.float64)
    middles = np.arange(low, high, 2, dtype=np.float64) + 0.5
    return middles, np.divide(part, max(float(part.sum()), 1.0), dtype=np.float64)


STEPS: dict[str, float] = {
    "n_slices": 1, "slice_spacing_mm": 0.25, "pixel_spacing_mm": 0.01, "tilt_deg": 1, "scan_mm": 5,
    "thickness_mm": 0.25,
}  # fmt: skip
"""Numeric attributes that get a histogram each, and the least width of its bins."""

MOST_BINS = 40

_GROUPS_NOTE = "A group is most often one scanner or one export. A network that does well on one may not on the next."
_OUTLIERS_NOTE = (
    "Beyond three interquartile ranges from a quartile, or with a value that hardly any other series has. That is no "
    "fault: it's where to look first."
)
_SHORTCUT_NOTE = (
    "A pixel family is bits stored, u or s for unsigned or signed, and the rescale intercept: 12u-1024. It comes from "
    "the scanner and the export, not from blood. Where it predicts the label all the same, a network can learn it "
    "instead of blood, and its score falls in the next hospital."
)
_NO_SHORTCUT = "No attribute of the headers predicts the labels better than chance, as far as these series can show."


def add_attributes(output: Output, table: pd.DataFrame, any_positive: "pd.Series[Any]", *, origin: str) -> None:
    """Add the technical attributes: distributions, groups, outliers.

    Args:
        output: Where tables and figures go.
        table: What `attribute_table` gives.
        any_positive: Series with `any`, indexed by `series_id`; NaN where no slice is labelled.
        origin: Where the attributes are from.
    """
    names = [name for name in (*attributes.NUMBERS, "pixel_family", *attributes.KINDS) if name in table]
    output.table(
        "series_attributes",
        ["series_id", *names],
        table[names].reset_index().to_numpy(dtype=object).tolist(),
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
        caption="Attributes that are kinds, over series",
        shown=120,
    )
    charts = [
        _histogram(output, table, name)
        for name, step in STEPS.items()
        if name in table and (table[name] / step).round().nunique() > 1
    ]
    unknown = attributes.unknown_attributes(table)
    absent = f"Not known of any series here: {', '.join(unknown)}." if unknown else Markup("")
    note = f"Of {len(table):,} series; {origin}. tables/series_attributes.csv has a row a series."
    output.section("Technical attributes", numbers, absent, pair(*charts), kinds, note=note)
    columns, groups = attributes.group_rows(table, any_positive)
    shown = output.table("series_groups", columns, groups, caption="Series that came the same way")
    output.section("Groups of series", shown, note=_GROUPS_NOTE)
    outliers = attributes.find_outliers(table)
    columns = ["series_id", "attribute", "value", "the others have"]
    listed = output.table("outliers", columns, outliers, caption="Outliers") if outliers else "None."
    output.section("Series that stand apart", listed, note=_OUTLIERS_NOTE)


def _histogram(output: Output, table: pd.DataFrame, name: str) -> Markup:
    values = table[name].dropna().to_numpy(dtype=np.float64)
    step = STEPS[name]
    # An empty bin on either side shows that nothing lies there.
    first, last = np.floor(values.min() / step + 0.5) - 1, np.floor(values.max() / step + 0.5) + 1
    wide = max(1, int(np.ceil((last - first + 1) / MOST_BINS)))
    n_bins = max(4, int(np.ceil((last - first + 1) / wide)))
    # Round values stand in the middle of their bins, so that 4.9997 and 5.0003 mm are one.
    edges = (first - 0.5 + wide * np.arange(n_bins + 1)) * step
    counts, _ = np.histogram(values, bins=edges)
    meaning = attributes.NUMBERS[name]
    title = meaning[0].upper() + meaning[1:]
    return output.chart(f"series_{name}", Histogram(counts, edges, title=title, x_label=meaning, y_label="series"))


def add_shortcut(output: Output, found: Shortcut) -> None:
    """Add pixel families and their label rates, and how well the header alone predicts the labels."""
    columns = ["pixel family", "series", "labelled slices", *LABELS, "series with any", "95 % from", "to"]
    rates = "Pixel families: share of labelled slices by label, and share of series with any"
    rows = [[*one[:3], *one.slice_rates, *one[4:]] for one in found.families]
    shown = output.table("pixel_families", columns, rows, caption=rates)
    rate, low, high = (np.array(ends) for ends in zip(*(family[-3:] for family in found.families), strict=True))
    if np.isnan(rate).all():
        output.section("Pixel families and the shortcut", "Without labels there is nothing to give away.", shown)
        return
    bars = output.chart("family_rates", BarChart(
        [family.name for family in found.families], rate, low=low, high=high,
        title="Series with any, by pixel family (95 % interval)", x_label="pixel family", y_label="share of series",
    ))  # fmt: skip
    parts: list[str | Markup] = [remarks(found.warnings) if found.warnings else _NO_SHORTCUT, bars, shown]
    if found.predictors:
        columns = ["attribute", "groups", "labelled series", "log loss without", "with it", "fall", "p (chi-square)"]
        rows = [[*one[:-1], one.fall, one.p] for one in found.predictors]
        caption = "How well one attribute alone predicts any, on patients that it wasn't learned from"
        parts.append(output.table("header_tells", columns, rows, caption=caption))
    output.section("Pixel families and the shortcut", *parts, note=_SHORTCUT_NOTE)


def add_hu(output: Output, found: HuCounts) -> None:
    """Add the HU histogram: all of it, and the range of tissue with and without blood, and by pixel family."""
    step = 16
    total = found.total
    whole = output.chart("hu_all", Histogram(
        total.reshape(-1, step).sum(axis=1) / 1000, np.arange(HU_MIN, HU_MIN + len(total) + 1, step),
        title="All pixels", x_label="HU", y_label="thousand pixels", log_y=True,
    ))  # fmt: skip
    names = {"any": "slices with any", "none": "slices without", "unlabelled": "slices without a label"}
    styles = {"any": 4, "none": 2, "unlabelled": 5}
    lines = [
        Line(*tissue_shares(counts), f"{names[group]} ({found.n_slices[group]:,})", style=styles[group])
        for group, counts in found.counts.items()
    ]
    axes: dict[str, Any] = {
        "x_label": "HU", "y_label": "share of the pixels shown", "x_range": (float(TISSUE[0]), float(TISSUE[1])),
    }  # fmt: skip
    marks = [(0.0, "water"), (32.0, "brain"), (70.0, "clotted blood")]
    above = (0.0, 1.4 * max(float(np.max(line.y)) for line in lines))  # room for the marks' words
    title = "Soft tissue, with and without blood"
    tissue = output.chart("hu_tissue", LineChart(lines, title=title, marks=marks, y_range=above, **axes))
    charts = [whole, tissue]
    if len(found.families) > 1:
        lines = [Line(*tissue_shares(counts), name) for name, counts in sorted(found.families.items())[:8]]
        charts.append(output.chart("hu_by_family", LineChart(lines, title="Soft tissue by pixel family", **axes)))
    windows = [
        [name, level, width, round(level - width / 2), round(level + width / 2), _inside(total, level, width)]
        for name, (level, width) in NAMED_WINDOWS.items()
    ]
    columns = ["window", "level, HU", "width, HU", "black up to, HU", "white from, HU", "share of tissue inside"]
    output.table(
        "hu_counts",
        ["hu", *(names[group] for group in found.counts)],
        [[HU_MIN + at, *(int(counts[at]) for counts in found.counts.values())] for at in range(len(total))],
        caption="Pixels by HU",
    )
    air = float(total[: AIR_END - HU_MIN + 1].sum()) / max(float(total.sum()), 1.0)
    n_slices = sum(found.n_slices.values())
    note = (
        f"Of {n_slices:,} slices from the middle of the scans, at their stored size. {air:.0%} of their pixels are "
        f"air or padding (at most {AIR_END} HU). Blood is rare among the pixels even of slices that show it, and as "
        "dense as the edge of bone: no threshold finds it."
    )
    shown = output.table("windows", columns, windows, caption="What each window spreads over the grey values")
    output.section("Hounsfield units", pair(*charts), shown, note=note)


def _inside(total: npt.NDArray[np.int64], level: float, width: float) -> float:
    """Return the share of pixels above air that lie inside a window."""
    hu = HU_MIN + np.arange(len(total))
    tissue = hu > AIR_END
    inside = tissue & (hu > level - width / 2) & (hu < level + width / 2)
    return float(total[inside].sum()) / max(float(total[tissue].sum()), 1.0)


def add_remarks(output: Output, qc: Sequence[QcRow]) -> None:
    """Add what the store's builder refused and remarked on, by code."""
    counts = pd.Series([row.code for row in qc if row.level != "label"], dtype=object).value_counts()
    rows = []
    for code, n in counts.items():
        known = CODES.get(str(code))
        what = "" if known is None else "refused" if known.is_refused else "remark"
        rows.append([str(code), "" if known is None else known.meaning, int(n), what])
    if rows:
        shown = output.table("qc_codes", ["code", "meaning", "rows", "what"], rows, caption="By code")
        output.section("Refusals and remarks", shown, note="Every row with its file stands in the store's own qc.csv.")
