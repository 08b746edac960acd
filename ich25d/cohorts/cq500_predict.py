"""CQ500's studies predicted: the main series of each is chosen by rule."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ich25d.cohorts.beforehand import CHOICE_FILE, QC_FILE, STUDIES_FILE
from ich25d.cohorts.cases import ABSENT, ALL_REFUSED, JUDGED, UNREADABLE, Case, counted
from ich25d.cohorts.main_series import broken_rules, choose_main, thickness_of
from ich25d.cohorts.reads import name_in
from ich25d.errors import UsageError
from ich25d.files import claim_folder, replacing
from ich25d.labels import LABELS
from ich25d.predict.answer import resumable_answer
from ich25d.predict.found import each_once
from ich25d.predict.network import Network
from ich25d.predict.series import FoundSeries, UnreadSeries, list_series
from ich25d.progress import remark
from ich25d.studies.pool.pool import Pool
from ich25d.studies.qc import QcRow, is_refused, safe_cell, write_qc
from ich25d.studies.series.series_plan import SeriesPlan


@dataclass(slots=True)
class Predicted:
    """What became of the studies in the sources."""

    probability: pd.DataFrame
    """Index name, the six labels."""
    cases: dict[str, Case]
    """By name, every study that the sources hold."""
    counts: list[tuple[str, int]]
    """How many series were found, and how many of them were left out for each reason."""
    refusals: dict[str, int]
    """Rows of `qc.csv` that refuse something, by code."""


@dataclass(slots=True)
class _Studies:
    """What the sources hold, by the name of the study."""

    found: FoundSeries
    """All series, each once."""
    plans: dict[str, list[SeriesPlan]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[QcRow]] = field(default_factory=lambda: defaultdict(list))
    """What was refused of each."""
    study_of: list[str] = field(default_factory=list)
    """The study of each of the first rows of `found.qc`; empty where the row doesn't name one."""
    n_nameless: int = 0


def predict_studies(
    sources: Sequence[Path], network: Network, out: Path, wanted: Sequence[str], *, pool: Pool
) -> Predicted:
    """Predict the main series of every study.

    A study's name is read off its path (`CQ500CT12 CQ500CT12/...`): the files' own PatientID is never kept.

    Args:
        sources: Folders and zip archives with CQ500's DICOM.
        network: A loaded model.
        out: Folder for `predictions.csv`, `series.csv` (each series, chosen or why not) and `qc.csv`; a killed run
            is gone on with by the same call.
        wanted: Names of the studies that were read; others aren't predicted.
        pool: Reads; with other machines, does all of it.

    Raises:
        UsageError: No source, or none of the studies in them can be read.
    """
    studies = _find(sources, network, pool)
    asked = set(wanted)
    plans = {name: of for name, of in studies.plans.items() if name in asked}
    n_series, n_chosen_from = len(studies.found.series), sum(map(len, plans.values()))
    if not plans:
        raise UsageError(
            f"sources must hold studies of the reads, in folders or archives named like CQ500CT12 (got {n_series} "
            f"series, {studies.n_nameless} without such a name)"
        )
    if studies.n_nameless:
        remark(f"series without a study's name in their path, left out: {studies.n_nameless}")
    chosen = {name: choose_main(of)[0] for name, of in sorted(plans.items(), key=lambda item: _number(item[0]))}
    name_of: dict[UnreadSeries, str] = {plan: name for name, plan in chosen.items()}
    main = replace(studies.found, series=list(name_of))
    with resumable_answer(main, network, out / STUDIES_FILE, pool=pool) as answer:
        _assign(studies, answer.qc, chosen)
        claim_folder(out, "cq500")
        _write_choice(plans, studies.rows, out)
        write_qc(out / QC_FILE, answer.qc)
        names = [name_of[series] for series, _ in answer.series]
        values = np.array([finished.series_probability for _, finished in answer.series])
        table = pd.DataFrame(values, columns=list(LABELS), index=pd.Index(names, name="name"))
        with replacing(out / STUDIES_FILE) as part:
            table.to_csv(part, float_format="%.6g", lineterminator="\n")
    return Predicted(
        probability=table,
        cases=_cases(studies, chosen, set(names)),
        counts=[
            ("series found in the sources", n_series),
            ("of these without a study's name in their path", studies.n_nameless),
            ("of these of studies that weren't read", n_series - studies.n_nameless - n_chosen_from),
            ("of these not their study's main one", n_chosen_from - len(chosen)),
        ],
        refusals=answer.refusals,
    )


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])


def _find(sources: Sequence[Path], network: Network, pool: Pool) -> _Studies:
    """Plan all series and give each to its study.

    Paths in rows and plans are relative to their source. Where the source itself is a study's folder they don't name
    the study, so that such sources are looked through one by one; the others, archives too, all at once.
    """
    own = [source for source in sources if source.is_dir() and name_in(str(source)) is not None]
    groups = [(name_in(str(source)) or "", [source]) for source in own]
    groups += [("", rest)] if (rest := [source for source in sources if source not in own]) or not own else []
    every = FoundSeries()
    study_of: list[str] = []
    study_of_image: dict[str, str] = {}
    for name, group in groups:
        listed = list_series(group, size=network.size, crop=network.crop, pool=pool)
        every.series += listed.series
        every.qc += listed.qc
        every.n_seen += listed.n_seen
        study_of += [name_in(row.source) or name for row in listed.qc]
        for series in listed.series:
            if not isinstance(series, SeriesPlan):
                raise UsageError(f"cq500 takes folders and archives of DICOM (got the study store {series.root})")
            study = name_in(series.images.source(0)) or name
            for image in series.image_ids:
                study_of_image.setdefault(image, study)
    studies = _Studies(each_once(every), study_of=study_of)
    for plan in studies.found.series:
        assert isinstance(plan, SeriesPlan)
        if name := study_of_image[plan.image_ids[0]]:
            studies.plans[name].append(plan)
        else:
            studies.n_nameless += 1
    return studies


def _assign(studies: _Studies, qc: Sequence[QcRow], chosen: Mapping[str, SeriesPlan]) -> None:
    """Give the rows that refuse something to their studies: of headers by path, of pixels by series."""
    name_of = {plan.series_id: name for name, plan in chosen.items()}
    n_found = len(studies.found.qc)
    names = [*studies.study_of, *[""] * (n_found - len(studies.study_of))]
    names += [name_of[row.series_id] for row in qc[n_found:]]
    for row, name in zip(qc, names, strict=True):
        if name and is_refused(row):
            studies.rows[name].append(row)


def _cases(studies: _Studies, chosen: dict[str, SeriesPlan], done: set[str]) -> dict[str, Case]:
    cases = {}
    for name in sorted({*studies.plans, *studies.rows}, key=_number):
        rows, n = studies.rows.get(name, []), len(studies.plans.get(name, ()))
        if (main := chosen.get(name)) is None:
            cases[name] = Case(name, ALL_REFUSED if not n else ABSENT, counted(rows), n_series=n)
            continue
        of_main = counted(row for row in rows if row.series_id == main.series_id)
        broken = broken_rules(main)
        remarks = [*broken, *([f"refused of it: {of_main}"] if of_main else [])]
        # A series of which nothing is left was refused file by file: the main one may be the next best.
        known = {plan.series_id for plan in studies.plans[name]}
        if broken and (others := counted(row for row in rows if row.series_id not in known)):
            remarks.append(f"refused beside it: {others}")
        cases[name] = Case(name, JUDGED if name in done else UNREADABLE, "; ".join(remarks), main.series_id, n)
    return cases


def _write_choice(plans: dict[str, list[SeriesPlan]], refused: dict[str, list[QcRow]], out: Path) -> None:
    """Write a row a series: chosen, or the rule that it lost by; of each study, series refused as a whole come last."""
    rows = []
    for name in sorted(plans, key=_number):
        best, rejected = choose_main(plans[name])
        choice = rejected | {best.series_id: "chosen"}
        for plan in sorted(plans[name], key=lambda one: one.series_id != best.series_id):
            rows.append([
                name, safe_cell(plan.series_id), choice[plan.series_id], len(plan), thickness_of(plan), plan.kernel,
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


def stacked(table: pd.DataFrame, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the probabilities of these studies in this order, shape (N, 6)."""
    return table.loc[list(names), list(LABELS)].to_numpy(dtype=np.float64)
