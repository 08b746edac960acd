"""Technical attributes of the series: how they are distributed, which groups they form, which series stand apart."""

import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

NUMBERS: dict[str, str] = {
    "n_slices": "slices a series",
    "slice_spacing_mm": "median gap of slices, mm",
    "largest_gap": "largest gap over the median gap",
    "scan_mm": "length of the scan, mm",
    "pixel_spacing_mm": "pixel spacing (columns), mm",
    "anisotropy": "row over column spacing",
    "field_mm": "width of the field, mm",
    "tilt_deg": "gantry tilt, degrees",
    "thickness_mm": "slice thickness tag, mm",
    "kvp": "tube voltage, kV",
    "box_share": "head box, share of the field's area",
    "scale": "source px a store px",
}
"""Attributes that are numbers: column -> what it is, with its unit."""

KINDS: dict[str, str] = {
    "matrix": "rows x columns",
    "bits_allocated": "bits allocated",
    "bits_stored": "bits stored",
    "high_bit": "high bit",
    "representation": "pixel representation",
    "intercept": "rescale intercept, HU",
    "slope": "rescale slope",
    "padding": "pixel padding value",
    "photometric": "photometric interpretation",
    "transfer_syntax": "transfer syntax",
    "is_lossy": "lossy compression",
    "image_type": "image type",
    "orientation": "rows and columns run to",
    "order_key": "ordered by",
    "spacing_is_regular": "gaps are regular",
    "window": "window tags, level/width of most slices",
    "n_windows": "different window tags in the series",
    "kernel": "kernel",
    "contrast": "contrast agent named",
    "mixed": "differs between slices of a series",
}
"""Attributes that are kinds: column -> what it is."""

GROUP_BY = ("pixel_family", "matrix", "transfer_syntax", "kernel", "orientation")
"""What makes a group: series alike in these came the same way."""

OUTER_FENCE = 3.0
"""Interquartile ranges from a quartile to Tukey's outer fence."""

SAME = 0.002
"""Values that differ by less, relatively, are one: 0.488281 and 0.48828125 mm."""

MOST_VALUES = 12
"""Values of an attribute that are listed; the others are counted."""

RARE = 0.02
"""A value that fewer series have is rare, where the middle half of them all have the same."""

_OF_FILES = (
    "transfer_syntax", "photometric", "is_lossy", "bits_allocated", "high_bit", "padding", "slope", "contrast",
    "image_type",
)  # fmt: skip
_COUNTS = {"n_slices", "kvp"}
_DERIVED = {"scale", "field_mm"}  # follow from others, and would be named twice
_FAMILY = re.compile(r"(\d+)([su])([-+][\d.e+-]+)?")
_NOT_FOUND = "not known"
NO_DICOM = "no DICOM"
"""Value of attributes of files where a series came as pictures."""


class Outlier(NamedTuple):
    """A series that stands apart in one attribute."""

    series_id: str
    attribute: str
    value: object
    usual: str
    """What the others have."""


def attribute_table(series: pd.DataFrame, slices: pd.DataFrame, headers: pd.DataFrame | None) -> pd.DataFrame:
    """Make the table of all attributes of each series.

    Args:
        series: The store's table of series.
        slices: The store's table of slices.
        headers: The table of `header_table`; None without it.

    Returns:
        A row a series, indexed by `series_id`: the columns of `NUMBERS` and `KINDS` that are known, `pixel_family`,
        and `n_slices`.
    """
    table = series.set_index("series_id").copy()
    if "source_orientation" in table:  # older stores turn nothing
        table["orientation"] = table.pop("source_orientation")
    table["matrix"] = [f"{rows} x {columns}" for rows, columns in zip(table["rows"], table["columns"], strict=True)]
    table["anisotropy"] = table["row_spacing_mm"] / table["pixel_spacing_mm"]
    table["field_mm"] = table["columns"] * table["pixel_spacing_mm"]
    box = (table["box_bottom"] - table["box_top"]) * (table["box_right"] - table["box_left"])
    table["box_share"] = box / (table["rows"] * table["columns"])
    table["spacing_is_regular"] = table["spacing_is_regular"].map({True: "yes", False: "no"})
    family = [_family_parts(str(name)) for name in table["pixel_family"]]
    for place, name in enumerate(("bits_stored", "representation", "intercept")):
        table[name] = [parts[place] for parts in family]
    table = table.join(_gaps(slices)).join(_window_tags(slices))
    if headers is not None:
        table = table.drop(columns=[name for name in ("kernel", "thickness_mm") if name in headers])
        table = table.join(_as_text(headers.drop(columns=["bits_stored", "intercept"])))
        came_as_pictures = ~table.index.isin(headers.index)
        for name in _OF_FILES:
            table[name] = table[name].astype(object).mask(came_as_pictures, NO_DICOM)
    for name in table.columns.intersection([*KINDS]):
        table[name] = table[name].astype(object).where(table[name].notna() & (table[name] != ""), "none")
    for name in table.columns.intersection([*NUMBERS]):
        table[name] = pd.to_numeric(table[name], errors="coerce").astype("float64")
    return table


def _family_parts(name: str) -> tuple[str, str, str]:
    """Return bits, representation and intercept of a pixel family, as `16s-1024`."""
    found = _FAMILY.fullmatch(name)
    if found is None:
        return NO_DICOM, NO_DICOM, NO_DICOM
    bits, sign, intercept = found.groups()
    return bits, "signed" if sign == "s" else "unsigned", "none" if intercept is None else f"{float(intercept):g}"


def _as_text(headers: pd.DataFrame) -> pd.DataFrame:
    """Return header attributes as text: names of transfer syntaxes, yes and no, numbers without zeros."""
    from pydicom.uid import UID

    text = headers.copy()
    text["transfer_syntax"] = [UID(str(uid)).name for uid in text["transfer_syntax"]]
    text["image_type"] = ["\\".join(parts[:3]) for parts in text["image_type"]]
    for name in ("is_lossy", "contrast"):
        text[name] = ["yes" if flag else "no" for flag in text[name]]
    for name in ("bits_allocated", "high_bit", "padding", "slope"):
        text[name] = ["none" if pd.isna(value) else f"{float(value):g}" for value in text[name]]
    return text.drop(columns="directions")


def _gaps(slices: pd.DataFrame) -> pd.DataFrame:
    """Return the length of each scan in mm, and its largest gap over its median gap; slices in scan order."""
    position = slices["slice_position_mm"].to_numpy(dtype=np.float64, na_value=np.nan)
    codes, names = pd.factorize(slices["series_id"])
    gap = np.diff(position, prepend=np.nan)
    gap[np.diff(codes, prepend=-1) != 0] = np.nan
    gap[~(gap > 0)] = np.nan
    by_series = pd.Series(gap).groupby(codes)
    largest, median, whole = by_series.max(), by_series.median(), by_series.sum(min_count=1)
    found = pd.DataFrame({"largest_gap": (largest / median).to_numpy(), "scan_mm": whole.to_numpy()}, index=names)
    return found.rename_axis("series_id")


def _window_tags(slices: pd.DataFrame) -> pd.DataFrame:
    """Return the window that most slices of each series name, and how many different ones they name."""
    level, width = slices["window_level"], slices["window_width"]
    pairs = pd.DataFrame({"series_id": slices["series_id"], "level": level, "width": width})
    counted = pairs.groupby(["series_id", "level", "width"], dropna=False, sort=False).size().reset_index(name="n")
    counted["tag"] = [
        "none" if pd.isna(one) or pd.isna(other) else f"{one:g}/{other:g}"
        for one, other in zip(counted["level"], counted["width"], strict=True)
    ]
    most = counted.sort_values("n", ascending=False, kind="stable").drop_duplicates("series_id").set_index("series_id")
    n_tags = counted.groupby("series_id")["tag"].nunique().astype(str)
    return pd.DataFrame({"window": most["tag"], "n_windows": n_tags})


def number_rows(table: pd.DataFrame) -> list[list[object]]:
    """Return how each number is distributed: what, n, missing, least, 1 %, 25 %, median, 75 %, 99 %, most."""
    rows: list[list[object]] = []
    for name, meaning in NUMBERS.items():
        if name not in table or table[name].isna().all():
            continue
        values = table[name].dropna().to_numpy(dtype=np.float64)
        # Of a count, a value that occurs: no series has 31.5 slices.
        is_count = name in _COUNTS
        shares = [0, 0.01, 0.25, 0.5, 0.75, 0.99, 1]
        cuts = np.quantile(values, shares, method="nearest" if is_count else "linear")
        shown = cuts.round().astype(int) if is_count else cuts
        rows.append([meaning, len(values), len(table) - len(values), *shown.tolist()])
    return rows


def unknown_attributes(table: pd.DataFrame) -> list[str]:
    """Name the attributes that no series has."""
    named = {**NUMBERS, **KINDS}
    return [meaning for name, meaning in named.items() if name not in table or table[name].isna().all()]


def kind_rows(table: pd.DataFrame, any_positive: "pd.Series[Any]") -> list[list[object]]:
    """Return how often each value of an attribute comes: what, value, series, share, slices, share with `any`."""
    rows: list[list[object]] = []
    for name, meaning in KINDS.items():
        if name not in table:
            continue
        values = table[name].astype(str)
        groups = table.groupby(values, sort=False)["n_slices"].agg(["size", "sum"])
        groups = groups.sort_values("size", ascending=False, kind="stable")
        for value, size, n_slices in groups.head(MOST_VALUES).itertuples():
            positive = _share(any_positive, table.index[values == value])
            rows.append([meaning, value, int(size), size / len(table), int(n_slices), positive])
        rest = groups.iloc[MOST_VALUES:]
        if len(rest):
            n_rest = int(rest["size"].sum())
            rows.append([meaning, f"{len(rest)} others", n_rest, n_rest / len(table), int(rest["sum"].sum()), None])
    return rows


def group_rows(table: pd.DataFrame, any_positive: "pd.Series[Any]") -> tuple[list[str], list[list[object]]]:
    """Return the groups of series that came the same way: columns, and a row a group, the largest first."""
    columns = [name for name in GROUP_BY if name in table]
    rows: list[list[object]] = []
    filled = table.fillna(dict.fromkeys(columns, _NOT_FOUND))
    largest = sorted(filled.groupby(columns, sort=True), key=lambda group: -len(group[1]))
    for key, part in largest:
        positive = _share(any_positive, part.index)
        medians = [float(part[name].median()) for name in ("pixel_spacing_mm", "slice_spacing_mm")]
        rows.append([*map(str, key), len(part), int(part["n_slices"].sum()), *medians, positive])
    names = [KINDS.get(name, "pixel family") for name in columns]
    return [*names, "series", "slices", "median pixel spacing, mm", "median gap, mm", "series with any"], rows


def find_outliers(table: pd.DataFrame) -> list[Outlier]:
    """Find series beyond Tukey's outer fences, or with a rare value where nearly all have the same."""
    found: list[Outlier] = []
    n = len(table)
    for name, meaning in NUMBERS.items():
        if name in _DERIVED or name not in table or table[name].notna().sum() < 10:
            continue
        known = table[name].dropna()
        values = known.to_numpy(dtype=np.float64)
        low, high = np.quantile(values, [0.25, 0.75])
        slack = OUTER_FENCE * (high - low)
        is_out: npt.NDArray[np.bool_] = (values < low - slack - 1e-9) | (values > high + slack + 1e-9)
        if slack <= SAME * abs(high) + 1e-9:
            is_out = np.abs(values - (low + high) / 2) > SAME * abs(high) + 1e-9
            if is_out.sum() > max(RARE * len(values), 1.5):
                continue  # the middle half is one value and the others are many: a second kind, no outliers
        usual = f"{low:.4g} to {high:.4g} (middle half)"
        found += [Outlier(str(series_id), meaning, float(value), usual) for series_id, value in known[is_out].items()]
    for name, meaning in KINDS.items():
        if name not in table or n < 10:
            continue
        kinds = table[name].astype(str)
        counts = kinds.value_counts()
        if counts.iloc[0] < 0.75 * n:
            continue
        rare = kinds[kinds.map(counts) < max(RARE * n, 1.5)]
        usual = f"{counts.index[0]} ({counts.iloc[0] / n:.0%})"
        found += [Outlier(str(series_id), meaning, value, usual) for series_id, value in rare.items()]
    return sorted(found, key=lambda outlier: (outlier.series_id, outlier.attribute))


def _share(flags: "pd.Series[Any]", index: "pd.Index[Any]") -> float | None:
    """Return the share of true flags among the labelled series of an index; None where none is labelled."""
    known = flags.reindex(index).dropna()
    return float(known.astype(float).mean()) if len(known) else None
