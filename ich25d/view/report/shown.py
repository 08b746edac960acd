"""What a page shows of one series: what was read, predicted and explained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ich25d.config import SlabConfig
from ich25d.explain.finding import Finding
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.output import flags_of
from ich25d.predict.series import SeriesPixels, UnreadSeries
from ich25d.studies.qc import QcRow
from ich25d.training.confidence import NOT_JUDGED, Judgement
from ich25d.training.operating_point import OperatingPoint

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ShownSeries:
    """A series of n slices, from its headers' facts to what was found in it."""

    listed: UnreadSeries
    """Its headers' facts."""
    pixels: SeriesPixels
    finished: FinishedSeries
    slab: SlabConfig
    """What the network gets of each slice."""
    points: tuple[OperatingPoint, ...]
    """The operating points that the reader can choose from, the default first."""
    remarks: tuple[QcRow, ...]
    """Of the series and its slices."""
    judgement: Judgement = NOT_JUDGED
    """How sure its prediction is."""
    heat: npt.NDArray[np.float16] | npt.NDArray[np.uint8] | None = None
    """Heat maps, shape (n, 6, h, w), over the same field as the pixels: 0 to 1, or 0 to 255."""
    findings: tuple[Finding, ...] = ()
    """Where bleeds are, as estimates."""
    masks: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """By label of a finding: what was drawn as the bleed, shape (n, h, w)."""

    def __len__(self) -> int:
        return len(self.finished.image_ids)

    @property
    def point(self) -> OperatingPoint:
        """The default operating point."""
        return self.points[0]

    def distance_mm(self) -> Floats | None:
        """Return the distance of each slice from the lowest, shape (n,); None where a position is unknown."""
        position = self.finished.slice_position_mm
        if not len(self) or not np.isfinite(position).all():
            return None
        distance: Floats = position - position.min()
        return distance

    def over(self) -> tuple[str, ...]:
        """Return the labels at or over their threshold at the default operating point."""
        return self.point.over(self.finished.series_probability)

    def flags(self) -> list[str]:
        """Return the reason codes of each slice, joined by `;`."""
        found = flags_of(self.remarks)
        return [found.get(image, "") for image in self.finished.image_ids]

    def facts(self) -> dict[str, object]:
        """Return what is known of the scan, by name."""
        series, pixels = self.listed, self.pixels
        gaps = np.diff(self.finished.slice_position_mm)
        gaps = gaps[np.isfinite(gaps)]
        tilt = getattr(series, "tilt_deg", None)  # a stored series knows neither tilt nor thickness nor kernel
        return {
            "Study": series.study_id or None,
            "Series": series.series_id,
            "Patient": series.patient_id or None,
            "Slices": len(self),
            "Distance of slices, mm": round(float(np.median(gaps)), 2) if len(gaps) else None,
            "Slice thickness, mm": getattr(series, "thickness_mm", None),
            "Gantry tilt, degrees": None if tilt is None else round(float(tilt), 1),
            "Convolution kernel": getattr(series, "kernel", "") or None,
            "Side of a pixel shown, mm": None if pixels.pixel_mm is None else round(pixels.pixel_mm, 3),
            "Rows and columns run to the patient's": pixels.orientation or None,
        }
