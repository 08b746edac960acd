"""Scores as the text tables of the terminal and of `evaluation.txt`."""

import math

from ich25d.evaluate.results import LevelResults, Results
from ich25d.evaluate.scores import LevelScores
from ich25d.labels import LABELS
from ich25d.training.intervals import Measure
from ich25d.training.operating_point import F_RULES

_WIDTH = 21


def score_table(level: str, scores: LevelScores) -> list[str]:
    """Lay out a level's score, and each label's ranking and calibration.

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
    return lines


def decision_table(scores: LevelScores) -> list[str]:
    """Lay out the decisions at each rule's thresholds."""
    lines: list[str] = []
    for rule, beta in F_RULES.items():
        meaning = "recall and precision alike" if beta == 1 else f"recall counts {beta:g} times"
        measures = ("sensitivity", "specificity", "precision", "accuracy", rule)
        lines += ["", _row(f"{rule.upper()}: {meaning}", "threshold", *measures)]
        for label in LABELS:
            found = scores.at[rule][label]
            cells = [_cell(found[name], 3) for name in measures]
            lines.append(_row(label, f"{scores.threshold[rule][label]:.3f}", *cells))
    return lines


def point_table(part: LevelResults) -> list[str]:
    """Lay out a level's operating points, with Wilson's intervals; nothing where there are none."""
    lines = []
    for point in dict.fromkeys(found.point for found in part.points):
        title = f"{part.level.name}, {point.replace('_', ' >= .')} on validation"
        lines += ["", _row(title[:30], "threshold", "sensitivity (Wilson)", "specificity (Wilson)")]
        for found in part.points:
            if found.point == point:
                cells = [
                    _cell(Measure(share.value, *share.wilson), 3) for share in (found.sensitivity, found.specificity)
                ]
                lines.append(_row(found.label, f"{found.threshold:.3f}", *cells))
    return lines


def comparison_table(results: Results) -> list[str]:
    """Lay out the comparison with another file; nothing where there is none."""
    lines = []
    for level in dict.fromkeys(found.level for found in results.comparison):
        title = f"{level} against {results.other}"[:30]
        lines += ["", _row(title, "p (DeLong)", "AUC, difference", "with patients", "log loss, difference")]
        for found in results.comparison:
            if found.level == level:
                cells = [_cell(found.delong, 4), _cell(found.resampled, 4), _cell(found.log_loss, 4)]
                lines.append(_row(found.label, "-" if math.isnan(found.delong.p) else f"{found.delong.p:.3g}", *cells))
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
