"""Predictions and labels, joined slice by slice and series by series."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ich25d.errors import SubmissionError, UsageError, cause_of
from ich25d.evaluate.groups import GROUPS, first_wrong, grouped, is_own, resampled_as, series_probabilities
from ich25d.evaluate.level import Cases
from ich25d.labels import LABELS
from ich25d.progress import many
from ich25d.studies.labelfile import read_labels
from ich25d.studies.qc import QcRow
from ich25d.training.series_target import series_targets

_LEAST_MATCH = 0.1
"""Least share of the smaller file's images that the other must hold; below it they are of other images or other ids."""

_FORMS = "a CSV with ID,Label, or a parquet with image_id and the six labels"


@dataclass(slots=True)
class Joined:
    """What is both predicted and labelled."""

    slices: Cases
    series: Cases | None
    """The series that the slices make up; None where no table says so."""
    resampled: str
    """What is resampled together: patient, series or image."""
    label_rows: tuple[QcRow, ...]
    """Refusals and remarks of the labels."""
    has_own_tables: bool
    """The tables beside the predictions hold the same numbers."""
    n_not_predicted: int
    """Labelled images without a prediction."""
    n_not_labelled: int
    """Predicted images without a label."""
    remarks: list[str]

    @property
    def levels(self) -> list[Cases]:
        """Slices, and series where they are known."""
        return [self.slices] if self.series is None else [self.slices, self.series]


def join(predictions: Path, labels: Path, studies: Path | None = None) -> Joined:
    """Read predictions and labels, and join them by image.

    Args:
        predictions: A submission CSV, or `predictions.parquet`.
        labels: The truth, in Kaggle's long form or one column a label.
        studies: Names series and patient of each image: a study store, or a CSV or parquet table with image_id,
            series_id and patient_id. Default: the tables that `predict` writes beside its CSV.

    Raises:
        SubmissionError: The predictions can't be read as such.
        LabelError: The labels can't.
        UsageError: Hardly any image is in both.
    """
    predicted = read_predictions(predictions)
    truth, rows = read_labels(labels)
    known = truth[truth.notna().any(axis=1)]
    table = predicted.join(known.add_suffix("_truth"), how="inner")
    if len(table) < _LEAST_MATCH * min(len(predicted), len(known)) or table.empty:
        raise UsageError(
            f"predictions and labels must be of the same images (got {len(table)} in both, of {_some(predicted)} in "
            f"{predictions} and {_some(known)} in {labels})"
        )
    remarks = []
    if rows:
        remarks.append(f"{many(len(rows), 'remark')} on the labels, in qc.csv, as {rows[0].code}: {rows[0].detail}")
    if len(table) < len(known):
        remarks.append(f"{many(len(known) - len(table), 'labelled image')} without a prediction, left out")
    if len(table) < len(predicted):
        remarks.append(f"{many(len(predicted) - len(table), 'predicted image')} without a label, left out")
    table, of_groups = grouped(table, predictions, studies)
    resampled, patient, of_patients = resampled_as(table)
    has_own_tables = is_own(predictions, predicted)
    target = table[[f"{label}_truth" for label in LABELS]].to_numpy(dtype=np.float64, na_value=np.nan)
    series_id = table["series_id"].to_numpy(dtype=object)
    slices = Cases(
        "slices", table.index.to_numpy(dtype=object), target, table[list(LABELS)].to_numpy(dtype=np.float64), patient,
        series_id if (series_id != "").any() else None,
    )  # fmt: skip
    series, of_series = _series_of(slices, table, predictions, own=has_own_tables)
    return Joined(
        slices, series, resampled, tuple(rows), has_own_tables, len(known) - len(table), len(predicted) - len(table),
        [*remarks, *of_groups, *of_patients, *of_series],
    )  # fmt: skip


def _series_of(slices: Cases, table: pd.DataFrame, predictions: Path, *, own: bool) -> tuple[Cases | None, list[str]]:
    """Return the level of series, of the images whose series is known, and remarks."""
    if slices.series_id is None:
        return None, ["no table says which slices make a series: no scores of series"]
    remarks = []
    known = slices.series_id != ""
    if not known.all():
        remarks.append(f"{many(int((~known).sum()), 'image')} of no known series, left out of the scores of series")
    by_series = table[known].groupby("series_id", sort=True)
    # The series' id in the predictions' own tables, where it has the same images there.
    named = by_series["named"].agg(lambda names: names.iloc[0] if names.nunique() == 1 else "")
    named = named.where(~named.duplicated(keep=False), "")
    probability, source = series_probabilities(by_series[list(LABELS)].max(), named, predictions, own=own)
    remarks.append(f"series: {source}")
    target = series_targets(slices.target[known], by_series.ngroup().to_numpy())
    patient = pd.Series(slices.patient[known]).groupby(slices.series_id[known], sort=True).first()
    series_id = probability.index.to_numpy(dtype=object)
    return Cases(
        "series", series_id, target, probability.to_numpy(dtype=np.float64), patient.to_numpy(dtype=object), series_id
    ), remarks


def read_predictions(path: Path) -> pd.DataFrame:
    """Read probabilities by image.

    Args:
        path: A CSV with ID,Label, or a parquet table with image_id and the six labels.

    Returns:
        Index image_id; the six labels, and series_id, study_id and patient_id where the table has them.

    Raises:
        SubmissionError: It is absent, or no such table.
    """
    try:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
            _need(path, table, ("image_id", *LABELS))
            table = table.assign(image_id=table["image_id"].astype(str)).set_index("image_id")
        else:
            table = pd.read_csv(path, dtype={"ID": str}, encoding="utf-8-sig")
            _need(path, table, ("ID", "Label"))
            table = _wide(table, path)
        kept = table[[*LABELS, *(name for name in GROUPS if name in table)]]
        values = kept[list(LABELS)].to_numpy(dtype=np.float64)
    except OSError as error:
        raise SubmissionError(f"predictions must be a readable file (got {cause_of(error)}) in {path}") from error
    except pd.errors.EmptyDataError as error:
        raise SubmissionError(f"predictions must be {_FORMS} (got an empty file) in {path}") from error
    except (ValueError, TypeError) as error:
        raise SubmissionError(f"predictions must be {_FORMS} (got {cause_of(error)}) in {path}") from error
    if kept.index.has_duplicates:
        twice = kept.index[kept.index.duplicated()]
        raise SubmissionError(f"an image must be predicted once (got {len(twice)} twice, as {twice[0]!r}) in {path}")
    if wrong := first_wrong(kept.index.tolist(), values):
        raise SubmissionError(f"probabilities must lie in 0 to 1, six an image (got {wrong}) in {path}")
    return kept


def _need(path: Path, table: pd.DataFrame, columns: Sequence[str]) -> None:
    if missing := [name for name in columns if name not in table]:
        shown = ", ".join(map(str, table.columns[:8]))
        raise SubmissionError(
            f"predictions must be {_FORMS} (got the columns {shown}, without {', '.join(missing)}) in {path}"
        )


def _wide(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Turn six rows an image into six columns."""
    if table.empty:
        raise SubmissionError(f"predictions must hold rows (got none under the column names) in {path}")
    parts = table["ID"].fillna("").str.rpartition("_")
    if (wrong := ~parts[2].isin(LABELS)).any():
        raise SubmissionError(
            f"an id must be an image's and one of the six labels (got {table['ID'][wrong].iloc[0]!r}) in {path}"
        )
    if (twice := table["ID"].duplicated()).any():
        raise SubmissionError(f"an id must come once (got {table['ID'][twice].iloc[0]!r} again) in {path}")
    long = pd.DataFrame({"image_id": parts[0], "label": parts[2], "value": table["Label"].astype(float)})
    return long.pivot(index="image_id", columns="label", values="value").reindex(columns=list(LABELS))


def _some(table: pd.DataFrame) -> str:
    return f"{many(len(table), 'image')}, as {', '.join(map(repr, table.index[:3]))}"
