"""The files of `ich25d explain`.

    OUT/
      findings.csv         a row a finding; every number is an estimate
      qc.csv               a row a refusal or remark
      index.html           the findings as a table, their slices with heat
      pictures/*.png       those slices
      heat/<series>.npz    heat uint8 (n, 6, h, w), 0 to 255; mask bool (findings, n, h, w); labels,
                           slice_position_mm, pixel_mm; text: the findings as JSON

A series with heat of the same model, files and options isn't explained again.
"""

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ich25d.explain.beforehand import HEAT_FOLDER
from ich25d.explain.explanation import Explanation
from ich25d.explain.finding import Finding
from ich25d.files import file_key, replacing, write_text
from ich25d.labels import LABELS
from ich25d.studies.qc import QcRow, safe_cell
from ich25d.training.operating_point import OperatingPoint

COLUMNS = (
    "series_id", "study_id", "label", "probability", "side", "first_mm", "last_mm", "across_mm", "front_to_back_mm",
    "height_mm", "volume_ml", "volume_low_ml", "volume_high_ml", "first_slice", "last_slice", "peak_slice",
    "peak_image_id", "box_top", "box_left", "box_bottom", "box_right", "assumed", "is_estimate", "operating_point",
    "threshold",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """An explained series without its heat and masks."""

    series_id: str
    study_id: str
    image_ids: tuple[str, ...]
    findings: tuple[Finding, ...]
    qc: tuple[QcRow, ...] = ()


def heat_path(out: Path, series_id: str) -> Path:
    """Return where a series' heat is."""
    return out / HEAT_FOLDER / f"{file_key(series_id)}.npz"


def save(path: Path, explanation: Explanation, found: Found, made_from: str) -> None:
    """Write a series' heat, whole or not at all.

    Args:
        path: See `heat_path`.
        explanation: Its heat and masks.
        found: Its findings.
        made_from: Changes with the model, the files and the options; `load` compares it.
    """
    text = {**asdict(found), "made_from": made_from}
    h, w = explanation.heat.shape[2:]
    masks = [explanation.masks[finding.label] for finding in found.findings]
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            text=np.frombuffer(json.dumps(text).encode(), dtype=np.uint8),
            heat=np.rint(explanation.heat.astype(np.float32) * 255).astype(np.uint8),
            mask=np.stack(masks) if masks else np.zeros((0, len(explanation.heat), h, w), bool),
            labels=np.array(LABELS),
            slice_position_mm=explanation.slice_position_mm,
            pixel_mm=explanation.pixel_mm,
        )


def load(path: Path, made_from: str) -> Found | None:
    """Return a series that an earlier call explained from the same model, files and options, else None."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            text = json.loads(arrays["text"].tobytes())
        if text["made_from"] != made_from:
            return None
        return Found(
            series_id=text["series_id"],
            study_id=text["study_id"],
            image_ids=tuple(text["image_ids"]),
            findings=tuple(_finding(entry) for entry in text["findings"]),
            qc=tuple(QcRow(**row) for row in text["qc"]),
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def _finding(entry: dict[str, Any]) -> Finding:
    given = {field.name: entry[field.name] for field in fields(Finding) if field.init}
    tuples = {name: tuple(given[name]) for name in ("extent_mm", "box", "assumed")}
    return Finding(**{**given, **tuples})


def write_findings(path: Path, series: Sequence[Found], point: OperatingPoint) -> None:
    """Write `findings.csv`.

    Args:
        path: The file.
        series: All explained series.
        point: The operating point; every row names it, and its threshold of the label for a series.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for found in series:
        for finding in found.findings:
            writer.writerow(_row(found, finding, point))
    write_text(path, text.getvalue())


def _row(found: Found, finding: Finding, point: OperatingPoint) -> list[object]:
    numbers = (finding.first_mm, finding.last_mm, *finding.extent_mm)
    volumes = (finding.volume_ml, finding.volume_low_ml, finding.volume_high_ml)
    threshold = point.of_series.get(finding.label)
    return [
        safe_cell(found.series_id), safe_cell(found.study_id), finding.label, f"{finding.probability:.4g}",
        finding.side,
        *(f"{value:.1f}" for value in numbers), *(f"{value:.3g}" for value in volumes), finding.first_slice,
        finding.last_slice, finding.peak_slice, safe_cell(found.image_ids[finding.peak_slice]), *finding.box,
        ";".join(finding.assumed), int(finding.is_estimate), point.rule,
        "" if threshold is None else f"{threshold:.4g}",
    ]  # fmt: skip
