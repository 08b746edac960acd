"""Predictions and labels, joined slice by slice and series by series; whose each slice is, from the tables beside."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.errors import SubmissionError, UsageError, cause_of
from ich25d.evaluate.level import Cases
from ich25d.files import read_parquet
from ich25d.labels import LABELS
from ich25d.predict.submission import DIGITS
from ich25d.progress import many
from ich25d.studies.labelfile import read_labels
from ich25d.studies.qc import QcRow
from ich25d.studies.split_unit import split_units
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
    n_not_predicted, n_not_labelled = len(known) - len(table), len(predicted) - len(table)
    if rows:
        remarks.append(f"{many(len(rows), 'remark')} on the labels, in qc.csv, as {rows[0].code}: {rows[0].detail}")
    if n_not_predicted:
        remarks.append(f"{many(n_not_predicted, 'labelled image')} without a prediction, left out")
    if n_not_labelled:
        remarks.append(f"{many(n_not_labelled, 'predicted image')} without a label, left out")
    table, of_groups = _grouped(table, predictions, studies)
    resampled, patient, of_patients = _resampled_as(table)
    has_own_tables = _is_own(predictions, predicted)
    target = table[[f"{label}_truth" for label in LABELS]].to_numpy(dtype=np.float64, na_value=np.nan)
    series_id = table["series_id"].to_numpy(dtype=object)
    slices = Cases(
        "slices", table.index.to_numpy(dtype=object), target, table[list(LABELS)].to_numpy(dtype=np.float64), patient,
        series_id if (series_id != "").any() else None,
    )  # fmt: skip
    series, of_series = _series_of(slices, table, predictions, own=has_own_tables)
    return Joined(
        slices, series, resampled, tuple(rows), has_own_tables, n_not_predicted, n_not_labelled,
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
    probability, source = _series_probabilities(by_series[list(LABELS)].max(), named, predictions, own=own)
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
            table = read_parquet(path)
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
    if wrong := _first_wrong(kept.index.tolist(), values):
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


GROUPS = ("series_id", "study_id", "patient_id")

_TOLERANCE = 2 * 10.0**-DIGITS
"""A CSV holds so many significant digits, the table beside it all of them."""


def _is_own(predictions: Path, predicted: pd.DataFrame) -> bool:
    """Return whether the tables beside predictions are their own: predictions.parquet there holds the same numbers."""
    beside = predictions.with_name("predictions.parquet")
    if not beside.is_file():
        return False
    if beside.samefile(predictions):
        return True
    try:
        other = read_parquet(beside, columns=["image_id", *LABELS]).set_index("image_id")
        other = other.reindex(predicted.index)  # raises where an id occurs twice
        wanted = predicted[list(LABELS)].to_numpy(dtype=np.float64)
        return bool(np.allclose(other.to_numpy(dtype=np.float64), wanted, rtol=_TOLERANCE, atol=_TOLERANCE))
    except (OSError, ValueError, KeyError):
        return False


def _grouped(table: pd.DataFrame, predictions: Path, studies: Path | None) -> tuple[pd.DataFrame, list[str]]:
    """Fill in series_id, study_id and patient_id, "" where unknown.

    Each column comes from the one table that knows it for most images: `studies`, the predictions' own columns, or a
    predictions.parquet beside them (even another prediction's: an image's patient doesn't depend on the prediction).
    Tables aren't mixed, as each may have its own pseudonyms; of two that know as many, the first is taken.

    Returns:
        The table with those columns and `named`, the series' id in the predictions' own tables; and remarks.
    """
    own = table[[name for name in GROUPS if name in table]]
    tables = [own] if studies is None else [_read(studies), own]
    remarks = []
    beside = predictions.with_name("predictions.parquet")
    if beside.is_file() and not beside.samefile(predictions):
        try:
            tables.append(_read(beside))
        except UsageError as error:  # the user didn't name it
            remarks.append(f"not used: {error}")
    found = pd.DataFrame("", index=table.index, columns=list(GROUPS), dtype=object)
    of_studies: dict[str, int] = {}
    for one in tables:
        for name, column in one.reindex(table.index).items():
            known = column.fillna("").astype(str)
            before, now = int((found[name] != "").sum()), int((known != "").sum())
            if studies is not None and one is tables[0]:
                of_studies[str(name)] = now
            if now > before:
                found[name] = known
                if before and before == of_studies.get(str(name)):
                    remarks.append(
                        f"--studies names the {name} of {before} images, the predictions of {now}: theirs are taken"
                    )
    named = next((one["series_id"] for one in tables[::-1] if "series_id" in one), None)
    found["named"] = "" if named is None else named.reindex(table.index).fillna("").astype(str)
    return table.drop(columns=[name for name in GROUPS if name in table]).join(found), remarks


def _read(path: Path) -> pd.DataFrame:
    """Read a table of slices; of an image that occurs twice, the first row counts."""
    path = path / "slices.parquet" if path.is_dir() else path
    try:
        table = read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"a table of slices must be a readable CSV or parquet, or a study store (got {cause_of(error)}) in {path}"
        ) from error
    if "image_id" not in table or not {"series_id", "patient_id"} & set(table):
        raise UsageError(
            f"a table of slices must hold image_id, and series_id or patient_id (got the columns "
            f"{', '.join(map(str, table.columns[:8]))}) in {path}"
        )
    table = table.assign(image_id=table["image_id"].astype(str)).drop_duplicates("image_id").set_index("image_id")
    return table[[name for name in GROUPS if name in table]]


def _resampled_as(table: pd.DataFrame) -> tuple[str, npt.NDArray[np.object_], list[str]]:
    """Choose what is drawn together in the intervals: the patient, else what stands in.

    Returns:
        What that is (patient, series or image), its name for each row, and remarks.
    """
    unit = split_units(table)
    patient = unit.where(unit != "", "image " + table.index.to_series().astype(str)).to_numpy(dtype=object)
    is_patient = (unit == table["patient_id"]) & (unit != "")
    kind = np.select([is_patient, table["study_id"] != "", table["series_id"] != ""], [0, 1, 2], 3)
    n = np.bincount(kind, minlength=4).tolist()
    if n[0] or n[1]:
        remarks = {
            "without a patient: the study stands in for the intervals": n[1],
            "with neither patient nor study: each is drawn by itself or its series": n[2] + n[3],
        }
        return "patient", patient, [f"{many(count, 'image')} {text}" for text, count in remarks.items() if count]
    what = "series" if n[2] else "image"
    return what, patient, [
        f"no table says whose slices these are: intervals resample {what if what == 'series' else 'images'}, too "
        "narrowly; give a table of image_id, series_id, patient_id with --studies"
    ]  # fmt: skip


def _series_probabilities(
    largest: pd.DataFrame, named: pd.Series, predictions: Path, *, own: bool
) -> tuple[pd.DataFrame, str]:
    """Return six probabilities a series: those of studies.csv beside its predictions, else the largest of its slices.

    Args:
        largest: The largest probability of its slices, index series_id, columns the labels.
        named: What the predictions' own tables call each of these series; "" where they don't make one of it: another
            table may call another series so.
        predictions: The file of predictions.
        own: Whether the tables beside it are its own.

    Returns:
        The same table, filled, and what it holds, for a remark.
    """
    beside = predictions.with_name("studies.csv")
    if not beside.is_file():
        return largest, "the largest probability of their slices"
    if not own:
        return largest, (
            "the largest probability of their slices: no predictions.parquet with these numbers says that studies.csv "
            f"belongs to {predictions.name}"
        )
    table = _read_series(beside)
    found = table.reindex(named.reindex(largest.index)).set_axis(largest.index)
    absent = int(found.isna().any(axis=1).sum())
    more = f"; for {absent} that it doesn't hold, the largest of their slices" if absent else ""
    return found.fillna(largest), f"the probabilities of studies.csv{more}"


def _read_series(path: Path) -> pd.DataFrame:
    """Read studies.csv: index series_id, six probabilities."""
    try:
        table = pd.read_csv(path, dtype={"series_id": str}, encoding="utf-8-sig")
        table = table.drop_duplicates("series_id").set_index("series_id")[list(LABELS)].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise SubmissionError(
            f"studies.csv must hold series_id and the six labels as numbers (got others) in {path}"
        ) from error
    if wrong := _first_wrong(table.index.tolist(), table.to_numpy(dtype=np.float64)):
        raise SubmissionError(f"probabilities must lie in 0 to 1 (got {wrong}) in {path}")
    return table


def _first_wrong(ids: Sequence[object], probability: npt.NDArray[np.float64]) -> str:
    """Name the first probability that isn't one, with its place and how many there are; "" where all are."""
    wrong = ~((probability >= 0) & (probability <= 1))
    if not wrong.any():
        return ""
    row, column = (int(place[0]) for place in np.nonzero(wrong))
    n = int(wrong.sum())
    more = f", and {n - 1} more" if n > 1 else ""
    return f"{probability[row, column]:g} for {ids[row]!r}, {LABELS[column]}{more}"
