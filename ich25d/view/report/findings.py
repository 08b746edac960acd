"""The findings of a series in words and numbers for a page; each one an estimate."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from ich25d.explain.explanation import HEAT_RULE
from ich25d.explain.finding import SIDES, Finding
from ich25d.labels import LABELS
from ich25d.pages.number import number_text
from ich25d.pages.table import table
from ich25d.training.operating_point import RULES
from ich25d.view.report.shown import ShownSeries

SHORT = {
    "epidural": "EDH",
    "intraparenchymal": "IPH",
    "intraventricular": "IVH",
    "subarachnoid": "SAH",
    "subdural": "SDH",
}
"""The usual abbreviations of the five kinds."""

_NOTE = (
    "Made for the labels over their threshold at the default operating point, {default}. Heat is scaled to the one of "
    "{heat}: on a slice at that threshold it is half as strong as it can be. Each number is an estimate from the heat "
    "map and the HU under it, made for finding the place again, not for measuring; the README says how far such "
    "estimates were off on phantoms and painted scans."
)


def findings_note(series: ShownSeries) -> str:
    """Return what the estimates are, and at which operating points they were made."""
    return _NOTE.format(default=series.point.name, heat=RULES[HEAT_RULE].meaning)


def findings_table(series: ShownSeries) -> Markup:
    """Return the findings of a series as a table, each with a button that shows its slice."""
    position = series.finished.slice_position_mm
    lowest = float(np.nanmin(position)) if np.isfinite(position).any() else 0.0
    rows = [
        (
            found.label,
            SIDES[found.side],
            Markup('<button type="button" class="jump" data-slice="{}" data-show="{}">{}</button> of {} to {}').format(
                found.peak_slice, found.label, found.peak_slice + 1, found.first_slice + 1, found.last_slice + 1
            ),
            f"{found.first_mm - lowest:.0f} to {found.last_mm - lowest:.0f}",
            " x ".join(f"{value:.0f}" for value in found.extent_mm),
            f"{number_text(found.volume_ml, 2)} ({number_text(found.volume_low_ml, 2)} to "
            f"{number_text(found.volume_high_ml, 2)})",
            ", ".join(found.assumed) or "nothing",
            Markup('<span class="at-point" data-label="{}">{}</span>').format(
                LABELS.index(found.label), "over" if found.label in series.over() else "under"
            ),
        )
        for found in series.findings
    ]
    columns = ["Label", "Patient's side", "Slice with most", "mm from the lowest slice"]
    columns += ["Extent, mm: across, front to back, height", "Volume, ml (80 of 100 cases)", "Assumed", "Threshold"]
    return table(columns, rows, caption="Estimates", sortable=False)


def findings_texts(findings: Sequence[Finding]) -> tuple[tuple[str, str], ...]:
    """Return each finding with its label, in the words of the worklist: `SDH left ~24 ml`.

    A side gets a question mark where the files don't say how the image lies.
    """
    return tuple((found.label, _short(found)) for found in findings)


def _short(found: Finding) -> str:
    side = SIDES[found.side] + ("?" if "orientation" in found.assumed else "")
    return f"{SHORT.get(found.label, found.label)} {side} ~{number_text(found.volume_ml, 2)} ml"
