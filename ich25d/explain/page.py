"""The page of `ich25d explain`: all findings in a table, and their slices with heat."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from ich25d.explain.explanation import HEAT_RULE, Explanation
from ich25d.explain.finding import SIDES, Finding
from ich25d.explain.output import Found
from ich25d.files import file_key, write_bytes
from ich25d.labels import LABELS
from ich25d.pages.number import number_text
from ich25d.pages.page import Page
from ich25d.pages.picture import gallery, picture
from ich25d.pages.table import table
from ich25d.progress import many
from ich25d.slabs.grey_values import grey
from ich25d.training.model_file import About
from ich25d.training.operating_point import RULES, OperatingPoint
from ich25d.windows import NAMED_WINDOWS

PICTURES_FOLDER = "pictures"

WINDOW = NAMED_WINDOWS["brain"]
OPACITY = 0.65
EDGE = (80, 230, 255)
"""Colour of the line around what was drawn as the bleed; no heat has it."""

MONTAGE = 5
"""Slices of a finding that are shown, at most."""

SHOWN = 60
"""Findings whose slices the page shows, as it is one file; the others' are in the folder."""

COLUMNS = (
    "Series", "Label", "Probability", "Threshold", "Patient's side", "Slices", "mm",
    "Across, front to back, height, mm", "Volume, ml (80 of 100 cases)", "Assumed",
)  # fmt: skip

NOTE = (
    "Estimates from heat maps and HU by a research program; nobody has drawn or measured these bleeds. Above the slice "
    "as it is (level 40, width 80 HU), below with heat; the line is around what was drawn as the bleed."
)

Rgb = npt.NDArray[np.uint8]

_STYLE = """
#findings td { white-space: nowrap; }
#findings td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 9.5rem; }
@media (max-width: 40rem) { .gallery { gap: .5rem; } .gallery .picture { width: calc(50% - .25rem); } }
"""


def _picture_path(folder: Path, series_id: str, label: str) -> Path:
    return folder / f"{file_key(series_id)}_{label}.png"


def write_pictures(folder: Path, hu: npt.NDArray[np.int16], explanation: Explanation, found: Found) -> None:
    """Write the slices of every finding of a series as PNG.

    Args:
        folder: Where to.
        hu: The series, shape (n, h, w).
        explanation: Its heat and masks.
        found: Its findings.
    """
    for finding in found.findings:
        heat = explanation.heat[:, LABELS.index(finding.label)]
        pixels = montage(hu, heat, explanation.masks[finding.label], finding)
        ok, content = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, ::-1]))
        assert ok, "PNG holds any RGB picture"
        write_bytes(_picture_path(folder, found.series_id, finding.label), content.tobytes())


def overlay(hu: npt.NDArray[np.int16], heat: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_]) -> Rgb:
    """Lay heat over a slice: opaque where it is hot, invisible where it is cold; a line around the mask.

    Args:
        hu: Shape (h, w).
        heat: Shape (h, w), 0 to 1.
        mask: Shape (h, w).

    Returns:
        RGB, shape (h, w, 3).
    """
    warm = np.clip(heat.astype(np.float32), 0, 1)
    colour = cv2.applyColorMap(np.rint(warm * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    share = np.clip(1.5 * warm, 0, OPACITY)[:, :, None]
    result: Rgb = np.ascontiguousarray(
        np.rint(grey(hu, WINDOW)[:, :, None] * (1 - share) + colour * share).astype(np.uint8)
    )
    result[mask & (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0)] = EDGE
    return result


def montage(
    hu: npt.NDArray[np.int16], heat: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_], finding: Finding
) -> Rgb:
    """Return the slices of a finding side by side: as they are above, with their heat below.

    Args:
        hu: Shape (slices, h, w).
        heat: Of the finding's label, the same shape.
        mask: What was drawn as the bleed, the same shape.
        finding: Says which slices.
    """
    chosen = shown_slices(finding)
    above = [np.repeat(grey(hu[index], WINDOW)[:, :, None], 3, axis=2) for index in chosen]
    below = [overlay(hu[index], heat[index], mask[index]) for index in chosen]
    return np.vstack([np.hstack(above), np.hstack(below)])


def shown_slices(finding: Finding) -> Sequence[int]:
    """Return at most `MONTAGE` slices of a finding, evenly spread, the peak among them."""
    spread = np.linspace(finding.first_slice, finding.last_slice, MONTAGE).round().astype(int).tolist()
    nearest = min(range(len(spread)), key=lambda place: abs(spread[place] - finding.peak_slice))
    spread[nearest] = finding.peak_slice
    return sorted(set(spread))


def write_page(
    path: Path,
    series: Sequence[Found],
    pictures: Path,
    point: OperatingPoint,
    labels: Sequence[str] | None = None,
    doubts: Sequence[str] = (),
    about: About | None = None,
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        series: All explained series.
        pictures: Folder of their pictures.
        point: The operating point.
        labels: The labels that were wanted; None is those at or over their threshold.
        doubts: Sentences that say where the point flags nearly everything.
        about: What the model says of itself.
    """
    pairs = sorted(
        ((found, finding) for found in series for finding in found.findings),
        key=lambda pair: (-pair[1].probability, pair[0].series_id, pair[1].label),
    )
    page = Page(
        "Where the model sees blood",
        subtitle=f"{many(len(pairs), 'finding')} in {len(series)} series",
        lead=_lead(point, labels, doubts) + (Markup("<p>Model: {}</p>").format(about.text) if about else Markup()),
        wide=True,
    )
    page.style(_STYLE)
    rows = [_row(found, finding, point) for found, finding in pairs]
    page.section("Findings", table(COLUMNS, rows, caption="Findings, the most probable first"))
    shown = [pair for pair in pairs if _picture_path(pictures, pair[0].series_id, pair[1].label).is_file()][:SHOWN]
    for found, finding in shown:
        content = cv2.imread(str(_picture_path(pictures, found.series_id, finding.label)))
        if content is not None:
            columns = _columns(np.ascontiguousarray(content[:, :, ::-1]).astype(np.uint8), finding)
            page.section(f"{found.series_id}: {finding.label}", sentence(finding), columns)
    if len(shown) < len(pairs):
        page.section("Further findings", f"{len(pairs) - len(shown)} more; their slices are in {PICTURES_FOLDER}/.")
    page.write(path)


def _lead(point: OperatingPoint, labels: Sequence[str] | None, doubts: Sequence[str]) -> Markup:
    if point.rule == "none":
        what = "of what was asked for: the model has no thresholds"
    elif labels is None:
        what = f"of what is at or over its threshold. Operating point on validation: {point.described}"
    else:
        what = f"of the labels asked for. Operating point on validation, for comparison: {point.described}"
    scale = RULES[HEAT_RULE].meaning
    heat = f"Heat is scaled to the one of {scale}: on a slice at that threshold it is half as strong as it can be."
    first = " ".join((f"Side, reach and volume {what}.", *doubts, heat))
    return Markup("<p>{}</p><p>{}</p>").format(first, NOTE)


def _columns(pixels: npt.NDArray[np.uint8], finding: Finding) -> Markup:
    """Return each column of a montage as a picture, so that a narrow window wraps them."""
    slices = shown_slices(finding)
    parts = np.array_split(pixels, len(slices), axis=1)
    alt = f"and below it with heat of {finding.label}"
    return gallery([
        picture(part, alt=f"Slice {index + 1}, {alt}", caption=f"slice {index + 1}")
        for index, part in zip(slices, parts, strict=True)
    ])  # fmt: skip


def sentence(finding: Finding) -> str:
    """Return a finding as one line, an estimate."""
    return (
        f"Estimated: {finding.label}, {SIDES[finding.side]}, {_reach(finding)} mm, {extent_text(finding)} mm, "
        f"{volume_text(finding, 'ml ')}" + (f"; assumed: {', '.join(finding.assumed)}" if finding.assumed else "")
    )


def _reach(finding: Finding) -> str:
    return f"{finding.first_mm:.0f} to {finding.last_mm:.0f}".replace("-", "\N{MINUS SIGN}")


def extent_text(finding: Finding) -> str:
    """Write how far a finding reaches, mm: `20 x 24 x 5`."""
    return " x ".join(f"{value:.0f}" for value in finding.extent_mm)


def volume_text(finding: Finding, unit: str = "") -> str:
    """Write a finding's volume with its interval: `2.4 (1.0 to 4.0)`."""
    volumes = (finding.volume_ml, finding.volume_low_ml, finding.volume_high_ml)
    volume, low, high = (number_text(value, 2) for value in volumes)
    return f"{volume} {unit}({low} to {high})"


def _row(found: Found, finding: Finding, point: OperatingPoint) -> list[object]:
    return [
        found.series_id, finding.label, finding.probability, point.of_series.get(finding.label),
        SIDES[finding.side], f"{finding.first_slice + 1} to {finding.last_slice + 1}", _reach(finding),
        extent_text(finding), volume_text(finding), ", ".join(finding.assumed) or "nothing",
    ]  # fmt: skip
