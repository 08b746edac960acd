"""CQ500's studies predicted: the main series of each is chosen by rule, read and judged."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.cohorts.cases import ABSENT, ALL_REFUSED, JUDGED, UNREADABLE, Case, counted
from ich25d.cohorts.main_series import broken_rules, choose_main, thickness_of
from ich25d.cohorts.reads import name_in
from ich25d.errors import UsageError
from ich25d.files import claim_folder, replacing
from ich25d.labels import LABELS
from ich25d.predict.finished_series import Part, kept_parts
from ich25d.predict.gather import without_doubles
from ich25d.predict.jobs import Jobs, find_jobs, fingerprint
from ich25d.predict.network import Network
from ich25d.predict.pipeline import predict_jobs
from ich25d.progress import bar, remark
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.qc import QcRow, count_refused, is_refused, safe_cell, write_qc
from ich25d.studies.series.series_plan import SeriesPlan

STUDIES_FILE, CHOICE_FILE, QC_FILE = "predictions.csv", "series.csv", "qc.csv"


@dataclass(slots=True)
class Predicted:
    """What became of the studies in the sources."""

    probability: pd.DataFrame
    """Index name, the six labels."""
    cases: dict[str, Case]
    """By name, every study that the sources hold."""
    n_series: int
    n_rejected: int
    """Series that aren't their study's main one."""
    n_nameless: int
    """Series in whose path no study's name is found."""
    n_not_read: int
    """Series of studies without reads."""
    refusals: Counter[str]
    """Rows of `qc.csv` that refuse something, by code."""


@dataclass(slots=True)
class _Found:
    """What the sources hold, by the name of the study."""

    plans: dict[str, list[SeriesPlan]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[QcRow]] = field(default_factory=lambda: defaultdict(list))
    """Refusals of files that say which study they are of."""
    qc: list[QcRow] = field(default_factory=list)
    n_seen: int = 0
    n_series: int = 0
    n_nameless: int = 0


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
        UsageError: No source, or none of the studies in them can be read.
    """
    found = _find(sources, network, workers)
    asked = set(wanted)
    plans = {name: of for name, of in found.plans.items() if name in asked}
    if not found.n_series:
        raise nothing_used(found.n_seen, found.qc)
    if not plans:
        raise UsageError(
            f"sources must hold studies of the reads, in folders or archives named like CQ500CT12 (got "
            f"{found.n_series} series, {found.n_nameless} without such a name)"
        )
    if found.n_nameless:
        remark(f"series without a study's name in their path, left out: {found.n_nameless}")
    chosen = {name: choose_main(of)[0] for name, of in sorted(plans.items(), key=lambda item: _number(item[0]))}
    done, lost = _predict(chosen, network, out, workers)
    qc = [*found.qc, *lost, *(row for part in done.values() for row in part.qc)]
    if not done:
        raise nothing_used(found.n_seen, qc)
    for row in qc[len(found.qc) :]:
        if is_refused(row):
            found.rows[next(name for name, plan in chosen.items() if plan.series_id == row.series_id)].append(row)
    claim_folder(out, "cq500")
    _write_choice(plans, found.rows, out)
    write_qc(out / QC_FILE, qc)
    names = [name for name in chosen if name in done]
    values = np.array([done[name].series_probability for name in names]).reshape(-1, len(LABELS))
    table = pd.DataFrame(values, columns=list(LABELS), index=pd.Index(names, name="name"))
    with replacing(out / STUDIES_FILE) as part:
        table.to_csv(part, float_format="%.6g", lineterminator="\n")
    return Predicted(
        probability=table,
        cases=_cases(found, chosen, set(done)),
        n_series=found.n_series,
        n_rejected=sum(map(len, plans.values())) - len(chosen),
        n_nameless=found.n_nameless,
        n_not_read=sum(len(of) for name, of in found.plans.items() if name not in asked),
        refusals=count_refused(qc),
    )


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _find(sources: Sequence[Path], network: Network, workers: int) -> _Found:
    """Plan all series and give each to its study.

    Paths in rows and plans are relative to their source. Where the source itself is a study's folder they don't name
    the study, so that such sources are looked through one by one; the others, archives too, all at once.
    """
    own = [source for source in sources if source.is_dir() and name_in(str(source)) is not None]
    groups = [(name_in(str(source)) or "", [source]) for source in own]
    groups += [("", rest)] if (rest := [source for source in sources if source not in own]) or not own else []
    found, every = _Found(), Jobs([])
    name_of: dict[int, str] = {}
    for name, group in groups:
        jobs = find_jobs(group, size=network.size, crop=network.crop, workers=workers)
        every.series += jobs.series
        every.qc += jobs.qc
        every.n_seen += jobs.n_seen
        name_of |= {id(job): name for job in jobs.series}
        for row in jobs.qc:
            if is_refused(row) and (whose := name_in(row.source) or name):
                found.rows[whose].append(row)
    kept, found.qc = without_doubles(every)
    found.n_seen = every.n_seen
    for plan in kept:
        if not isinstance(plan, SeriesPlan):
            raise UsageError(f"cq500 takes folders and archives of DICOM (got the study store {plan.root})")
        found.n_series += 1
        if whose := name_in(plan.images.source(0)) or name_of[id(plan)]:
            found.plans[whose].append(plan)
        else:
            found.n_nameless += 1
    return found


def _cases(found: _Found, chosen: dict[str, SeriesPlan], done: set[str]) -> dict[str, Case]:
    cases = {}
    for name in sorted({*found.plans, *found.rows}, key=_number):
        rows, n = found.rows.get(name, []), len(found.plans.get(name, ()))
        if (main := chosen.get(name)) is None:
            cases[name] = Case(name, ALL_REFUSED if not n else ABSENT, counted(rows), n_series=n)
            continue
        of_main = counted(row for row in rows if row.series_id == main.series_id)
        broken = broken_rules(main)
        said = [*broken, *([f"refused of it: {of_main}"] if of_main else [])]
        # A series of which nothing is left was refused file by file: the main one may be the next best.
        known = {plan.series_id for plan in found.plans[name]}
        if broken and (others := counted(row for row in rows if row.series_id not in known)):
            said.append(f"refused beside it: {others}")
        cases[name] = Case(name, JUDGED if name in done else UNREADABLE, "; ".join(said), main.series_id, n)
    return cases


def _write_choice(plans: dict[str, list[SeriesPlan]], refused: dict[str, list[QcRow]], out: Path) -> None:
    """Write down each study's main series, and why not the others; series that were refused whole come last."""
    rows = []
    for name in sorted(plans, key=_number):
        best, rejected = choose_main(plans[name])
        why = {one.series_id: one.reason for one in rejected} | {best.series_id: "chosen"}
        for plan in sorted(plans[name], key=lambda one: one.series_id != best.series_id):
            rows.append([
                name, safe_cell(plan.series_id), why[plan.series_id], len(plan), thickness_of(plan), plan.kernel,
                ";".join(sorted(plan.traits)), plan.series_number,
            ])  # fmt: skip
    for name in sorted(refused, key=_number):
        known = {plan.series_id for plan in plans.get(name, ())}
        gone = sorted({row.series_id for row in refused[name]} - known)
        for series_id in gone:
            codes = counted(row for row in refused[name] if row.series_id == series_id)
            rows.append([name, safe_cell(series_id), f"refused: {codes}", 0, None, "", "", None])
    rows.sort(key=lambda row: _number(str(row[0])))
    columns = ["name", "series_id", "choice", "n_slices", "thickness_mm", "kernel", "traits", "series_number"]
    with replacing(out / CHOICE_FILE) as part:
        table = pd.DataFrame(rows, columns=columns).astype({"series_number": "Int64"})
        table.to_csv(part, index=False, float_format="%.4g", lineterminator="\n")


def _predict(
    chosen: dict[str, SeriesPlan], network: Network, out: Path, workers: int
) -> tuple[dict[str, Part], list[QcRow]]:
    """Predict what isn't there yet; return what is there then, and the rows of what couldn't be read."""
    lost: list[QcRow] = []
    with kept_parts(out / STUDIES_FILE, network.stamp) as parts:
        key = {name: fingerprint(plan) for name, plan in chosen.items()}
        done = {name: part for name in chosen if (part := parts.load(key[name])) is not None}
        if done:
            remark(f"{len(done)} of {len(chosen)} studies were predicted by an unfinished run")
        todo = {id(plan): name for name, plan in chosen.items() if name not in done}
        with bar("predict", sum(len(chosen[name]) for name in todo.values()), "slices") as advance:
            jobs = [chosen[name] for name in todo.values()]
            for job, result in predict_jobs(jobs, network, workers=workers):
                name = todo[id(job)]
                if isinstance(result, Part):
                    parts.save(key[name], result)
                    done[name] = result
                else:
                    lost += result
                advance(len(job))
    return done, lost


def stacked(table: pd.DataFrame, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the probabilities of these studies in this order, shape (N, 6)."""
    return table.loc[list(names), list(LABELS)].to_numpy(dtype=np.float64)
