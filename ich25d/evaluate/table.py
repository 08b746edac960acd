"""Scores as tables for people."""

import math

from ich25d.evaluate.scores import LevelScores, Measure
from ich25d.labels import LABELS

_WIDTH = 21


def level_table(level: str, scores: LevelScores) -> list[str]:
    """Lay out one level: the whole, each label's ranking and calibration, then decisions at each rule's thresholds.

    Args:
        level: `slices` or `series`.
        scores: What was measured.
    """
    overall = scores.overall
    lines = [
        f"{level}: {scores.n}, of {scores.n_patients} patients or what stands for them",
        f"  competition's score {_cell(overall['score'])} ({_cell(overall['of_constant'], 3)} of the best constant "
        f"answer's), mean AUC {_cell(overall['mean_auc'], 3)}, mean AP {_cell(overall['mean_average_precision'], 3)}",
        "",
        _row("label", "positive", "log loss", "AUC", "average precision", "Brier", "calibration error"),
    ]
    for label in LABELS:
        found = scores.label[label]
        cells = [_cell(found["log_loss"]), _cell(found["auc"], 3), _cell(found["average_precision"], 3)]
        cells += [_cell(found["brier"]), _cell(found["calibration_error"])]
        lines.append(_row(label, f"{scores.n_positive[label]}/{scores.n_known[label]}", *cells))
    for rule, meaning in (("f1", "recall and precision alike"), ("f2", "recall twice")):
        measures = ("sensitivity", "specificity", "precision", "accuracy", rule)
        lines += ["", _row(f"{rule.upper()}: {meaning}", "threshold", *measures)]
        for label in LABELS:
            found = scores.at[rule][label]
            cells = [_cell(found[name], 3) for name in measures]
            lines.append(_row(label, f"{scores.threshold[rule][label]:.3f}", *cells))
    return lines


def _row(first: str, second: str, *rest: str) -> str:
    return f"  {first:<30}{second:>12}  " + "".join(f"{cell:>{_WIDTH}}" for cell in rest).rstrip()


def _cell(measure: Measure, digits: int = 4) -> str:
    if math.isnan(measure.value):
        return "-"
    text = f"{measure.value:.{digits}f}"
    if math.isnan(measure.low):
        return text
    return f"{text} {measure.low:.{digits - 1}f}-{measure.high:.{digits - 1}f}"
