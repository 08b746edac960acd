"""Predictions and labels, joined: what an evaluation compares, slice by slice and series by series."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.errors import ModelError, SubmissionError, UsageError
from ich25d.labels import LABELS
from ich25d.studies.labelfile import read_labels
from ich25d.studies.series_target import series_targets
from ich25d.training.thresholds import RULES, Thresholds, read_thresholds

_GROUPS = ("series_id", "patient_id")
_MAX_JSON_BYTES = 16 * 1024**2


@dataclass(slots=True)
class Joined:
    """Slices that are both predicted and labelled, and the series that they make up."""

    slice_target: npt.NDArray[np.float64]
    """Shape (N, 6), NaN where unknown."""
    slice_probability: npt.NDArray[np.float64]
    """Shape (N, 6)."""
    slice_patient: npt.NDArray[np.object_]
    """What is resampled together, shape (N,)."""
    slice_id: npt.NDArray[np.object_]
    """Image, shape (N,)."""
    resampled: str
    """What that is: patient, series or image."""
    slice_series: npt.NDArray[np.object_] | None = None
    """Series of each slice, shape (N,); None where no table says."""
    series_id: npt.NDArray[np.object_] | None = None
    """Shape (M,)."""
    series_target: npt.NDArray[np.float64] | None = None
    """Shape (M, 6); None where no table says which slices are one series."""
    series_probability: npt.NDArray[np.float64] | None = None
    series_patient: npt.NDArray[np.object_] | None = None
    n_not_predicted: int = 0
    """Labelled images without a prediction."""
    n_not_labelled: int = 0
    """Predicted images without a label."""
    remarks: list[str] = field(default_factory=list)


def join(predictions: Path, labels: Path, studies: Path | None = None) -> Joined:
    """Read predictions and labels and put them side by side.

    Args:
        predictions: A submission CSV, or `predictions.parquet`.
        labels: The truth, in Kaggle's long form or one column a label.
        studies: What says which slices make a series and whose they are: a study store, or a CSV or parquet table
            with image_id, series_id and patient_id. Default: the tables that `predict` puts beside its CSV.

    Raises:
        SubmissionError: The predictions can't be read as such.
        LabelError: The labels can't.
        UsageError: No image is in both.
    """
    predicted = read_predictions(predictions)
    truth, rows = read_labels(labels)
    known = truth[truth.notna().any(axis=1)]
    table = predicted.join(known.add_suffix("_truth"), how="inner")
    if table.empty:
        raise UsageError(
            f"predictions and labels must share images (got {_some(predicted)} in {predictions} and {_some(known)} in "
            f"{labels})"
        )
    remarks = []
    if rows:
        remarks.append(f"{len(rows)} remarks on the labels, as {rows[0].code}: {rows[0].detail}")
    if len(table) < len(known):
        remarks.append(f"{len(known) - len(table)} labelled images have no prediction and are left out")
    if len(table) < len(predicted):
        remarks.append(f"{len(predicted) - len(table)} predicted images have no label and are left out")
    table = _grouped(table, predictions, studies)
    resampled = next((name for name in ("patient_id", "series_id") if _complete(table, name)), "image_id")
    if resampled != "patient_id":
        remarks.append(
            f"no table says whose slices these are: intervals resample {resampled.removesuffix('_id')}s, too narrowly; "
            "give a table of image_id, series_id, patient_id"
        )
    whose = table[resampled] if resampled != "image_id" else table.index.to_series()
    joined = Joined(
        slice_target=table[[f"{label}_truth" for label in LABELS]].to_numpy(dtype=np.float64, na_value=np.nan),
        slice_probability=table[list(LABELS)].to_numpy(dtype=np.float64),
        slice_patient=whose.to_numpy(dtype=object),
        slice_id=table.index.to_numpy(dtype=object),
        resampled=resampled.removesuffix("_id"),
        n_not_predicted=len(known) - len(table),
        n_not_labelled=len(predicted) - len(table),
        remarks=remarks,
    )
    if _complete(table, "series_id"):
        _add_series(joined, table, predictions)
    else:
        remarks.append("no table says which slices make a series: no scores of series")
    return joined


def read_predictions(path: Path) -> pd.DataFrame:
    """Read probabilities by image.

    Args:
        path: A CSV with ID,Label, or a parquet table with image_id and the six labels.

    Returns:
        Index image_id; the six labels, and series_id and patient_id where the table has them.

    Raises:
        SubmissionError: It isn't there, or isn't such a table.
    """
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path).set_index("image_id")
        else:
            table = _wide(pd.read_csv(path, dtype={"ID": str}, encoding="utf-8-sig"))
        kept = table[[*LABELS, *(name for name in _GROUPS if name in table)]]
        values = kept[list(LABELS)].to_numpy(dtype=np.float64)
    except OSError as error:
        raise SubmissionError(
            f"predictions must be a readable file (got {error.strerror or error}) in {path}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SubmissionError(
            f"predictions must be a table ID,Label or a parquet with image_id and six labels "
            f"(got {type(error).__name__}: {error}) in {path}"
        ) from error
    if kept.index.has_duplicates:
        twice = kept.index[kept.index.duplicated()]
        raise SubmissionError(f"an image must be predicted once (got {len(twice)} twice, as {twice[0]!r}) in {path}")
    if not ((values >= 0) & (values <= 1)).all():
        raise SubmissionError(
            f"probabilities must lie in 0 to 1, six an image (got others) in {path}; check-submission says where"
        )
    return kept


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """Turn six rows an image into six columns; a pair that comes twice raises ValueError."""
    parts = table["ID"].str.rpartition("_")
    if not parts[2].isin(LABELS).all():
        raise ValueError(f"id {table['ID'][~parts[2].isin(LABELS)].iloc[0]!r}")
    long = pd.DataFrame({"image_id": parts[0], "label": parts[2], "value": table["Label"].astype(float)})
    return long.pivot(index="image_id", columns="label", values="value")[list(LABELS)]


def _grouped(table: pd.DataFrame, predictions: Path, studies: Path | None) -> pd.DataFrame:
    """Add series_id and patient_id from the table that has them."""
    beside = predictions.with_name("predictions.parquet")
    source = studies or (beside if beside.is_file() and beside != predictions else None)
    if source is None:
        return table
    path = source / "slices.parquet" if source.is_dir() else source
    try:
        groups = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str)
        groups = groups.drop_duplicates("image_id").set_index("image_id")
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"a table of slices must hold image_id, series_id and patient_id (got {type(error).__name__}) in {path}"
        ) from error
    found = groups[[name for name in _GROUPS if name in groups]]
    return table.drop(columns=[name for name in found if name in table]).join(found)


def _complete(table: pd.DataFrame, name: str) -> bool:
    return name in table and bool(table[name].notna().all()) and bool((table[name] != "").all())


def _add_series(joined: Joined, table: pd.DataFrame, predictions: Path) -> None:
    """Add the level of series: truth and, without a table of series beside the predictions, maximum over slices."""
    by_series = table.groupby("series_id", sort=True)
    joined.slice_series = table["series_id"].to_numpy(dtype=object)
    joined.series_target = series_targets(joined.slice_target, by_series.ngroup().to_numpy())
    largest = by_series[list(LABELS)].max()
    beside = predictions.with_name("studies.csv")
    if beside.is_file():
        own = pd.read_csv(beside, dtype={"series_id": str})
        if {"series_id", *LABELS} <= set(own.columns):
            own = own.drop_duplicates("series_id").set_index("series_id")[list(LABELS)]
            largest = own.reindex(largest.index).fillna(largest)
            joined.remarks.append("series: the probabilities of studies.csv")
    else:
        joined.remarks.append("series: the largest probability of their slices")
    joined.series_id = largest.index.to_numpy(dtype=object)
    joined.series_probability = largest.to_numpy(dtype=np.float64)
    whose = by_series["patient_id"].first() if joined.resampled == "patient" else pd.Series(largest.index)
    joined.series_patient = whose.to_numpy(dtype=object)


def _some(table: pd.DataFrame) -> str:
    return f"{len(table)} images, as {', '.join(map(repr, table.index[:3]))}"


def find_thresholds(model: Path | None) -> tuple[dict[str, Thresholds], bool]:
    """Return the thresholds by level (slice, series), and whether they were chosen on validation.

    Without a model, or one without thresholds, a threshold is 1 / (1 + beta^2): where a missed positive costs beta^2
    times a false call, it is the best one for calibrated probabilities (0.5 for F1, 0.2 for F2).

    Args:
        model: A model directory, or a JSON file of thresholds.

    Raises:
        ModelError: The file is damaged.
    """
    fixed: dict[str, Thresholds] = {level: {rule: {} for rule in RULES} for level in ("slice", "series")}
    if model is None:
        return fixed, False
    path = model / "model.json" if model.is_dir() else model
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ModelError(f"thresholds must be at most {_MAX_JSON_BYTES} bytes (got more) in {path}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"thresholds must be in a readable file (got {error.strerror}) in {path}") from error
    except ValueError as error:
        raise ModelError(f"thresholds must be in JSON (got {error}) in {path}") from error
    if isinstance(content, dict) and "thresholds" in content:
        content = content["thresholds"]
    if not content:
        return fixed, False
    if isinstance(content, dict) and not {"slice", "series"} & set(content):
        content = {"slice": content}
    return {level: read_thresholds(content.get(level, {})) for level in ("slice", "series")}, True
