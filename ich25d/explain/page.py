"""The page of `ich25d explain`: all findings in a table, and their slices with heat."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.explain.api import Explanation
from ich25d.explain.finding import Finding
from ich25d.explain.output import Found
from ich25d.explain.overlay import montage
from ich25d.files import file_key, write_bytes
from ich25d.labels import LABELS
from ich25d.pages.page import Page
from ich25d.pages.picture import picture
from ich25d.pages.table import table

PICTURES_FOLDER = "pictures"

SHOWN = 60
"""Findings whose slices stand on the page: it is one file. The others' are in the folder."""

COLUMNS = (
    "Series", "Label", "Probability", "Side", "From, mm", "To, mm", "Across, mm", "Front to back, mm", "Height, mm",
    "Volume, ml", "80 of 100 between, ml", "Assumed",
)  # fmt: skip

NOTE = (
    "Estimates from heat maps and HU by a research program; nobody has drawn or measured these bleeds. Above the slice "
    "as it is (level 40, width 80 HU), below with heat; the line is what was taken for the bleed."
)


def picture_path(folder: Path, series_id: str, label: str) -> Path:
    """Return where the slices of a finding are."""
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
        write_bytes(picture_path(folder, found.series_id, finding.label), content.tobytes())


def write_page(path: Path, series: Sequence[Found], pictures: Path) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        series: All explained series.
        pictures: Folder of their pictures.
    """
    pairs = sorted(
        ((found, finding) for found in series for finding in found.findings),
        key=lambda pair: (-pair[1].probability, pair[0].series_id, pair[1].label),
    )
    page = Page(
        "Where the model sees blood",
        subtitle=f"{len(pairs)} findings in {len(series)} series",
        lead="Side, reach and volume of what reached its operating point. " + NOTE,
    )
    rows = [_row(found, finding) for found, finding in pairs]
    page.section("Findings", table(COLUMNS, rows, caption="Findings, the most probable first"))
    shown = [pair for pair in pairs if picture_path(pictures, pair[0].series_id, pair[1].label).is_file()][:SHOWN]
    for found, finding in shown:
        content = cv2.imread(str(picture_path(pictures, found.series_id, finding.label)))
        if content is None:
            continue
        pixels = np.ascontiguousarray(content[:, :, ::-1]).astype(np.uint8)
        image = picture(pixels, alt=f"Slices with heat of {finding.label}", caption=sentence(finding))
        page.section(f"{found.series_id}: {finding.label}", image)
    if len(shown) < len(pairs):
        page.section("Further findings", f"{len(pairs) - len(shown)} more; their slices are in {PICTURES_FOLDER}/.")
    page.write(path)


def sentence(finding: Finding) -> str:
    """Say a finding in one line, as an estimate."""
    across, deep, high = finding.extent_mm
    words = {"both": "both sides", "midline": "in the midline", "unknown": "side unknown"}
    side = words.get(finding.side, finding.side)
    return (
        f"Estimated: {finding.label}, {side}, {finding.first_mm:.0f} to {finding.last_mm:.0f} mm, "
        f"{across:.0f} x {deep:.0f} x {high:.0f} mm, {finding.volume_ml:.2g} ml "
        f"({finding.volume_low_ml:.2g} to {finding.volume_high_ml:.2g})"
        + (f"; assumed: {', '.join(finding.assumed)}" if finding.assumed else "")
    )


def _row(found: Found, finding: Finding) -> list[object]:
    return [
        found.series_id, finding.label, round(finding.probability, 3), finding.side,
        *(round(value, 1) for value in (finding.first_mm, finding.last_mm, *finding.extent_mm)),
        round(finding.volume_ml, 2), f"{finding.volume_low_ml:.2g} to {finding.volume_high_ml:.2g}",
        ", ".join(finding.assumed),
    ]  # fmt: skip
