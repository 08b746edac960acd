"""What a training of encoders left behind, for people and for machines."""

import dataclasses
from pathlib import Path
from typing import Any

from ich25d.encoder.held_out import held_out_scores
from ich25d.encoder.model_directory import read_run
from ich25d.labels import LABELS
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.model_file import MODEL_FILE

_MEANING = (
    "of prior: the log loss as a share of that of a constant answer, the shares of positives among the slices that "
    "each fold was trained on; all labelled held-out slices count"
)


@dataclasses.dataclass(frozen=True, slots=True)
class CnnSummary:
    """What a training left behind."""

    out: Path
    finished: tuple[int, ...]
    """Folds that are trained, in this call or before."""
    interrupted: bool
    scores: dict[int, dict[str, Any]]
    """By fold: `log_loss`, `of_prior`, `auc` and `average_precision` by label, of all labelled slices that it held out;
    empty where it held out none (`held_out_scores`)."""
    pooled: dict[str, Any]
    """The same over the held-out slices of all finished folds together."""
    is_first: bool = True
    """False in the processes of `torchrun` that leave the talking to the first one."""

    @property
    def exit_code(self) -> int:
        """Return 0, or 130 after an interruption."""
        return 130 if self.interrupted else 0

    def lines(self) -> list[str]:
        """Return what was reached, as a table for people."""
        lines = [f"{len(self.finished)} fold(s) trained in {self.out}"]
        if self.scores:
            lines.append(f"{'held-out slices':>16} {'log loss':>9} {'of prior':>9} {'AUC any':>9} {'AP any':>9}")
        for name, found in [*((f"fold {fold}", found) for fold, found in self.scores.items()), ("all", self.pooled)]:
            if found:
                values = (found["log_loss"], found["of_prior"], found["auc"]["any"], found["average_precision"]["any"])
                lines.append(f"{name:>16} " + " ".join(f"{_number(value):>9}" for value in values))
            elif self.scores:
                lines.append(f"{name:>16} no labelled slice")
        if self.pooled:
            lines.append(_MEANING)
            lines.append("AUC by label: " + ", ".join(f"{name} {_number(self.pooled['auc'][name])}" for name in LABELS))
        if self.interrupted:
            lines.append("interrupted: the same command with --resume goes on where it stopped")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the same for machines."""
        return {
            "out": str(self.out),
            "finished": list(self.finished),
            "interrupted": self.interrupted,
            "folds": {str(fold): found for fold, found in self.scores.items()},
            "pooled": self.pooled,
        }


def summarise(out: Path, store: StudyStore, interrupted: bool) -> CnnSummary:
    """Read from a model directory what a training has reached.

    Args:
        out: The model directory.
        store: What was trained on.
        interrupted: Whether this call was stopped before its end.
    """
    if not (out / MODEL_FILE).exists():
        return CnnSummary(out, (), interrupted, {}, {})
    run = read_run(out)
    return CnnSummary(out, tuple(run.folds), interrupted, *held_out_scores(out, run, store))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
