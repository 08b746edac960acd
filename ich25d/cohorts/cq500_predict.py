"""CQ500's studies predicted: the main series of each is chosen by rule, read and judged."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.cohorts.reads import name_in
from ich25d.errors import UsageError
from ich25d.files import replacing
from ich25d.labels import LABELS
from ich25d.predict.jobs import find_jobs, fingerprint
from ich25d.predict.network import Network
from ich25d.predict.parts import Part, kept_parts
from ich25d.predict.pipeline import predict_jobs
from ich25d.progress import bar, remark
from ich25d.studies.main_series import choose_main, thickness_of
from ich25d.studies.qc import QcRow, safe_cell, write_qc
from ich25d.studies.series_plan import SeriesPlan

STUDIES_FILE, CHOICE_FILE, QC_FILE = "predictions.csv", "series.csv", "qc.csv"


@dataclass(slots=True)
class Predicted:
    """What became of the studies in the sources."""

    probability: pd.DataFrame
    """Index name, the six labels."""
    n_series: int
    n_rejected: int
    """Series that aren't their study's main one."""
    unreadable: list[str] = field(default_factory=list)
    """Studies whose main series couldn't be read."""
    n_nameless: int = 0
    """Series in whose path no study's name is found."""


def predict_studies(
    sources: Sequence[Path], network: Network, out: Path, wanted: Sequence[str], *, workers: int = 0
) -> Predicted:
    """Predict the main series of every study.

    A study's name is read off its path (`CQ500CT12 CQ500CT12/...`): the files' own PatientID is never kept.

    Args:
        sources: Folders and zip archives with CQ500's DICOM.
        network: A loaded model.
        out: Folder for `predictions.csv`, `series.csv` (each series, chosen or why not) and `qc.csv`; a killed run
            is gone on with by the same call.
        wanted: Names of the studies that were read; others aren't predicted.
        workers: Processes that read; 0 chooses.

    Raises:
        UsageError: No source, or none of the studies in them.
    """
    plans: dict[str, list[SeriesPlan]] = defaultdict(list)
    qc: list[QcRow] = []
    n_series = n_nameless = 0
    asked = set(wanted)
    for source in sources:
        found = find_jobs([source], size=network.size, crop=network.crop, workers=workers)
        qc += found.qc
        for plan in found.series:
            if not isinstance(plan, SeriesPlan):
                raise UsageError(f"cq500 takes folders and archives of DICOM (got the study store {source})")
            n_series += 1
            name = name_in(plan.images.source(0)) or name_in(str(source))
            n_nameless += name is None
            if name in asked:
                plans[name].append(plan)
    if not plans:
        raise UsageError(
            f"sources must hold studies of the reads, in folders or archives named like CQ500CT12 (got {n_series} "
            f"series, {n_nameless} without such a name)"
        )
    if n_nameless:
        remark(f"{n_nameless} series have no study's name in their path and are left out")
    chosen = _choose(plans, out)
    parts = _predict(chosen, network, out, qc, workers)
    write_qc(out / QC_FILE, qc)
    names = [name for name in chosen if name in parts]
    values = np.array([parts[name].series_probability for name in names]).reshape(-1, len(LABELS))
    table = pd.DataFrame(values, columns=list(LABELS), index=pd.Index(names, name="name"))
    with replacing(out / STUDIES_FILE) as part:
        table.to_csv(part, float_format="%.6g", lineterminator="\n")
    unreadable = [name for name in chosen if name not in parts]
    return Predicted(table, n_series, sum(map(len, plans.values())) - len(chosen), unreadable, n_nameless)


def _choose(plans: dict[str, list[SeriesPlan]], out: Path) -> dict[str, SeriesPlan]:
    """Choose each study's main series and write down why not the others."""
    chosen, rows = {}, []
    for name in sorted(plans, key=lambda text: int(text.rpartition("-")[2])):
        best, rejected = choose_main(plans[name])
        chosen[name] = best
        why = {one.series_id: one.reason for one in rejected} | {best.series_id: "chosen"}
        for plan in sorted(plans[name], key=lambda one: one.series_id != best.series_id):
            rows.append([
                name, safe_cell(plan.series_id), why[plan.series_id], len(plan), thickness_of(plan), plan.kernel,
                ";".join(sorted(plan.traits)), plan.series_number,
            ])  # fmt: skip
    columns = ["name", "series_id", "choice", "n_slices", "thickness_mm", "kernel", "traits", "series_number"]
    with replacing(out / CHOICE_FILE) as part:
        table = pd.DataFrame(rows, columns=columns).astype({"series_number": "Int64"})
        table.to_csv(part, index=False, float_format="%.4g", lineterminator="\n")
    return chosen


def _predict(
    chosen: dict[str, SeriesPlan], network: Network, out: Path, qc: list[QcRow], workers: int
) -> dict[str, Part]:
    done: dict[str, Part] = {}
    with kept_parts(out / STUDIES_FILE, network.stamp) as parts:
        key = {name: fingerprint(plan) for name, plan in chosen.items()}
        done = {name: part for name in chosen if (part := parts.load(key[name])) is not None}
        todo = {id(plan): name for name, plan in chosen.items() if name not in done}
        with bar("predict", sum(len(chosen[name]) for name in todo.values()), "slices") as advance:
            jobs = [chosen[name] for name in todo.values()]
            for job, result in predict_jobs(jobs, network, workers=workers):
                name = todo[id(job)]
                if isinstance(result, Part):
                    parts.save(key[name], result)
                    done[name] = result
                else:
                    qc += result
                advance(len(job))
    qc += [row for part in done.values() for row in part.qc]
    return done


def stacked(table: pd.DataFrame, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the probabilities of these studies in this order, shape (N, 6)."""
    return table.loc[list(names), list(LABELS)].to_numpy(dtype=np.float64)
