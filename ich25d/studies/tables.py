"""From the rows of all series to the store's tables: labels joined, folds dealt, doubles named."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ich25d.errors import LabelError
from ich25d.labels import LABELS
from ich25d.studies.folds import assign_folds
from ich25d.studies.notebook import Done
from ich25d.studies.qc import QcRow

LEAST_MATCH = 0.5
"""Below this share of ids that meet, labels and images aren't of one data set."""

LISTED = 1000
"""So many ids without a partner are listed in qc.csv; the others are counted."""

_SERIES_TYPES = {
    "n_slices": "int32", "slice_spacing_mm": "float64", "spacing_is_regular": "bool", "tilt_deg": "float64",
    "rows": "int32", "columns": "int32", "pixel_spacing_mm": "float64", "row_spacing_mm": "float64",
    "scale": "float64", "box_top": "int32", "box_left": "int32", "box_bottom": "int32", "box_right": "int32",
    "thickness_mm": "float64", "n_bytes": "int64",
}  # fmt: skip
_SLICE_TYPES = {
    "slice_index": "int32", "slice_position_mm": "float64", "window_level": "float64", "window_width": "float64",
}  # fmt: skip
SLICE_COLUMNS = (
    "image_id", "series_id", "study_id", "patient_id", "slice_index", "slice_position_mm", "source", "window_level",
    "window_width",
)  # fmt: skip
"""Columns of slices.parquet before the six labels."""

ANONYMOUS_SHARE = 0.2
"""A patient who owns more than this share of ten or more studies is no patient but a placeholder."""


class Tables(NamedTuple):
    """The store's tables, ready to be written."""

    slices: pd.DataFrame
    series: pd.DataFrame
    qc: list[QcRow]


def check_match(image_ids: Sequence[str], labels: pd.DataFrame, place: str) -> None:
    """Stop where labels and images can't belong together, before any pixel is read.

    Args:
        image_ids: Ids of the images that the label table is meant for.
        labels: Indexed by image id.
        place: The label table's name.

    Raises:
        LabelError: Less than half of the fewer ids meet; three examples of each side are named.
    """
    known = set(labels.index)
    n_met = sum(image_id in known for image_id in image_ids)
    if n_met >= LEAST_MATCH * min(len(image_ids), len(known)):
        return
    ours = ", ".join(sorted(set(image_ids) - known)[:3])
    theirs = ", ".join(sorted(known - set(image_ids))[:3])
    raise LabelError(
        f"label and image ids must meet (got {n_met} of {len(image_ids)} images and {len(known)} labels) in {place}; "
        f"images are called {ours} ...; labels {theirs} ..."
    )


def make_tables(
    done: Iterable[Done],
    *,
    labels: pd.DataFrame | None,
    own_labels: Mapping[str, Sequence[int | None]],
    n_folds: int,
    seed: int,
) -> Tables:
    """Join the rows of all series into the store's tables.

    Args:
        done: Rows of each series, in the order wanted.
        labels: The label table, indexed by image id, six Int8 columns; None without one.
        own_labels: Six labels an image, from image tables that bring their own; they are preferred.
        n_folds: Number of folds.
        seed: Seed of the folds.
    """
    qc: list[QcRow] = []
    series_rows: list[dict[str, Any]] = []
    columns: dict[str, list[Any]] = {name: [] for name in SLICE_COLUMNS}
    for one in done:
        qc.extend(one.qc)
        if one.series is not None:
            series_rows.append(one.series)
            for name, column in columns.items():
                column.extend(one.slices[name] if name in one.slices else [one.series[name]] * one.series["n_slices"])
    series = pd.DataFrame(series_rows).astype(_SERIES_TYPES)
    slices = pd.DataFrame(columns).astype(_SLICE_TYPES)
    slices, label_rows = _join_labels(slices, labels, own_labels)
    qc += label_rows
    counted = series[["series_id", "study_id", "patient_id", "content_hash", "n_slices"]].copy()
    qc += _forget_placeholders(counted)
    positives = slices.groupby("series_id", sort=False)[list(LABELS)].sum().reindex(series["series_id"])
    for label in LABELS:
        counted[label] = positives[label].fillna(0).to_numpy(dtype="int64")
    labelled = slices.groupby("series_id", sort=False)["any"].count().reindex(series["series_id"])
    counted["n_labelled"] = labelled.fillna(0).to_numpy(dtype="int64")
    series["fold"] = assign_folds(counted, n_folds, seed).to_numpy(dtype="int16")
    qc += _doubles(series)
    return Tables(slices, series, qc)


def _forget_placeholders(series: pd.DataFrame) -> list[QcRow]:
    """Blank patients that are none, for the split: there the study stands in. Say how many there were."""
    studies = series.drop_duplicates("study_id").groupby("patient_id").size()
    is_placeholder = studies > ANONYMOUS_SHARE * studies.sum() if studies.sum() >= 10 else studies < 0
    is_none = series["patient_id"].isin(["", *studies.index[is_placeholder]])
    series.loc[is_none, "patient_id"] = ""
    if not is_none.any():
        return []
    detail = f"{int(is_none.sum())} series name no patient, or one whom too many share; the study stands in"
    return [QcRow("", "", "", "series", "NO_PATIENT", detail)]


def _join_labels(
    slices: pd.DataFrame, labels: pd.DataFrame | None, own_labels: Mapping[str, Sequence[int | None]]
) -> tuple[pd.DataFrame, list[QcRow]]:
    joined = pd.DataFrame(dict.fromkeys(LABELS, pd.NA), index=pd.Index(slices["image_id"]), dtype="Int8")
    qc: list[QcRow] = []
    if own_labels:
        own = pd.DataFrame.from_dict(dict(own_labels), orient="index", columns=list(LABELS)).astype("Int8")
        joined = joined.fillna(own.reindex(joined.index))
    if labels is not None:
        joined = joined.fillna(labels.reindex(joined.index)[list(LABELS)].astype("Int8"))
        stored = set(joined.index)
        no_image = [image_id for image_id in labels.index if image_id not in stored]
        qc += _listed(no_image, "L_NO_IMAGE", "labels without an image")
        alone = joined.index[joined.isna().all(axis=1)]
        qc += _listed(list(alone), "NO_LABEL", "images without labels")
    for label in LABELS:
        slices[label] = joined[label].to_numpy()
        slices[label] = slices[label].astype("Int8")
    return slices, qc


def _listed(image_ids: list[str], code: str, what: str) -> list[QcRow]:
    rows = [QcRow("", image_id, "", "label", code, "") for image_id in image_ids[:LISTED]]
    if len(image_ids) > LISTED:
        rows.append(QcRow("", "", "", "label", code, f"{len(image_ids)} {what}; the first {LISTED} are listed"))
    return rows


def _doubles(series: pd.DataFrame) -> list[QcRow]:
    """Name the series that hold the very same pixels; they share a fold."""
    rows = []
    for _, group in series.groupby("content_hash", sort=False):
        if len(group) > 1:
            first = group["series_id"].iloc[0]
            rows += [
                QcRow("", "", series_id, "series", "DUP_CONTENT", f"the same pixels as series {first}")
                for series_id in group["series_id"].iloc[1:]
            ]
    return rows
