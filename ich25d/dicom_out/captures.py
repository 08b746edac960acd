"""Key slices as pictures: heat, drawing and words burned in, for a PACS that shows nothing else.

References:
    DICOM PS3.3, A.8.1 (Secondary Capture Image IOD).
"""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
from highdicom.sc import SCImage
from pydicom.dataset import Dataset

from ich25d.dicom.geometry import sides_of
from ich25d.dicom_out.filed import SERIES_NUMBERS, filed
from ich25d.dicom_out.made_by import MAKER, NOT_FOR_DIAGNOSIS, MadeBy, describe_series, object_uid
from ich25d.dicom_out.source import SourceSeries
from ich25d.explain.explanation import Explanation
from ich25d.explain.finding import SIDES, Finding
from ich25d.explain.page import WINDOW, overlay, shown_slices, volume_text
from ich25d.labels import LABELS
from ich25d.pages.number import number_text
from ich25d.predict.series import SeriesPixels
from ich25d.slabs.grey_values import grey

KIND = "captures"

SIDE = 512
"""Of a slice, px; two stand side by side."""
BAND = 34
"""Height of a line of words, px."""

_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.55
_WARNING, _WORDS = (255, 210, 60), (235, 235, 235)

Rgb = npt.NDArray[np.uint8]


def draw_captures(
    source: SourceSeries, pixels: SeriesPixels, explanation: Explanation, maker: MadeBy
) -> Iterator[Dataset]:
    """Make a picture of each key slice of each finding.

    Where a subtype is found, `any` has no pictures of its own: they would be the same ones.

    Args:
        source: The images.
        pixels: Their pixels.
        explanation: What was found in them.
        maker: The model.

    Yields:
        Secondary captures of one series, numbered from 1.
    """
    findings = [one for one in explanation.findings if one.label != "any"] or list(explanation.findings)
    numbered = [(finding, index) for finding in findings for index in shown_slices(finding)]
    for number, (finding, index) in enumerate(numbered, start=1):
        made = SCImage(
            pixel_array=capture(pixels, explanation, maker, finding, index),
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=("L", "P"),
            study_instance_uid=source.study,
            series_instance_uid=object_uid(source, maker, KIND, "series"),
            series_number=SERIES_NUMBERS[KIND],
            sop_instance_uid=object_uid(source, maker, KIND, finding.label, str(index)),
            instance_number=number,
            manufacturer=MAKER,
            series_description=describe_series("captures"),
        )
        made.PatientOrientation = list(pixels.orientation)  # of type 2: empty where the files don't say
        made.ConversionType = "WSD"
        made.BurnedInAnnotation = "NO"  # no words that tell whose it is (PS3.3, C.7.6.1.1)
        made.SourceImageSequence = source.references([index])
        made.DerivationDescription = f"{NOT_FOR_DIAGNOSIS}. Heat and drawing of {finding.label} by {maker.about.name}"
        made.update(source.lossy)
        yield filed(made, source, maker)


def capture(pixels: SeriesPixels, explanation: Explanation, maker: MadeBy, finding: Finding, index: int) -> Rgb:
    """Draw one slice: as it is on the left, with heat and drawing on the right, words above and below.

    Args:
        pixels: The series.
        explanation: What was found in it.
        maker: The model.
        finding: Whose heat.
        index: Of the slice.

    Returns:
        RGB, shape (`SIDE` + 4 `BAND`, 2 `SIDE`, 3).
    """
    heat, mask = explanation.heat[index, LABELS.index(finding.label)], explanation.masks[finding.label][index]
    plain = np.repeat(grey(pixels.hu[index], WINDOW)[:, :, None], 3, axis=2)
    warm = overlay(pixels.hu[index], heat, mask)
    both = np.hstack([_enlarged(plain, pixels.orientation), _enlarged(warm, pixels.orientation)])
    width = both.shape[1]
    return np.vstack([
        _line(f"{NOT_FOR_DIAGNOSIS.upper()}. Research program {maker.version}", width, _WARNING),
        both,
        *(_line(words, width, _WORDS) for words in _words(explanation, maker, finding, index)),
    ])  # fmt: skip


def _words(explanation: Explanation, maker: MadeBy, finding: Finding, index: int) -> list[str]:
    threshold = maker.point.of_series.get(finding.label)
    flagged = "" if threshold is None else f" (flagged from {number_text(threshold, 2)})"
    slices = f"slice {index + 1} of {len(explanation.heat)} from below"
    side = f"patient's side: {SIDES[finding.side]}"
    assumed = f"; assumed: {', '.join(finding.assumed)}" if finding.assumed else ""
    return [
        f"{finding.label}: probability of the series {number_text(finding.probability, 2)}{flagged}; {side}; {slices}",
        f"estimated volume {volume_text(finding, 'mL ')}, slices {finding.first_slice + 1} to "
        f"{finding.last_slice + 1}{assumed}",
        f"level {WINDOW[0]:g}, width {WINDOW[1]:g} HU; right: heat, and a line around what was drawn as the bleed",
    ]


def _enlarged(picture: Rgb, orientation: str) -> Rgb:
    """Enlarge a slice, and write the patient's sides on it where they are known."""
    large = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    sides = sides_of(orientation)
    if sides is not None:
        for letter, left in zip(sides, (8, SIDE - 26), strict=True):
            _write(large, letter, (left, SIDE // 2), _WORDS, 0.8)
    return np.asarray(large, dtype=np.uint8)


def _line(words: str, width: int, colour: tuple[int, int, int]) -> Rgb:
    band = np.zeros((BAND, width, 3), np.uint8)
    shown = words.encode("ascii", "replace").decode()  # OpenCV's font has no other letters
    needed = cv2.getTextSize(shown, _FONT, _SCALE, 1)[0][0]
    _write(band, shown, (10, BAND - 11), colour, _SCALE * min(1.0, (width - 20) / needed))
    return band


def _write(picture: Rgb, words: str, at: tuple[int, int], colour: tuple[int, int, int], scale: float) -> None:
    cv2.putText(picture, words, at, _FONT, scale, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, words, at, _FONT, scale, colour, 1, cv2.LINE_AA)
