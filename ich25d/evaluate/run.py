"""`ich25d evaluate`: predictions and labels in; scores, tables, figures and a page out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ich25d.errors import UsageError
from ich25d.evaluate.comparison import compare
from ich25d.evaluate.decisions import PREVALENCES
from ich25d.evaluate.flow import Flow
from ich25d.evaluate.inputs import Joined, join
from ich25d.evaluate.level import Level, make_level
from ich25d.evaluate.mistakes import find_mistakes
from ich25d.evaluate.output import FILES, QC_FILE, SCORES_FILE, TEXT_FILE, write_paper
from ich25d.evaluate.paper import LevelPaper, Paper, measure_level
from ich25d.evaluate.scores import LevelScores
from ich25d.evaluate.subgroups import attributes_of, measure_subgroups
from ich25d.evaluate.table import comparison_table, level_table, point_table
from ich25d.files import check_folder, claim_folder, write_json, write_text
from ich25d.labels import LABELS
from ich25d.studies.qc import count_refused, write_qc
from ich25d.studies.reasons import reasons_of
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.intervals import LEVEL, REPLICATES
from ich25d.training.operating_point import Thresholds, find_thresholds


@dataclass(slots=True)
class Evaluation:
    """What was measured."""

    predictions: Path
    labels: Path
    out: Path
    slices: LevelScores
    series: LevelScores | None
    resampled: str
    """What was resampled for the intervals: patient, series or image."""
    thresholds: str
    """Where the thresholds are from."""
    n_not_predicted: int
    refusals: dict[str, int]
    """Labels that were refused, by code; `qc.csv` has them."""
    paper: Paper
    """Curves, operating points, subgroups and what else a paper shows."""
    remarks: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 1 when labelled images have no prediction, or labels were refused."""
        return 1 if self.n_not_predicted or self.refusals else 0

    def lines(self) -> list[str]:
        """Say it for people."""
        lines = level_table("slices", self.slices)
        if self.series is not None:
            lines += ["", *level_table("series", self.series)]
        for part in self.paper.levels:
            lines += point_table(part)
        lines += comparison_table(self.paper)
        drawn = " and ".join(f"{name}: {scores.replicates}" for name, scores in self._levels().items())
        drawn_of = self.resampled if self.resampled == "series" else f"{self.resampled}s"
        covered = f"{LEVEL:.0%} intervals from resamplings of {drawn_of} ({drawn})"
        lines += ["", covered, f"thresholds: {self.thresholds}", *self.remarks]
        return [*lines, f"written to {self.out}"]

    def to_dict(self) -> dict[str, Any]:
        """Say it for machines."""
        return {
            "predictions": str(self.predictions),
            "labels": str(self.labels),
            "intervals": {
                "level": LEVEL,
                "replicates": {name: scores.replicates for name, scores in self._levels().items()},
                "resampled": self.resampled,
            },
            "thresholds": self.thresholds,
            "n_not_predicted": self.n_not_predicted,
            "refusals": self.refusals,
            "remarks": self.remarks,
            "slice": self.slices.to_dict(),
            "series": None if self.series is None else self.series.to_dict(),
            **self.paper.to_dict(),
        }

    def _levels(self) -> dict[str, LevelScores]:
        return {"slices": self.slices} | ({} if self.series is None else {"series": self.series})


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
    parts = [
        _measured(level, store, prevalences) for level in _levels(joined, thresholds, replicates=replicates, seed=seed)
    ]
    where = f"chosen on validation, of {model.name or model}" if thresholds and model is not None else "not given"
    paper = Paper(
        "Evaluation", parts, _flow(joined, predictions, studies), where, bool(thresholds),
        prevalences=tuple(prevalences), other="" if against is None else _name_of(against, predictions),
        intro=_intro(joined, parts),
    )  # fmt: skip
    paper.remarks = [*joined.remarks, *paper.point_remarks(), *_seen_before(joined, model)]
    if other is not None:
        paper.comparison, more = compare(joined, other, replicates=replicates, seed=seed)
        paper.remarks += more
    if store is not None:
        paper.mistakes = find_mistakes(parts[0].level)
    claim_folder(out, "evaluate")
    paper.remarks += write_paper(paper, out, store=store, figures=figures)
    rule = "1 / (1 + beta^2), as no thresholds chosen on validation were given"
    if thresholds:
        rule = f"chosen on validation, of {model}; where a label has none, 1 / (1 + beta^2)"
    found = Evaluation(
        predictions, labels, out, parts[0].level.scores, parts[1].level.scores if len(parts) > 1 else None,
        joined.resampled, rule, joined.n_not_predicted, dict(sorted(count_refused(joined.label_rows).items())),
        paper, paper.remarks,
    )  # fmt: skip
    write_qc(out / QC_FILE, joined.label_rows)
    write_json(out / SCORES_FILE, found.to_dict())
    write_text(out / TEXT_FILE, "\n".join(found.lines()) + "\n")
    return found


def _seen_before(joined: Joined, model: Path | None) -> list[str]:
    """Say how many of the cases the model was trained and its thresholds were chosen on."""
    if model is None or not model.is_dir():
        return []
    known: set[str] = set()
    for path in model.glob("fold*/oof.parquet"):
        known.update(pd.read_parquet(path, columns=["image_id"])["image_id"].astype(str))
    n = sum(str(image) in known for image in joined.slice_id)
    if not n:
        return []
    return [
        f"{n} of the {len(joined.slice_id)} images judged are among those that {model.name} was trained and its "
        "thresholds "
        "chosen on: operating points flatter, and so does all else unless these predictions are out of fold"
    ]


def _name_of(against: Path, predictions: Path) -> str:
    """Name the other file; with its folder where both files are called alike."""
    return against.name if against.name != predictions.name else f"{against.parent.name}/{against.name}"


def _levels(joined: Joined, thresholds: dict[str, Thresholds], *, replicates: int, seed: int) -> list[Level]:
    """Measure the scores of slices and, where a table says which they are, of series."""
    levels = [
        make_level(
            "slices", joined.slice_target, joined.slice_probability, joined.slice_patient, joined.slice_id,
            series_id=joined.slice_series, resampled=joined.resampled, thresholds=thresholds.get("slice"),
            replicates=replicates, seed=seed,
        )
    ]  # fmt: skip
    if (
        joined.series_target is not None
        and joined.series_probability is not None
        and joined.series_patient is not None
        and joined.series_id is not None
    ):
        levels.append(
            make_level(
                "series", joined.series_target, joined.series_probability, joined.series_patient, joined.series_id,
                series_id=joined.series_id, resampled=joined.resampled, thresholds=thresholds.get("series"),
                replicates=replicates, seed=seed,
            )
        )  # fmt: skip
    return levels


def _measured(level: Level, store: StudyStore | None, prevalences: Sequence[float]) -> LevelPaper:
    subgroups: list[dict[str, Any]] = []
    if store is not None:
        counts = None
        if level.name == "series":
            counts = store.slices.groupby("series_id")[list(LABELS)].sum().astype("float64")
        subgroups = measure_subgroups(level, attributes_of(store.series), counts)
    return measure_level(level, prevalences=prevalences, subgroups=subgroups)


def _flow(joined: Joined, predictions: Path, studies: Path | None) -> Flow:
    n = len(joined.slice_id)
    steps = [
        ("images with a label", n + joined.n_not_predicted),
        ("of these not predicted", joined.n_not_predicted),
        ("images predicted", n + joined.n_not_labelled),
        ("of these without a label", joined.n_not_labelled),
        ("images judged", n),
    ]
    if joined.series_id is not None:
        steps.append(("series judged", len(joined.series_id)))
    if joined.resampled != "image":
        name = "patients judged" if joined.resampled == "patient" else "series that are resampled"
        steps.append((name, len(set(joined.slice_patient.tolist()))))
    tables = []
    if joined.has_own_tables:
        tables.append(("predictions", predictions.with_name("qc.csv")))
    if studies is not None and studies.is_dir():
        tables.append(("study store", studies / "qc.csv"))
    return Flow(tuple(steps), reasons_of(tables))


def _intro(joined: Joined, parts: Sequence[LevelPaper]) -> str:
    found = parts[-1].level.scores.label["any"]["auc"]
    level = parts[-1].level
    return (
        f"{len(joined.slice_id):,} slices"
        + (f" of {len(joined.series_id):,} series" if joined.series_id is not None else "")
        + f" judged against their labels. Any bleed, {level.name}: AUC {found.value:.3f} "
        f"({LEVEL:.0%} interval {found.low:.3f} to {found.high:.3f})."
    )
