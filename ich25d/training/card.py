"""`MODEL_CARD.md`: what a reader of CLAIM or TRIPOD+AI asks of a trained model, as far as the code knows it.

Other rooms bring the facts as plain values; here they become Markdown, with the parts that hold for every model. No ids
of patients and no paths of the machine get in: facts are counts, shares, settings and hashes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ich25d.files import write_text

CARD_FILE = "MODEL_CARD.md"

INTENDED = (
    "Research on the detection of intracranial haemorrhage on non-contrast head CT: six probabilities a slice and a "
    "series (epidural, intraparenchymal, intraventricular, subarachnoid, subdural, any).",
    "Comparison with other models, teaching, and the preparation of studies that have their own ethical approval.",
)
NOT_INTENDED = (
    "Patients: this is research software, not a medical device. It must not decide, rule out, or put off a reading.",
    "Contrast-enhanced or angiographic series, other body regions, MRI, non-axial reformats.",
    "Telling fresh from old blood, the cause of a bleed, its volume or its course; none of it is a label.",
)
LIMITS = (
    "Measured on held-out patients of the data that it was trained on, not on another hospital's: expect less "
    "elsewhere. "
    "`ich25d evaluate` and `ich25d cq500` judge it on other data.",
    "Age, sex, scanner and site aren't kept in a study store; performance by these groups is unknown here.",
    "Labels are taken as given. Those of public sets are mostly of one reader, and noisy at a bleed's ends.",
    "Rare labels have few positives: look at the intervals, and at the numbers of positives, before the values.",
    "Probabilities fit the share of positives named under calibration; where bleeds are rarer or more frequent, they "
    "need "
    "to be shifted, and thresholds to be chosen anew.",
    "Pixel formats, gantry tilt and gaps differ between hospitals and can go along with the label (shortcuts); "
    "subgroups "
    "of `ich25d evaluate --studies` show some of it.",
)
_CHECKLIST = (
    ("Intended use, users, setting", "Intended use"),
    ("Source of data, dates, settings", "Data; dates and sites: not known to the code"),
    ("Eligibility, exclusions, flow", "Flow of exclusions"),
    ("De-identification, missing data", "Data; unknown labels weigh nothing"),
    ("Reference standard, readers", "Data; how it was read: whoever gave the labels knows"),
    ("Partitions and their level", "Partitions"),
    ("Preprocessing", "Preprocessing"),
    ("Model, inputs, outputs", "Architecture"),
    ("Training, hyperparameters, seeds", "Training"),
    ("Choice of the final model, ensembles", "Training; Partitions"),
    ("Metrics, uncertainty", "Performance"),
    ("Calibration, thresholds", "Calibration and thresholds"),
    ("Explanation of single results", "`ich25d explain`"),
    ("External test", "Not here: `ich25d evaluate`, `ich25d cq500`"),
    ("Fairness, groups of people", "Limits: age and sex aren't kept"),
    ("Failure analysis", "`ich25d evaluate --studies` (gallery of mistakes)"),
    ("Limits, generalisability", "Limits"),
    ("Code, weights, data and their terms", "Files and checksums; Licences"),
    ("Funding, registration, protocol", "Not known to the code"),
)

Cell = str | int | float | None


@dataclass(slots=True)
class Card:
    """A Markdown document in the making."""

    title: str
    _lines: list[str] = field(default_factory=list)

    def section(self, heading: str, *blocks: str) -> None:
        """Add a section; blocks are paragraphs, lists or tables."""
        self._lines += [f"## {heading}", ""]
        for block in blocks:
            self._lines += [block, ""]

    def to_markdown(self) -> str:
        """Return the whole document."""
        return "\n".join([f"# {self.title}", "", *self._lines]).rstrip() + "\n"

    def write(self, folder: Path) -> None:
        """Write `MODEL_CARD.md`, whole or not at all."""
        write_text(folder / CARD_FILE, self.to_markdown())


def begin_card(title: str, summary: str) -> Card:
    """Begin a card with what it is for and not for."""
    card = Card(title)
    card.section("Summary", summary)
    card.section("Intended use", bullets(INTENDED), "**Not for:**", bullets(NOT_INTENDED))
    return card


def end_card(card: Card, *, limits: Sequence[str] = ()) -> None:
    """End a card with limits and the list of what CLAIM and TRIPOD+AI ask."""
    card.section("Limits", bullets((*limits, *LIMITS)))
    card.section(
        "What CLAIM and TRIPOD+AI ask, and where it is answered",
        table(("item", "where"), _CHECKLIST),
        "What the code can't know (who, where, when, why, and how the labels were read) is for whoever trained the "
        "model "
        "to add.",
    )


def bullets(items: Sequence[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {item}" for item in items)


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a Markdown table; a bar or a line break in a cell can't break it."""
    head = [f"| {' | '.join(map(cell_text, columns))} |", f"|{'|'.join(['---'] * len(columns))}|"]
    return "\n".join([*head, *(f"| {' | '.join(map(cell_text, row))} |" for row in rows)])


def cell_text(value: Cell) -> str:
    """Write one cell: numbers with four digits at most, nothing as a dash."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return " ".join(str(value).split()).replace("|", "\\|")


def with_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """Write `0.912 [0.880, 0.941]`; a dash where it isn't defined."""
    if value is None or not math.isfinite(value):
        return "-"
    text = f"{value:.{digits}f}"
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return text
    return f"{text} [{low:.{digits}f}, {high:.{digits}f}]"


def duration(seconds: float) -> str:
    """Write a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
