"""The files of a prediction: the Kaggle CSV, and beside it a table of slices, one of series, and one of remarks."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.files import replacing
from ich25d.labels import LABELS
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.output_folder import QC_FILE, SERIES_FILE, write_slices
from ich25d.predict.series import UnreadSeries
from ich25d.predict.submission import DIGITS, HIGHEST, LOWEST, fill_submission
from ich25d.progress import many
from ich25d.studies.qc import QcRow, is_refused, safe_cell, write_qc

_AT_ONCE = 4096  # images a write
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Written:
    """What the files hold."""

    n_images: int
    """Images answered in the CSV."""
    n_by_prior: int
    """Those among them that no network saw."""
    qc: tuple[QcRow, ...]


def write_outputs(
    out: Path,
    done: Sequence[tuple[UnreadSeries, FinishedSeries]],
    qc: Sequence[QcRow],
    prior: Floats,
    sample: Path | None,
    wanted: Sequence[str] | None,
) -> Written:
    """Write all files; the CSV is checked first and put in its place last, after the tables that belong to it.

    Args:
        out: The CSV.
        done: Every predicted series, in the order that the tables take.
        qc: Refusals and remarks.
        prior: What an image without a prediction gets, shape (6,).
        sample: The sample submission that the CSV must match.
        wanted: Its image ids, in its order; None answers every predicted image.

    Raises:
        SubmissionError: The CSV wouldn't be sound; the old files stay.
    """
    ids = [image for _, finished in done for image in finished.image_ids]
    row_of = {image: row for row, image in enumerate(ids)}
    by_prior = [] if wanted is None else [image for image in wanted if image not in row_of]
    why = {row.image_id: row.code for row in qc if row.image_id}
    rows = [
        QcRow("", image, "", "label", "SUB_PRIOR", f"refused as {why[image]}" if image in why else "not in the sources")
        for image in by_prior
    ]
    everything = (*qc, *rows)
    probability = _stack([finished.probability for _, finished in done])
    answered = list(row_of) if wanted is None else list(wanted)
    with replacing(out) as csv:
        n_images = fill_submission(csv, _answers(answered, row_of, probability, prior), sample, out)
        write_slices(out, _slice_table(done, ids, probability, everything, by_prior, prior))
        _write_series(out.with_name(SERIES_FILE), done, everything)
        write_qc(out.with_name(QC_FILE), everything)
    return Written(n_images, len(by_prior), everything)


def _stack(several: Sequence[Floats]) -> Floats:
    return np.concatenate(several) if several else np.zeros((0, len(LABELS)))


def _answers(
    ids: Sequence[str], row_of: dict[str, int], probability: Floats, prior: Floats
) -> Iterator[tuple[Sequence[str], Floats]]:
    known = np.concatenate([probability, prior[None]])  # the last row answers what has none
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        yield part, known[[row_of.get(image, len(known) - 1) for image in part]]


def flags_of(qc: Sequence[QcRow]) -> dict[str, str]:
    """Return the codes of each image that has any, joined by `;`."""
    codes: defaultdict[str, set[str]] = defaultdict(set)
    for row in qc:
        if row.image_id:
            codes[row.image_id].add(row.code)
    return {image: ";".join(sorted(found)) for image, found in codes.items()}


def _slice_table(
    done: Sequence[tuple[UnreadSeries, FinishedSeries]],
    ids: list[str],
    probability: Floats,
    qc: Sequence[QcRow],
    by_prior: Sequence[str],
    prior: Floats,
) -> pd.DataFrame:
    """Return a row a slice in scan order, series after series, then the images that only have the prior."""
    n_slices = [len(finished.image_ids) for _, finished in done]
    encoder = _stack([finished.encoder_probability for _, finished in done])
    flags = flags_of(qc)
    absent = len(by_prior)
    columns: dict[str, Any] = {"image_id": [*ids, *by_prior]}
    for name in ("series_id", "study_id", "patient_id"):
        columns[name] = [
            *np.repeat([getattr(series, name) for series, _ in done], n_slices).tolist(),
            *([""] * absent),
        ]
    index = [*(rank for count in n_slices for rank in range(count)), *([None] * absent)]
    columns["slice_index"] = pd.array(index, dtype="Int32")
    position = [*(finished.slice_position_mm for _, finished in done), np.full(absent, np.nan)]
    columns["slice_position_mm"] = np.concatenate(position)
    for source, values in (("encoder_", encoder), ("", probability)):
        filled = np.concatenate([values, np.broadcast_to(prior, (absent, len(LABELS)))]).clip(LOWEST, HIGHEST)
        for number, label in enumerate(LABELS):
            columns[source + label] = filled[:, number]
    columns["flags"] = [flags.get(image, "") for image in columns["image_id"]]
    return pd.DataFrame(columns)


def _write_series(path: Path, done: Sequence[tuple[UnreadSeries, FinishedSeries]], qc: Sequence[QcRow]) -> None:
    """Write a row a series: ids, number of slices, probabilities of the whole scan, remarks and refused slices."""
    remarks: defaultdict[str, set[str]] = defaultdict(set)
    refused: defaultdict[str, set[str]] = defaultdict(set)
    for row in qc:
        if row.series_id and (row.level == "series" or not row.image_id):
            remarks[row.series_id].add(row.code)
        elif is_refused(row) and row.code != "DUP_UID_SAME":  # the other copy of such an image is used
            refused[row.series_id].add(row.image_id)
    rows = []
    for series, finished in done:
        codes = sorted(remarks[series.series_id])
        if n := len(refused[series.series_id]):
            codes.append(f"{many(n, 'slice')} refused")
        ids = [safe_cell(text) for text in (series.series_id, series.study_id, series.patient_id)]
        values = finished.series_probability.clip(LOWEST, HIGHEST)
        rows.append([*ids, len(finished.image_ids), *(f"{value:.{DIGITS}g}" for value in values), ";".join(codes)])
    columns = ["series_id", "study_id", "patient_id", "n_slices", *LABELS, "remarks"]
    with replacing(path) as target:
        pd.DataFrame(rows, columns=columns).to_csv(target, index=False, lineterminator="\n")
