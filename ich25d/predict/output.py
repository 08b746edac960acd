"""The files of a prediction: the Kaggle CSV, and beside it a table of slices, one of series, and one of remarks."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ich25d.files import replacing
from ich25d.labels import LABELS
from ich25d.predict.answer import Answer
from ich25d.predict.beforehand import OWNER, QC_FILE, SERIES_FILE, SLICES_FILE
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.judgement import by_series, judge
from ich25d.predict.network import Network
from ich25d.predict.submission import DIGITS, HIGHEST, LOWEST, fill_submission
from ich25d.progress import many
from ich25d.studies.qc import QcRow, is_refused, safe_cell, write_qc
from ich25d.training.confidence import Judgement

Floats = npt.NDArray[np.float64]


def write_outputs(
    out: Path,
    answer: Answer[FinishedSeries],
    network: Network,
    sample: Path | None = None,
    wanted: Sequence[str] | None = None,
) -> tuple[int, int]:
    """Write all files; the CSV is checked first and put in its place last, after the tables that belong to it.

    Args:
        out: The CSV.
        answer: Predicted series, in the order that the tables take, with refusals and remarks.
        network: The model: its prior is what an image without a prediction gets.
        sample: The sample submission that the CSV must match.
        wanted: Its image ids, in its order; None answers every predicted image.

    Returns:
        Images in the CSV, and those of them that got the prior.

    Raises:
        SubmissionError: The CSV wouldn't be sound; the old files stay.
    """
    predicted = {image for _, finished in answer.series for image in finished.image_ids}
    by_prior = [image for image in wanted or () if image not in predicted]
    why = {row.image_id: f"refused as {row.code}" for row in answer.qc if row.image_id}
    qc = [
        *answer.qc,
        *(QcRow("", image, "", "label", "SUB_PRIOR", why.get(image, "not in the sources")) for image in by_prior),
    ]
    rows_of = by_series(qc)
    judged = [judge(network, finished, rows_of.get(series.series_id, ())) for series, finished in answer.series]
    slices = _slice_table(answer, by_prior, network.prior, flags_of(qc), judged)
    row_of = {image: row for row, image in enumerate(slices["image_id"])}
    ids = list(row_of) if wanted is None else list(wanted)
    probability = slices[list(LABELS)].to_numpy()[[row_of[image] for image in ids]]
    with replacing(out) as csv:
        fill_submission(csv, ids, probability, sample, out)
        content = pa.Table.from_pandas(slices, preserve_index=False)
        content = content.replace_schema_metadata({**(content.schema.metadata or {}), OWNER: out.name.encode()})
        with replacing(out.with_name(SLICES_FILE)) as path:
            pq.write_table(content, path)
        _write_series(out.with_name(SERIES_FILE), answer, qc, judged, network.named)
        write_qc(out.with_name(QC_FILE), qc)
    return len(ids), len(by_prior)


def flags_of(qc: Sequence[QcRow]) -> dict[str, str]:
    """Return the codes of each image that has any, joined by `;`."""
    codes: defaultdict[str, set[str]] = defaultdict(set)
    for row in qc:
        if row.image_id:
            codes[row.image_id].add(row.code)
    return {image: ";".join(sorted(of_image)) for image, of_image in codes.items()}


def _slice_table(
    answer: Answer[FinishedSeries],
    by_prior: Sequence[str],
    prior: Floats,
    flags: dict[str, str],
    judged: Sequence[Judgement],
) -> pd.DataFrame:
    """Return a row a slice in scan order, series after series, then the images that only have the prior."""
    series = [one for one, finished in answer.series for _ in finished.image_ids]
    finished = [one for _, one in answer.series]
    n_absent = len(by_prior)
    columns: dict[str, Any] = {"image_id": [*(image for one in finished for image in one.image_ids), *by_prior]}
    for name in ("series_id", "study_id", "patient_id"):
        columns[name] = [getattr(one, name) for one in series] + [""] * n_absent
    ranks = [rank for one in finished for rank in range(len(one.image_ids))]
    columns["slice_index"] = pd.array(ranks + [None] * n_absent, dtype="Int32")
    position = [*(one.slice_position_mm for one in finished), np.full(n_absent, np.nan)]
    columns["slice_position_mm"] = np.concatenate(position)
    priors = np.broadcast_to(prior, (n_absent, len(LABELS)))
    for prefix, values in (
        ("encoder_", [one.encoder_probability for one in finished]), ("", [one.probability for one in finished]),
    ):  # fmt: skip
        filled = np.concatenate([*values, priors]).clip(LOWEST, HIGHEST)
        for number, label in enumerate(LABELS):
            columns[prefix + label] = filled[:, number]
    columns["confidence"] = [
        judgement.state for judgement, one in zip(judged, finished, strict=True) for _ in one.image_ids
    ] + [""] * n_absent  # fmt: skip
    columns["clearness"] = np.array([
        *(judgement.clearness for judgement, one in zip(judged, finished, strict=True) for _ in one.image_ids),
        *[np.nan] * n_absent,
    ])  # fmt: skip
    columns["flags"] = [flags.get(image, "") for image in columns["image_id"]]
    return pd.DataFrame(columns)


def _write_series(
    path: Path, answer: Answer[FinishedSeries], qc: Sequence[QcRow], judged: Sequence[Judgement], model: str
) -> None:
    """Write a row a series: ids, slices, probabilities of the whole scan, how sure they are, remarks, the model."""
    remarks: defaultdict[str, set[str]] = defaultdict(set)
    refused: defaultdict[str, set[str]] = defaultdict(set)
    for row in qc:
        if row.series_id and (row.level == "series" or not row.image_id):
            remarks[row.series_id].add(row.code)
        elif is_refused(row) and row.code != "DUP_UID_SAME":  # the other copy of such an image is used
            refused[row.series_id].add(row.image_id)
    rows = []
    for (series, finished), judgement in zip(answer.series, judged, strict=True):
        codes = sorted(remarks[series.series_id])
        if n := len(refused[series.series_id]):
            codes.append(f"{many(n, 'slice')} refused")
        ids = [safe_cell(text) for text in (series.series_id, series.study_id, series.patient_id)]
        values = finished.series_probability.clip(LOWEST, HIGHEST)
        rows.append(
            [
                *ids,
                len(finished.image_ids),
                *(f"{value:.{DIGITS}g}" for value in values),
                judgement.state,
                f"{judgement.clearness:.4g}",
                safe_cell("; ".join(judgement.reasons)),
                ";".join(codes),
                model,
            ]
        )
    columns = [
        "series_id",
        "study_id",
        "patient_id",
        "n_slices",
        *LABELS,
        "confidence",
        "clearness",
        "why",
        "remarks",
        "model",
    ]
    with replacing(path) as target:
        pd.DataFrame(rows, columns=columns).to_csv(target, index=False, lineterminator="\n")
