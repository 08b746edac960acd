"""`ich25d cq500`: the public external test of 491 head CTs, three readers each, at the level of studies."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from ich25d.cohorts.beforehand import QC_FILE, check_cq500
from ich25d.cohorts.cases import JUDGED, NOT_READ, Case, all_cases, case_lines, cases_section, cases_table
from ich25d.cohorts.cq500_predict import Predicted, predict_studies, stacked
from ich25d.cohorts.reads import COLUMNS, READERS, Reads, read_reads, read_study_probabilities
from ich25d.errors import UsageError
from ich25d.evaluate.comparison import compare_level, delong
from ich25d.evaluate.decisions import PREVALENCES, PointResult
from ich25d.evaluate.level import Cases, Level, make_level
from ich25d.evaluate.output import SCORES_FILE, TEXT_FILE, write_results
from ich25d.evaluate.page import share_text
from ich25d.evaluate.results import Flow, Results, Section, measure_level
from ich25d.evaluate.scores import interval, short
from ich25d.files import claim_folder, write_json, write_text
from ich25d.labels import LABELS
from ich25d.pages.table import table
from ich25d.predict.network import network_for
from ich25d.predict.open_model import model_folder
from ich25d.studies.pool.pool import opened_pool
from ich25d.studies.qc import reasons_of
from ich25d.summary import as_json
from ich25d.training.intervals import LEVEL, REPLICATES, Measure
from ich25d.training.operating_point import HOLDING_RULES, find_thresholds

_ORDER = ("any", "intraparenchymal", "intraventricular", "subdural", "epidural", "subarachnoid")
TERMS = (
    "CQ500 (Chilamkurthy et al., Lancet 2018) is CC BY-NC-SA 4.0: its scans and reads, and what is measured on them, "
    "are for non-commercial use."
)


@dataclass(slots=True)
class Cq500Summary:
    """What was measured on CQ500."""

    out: Path
    source: str
    """Name of the model, or of the file of probabilities."""
    n_read: int
    n_judged: int
    results: Results
    cases: list[Case]
    """What became of every study."""
    refusals: dict[str, int]
    """Rows of `qc.csv` that refuse something, by code."""
    remarks: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 1 when something was refused, or studies that were read have no prediction."""
        return 1 if self.refusals or self.n_judged < self.n_read else 0

    def rows(self) -> list[dict[str, Any]]:
        """Return a row a label: N, positives, AUC with both intervals, and the operating points."""
        level = self.results.levels[0].level
        rows = []
        for label in _ORDER:
            auc, column = level.scores.label[label]["auc"], LABELS.index(label)
            low, high = delong(level.target[:, column], level.probability[None, :, column]).interval()
            row: dict[str, Any] = {
                "label": label, "cq500": COLUMNS[label], "n": level.scores.n_known[label],
                "n_positive": level.scores.n_positive[label], "auc": auc.value, "auc_low": auc.low,
                "auc_high": auc.high, "delong_low": low, "delong_high": high,
            }  # fmt: skip
            for at in self.results.levels[0].points:
                if at.label == label:
                    for name, share in (("sensitivity", at.sensitivity), ("specificity", at.specificity)):
                        key = f"{name}_at_{at.point}"
                        row |= {key: share.value, f"{key}_low": share.wilson[0], f"{key}_high": share.wilson[1]}
            rows.append(row)
        return rows

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        lines = [f"CQ500, {self.source}: N = {self.n_judged} of {self.n_read} studies read; label: 2 of 3 readers"]
        lines.append(f"  {'':<18}{'positive':>9}  {f'AUC [{LEVEL:.0%}]':<24}{'[DeLong]':<16}")
        for row in self.rows():
            auc = short(Measure(row["auc"], row["auc_low"], row["auc_high"]), 4)
            ends = interval((row["delong_low"], row["delong_high"]))
            text = f"  {row['label']:<18}{row['n_positive']:>9}  {auc:<24}{ends:<16}"
            for point in HOLDING_RULES:
                for name in ("sensitivity", "specificity"):
                    key = f"{name}_at_{point}"
                    if key in row:
                        text += f" {name[:4]} {short(Measure(row[key], row[f'{key}_low'], row[f'{key}_high']))}"
            lines.append(text.rstrip())
        lines += case_lines(self.cases)
        if self.refusals:
            codes = ", ".join(f"{code} {count}" for code, count in self.refusals.items())
            lines.append(f"refused: {codes}; {self.out / QC_FILE} says which")
        return [*lines, *self.remarks, f"written to {self.out}"]

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        plain: dict[str, Any] = as_json({
            "source": self.source, "n_read": self.n_read, "n_judged": self.n_judged, "labels": self.rows(),
            "cases": [case for case in self.cases if case.outcome != JUDGED or case.detail],
            "refusals": self.refusals, "remarks": self.remarks, **self.results.to_dict(),
        })  # fmt: skip
        return plain


def evaluate_cq500(
    reads: Path,
    out: Path,
    *,
    sources: Sequence[Path] = (),
    model: Path | None = None,
    predictions: Path | None = None,
    against: Path | None = None,
    figures: bool = True,
    device: str = "auto",
    engine: str = "auto",
    workers: int = 0,
    cluster: str | None = None,
    replicates: int = REPLICATES,
) -> Cq500Summary:
    """Predict CQ500's studies, or take predictions, and judge them by the majority of three readers.

    Args:
        reads: CQ500's `reads.csv`.
        out: Folder for page, tables, figures and, with sources, predictions.
        sources: Folders and archives of CQ500's DICOM, to predict with `model`.
        model: A model directory: what predicts `sources`, by default the model in the box; or, with `predictions`, what
            its thresholds are from.
        predictions: A CSV of probabilities by study instead: CQ500's own form, or an earlier `predictions.csv`.
        against: Another such CSV, to compare with.
        figures: Draw PNG and PDF.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        engine: `auto`, `torch`, `openvino` or `onnx`.
        workers: Processes that read; 0 chooses.
        cluster: A Ray cluster that reads and predicts instead, as `opened_pool` takes it.
        replicates: Resamplings of the studies.

    Raises:
        UsageError: Arguments that don't fit together, or no study in common.
        LabelError: The reads can't be read as such.
        SubmissionError: The predictions can't.
        ModelError: The model is damaged.
        ClusterError: There is no such cluster, or a node can't see the files.
    """
    check_cq500(reads, out, sources=sources, model=model, predictions=predictions, against=against, device=device)
    if sources:
        model = model_folder(model)
    read = read_reads(reads)
    predicted: Predicted | None = None
    if predictions is not None:
        probability, source = read_study_probabilities(predictions), predictions.name
    else:
        assert model is not None
        with opened_pool(workers, cluster, reads=(*sources, model), out=out, device=device) as pool:
            network = network_for(pool, model, device, engine)
            predicted = predict_studies(sources, network, out, read.name, pool=pool)
        probability, source = predicted.probability, network.about.name
    rows = [row for row, name in enumerate(read.name) if name in probability.index]
    if not rows:
        raise UsageError(f"reads and predictions must share studies (got {len(read.name)} and {len(probability)})")
    names = [read.name[row] for row in rows]
    cases = all_cases(read.name, set(probability.index), predicted.cases if predicted else {})
    thresholds = find_thresholds(model)
    ids = np.array(names, dtype=object)
    level = make_level(
        Cases("studies", ids, read.target[rows], stacked(probability, names), ids), resampled="study",
        thresholds=thresholds.get("series"), replicates=replicates, seed=0,
    )  # fmt: skip
    part = measure_level(level, prevalences=PREVALENCES)
    results = Results(
        f"CQ500: {source}", [part], _flow(read, cases, predicted, out),
        f"chosen on validation, of {model.name}" if thresholds and model is not None else "not given",
        bool(thresholds),
        prevalences=PREVALENCES,
        intro=f"N = {len(rows)} of {len(read.name)} studies read; {level.scores.n_positive['any']} with intracranial "
        "haemorrhage. The label is what two of three readers said.",
    )  # fmt: skip
    results.remarks = [*results.point_remarks(), TERMS]
    if against is not None:
        _compare(results, level, names, against)
    refusals = predicted.refusals if predicted else {}
    summary = Cq500Summary(out, source, len(read.name), len(rows), results, cases, refusals)
    results.sections = [_table(summary), _readers(read)]
    if (odd := cases_section(cases)) is not None:
        results.sections.append(odd)
    more = {"cq500": pd.DataFrame(summary.rows()), "studies": cases_table(cases)}
    claim_folder(out, "cq500")
    results.remarks += write_results(results, out, more=more, figures=figures)
    summary.remarks = results.remarks
    write_json(out / SCORES_FILE, summary.to_dict())
    write_text(out / TEXT_FILE, "\n".join(summary.lines()) + "\n")
    return summary


def _flow(read: Reads, cases: Sequence[Case], predicted: Predicted | None, out: Path) -> Flow:
    steps = list(predicted.counts) if predicted else []
    outcomes = Counter(case.outcome for case in cases)
    n, n_not_read = outcomes.pop(JUDGED, 0), outcomes.pop(NOT_READ, 0)
    steps += [("studies read by three readers", len(read.name)), ("studies read and not predicted", len(read.name) - n)]
    steps += [(f"of these {outcome}", count) for outcome, count in sorted(outcomes.items())]
    steps += [("studies judged (N)", n), ("studies without reads, left out", n_not_read)]
    return Flow(tuple(steps), reasons_of([("sources", out / QC_FILE)] if predicted else []))


def _compare(results: Results, level: Level, names: Sequence[str], against: Path) -> None:
    other = read_study_probabilities(against)
    shared = np.array([row for row, name in enumerate(names) if name in other.index], dtype=np.int64)
    if not len(shared):
        raise UsageError(f"--against must share studies with the predictions (got none) in {against}")
    if len(shared) < len(names):
        results.remarks.append(f"comparison: {len(shared)} studies are in both files")
    theirs = stacked(other, [names[row] for row in shared])
    results.other = against.name
    cases = Cases(
        level.name, level.case_id[shared], level.target[shared], level.probability[shared], level.patient[shared]
    )
    results.comparison = compare_level(cases, theirs, replicates=level.replicates, seed=level.seed)


def _table(summary: Cq500Summary) -> Section:
    points: dict[tuple[str, str], PointResult] = {
        (one.point, one.label): one for one in summary.results.levels[0].points
    }
    shown = [name for name in HOLDING_RULES if any(point == name for point, _ in points)]
    rows: list[list[object]] = []
    for row in summary.rows():
        auc = short(Measure(row["auc"], row["auc_low"], row["auc_high"]), 4)
        cells: list[object] = [f"{row['label']} ({row['cq500']})", row["n"], row["n_positive"]]
        ends = interval((row["delong_low"], row["delong_high"]))
        cells += [Markup('<span class="iv">{}</span>').format(text) for text in (auc, ends)]
        for name in shown:
            at = points.get((name, row["label"]))
            cells += [None, None] if at is None else [share_text(at.sensitivity), share_text(at.specificity)]
        rows.append(cells)
    columns = ["label", "N", "positive", "AUC [95 %]", "[DeLong]"]
    for name in shown:
        measure, least = HOLDING_RULES[name]
        columns += [f"{what} at {measure} >= {least:.2f}" for what in ("sensitivity", "specificity")]
    return Section("Result", (table(columns, rows, caption=f"{summary.source} on CQ500", sortable=False),),
                   "The first interval resamples studies, the second one is DeLong's; sensitivity and specificity have "
                   "Wilson's. A study is one scan of one patient here.")  # fmt: skip


def _readers(read: Reads) -> Section:
    kappa = read.kappa()
    rows = []
    for label in _ORDER:
        column = LABELS.index(label)
        each = read.votes[:, :, column].sum(axis=0).astype(int).tolist()
        rows.append([label, *each, int(read.target[:, column].sum()), len(read.name), float(kappa[column])])
    columns = ["label", *READERS, "two of three", "studies", "Fleiss' kappa"]
    return Section(
        "Readers", (table(columns, rows, caption="Positive studies by reader, and how far the readers agree"),)
    )
