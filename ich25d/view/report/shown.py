"""What a page shows of one series: what was read, predicted and explained."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ich25d.dicom.codes import CODES
from ich25d.explain.finding import Finding
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.network import Network
from ich25d.predict.output import flags_of
from ich25d.predict.series import SeriesPixels, UnreadSeries
from ich25d.slabs.slab import neighbour_indices
from ich25d.studies.qc import QcRow, settled
from ich25d.training.operating_point import OperatingPoint

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ShownSeries:
    """A series of n slices."""

    series_id: str
    study_id: str
    patient_id: str
    """RSNA's id or a pseudonym, as the store keeps it."""
    image_ids: tuple[str, ...]
    hu: npt.NDArray[np.int16]
    """Shape (n, side, side)."""
    slice_position_mm: Floats
    """Shape (n,), NaN where unknown."""
    pixel_mm: float | None
    orientation: str
    neighbours: npt.NDArray[np.int64]
    """Indices of each slice's slab, shape (n, S)."""
    offsets: tuple[int, ...]
    """Of the columns of `neighbours`, in slices or steps of `neighbour_mm`; 0 is the slice itself."""
    neighbour_mm: float
    """Distance of neighbours; 0 where they are counted in slices."""
    encoder_probability: Floats
    probability: Floats
    series_probability: Floats
    points: tuple[OperatingPoint, ...]
    """The operating points that the reader can choose from, the default first."""
    remarks: tuple[QcRow, ...]
    """Of the series and its slices."""
    facts: Mapping[str, object]
    heat: npt.NDArray[np.float16] | npt.NDArray[np.uint8] | None = None
    """Heat maps, shape (n, 6, h, w), over the same field as `hu`: 0 to 1, or 0 to 255."""
    findings: tuple[Finding, ...] = ()
    """Where bleeds are, as estimates."""
    masks: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    """By label of a finding: what was drawn as the bleed, each of the shape of `hu`."""

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def point(self) -> OperatingPoint:
        """The default operating point."""
        return self.points[0]

    def distance_mm(self) -> Floats | None:
        """Return the distance of each slice from the lowest, shape (n,); None where a position is unknown."""
        if not len(self) or not np.isfinite(self.slice_position_mm).all():
            return None
        distance: Floats = self.slice_position_mm - self.slice_position_mm.min()
        return distance

    def over(self) -> tuple[str, ...]:
        """Return the labels at or over their threshold at the default operating point."""
        return self.point.over(self.series_probability)

    def flags(self) -> list[str]:
        """Return the reason codes of each slice, joined by `;`."""
        found = flags_of(self.remarks)
        return [found.get(image, "") for image in self.image_ids]


def shown_series(
    network: Network,
    series: UnreadSeries,
    pixels: SeriesPixels,
    finished: FinishedSeries,
    points: tuple[OperatingPoint, ...],
    remarks: tuple[QcRow, ...],
) -> ShownSeries:
    """Put together what a page shows of a predicted series.

    Args:
        network: The model.
        series: Its headers' facts.
        pixels: Its slices.
        finished: Its probabilities, and the remarks that its pixels gave rise to.
        points: The operating points, the default first.
        remarks: Those that its headers gave rise to.
    """
    slab = network.encoders[0].slab
    gaps = np.diff(finished.slice_position_mm)
    gaps = gaps[np.isfinite(gaps)]
    tilt, thickness = getattr(series, "tilt_deg", None), getattr(series, "thickness_mm", None)
    return ShownSeries(
        series_id=series.series_id,
        study_id=series.study_id,
        patient_id=series.patient_id,
        image_ids=finished.image_ids,
        hu=pixels.hu,
        slice_position_mm=finished.slice_position_mm,
        pixel_mm=pixels.pixel_mm,
        orientation=pixels.orientation,
        neighbours=neighbour_indices(finished.slice_position_mm, slab),
        offsets=tuple(slab.neighbours),
        neighbour_mm=slab.neighbour_mm,
        encoder_probability=finished.encoder_probability,
        probability=finished.probability,
        series_probability=finished.series_probability,
        points=points,
        remarks=tuple(settled([*remarks, *finished.qc])),
        facts={
            "Study": series.study_id or None,
            "Series": series.series_id,
            "Patient": series.patient_id or None,
            "Slices": len(finished.image_ids),
            "Distance of slices, mm": round(float(np.median(gaps)), 2) if len(gaps) else None,
            "Slice thickness, mm": thickness,
            "Gantry tilt, degrees": None if tilt is None else round(float(tilt), 1),
            "Convolution kernel": getattr(series, "kernel", "") or None,
            "Side of a pixel shown, mm": None if pixels.pixel_mm is None else round(pixels.pixel_mm, 3),
            "Rows and columns run to the patient's": pixels.orientation or None,
        },
    )


def remark_texts(rows: tuple[QcRow, ...]) -> list[str]:
    """Return remarks as sentences, one a code, with the number of slices."""
    by_code: dict[str, list[QcRow]] = {}
    for row in rows:
        by_code.setdefault(row.code, []).append(row)
    texts = []
    for code, found in sorted(by_code.items(), key=lambda item: (item[1][0].level != "series", item[0])):
        meaning = CODES[code].meaning if code in CODES else "a remark"
        count = f" ({len(found)} slices)" if len(found) > 1 and found[0].image_id else ""
        detail = f" Here: {found[0].detail}." if len(found) == 1 and found[0].detail else ""
        texts.append(f"{code}{count}: {meaning}.{detail}")
    return texts
