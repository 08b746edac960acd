"""`ich25d evaluate`: predictions and labels in; scores, tables, figures and a page out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ich25d.errors import UsageError
from ich25d.evaluate.comparison import compare
from ich25d.evaluate.decisions import PREVALENCES
from ich25d.evaluate.inputs import Joined, join
from ich25d.evaluate.level import Cases, make_level
from ich25d.evaluate.mistakes import find_mistakes
from ich25d.evaluate.output import FILES, QC_FILE, SCORES_FILE, TEXT_FILE, write_results
from ich25d.evaluate.results import Flow, LevelResults, Results, Section, measure_level
from ich25d.evaluate.scores import LevelScores
from ich25d.evaluate.selective import Selective, measure_selective, states_of
from ich25d.evaluate.subgroups import attributes_of, measure_subgroups
from ich25d.evaluate.text import comparison_table, decision_table, point_table, score_table
from ich25d.files import check_folder, claim_folder, read_parquet, write_json, write_text
from ich25d.studies.qc import count_refused, reasons_of, write_qc
from ich25d.studies.store_dir.store import StudyStore
from ich25d.summary import as_json
from ich25d.training.intervals import LEVEL, REPLICATES
from ich25d.training.operating_point import OperatingPoint, find_thresholds, read_points


@dataclass(slots=True)
class Evaluation:
    """What was measured."""

    predictions: Path
    labels: Path
    out: Path
    joined: Joined
    results: Results
    thresholds: str
    """Where the thresholds are from."""

    @property
    def slices(self) -> LevelScores:
        """Scores of slices."""
        return self.results.levels[0].level.scores

    @property
    def series(self) -> LevelScores | None:
        """Scores of series; None where no table says which slices make one."""
        return self.results.levels[1].level.scores if len(self.results.levels) > 1 else None

    @property
    def refusals(self) -> dict[str, int]:
        """Labels that were refused, by code; `qc.csv` names them."""
        return dict(sorted(count_refused(self.joined.label_rows).items()))

    @property
    def exit_code(self) -> int:
        """0, or 1 when labelled images have no prediction, or labels were refused."""
        return 1 if self.joined.n_not_predicted or self.refusals else 0

    def lines(self) -> list[str]:
        """Return the lines that the command prints."""
        lines: list[str] = []
        for part in self.results.levels:
            lines += ["", *score_table(part.level.name, part.level.scores), *decision_table(part.level.scores)]
        for part in self.results.levels:
            lines += point_table(part)
        if self.results.selective is not None:
            lines += self.results.selective.lines()
        lines += comparison_table(self.results)
        resampled = self.joined.resampled if self.joined.resampled == "series" else f"{self.joined.resampled}s"
        drawn = " and ".join(f"{name}: {n}" for name, n in self._replicates().items())
        lines += ["", f"{LEVEL:.0%} intervals from resamplings of {resampled} ({drawn})"]
        return [*lines[1:], f"thresholds: {self.thresholds}", *self.results.remarks, f"written to {self.out}"]

    def to_dict(self) -> dict[str, Any]:
        """Return what `evaluation.json` holds."""
        plain: dict[str, Any] = as_json({
            "predictions": self.predictions,
            "labels": self.labels,
            "intervals": {
                "level": LEVEL, "replicates": self._replicates(), "resampled": self.joined.resampled,
            },
            "thresholds": self.thresholds,
            "n_not_predicted": self.joined.n_not_predicted,
            "refusals": self.refusals,
            "remarks": self.results.remarks,
            "slice": self.slices,
            "series": self.series,
            **self.results.to_dict(),
        })  # fmt: skip
        return plain

    def _replicates(self) -> dict[str, int]:
        return {part.level.name: part.level.replicates for part in self.results.levels}


def evaluate(
    predictions: Path,
    labels: Path,
    out: Path,
    *,
    model: Path | None = None,
    studies: Path | None = None,
    against: Path | None = None,
    prevalences: Sequence[float] = PREVALENCES,
    figures: bool = True,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Evaluation:
    """Score predictions against labels.

    Args:
        predictions: A submission CSV, or the `predictions.parquet` beside it.
        labels: The truth, in Kaggle's long form or one column a label.
        out: Folder for `index.html`, `evaluation.json`, `evaluation.txt`, `qc.csv` (labels refused or odd),
            `tables/` and `figures/`.
        model: The model directory whose thresholds were chosen on validation, or a JSON file of thresholds. Without
            one, decisions are made at 1 / (1 + beta^2), 0.5 and 0.2: thresholds chosen on the labels at hand flatter;
            and operating points aren't reported.
        studies: A study store, or a table with image_id, series_id and patient_id, if none is beside the predictions.
            A store also brings subgroups and the pictures of the worst mistakes.
        against: Another file of predictions, to compare with.
        prevalences: Shares of positives at which predictive values are stated.
        figures: Draw PNG and PDF.
        replicates: Resamplings of the patients; `replicates_for` many cases may draw fewer.
        seed: Seed of the draws.

    Returns:
        All measures, with intervals.

    Raises:
        SubmissionError: The predictions can't be read as such.
        LabelError: The labels can't.
        ModelError: The thresholds can't.
        UsageError: No image is in both, or a prevalence is out of range.
    """
    if not all(0 < share < 1 for share in prevalences):
        raise UsageError(f"a prevalence must lie between 0 and 1 (got {list(prevalences)})")
    check_folder(out, "evaluate", (*FILES, QC_FILE))
    thresholds = find_thresholds(model)
    joined = join(predictions, labels, studies)
    other = None if against is None else join(against, labels, studies)
    store = None if studies is None or not (studies / "store.json").is_file() else StudyStore.open(studies)
    levels = []
    for cases, level_name in zip(joined.levels, ("slice", "series"), strict=False):
        level = make_level(
            cases, resampled=joined.resampled, thresholds=thresholds.get(level_name), replicates=replicates, seed=seed
        )
        subgroups = []
        if store is not None:
            of_series = cases is joined.series
            counts = store.slices.groupby("series_id")["any"].sum().astype("float64") if of_series else None
            subgroups = measure_subgroups(level, attributes_of(store.series), counts)
        levels.append(measure_level(level, prevalences=prevalences, subgroups=subgroups))
    where = f"chosen on validation, of {model.name or model}" if thresholds and model is not None else "not given"
    results = Results(
        "Evaluation", levels, _flow(joined, predictions, studies), where, bool(thresholds),
        prevalences=tuple(prevalences), intro=_intro(joined, levels[-1]),
    )  # fmt: skip
    results.remarks = [*joined.remarks, *results.point_remarks(), *_seen_before(joined.slices, model)]
    selective = _selective(joined, predictions, model, replicates=levels[-1].level.replicates, seed=seed)
    if selective is not None:
        results.selective = selective
        results.sections.append(Section("Confidence", selective.parts(), selective.note))
    if other is not None and against is not None:
        results.other = against.name if against.name != predictions.name else f"{against.parent.name}/{against.name}"
        results.comparison, more = compare(joined.levels, other.levels, replicates=replicates, seed=seed)
        results.remarks += more
    if store is not None:
        results.mistakes = find_mistakes(levels[0].level)
    claim_folder(out, "evaluate")
    results.remarks += write_results(
        results, out, store=store, more=None if selective is None else selective.tables(), figures=figures,
        more_figures={} if selective is None else {"series_risk_coverage": [selective.chart()]},
    )  # fmt: skip
    rule = "1 / (1 + beta^2), as no thresholds chosen on validation were given"
    if thresholds:
        rule = f"chosen on validation, of {model}; where a label has none, 1 / (1 + beta^2)"
    evaluation = Evaluation(predictions, labels, out, joined, results, rule)
    write_qc(out / QC_FILE, joined.label_rows)
    write_json(out / SCORES_FILE, evaluation.to_dict())
    write_text(out / TEXT_FILE, "\n".join(evaluation.lines()) + "\n")
    return evaluation


def _selective(
    joined: Joined, predictions: Path, model: Path | None, *, replicates: int, seed: int
) -> Selective | None:
    """Measure what states of confidence are worth, where the predictions hold any."""
    if joined.series is None:
        return None
    states = states_of(predictions, joined.series, joined.slices, own=joined.has_own_tables)
    if states is None:
        return None
    point = OperatingPoint() if model is None else read_points(model)[0]
    return measure_selective(joined.series, states, point, replicates=replicates, seed=seed)


def _seen_before(slices: Cases, model: Path | None) -> list[str]:
    """Remark how many of the cases the model was trained and its thresholds were chosen on."""
    if model is None or not model.is_dir():
        return []
    known: set[str] = set()
    for path in model.glob("fold*/oof.parquet"):
        known.update(read_parquet(path, columns=["image_id"])["image_id"].astype(str))
    n = sum(str(image) in known for image in slices.case_id)
    if not n:
        return []
    return [
        f"{n} of the {len(slices.case_id)} images judged are among those that {model.name} was trained and its "
        "thresholds chosen on: operating points flatter, and so does all else unless these predictions are out of fold"
    ]


def _flow(joined: Joined, predictions: Path, studies: Path | None) -> Flow:
    n = len(joined.slices.case_id)
    steps = [
        ("images with a label", n + joined.n_not_predicted),
        ("of these not predicted", joined.n_not_predicted),
        ("images predicted", n + joined.n_not_labelled),
        ("of these without a label", joined.n_not_labelled),
        ("images judged", n),
    ]
    if joined.series is not None:
        steps.append(("series judged", len(joined.series.case_id)))
    if joined.resampled != "image":
        name = "patients judged" if joined.resampled == "patient" else "series that are resampled"
        steps.append((name, len(set(joined.slices.patient.tolist()))))
    tables = []
    if joined.has_own_tables:
        tables.append(("predictions", predictions.with_name("qc.csv")))
    if studies is not None and studies.is_dir():
        tables.append(("study store", studies / "qc.csv"))
    return Flow(tuple(steps), reasons_of(tables))


def _intro(joined: Joined, last: LevelResults) -> str:
    auc = last.level.scores.label["any"]["auc"]
    of_series = "" if joined.series is None else f" of {len(joined.series.case_id):,} series"
    return (
        f"{len(joined.slices.case_id):,} slices{of_series} judged against their labels. Any bleed, {last.level.name}: "
        f"AUC {auc.value:.3f} ({LEVEL:.0%} interval {auc.low:.3f} to {auc.high:.3f})."
    )
