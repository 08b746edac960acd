"""The comparison for people and for machines."""

from typing import Any

from ich25d.labels import LABELS
from ich25d.sequence.comparison import Measured


def comparison_json(content: Any) -> Any:  # noqa: ANN401  # a tree of dicts with numbers in its leaves
    """Return a comparison as JSON takes it."""
    if isinstance(content, Measured):
        return content.to_dict()
    if isinstance(content, dict):
        return {str(name): comparison_json(item) for name, item in content.items()}
    return content


def comparison_lines(scope: str, found: dict[str, Any]) -> list[str]:
    """Return one scope's comparison as a table.

    Args:
        scope: What the series are, as `all held-out series`.
        found: What `compare` gave.
    """
    lines = [
        f"{scope}: {found['n_slices']} slices of {found['n_series']} series of {found['n_patients']} patients "
        "(95 % intervals over patients)"
    ]
    rows = [["", "log loss", "of prior's", "AUC any", "AP any", "series AUC any"]]
    for name, system in found["systems"].items():
        measures = [system["log_loss"], system["of_prior"], system["auc"]["any"], system["average_precision"]["any"]]
        rows.append([name, *(_short(measure) for measure in [*measures, system["series_auc"]["any"]])])
    lines += _aligned(rows)
    lines += ["", "AUC / average precision of slices, by label"]
    rows = [["", *(f"{label} ({found['n_positive'][label]})" for label in LABELS)]]
    for name, system in found["systems"].items():
        pairs = [(system["auc"][label], system["average_precision"][label]) for label in LABELS]
        rows.append([name, *(f"{_plain(auc)} / {_plain(precision)}" for auc, precision in pairs)])
    lines += _aligned(rows)
    lines += ["", "AUC of series, by label"]
    rows = [["", *(f"{label} ({found['n_positive_series'][label]})" for label in LABELS)]]
    for name, system in found["systems"].items():
        rows.append([name, *(_plain(system["series_auc"][label]) for label in LABELS)])
    lines += _aligned(rows)
    differences = [
        f"{name} {system['against_alone'].value:+.4f} "
        f"[{system['against_alone'].low:+.4f}, {system['against_alone'].high:+.4f}]"
        for name, system in list(found["systems"].items())[2:]
    ]
    return [*lines, "", "log loss against CNN alone, same patients: " + ", ".join(differences)]


def _short(measure: Measured) -> str:
    if _plain(measure) == "-":
        return "-"
    return f"{measure.value:.3f} [{measure.low:.3f}, {measure.high:.3f}]"


def _plain(measure: Measured) -> str:
    return "-" if measure.value != measure.value else f"{measure.value:.3f}"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in
                  enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]  # fmt: skip
