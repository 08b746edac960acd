"""From the rows of all series to the store's tables: labels joined, folds dealt, identical pixels found."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ich25d.errors import LabelError
from ich25d.files import shown_name
from ich25d.labels import LABELS
from ich25d.studies.folds import assign_folds
from ich25d.studies.headers.notebook import Done
from ich25d.studies.linked import Linked
from ich25d.studies.qc import QcRow
from ich25d.studies.split_unit import split_units
from ich25d.studies.store_dir.schema import (
    ID_COLUMNS,
    OWN_SLICE_COLUMNS,
    READ_SERIES_COLUMNS,
    SERIES_COLUMNS,
    SLICE_COLUMNS,
    table_of,
)

LEAST_MATCH = 0.5
"""Below this share of common ids, labels and images aren't of one data set."""

LISTED = 1000
"""Ids of each kind without a partner that qc.csv lists; the others are counted."""


class Tables(NamedTuple):
    """The store's tables, ready to be written."""

    slices: pd.DataFrame
    series: pd.DataFrame
    qc: list[QcRow]


def check_match(image_ids: Sequence[str], labels: pd.DataFrame, place: str) -> None:
    """Refuse labels of other images, before any pixel is read.

    Args:
        image_ids: Ids of the images that the label table is meant for.
        labels: Indexed by image id.
        place: The label table's name.

    Raises:
        LabelError: Less than half of the fewer ids are common; three examples of each side are named.
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
        own_labels: Six labels an image, from tables of images; the label table is preferred.
        n_folds: Number of folds.
        seed: Seed of the folds.
    """
    qc: list[QcRow] = []
    rows: list[dict[str, Any]] = []
    of_slices: dict[str, list[Any]] = {name: [] for name in OWN_SLICE_COLUMNS}
    for one in done:
        qc.extend(one.qc)
        if one.series is not None:
            rows.append(one.series)
            for name, column in of_slices.items():
                column.extend(one.slices[name])
    series = table_of(SERIES_COLUMNS, {name: [row.get(name) for row in rows] for name in READ_SERIES_COLUMNS})
    series["split_unit"] = split_units(series)
    if n_nameless := int((series["split_unit"] != series["patient_id"]).sum()):
        detail = f"{n_nameless} series name no patient, or one whom too many share; the study stands in"
        qc.append(QcRow("", "", "", "series", "NO_PATIENT", detail))
    series_of = np.repeat(np.arange(len(series)), series["n_slices"])
    of_series = {column.name: series[column.name].iloc[series_of].tolist() for column in ID_COLUMNS}
    of_slices["source"] = [shown_name(name) for name in of_slices["source"]]
    slices = table_of(SLICE_COLUMNS, {**of_series, **of_slices})
    qc += _join_labels(slices, labels, own_labels)
    # The folds keep together series that share the pixels of any slice.
    twins, double_rows = find_twins(slices)
    qc += double_rows
    counted = series[["series_id", "study_id", "split_unit", "n_slices"]].copy()
    counted["content_hash"] = counted["series_id"].map(lambda series_id: twins.get(series_id, series_id))
    for label in LABELS:
        positive = slices[label].to_numpy(dtype="float64", na_value=0)
        counted[label] = np.bincount(series_of, positive, minlength=len(series)).astype("int64")
    counted["n_labelled"] = np.bincount(series_of, slices["any"].notna(), minlength=len(series)).astype("int64")
    series["fold"] = assign_folds(counted, n_folds, seed).to_numpy(dtype="int16")
    return Tables(slices, series[[column.name for column in SERIES_COLUMNS]], qc)


def _join_labels(
    slices: pd.DataFrame, labels: pd.DataFrame | None, own_labels: Mapping[str, Sequence[int | None]]
) -> list[QcRow]:
    """Add the six labels to a table of slices; return a row for each that has no partner or is replaced."""
    if labels is None and not own_labels:
        for label in LABELS:
            slices[label] = pd.array([pd.NA] * len(slices), dtype="Int8")
        return []
    joined = pd.DataFrame(dict.fromkeys(LABELS, pd.NA), index=pd.Index(slices["image_id"]), dtype="Int8")
    qc: list[QcRow] = []
    own = pd.DataFrame.from_dict(dict(own_labels), orient="index", columns=list(LABELS)).astype("Int8")
    own = own.reindex(joined.index)
    if labels is not None:
        joined = joined.fillna(labels.reindex(joined.index)[list(LABELS)].astype("Int8"))
        replaced = joined.index[((joined != own) & joined.notna() & own.notna()).any(axis=1)]
        qc += _listed(list(replaced), "L_REPLACED", "labels that the label table changes")
        stored = set(joined.index)
        no_image = [image_id for image_id in labels.index if image_id not in stored]
        qc += _listed(no_image, "L_NO_IMAGE", "labels without an image")
    joined = joined.fillna(own)
    if labels is not None:
        alone = joined.index[joined.isna().all(axis=1)]
        qc += _listed(list(alone), "NO_LABEL", "images without labels")
    for label in LABELS:
        slices[label] = joined[label].array
    return qc


def _listed(image_ids: list[str], code: str, what: str) -> list[QcRow]:
    rows = [QcRow("", image_id, "", "label", code, "") for image_id in image_ids[:LISTED]]
    if len(image_ids) > LISTED:
        rows.append(QcRow("", "", "", "label", code, f"{len(image_ids)} {what}; the first {LISTED} are listed"))
    return rows


def find_twins(slices: pd.DataFrame) -> tuple[dict[str, str], list[QcRow]]:
    """Find series that share pixels, slice by slice, directly or over others.

    Args:
        slices: `series_id`, `image_id`, `source` and `pixel_hash` of each slice; 0 matches nothing.

    Returns:
        The first series of its group for each series in one; and a row for each slice that an earlier series has.
    """
    doubled = slices[slices["pixel_hash"].duplicated(keep=False) & (slices["pixel_hash"] != 0)]
    linked: Linked[str] = Linked()
    rows: list[QcRow] = []
    names = ["pixel_hash", "series_id", "image_id", "source"]
    first: dict[int, tuple[str, str]] = {}
    for pixel_hash, series_id, image_id, source in doubled[names].to_numpy().tolist():
        first_series, first_image = first.setdefault(pixel_hash, (series_id, image_id))
        if series_id != first_series:
            linked.link(first_series, series_id)
            detail = f"the same pixels as image {first_image} of series {first_series}"
            rows.append(QcRow(source, image_id, series_id, "slice", "DUP_CONTENT", detail))
    return linked.members(), rows
