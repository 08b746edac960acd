"""The worklist: every study, the most urgent first, with what was refused and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from ich25d.dicom.codes import CODES
from ich25d.files import replacing
from ich25d.labels import ANY_FIRST, ANY_INDEX, LABELS, SHORT
from ich25d.pages.page import Page, facts, render
from ich25d.pages.table import table
from ich25d.progress import many
from ich25d.studies.qc import QcRow, safe_cell
from ich25d.training.confidence import WORDS
from ich25d.training.operating_point import OperatingPoint
from ich25d.view.report.page import asset
from ich25d.view.report.point_switch import bits_of, chooser

STATES = {"flagged": "Flagged", "refused": "Not read", "none": "Read", "clear": "Not flagged"}
"""States of a row, the most urgent first: an unread scan comes before one that wasn't flagged."""

_MOST_FILES = 500  # refused files that the page names; qc.csv has all
_LONGEST = 28  # letters of an id


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
    probability: Sequence[float] = ()
    """Six, of the whole scan; empty for a refused one."""
    over: Sequence[str] = ()
    """Labels at or over their threshold at the default operating point."""
    over_at: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The same at each operating point, by rule."""
    codes: Sequence[str] = ()
    """Reason codes of its remarks."""
    confidence: str = ""
    """State of its prediction, one of `confidence.STATES`; empty where there is none."""
    why: Sequence[str] = ()
    """Why it isn't `sure`."""
    reason: str = ""
    """Why it was refused."""
    found: Sequence[tuple[str, str]] = ()
    """Labels with their side and volume, as estimates."""

    @property
    def study(self) -> tuple[str, str]:
        """Key of the study; a series without a study is one of its own."""
        return (self.patient_id, self.study_id) if self.study_id else ("", self.series_id)

    def estimates(self) -> list[str]:
        """Return the estimates in words; that of `any` only where there is no other."""
        return [text for label, text in self.found if label != "any"] or [text for _, text in self.found]


def by_urgency(rows: Sequence[Row]) -> list[Row]:
    """Sort rows: studies by their most urgent series, and the series of a study together.

    Flagged, then not read, then the others; within each by the probability of any bleed.
    """
    order = list(STATES)

    def key(row: Row) -> tuple[int, float, str]:
        return order.index(row.state), -row.probability[ANY_INDEX] if row.probability else 0.0, row.series_id

    first: dict[tuple[str, str], tuple[int, float, str]] = {}
    for row in rows:
        first[row.study] = min(first.get(row.study, key(row)), key(row))
    return sorted(rows, key=lambda row: (first[row.study], key(row)))


def worklist_page(
    rows: Sequence[Row],
    files: Sequence[QcRow],
    *,
    points: Sequence[OperatingPoint],
    model: str,
    site: str | None = None,
) -> Page:
    """Return the index page.

    Args:
        rows: The series, in any order.
        files: Files that were refused and belong to none of them.
        points: The operating points that a reader can choose from; the first flags when the page opens.
        model: The model's name.
        site: How common bleeds are there, for people; None where nobody has said so.
    """
    ordered = by_urgency(rows)
    n_studies = len({row.study for row in ordered})
    counted = (
        f"{len(ordered)} series"
        if n_studies == len(ordered)
        else f"{many(n_studies, 'study', 'studies')}, {len(ordered)} series"
    )
    page = Page("Worklist", subtitle=f"{counted}, the most urgent first", wide=True)
    page.style(asset("worklist.css"))
    counts = {
        STATES[state]: Markup('<span data-count="{}">{}</span>').format(state, count)
        for state, count in _states(ordered)
    }
    place = {} if site is None else {"Prevalence": site}
    page.lead = facts({**counts, "Operating point": chooser(points), **place, "Model": model})
    n_flagged = sum(row.state == "flagged" for row in ordered)
    n_predicted = sum(bool(row.probability) for row in ordered)
    page.section(
        "Studies",
        *filter(None, (points[0].caution, points[0].doubt(n_flagged, n_predicted))),
        _studies(ordered, points),
        note="Flagged series first, by the probability of any bleed; then those that couldn't be read, which somebody "
        "must look at; then the others. A study stands where its most urgent series belongs. A star marks a "
        "probability at or over its threshold.",
    )
    if files:
        page.section("Files that were not used", _files(files), note="qc.csv beside this page names all of them.")
    page.data("known", {"labels": LABELS, "points": [point.rule for point in points]})
    page.script(asset("worklist.js"))
    return page


def write_worklist_csv(path: Path, rows: Sequence[Row], *, point: OperatingPoint) -> None:
    """Write the worklist as CSV, in the page's order; a study's series share its rank.

    Args:
        path: The file.
        rows: The series, in any order.
        point: The operating point whose thresholds flag; every row names it.
    """
    ordered = by_urgency(rows)
    lines = [
        [
            rank, STATES[row.state], *map(safe_cell, (row.series_id, row.study_id, row.patient_id)), row.n_slices,
            *(f"{value:.6g}" for value in row.probability or [float("nan")] * len(LABELS)),
            ";".join(row.over), point.rule, row.confidence, safe_cell("; ".join(row.why)),
            safe_cell(", ".join(row.estimates())), ";".join(map(safe_cell, row.codes)),
            safe_cell(row.reason), row.page,
        ]
        for rank, row in zip(_ranks(ordered), ordered, strict=True)
    ]  # fmt: skip
    columns = [
        "rank", "state", "series_id", "study_id", "patient_id", "n_slices", *LABELS, "over", "operating_point",
        "confidence", "why", "estimates", "remarks", "reason", "page",
    ]  # fmt: skip
    with replacing(path) as part:
        pd.DataFrame(lines, columns=columns).to_csv(part, index=False, lineterminator="\n")


def _ranks(ordered: Sequence[Row]) -> list[int]:
    """Return the place of each row's study."""
    place = {study: number for number, study in enumerate(dict.fromkeys(row.study for row in ordered), start=1)}
    return [place[row.study] for row in ordered]


def _states(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Return states and their counts: those that occur, and the two that another operating point may bring."""
    counts = Counter(row.state for row in rows)
    can_change = counts["flagged"] + counts["clear"] > 0
    return [
        (state, counts[state]) for state in STATES if counts[state] or (can_change and state in {"flagged", "clear"})
    ]


def _bits(row: Row, points: Sequence[OperatingPoint]) -> str:
    """Return the labels over their thresholds as bits, one number a point."""
    _, *others = points
    return " ".join(map(str, (bits_of(row.over), *(bits_of(row.over_at.get(point.rule, ())) for point in others))))


def _studies(rows: Sequence[Row], points: Sequence[OperatingPoint]) -> Markup:
    codes = Counter(code for row in rows for code in set(row.codes))
    over = Counter(label for row in rows for label in row.over)
    ever = {*over, *(label for row in rows for labels in row.over_at.values() for label in labels)}
    in_order = [LABELS[number] for number in ANY_FIRST]
    remarks = [(code, f"{code} ({count})") for code, count in sorted(codes.items())]
    choices: tuple[tuple[str, str, list[tuple[str, str]]], ...] = (
        ("state", "Show", [(name, f"{STATES[name]} ({count})") for name, count in _states(rows)]),
        ("label", "Over its threshold", [(name, f"{name} ({over[name]})") for name in in_order if name in ever]),
        ("remark", "Remark", [("-", "without remarks"), *remarks]),
    )
    sure = Counter(row.confidence for row in rows if row.confidence)
    if sure:
        states = [(name, f"{WORDS[name]} ({sure[name]})") for name in WORDS if sure[name]]
        choices = (*choices[:1], ("confidence", "Confidence", states), *choices[1:])
    size = Counter(row.study for row in rows)
    before = [None, *(row.study for row in rows)]
    return render(
        "ich25d.view.report",
        "worklist.html",
        rows=[
            {
                "row": row, "rank": rank, "n": size[row.study], "follows": row.study == last,
                "estimates": row.estimates(), "bits": _bits(row, points),
            }
            for row, rank, last in zip(rows, _ranks(rows), before, strict=False)
        ],
        choices=choices,
        columns=[(SHORT.get(name, name), name) for name in in_order],
        order=ANY_FIRST,
        labels=LABELS,
        states=STATES,
        words=WORDS,
        has_confidence=bool(sure),
        has_found=any(row.found for row in rows),
        short=_short,
        meaning=lambda code: CODES[code].meaning if code in CODES else "",
    )  # fmt: skip


def _short(text: str) -> str:
    """Shorten an id for a narrow column: a long UID to its beginning and end."""
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
