"""A phantom head as a hospital's DICOM has it, and the objects that a prediction of it makes."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from toy_model import N_SLICES, head_hu, positions

from ich25d.dicom_out.objects import dicom_objects
from ich25d.labels import LABELS
from ich25d.phantom.dicom import CT_IMAGE_STORAGE, Element, Tag, dicom_bytes
from ich25d.predict.answer import predict_pixels
from ich25d.predict.finished_series import FinishedSeries
from ich25d.predict.found import find_series
from ich25d.predict.network import Network, load_network
from ich25d.predict.series import SeriesPixels, UnreadSeries, read_pixels
from ich25d.training.operating_point import Measured, OperatingPoint

STUDY, SERIES, FRAME = "2.25.101", "2.25.102", "2.25.104"
IMAGES = tuple(f"2.25.103.{index + 1}" for index in range(N_SLICES))

PATIENT: dict[Tag, Element | None] = {
    (0x0008, 0x0005): ("CS", "ISO_IR 100"),
    (0x0008, 0x0016): ("UI", CT_IMAGE_STORAGE),
    (0x0008, 0x0020): ("DA", "20240229"),
    (0x0008, 0x0030): ("TM", "101112"),
    (0x0008, 0x0050): ("SH", "A-17"),
    (0x0008, 0x0080): ("LO", "St. Elsewhere"),
    (0x0010, 0x0010): ("PN", b"M\xfcller^Zo\xeb"),
    (0x0010, 0x0020): ("LO", "P-0815"),
    (0x0010, 0x0030): ("DA", "19500101"),
    (0x0010, 0x0040): ("CS", "F"),
    (0x0010, 0x1040): ("LO", "1 Some Street"),
    (0x0020, 0x0010): ("SH", "77"),
    (0x0020, 0x0052): ("UI", FRAME),
}
"""What a scanner writes besides the phantom's elements; the institution and the address must go nowhere."""

POINT = OperatingPoint(
    "f1", {"subdural": 0.5, "any": 0.5}, {"epidural": 0.6, "subdural": 0.6, "any": 0.55}, Measured(0.9, 10, 0.8, 20)
)

BLEED = (3, 4, 5, 6)
"""Slices that show the clot of the toy head."""


def write_study(folder: Path, extra: dict[Tag, Element | None] | None = None, **ids: Any) -> Path:
    """Write the toy head as one file a slice, the highest first by name."""
    folder.mkdir(parents=True)
    names = ids.pop("image_ids", IMAGES)
    for index, (hu, position) in enumerate(zip(head_hu(), positions(), strict=True)):
        content = dicom_bytes(
            hu, image_id=names[index], origin_mm=(-96.0, -96.0, position), pixel_spacing_mm=(2.0, 2.0),
            extra=PATIENT if extra is None else extra, **{"study_id": STUDY, "series_id": SERIES, **ids},
        )  # fmt: skip
        (folder / f"{N_SLICES - index:02d}.dcm").write_bytes(content)
    return folder


def bleeding(**of_label: float) -> np.ndarray:
    """Return probabilities (n, 6) that are high on the clot's slices alone."""
    probability = np.full((N_SLICES, 6), 0.01)
    for label, value in of_label.items():
        probability[list(BLEED), LABELS.index(label)] = value
    return probability


@dataclass(frozen=True, slots=True)
class Sent:
    """A series, and the objects made of it."""

    series: UnreadSeries
    pixels: SeriesPixels
    finished: FinishedSeries
    objects: list[Dataset]

    def of(self, modality: str) -> list[Dataset]:
        """Return the objects of a modality."""
        return [one for one in self.objects if one.Modality == modality]


def send(
    folder: Path, model: Path | Network, probability: np.ndarray, *, point: OperatingPoint = POINT, **options: Any
) -> Sent:
    """Predict the one series of a folder, say that its probabilities are others, and make its objects."""
    network = load_network(model, "cpu") if isinstance(model, Path) else model
    (series,) = find_series([folder], network).series
    pixels = read_pixels(series, crop=network.crop, size=network.size)
    found = predict_pixels(network, pixels)
    finished = dataclasses.replace(found, probability=probability, series_probability=probability.max(axis=0), qc=())
    return Sent(series, pixels, finished, dicom_objects(network, series, pixels, finished, point=point, **options))
