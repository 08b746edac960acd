"""`ich25d evaluate`: a file of predictions and one of labels in, scores as JSON and as a table out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ich25d.evaluate.inputs import find_thresholds, join
from ich25d.evaluate.scores import LevelScores, score_level
from ich25d.evaluate.table import level_table
from ich25d.files import write_json, write_text
from ich25d.training.intervals import LEVEL, REPLICATES


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
    replicates: int
    n_not_predicted: int
    remarks: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 1 when labelled images have no prediction."""
        return 1 if self.n_not_predicted else 0

    def lines(self) -> list[str]:
        """Say it for people."""
        lines = level_table("slices", self.slices)
        if self.series is not None:
            lines += ["", *level_table("series", self.series)]
        covered = f"{LEVEL:.0%} intervals from {self.replicates} resamplings of {self.resampled}s"
        lines += ["", covered, f"thresholds: {self.thresholds}", *self.remarks]
        return [*lines, f"written to {self.out}"]

    def to_dict(self) -> dict[str, Any]:
        """Say it for machines."""
        return {
            "predictions": str(self.predictions),
            "labels": str(self.labels),
            "intervals": {"level": LEVEL, "replicates": self.replicates, "resampled": self.resampled},
            "thresholds": self.thresholds,
            "n_not_predicted": self.n_not_predicted,
            "remarks": self.remarks,
            "slice": self.slices.to_dict(),
            "series": None if self.series is None else self.series.to_dict(),
        }


def evaluate(
    predictions: Path,
    labels: Path,
    out: Path,
    *,
    model: Path | None = None,
    studies: Path | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Evaluation:
    """Score predictions against labels.

    Args:
        predictions: A submission CSV, or the `predictions.parquet` beside it.
        labels: The truth, in Kaggle's long form or one column a label.
        out: Folder for `evaluation.json` and `evaluation.txt`.
        model: The model directory whose thresholds were chosen on validation, or a JSON file of thresholds. Without
            one, decisions are made at 1 / (1 + beta^2), 0.5 and 0.2: thresholds chosen on the labels at hand flatter.
        studies: A study store, or a table with image_id, series_id and patient_id, if none is beside the predictions.
        replicates: Resamplings of the patients.
        seed: Seed of the draws.

    Returns:
        All measures, with intervals.

    Raises:
        SubmissionError: The predictions can't be read as such.
        LabelError: The labels can't.
        ModelError: The thresholds can't.
        UsageError: No image is in both.
    """
    thresholds, chosen = find_thresholds(model)
    joined = join(predictions, labels, studies)
    series = None
    slices = score_level(
        joined.slice_target, joined.slice_probability, joined.slice_patient, thresholds["slice"],
        replicates=replicates, seed=seed,
    )  # fmt: skip
    if joined.series_target is not None and joined.series_probability is not None and joined.series_patient is not None:
        series = score_level(
            joined.series_target, joined.series_probability, joined.series_patient, thresholds["series"],
            replicates=replicates, seed=seed,
        )  # fmt: skip
    rule = "1 / (1 + beta^2), as no thresholds chosen on validation were given"
    found = Evaluation(
        predictions, labels, out, slices, series, joined.resampled,
        f"chosen on validation, of {model}; where a label has none, 1 / (1 + beta^2)" if chosen else rule,
        replicates, joined.n_not_predicted, joined.remarks,
    )  # fmt: skip
    write_json(out / "evaluation.json", found.to_dict())
    write_text(out / "evaluation.txt", "\n".join(found.lines()) + "\n")
    return found
