"""The main series of a study: of several reconstructions and passes, the one that a reader would open first.

The rules, in this order: no contrast, original and not derived, a soft kernel, 2.5 to 5.5 mm thick (nearest to 5 mm),
then most slices, the lowest series number, the smallest id. Series that aren't axial were refused before.
"""

import re
from collections.abc import Iterable

from ich25d.studies.series.series_plan import SeriesPlan

USUAL_MM = 5.0
"""Thickness of the scans that models are trained on."""

N_ABSOLUTE = 5
"""The first so many rules are kept or broken; the others compare."""

_THINNEST_MM, _THICKEST_MM = 2.5, 5.5
_LEAST_SLICES = 8
"""Fewer slices don't cover a head."""

# Siemens H50 to H79, J70 and up, B60 and up; Toshiba FC30s, FC50s (lung), FC80s; Philips D, YC to YE; and plain words.
_SHARP = re.compile(r"BONE|EDGE|LUNG|SHARP|\b(?:H[5-7]\d|J[7-9]\d|B[6-9]\d|FC[358]\d)|\b(?:D|Y[C-E])\b", re.IGNORECASE)


def choose_main(plans: Iterable[SeriesPlan]) -> tuple[SeriesPlan, dict[str, str]]:
    """Choose the main series of one study.

    Args:
        plans: All its series, in any order; at least one.

    Returns:
        The main one, and by the id of each other one the rule that it lost by.

    Raises:
        ValueError: There is no series.
    """
    ranked = sorted(plans, key=lambda plan: (*(value for _, value in _rules(plan)), plan.series_id))
    if not ranked:
        raise ValueError("a study must have a series (got none)")
    best = ranked[0]
    return best, {plan.series_id: _rule_lost(plan, best) for plan in ranked[1:]}


def broken_rules(plan: SeriesPlan) -> list[str]:
    """Return the rules that a series breaks by itself, whatever it is compared with."""
    return [reason for reason, value in _rules(plan)[:N_ABSOLUTE] if value]


def _rules(plan: SeriesPlan) -> list[tuple[str, float]]:
    """Return the rules in order: the reason of a series that loses by it, and a number of which the lower wins."""
    thickness = thickness_of(plan)
    off_mm = abs(thickness - USUAL_MM) if thickness is not None else float("inf")
    usual = thickness is not None and _THINNEST_MM <= thickness <= _THICKEST_MM
    return [
        (f"fewer than {_LEAST_SLICES} slices", float(len(plan) < _LEAST_SLICES)),
        ("contrast, angiography or perfusion", float(bool(plan.traits & {"contrast", "angio", "perfusion"}))),
        ("derived, not original", float("derived" in plan.traits)),
        ("a sharp kernel, for bone", float("bone" in plan.traits or is_sharp(plan.kernel))),
        (f"not {_THINNEST_MM:g} to {_THICKEST_MM:g} mm thick", float(not usual)),
        # To a tenth of a millimetre: 4.998 and 5 mm are one thickness.
        (f"further from {USUAL_MM:g} mm", round(off_mm, 1)),
        ("fewer slices", -float(len(plan))),
        ("a higher series number", float("inf") if plan.series_number is None else float(plan.series_number)),
    ]


def _rule_lost(plan: SeriesPlan, best: SeriesPlan) -> str:
    pairs = zip(_rules(plan), _rules(best), strict=True)
    return next((reason for (reason, own), (_, others) in pairs if own != others), "a larger id")


def thickness_of(plan: SeriesPlan) -> float | None:
    """Return the thickness in mm, or the distance of slices where the header doesn't say it."""
    return plan.thickness_mm if plan.thickness_mm is not None else plan.slice_spacing_mm


def is_sharp(kernel: str) -> bool:
    """Say whether a convolution kernel is one for bone or lung."""
    return _SHARP.search(kernel) is not None
