"""The worklist: every study in the order in which it should be looked at, with what was refused and why."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from ich25d.dicom.codes import CODES
from ich25d.files import replacing
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.pages.page import Page, facts, render
from ich25d.pages.table import table
from ich25d.studies.qc import QcRow, safe_cell
from ich25d.view.report.findings import SHORT
from ich25d.view.report.page import asset
from ich25d.view.report.shown import OperatingPoint

STATES = {"flagged": "Flagged", "refused": "Not read", "none": "Read", "clear": "Not flagged"}
"""What a row can be, in the order of urgency: a scan that nobody read comes before one that looked clear."""

_MOST_FILES = 500  # refused files that the page names; qc.csv has all
_LONGEST = 28  # letters of an id
_COLUMNS = (ANY_INDEX, *range(ANY_INDEX))


@dataclass(frozen=True, slots=True)
class Row:
    """One series of the worklist."""

    state: str
    series_id: str
    study_id: str
    patient_id: str
    page: str = ""
    """Its page, relative to the index; empty for a refused one."""
    n_slices: int = 0
    probability: tuple[float, ...] = ()
    """Six, of the whole scan; empty for a refused one."""
    over: tuple[str, ...] = ()
    """Labels at or over their threshold."""
    codes: tuple[str, ...] = ()
    """Reason codes of its remarks."""
    reason: str = ""
    """Why it was refused."""
    found: str = ""
    """Side, extent and volume, as estimates."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Row":
        """Read it back."""
        lists = {name: tuple(content[name]) for name in ("probability", "over", "codes")}
        return cls(**{**content, **lists})


def by_urgency(rows: Sequence[Row]) -> list[Row]:
    """Sort rows: flagged, then not read, then the others; within each by the probability of any bleed."""
    order = list(STATES)

    def key(row: Row) -> tuple[int, float, str]:
        return order.index(row.state), -row.probability[ANY_INDEX] if row.probability else 0.0, row.series_id

    return sorted(rows, key=key)


def worklist_page(rows: Sequence[Row], files: Sequence[QcRow], *, point: OperatingPoint, model: str) -> Page:
    """Return the index page.

    Args:
        rows: The series, in any order.
        files: Files that were refused and belong to none of them.
        point: The operating point whose thresholds flag.
        model: The model's name.
    """
    ordered = by_urgency(rows)
    counts = Counter(row.state for row in ordered)
    page = Page("Worklist", subtitle=f"{len(ordered)} series, the most urgent first", wide=True)
    page.style(asset("worklist.css"))
    page.lead = facts(
        {
            **{STATES[state]: counts[state] for state in STATES if counts[state]},
            "Operating point": point.name if point.of_series else "the model has none",
            "Model": model,
        }
    )
    page.section(
        "Studies",
        _studies(ordered),
        note="Flagged series first, by the probability of any bleed; then those that couldn't be read, which somebody "
        "must look at; then the others. A star marks a probability at or over its threshold.",
    )
    if files:
        page.section("Files that were not used", _files(files), note="qc.csv beside this page names all of them.")
    page.script(asset("worklist.js"))
    return page


def write_worklist_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write the worklist as a CSV that no spreadsheet runs, in the page's order."""
    lines = [
        [
            rank, STATES[row.state], *map(safe_cell, (row.series_id, row.study_id, row.patient_id)), row.n_slices,
            *(f"{value:.6g}" for value in row.probability or [float("nan")] * len(LABELS)),
            ";".join(row.over), safe_cell(row.found), ";".join(map(safe_cell, row.codes)), safe_cell(row.reason),
            row.page,
        ]
        for rank, row in enumerate(by_urgency(rows), start=1)
    ]  # fmt: skip
    columns = [
        "rank",
        "state",
        "series_id",
        "study_id",
        "patient_id",
        "n_slices",
        *LABELS,
        "over",
        "estimates",
        "remarks",
        "reason",
        "page",
    ]
    with replacing(path) as part:
        pd.DataFrame(lines, columns=columns).to_csv(part, index=False, lineterminator="\n")


def _studies(rows: Sequence[Row]) -> Markup:
    codes = Counter(code for row in rows for code in set(row.codes))
    over = Counter(label for row in rows for label in row.over)
    states = Counter(row.state for row in rows)
    in_order = [LABELS[number] for number in _COLUMNS]
    remarks = [(code, f"{code} ({count})") for code, count in sorted(codes.items())]
    choices = (
        ("state", "Show", [(name, f"{STATES[name]} ({states[name]})") for name in STATES if states[name]]),
        ("label", "Over its threshold", [(name, f"{name} ({over[name]})") for name in in_order if over[name]]),
        ("remark", "Remark", [("-", "without remarks"), *remarks]),
    )
    return render(
        "ich25d.view.report",
        "worklist.html",
        rows=rows,
        choices=choices,
        columns=[(SHORT.get(name, name), name) for name in in_order],
        order=_COLUMNS,
        labels=LABELS,
        states=STATES,
        has_found=any(row.found for row in rows),
        short=_short,
        meaning=lambda code: CODES[code].meaning if code in CODES else "",
    )


def _short(text: str) -> str:
    """Return an id as a narrow column takes it: a long UID with its beginning and its end."""
    return text if len(text) <= _LONGEST else f"{text[:8]}\N{HORIZONTAL ELLIPSIS}{text[-16:]}"


def _files(files: Sequence[QcRow]) -> Markup:
    counts = sorted(Counter(row.code for row in files).items())
    summary = table(
        ["Reason", "Meaning", "Files"],
        [(code, CODES[code].meaning if code in CODES else "", count) for code, count in counts],
        caption="Reasons",
    )
    named = [(row.source, row.image_id, row.code, row.detail) for row in sorted(files)[:_MOST_FILES]]
    first = f", the first {_MOST_FILES} of {len(files)}" if len(files) > _MOST_FILES else ""
    return summary + table(["File", "Image", "Reason", "Detail"], named, caption=f"Files{first}", collapsed=True)
