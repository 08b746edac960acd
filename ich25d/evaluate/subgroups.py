"""Measures in subgroups of scans: by slice spacing, gantry tilt, pixel family and number of positive slices."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.evaluate.level import Level
from ich25d.labels import ANY_INDEX
from ich25d.training.intervals import bootstrap, percentiles, replicates_for, wilson_interval
from ich25d.training.metrics import auc, confusion
from ich25d.training.operating_point import HOLDING_RULES

LEAST = 30
"""Fewest cases of a subgroup that is reported."""

_SPACINGS = (("up to 1.5 mm", 0.0, 1.5), ("above 1.5 to 4 mm", 1.5, 4.0), ("above 4 mm", 4.0, np.inf))
_TILTS = (("none (up to 0.5 degrees)", -1.0, 0.5), ("0.5 to 15 degrees", 0.5, 15.0), ("above 15 degrees", 15.0, np.inf))
_POSITIVES = (("1 or 2", 1, 2), ("3 to 5", 3, 5), ("6 to 10", 6, 10), ("more than 10", 11, np.inf))

Bools = npt.NDArray[np.bool_]


def attributes_of(series: pd.DataFrame) -> pd.DataFrame:
    """Return the attributes of each series by which subgroups are made.

    Args:
        series: A study store's table of series.

    Returns:
        `thickness_mm` (where the header doesn't say it, the distance of slices), `tilt_deg` without its sign, and
        `pixel_family`; index series_id.
    """
    table = series.drop_duplicates("series_id").set_index("series_id")
    thickness = table["thickness_mm"].fillna(table["slice_spacing_mm"])
    return pd.DataFrame(
        {"thickness_mm": thickness, "tilt_deg": table["tilt_deg"].abs(), "pixel_family": table["pixel_family"]}
    )


def measure_subgroups(
    level: Level, attributes: pd.DataFrame, positive_slices: "pd.Series[Any] | None"
) -> list[dict[str, Any]]:
    """Measure the label `any` in every subgroup that has enough cases.

    Args:
        level: Cases with their series.
        attributes: What `attributes_of` gave.
        positive_slices: Number of positive slices by series_id; None leaves out the subgroups by it.

    Returns:
        A row a subgroup: attribute, group, label, n, n_positive, n_patients, auc with ends, and at each operating
        point that the model has sensitivity and specificity with Wilson's ends; NaN where not defined.
    """
    if level.series_id is None:
        return []
    known = ~np.isnan(level.target[:, ANY_INDEX])
    rows = []
    for attribute, group, chosen in _groups(level, attributes, positive_slices):
        inside = chosen & known
        if inside.sum() >= LEAST:
            rows.append({"attribute": attribute, "group": group, **_measured(level, inside)})
    return rows


def _groups(
    level: Level, attributes: pd.DataFrame, counts: "pd.Series[Any] | None"
) -> Iterator[tuple[str, str, Bools]]:
    """Yield attribute, group and which cases are in it."""
    assert level.series_id is not None
    of_case = attributes.reindex(level.series_id)
    thickness, tilt = (of_case[name].to_numpy(dtype=np.float64) for name in ("thickness_mm", "tilt_deg"))
    for name, low, high in _SPACINGS:
        yield "slice thickness", name, (thickness > low) & (thickness <= high)
    for name, low, high in _TILTS:
        yield "gantry tilt", name, (tilt > low) & (tilt <= high)
    family = of_case["pixel_family"].astype(object).to_numpy()
    for one in sorted({value for value in family if isinstance(value, str)}):
        yield "pixel family", one, family == one
    if counts is not None:
        n = counts.reindex(level.series_id).to_numpy(dtype=np.float64)
        negative = level.target[:, ANY_INDEX] == 0
        for name, first, last in _POSITIVES:
            positive = (level.target[:, ANY_INDEX] == 1) & (n >= first) & (n <= last)
            if positive.any():
                yield "positive slices of the scan, against all negatives", name, positive | negative


def _measured(level: Level, inside: Bools) -> dict[str, Any]:
    truth, probability = level.target[inside, ANY_INDEX], level.probability[inside, ANY_INDEX]
    patient = level.patient[inside].astype(str)
    found: dict[str, Any] = {
        "label": "any", "n": int(inside.sum()), "n_positive": int(truth.sum()),
        "n_patients": len(np.unique(patient)), "auc": auc(truth, probability),
    }  # fmt: skip
    replicates = replicates_for(len(truth), level.replicates)
    drawn = bootstrap(
        lambda weight: auc(truth, probability, weight), patient, replicates=replicates, seed=level.seed
    )  # fmt: skip
    found["auc_low"], found["auc_high"] = (float(end) for end in percentiles(drawn))
    for point in HOLDING_RULES:
        threshold = level.thresholds.get(point, {}).get("any")
        if threshold is None:
            continue
        counts = confusion(truth, probability, threshold)
        for name, hit, missed in (
            ("sensitivity", counts.true_positive, counts.false_negative),
            ("specificity", counts.true_negative, counts.false_positive),
        ):
            low, high = wilson_interval(hit, hit + missed)
            found |= {
                f"{name}_at_{point}": getattr(counts, name), f"{name}_at_{point}_low": low,
                f"{name}_at_{point}_high": high,
            }  # fmt: skip
    return found
