"""What DICOM objects take over from the files of a series: references to its images, patient and study, geometry.

Everything is read from the files themselves when objects are written: our tables hold pseudonyms and respelled ids.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import config as pydicom_config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage

from ich25d.dicom.geometry import Display
from ich25d.dicom.header import Header
from ich25d.errors import DicomError
from ich25d.predict.series import UnreadSeries
from ich25d.studies.series.of_dicom import DicomPlace, dicom_places, display_of
from ich25d.studies.series.series_plan import SeriesPlan

PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientIdentityRemoved",
           "DeidentificationMethod")  # fmt: skip
STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
         "StudyDescription")  # fmt: skip
COPIED = (*PATIENT, *STUDY)
"""Attributes that objects take over from the files, and no others: by them they are filed (PS3.3, C.7.1.1, C.7.2.1)."""

FILLED_EMPTY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                "AccessionNumber", "ReferringPhysicianName")  # fmt: skip
"""Those of type 2: they must be there, and are empty where the files have none."""

_REFERENCED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_FRAME_OF_REFERENCE = "FrameOfReferenceUID"
_LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_READ = [Tag(name) for name in ("SpecificCharacterSet", *COPIED, *_REFERENCED, _FRAME_OF_REFERENCE, *_LOSSY)]

Floats = npt.NDArray[np.float64]


class Plane(NamedTuple):
    """Where an image lies in the patient, as its file has it."""

    origin_mm: tuple[float, ...]
    """Image Position (Patient)."""
    directions: tuple[float, ...]
    """Image Orientation (Patient)."""
    spacing_mm: tuple[float, float]
    """Pixel Spacing: distance of rows, then of columns."""


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One slice as objects refer to it."""

    sop_class: str
    sop_instance: str
    """As the file has it, also where it is no valid UID."""
    series: str
    study: str
    frame: int
    """From 1; 0 where the file is one image."""
    shape: tuple[int, int]
    """Rows and columns."""
    plane: Plane | None
    """Where it lies; None where the file doesn't say."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceSeries:
    """The images that a prediction rests on, in scan order, and what the files say of patient and study."""

    images: tuple[SourceImage, ...]
    """One a slice."""
    common: Dataset
    """The attributes of `COPIED` as the first image has them, decoded."""
    frame_of_reference: str
    """Empty where the first image names none."""
    display: Display
    """How slices are turned from what the files hold."""
    lossy: Dataset
    """Lossy Image Compression of the first image, with ratio and method; empty where it isn't lossy."""

    @property
    def study(self) -> str:
        """Study Instance UID of the objects."""
        return self.images[0].study

    def evidence(self, indices: Sequence[int] | None = None) -> list[Dataset]:
        """Return a data set an instance, with its ids alone, as references are made from.

        Args:
            indices: Slices; None is all.
        """
        instances: dict[str, Dataset] = {}
        for index in range(len(self.images)) if indices is None else indices:
            image = self.images[index]
            if image.sop_instance in instances:
                continue
            item = Dataset()
            item.SOPClassUID, item.SOPInstanceUID = image.sop_class, image.sop_instance
            item.SeriesInstanceUID, item.StudyInstanceUID = image.series, image.study
            for name in FILLED_EMPTY:
                setattr(item, name, None)
            item.Rows, item.Columns = image.shape
            instances[image.sop_instance] = item
        return list(instances.values())

    def references(self, indices: Sequence[int]) -> list[Dataset]:
        """Return items that refer to slices, one an instance, with the numbers of its frames (PS3.3, 10.8)."""
        items = []
        for instance, frames in self.frames(indices).items():
            item = Dataset()
            item.ReferencedSOPClassUID = next(one.sop_class for one in self.images if one.sop_instance == instance)
            item.ReferencedSOPInstanceUID = instance
            if frames:
                item.ReferencedFrameNumber = frames
            items.append(item)
        return items

    def frames(self, indices: Sequence[int]) -> dict[str, list[int]]:
        """Return the numbers of the frames that slices are, by SOP instance; of single images none."""
        found: dict[str, list[int]] = {}
        for index in indices:
            frames = found.setdefault(self.images[index].sop_instance, [])
            if self.images[index].frame:
                frames.append(self.images[index].frame)
        return found


@contextmanager
def as_in_the_files() -> Iterator[None]:
    """Let pydicom take values as files have them: ids of research data needn't be valid UIDs, nor dates dates."""
    reading, writing = pydicom_config.settings.reading_validation_mode, pydicom_config.settings.writing_validation_mode
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
    pydicom_config.settings.writing_validation_mode = pydicom_config.IGNORE
    try:
        yield
    finally:
        pydicom_config.settings.reading_validation_mode = reading
        pydicom_config.settings.writing_validation_mode = writing


def is_dicom(series: UnreadSeries) -> bool:
    """Say whether a series is read from DICOM files, which objects can refer to."""
    return isinstance(series, SeriesPlan) and dicom_places(series.images, range(1)) is not None


def read_source(series: UnreadSeries, image_ids: Sequence[str]) -> SourceSeries:
    """Read what objects take over from the files of a series.

    Args:
        series: The series, of DICOM files (`is_dicom`).
        image_ids: The slices that were predicted.

    Raises:
        DicomError: A file has gone or changed since it was listed.
    """
    assert isinstance(series, SeriesPlan), "is_dicom was asked"
    rank = {image: index for index, image in enumerate(series.image_ids)}
    places = dicom_places(series.images, [rank[image] for image in image_ids])
    assert places, "is_dicom was asked, and a prediction has slices"
    images = []
    heads: dict[object, Dataset] = {}
    for place in places:
        if place.entry not in heads:
            heads[place.entry] = _head(place)
        images.append(_image(heads[place.entry], place))
    first = heads[places[0].entry]
    with as_in_the_files():
        return SourceSeries(
            tuple(images), _copied(first, COPIED), str(first.get(_FRAME_OF_REFERENCE) or ""), display_of(series.images),
            _copied(first, _LOSSY) if first.get("LossyImageCompression") == "01" else Dataset(),
        )  # fmt: skip


def _head(place: DicomPlace) -> Dataset:
    content = bytes(place.sources.content(place.entry, keep=False))
    with as_in_the_files(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that aren't as they should be: they are copied as they are
        try:
            head = pydicom.dcmread(BytesIO(content), force=True, specific_tags=_READ, stop_before_pixels=True)
            head.decode()
        except (LookupError, ValueError, OSError, AttributeError, TypeError) as error:
            raise DicomError("UNREADABLE", "the ids of the file can't be read again") from error
    return head


def _image(head: Dataset, place: DicomPlace) -> SourceImage:
    """Join the ids of a file with the geometry of one image in it."""
    header, meta = place.header, getattr(head, "file_meta", Dataset())
    return SourceImage(
        # RSNA's files have no SOP class but in their file meta; without any, what was read was a CT image.
        sop_class=str(head.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or CTImageStorage),
        sop_instance=str(head.SOPInstanceUID),
        series=str(head.get("SeriesInstanceUID") or header.series_id),
        study=str(head.get("StudyInstanceUID") or header.study_id),
        frame=header.frame,
        shape=(header.rows, header.columns),
        plane=_plane(header),
    )


def _plane(header: Header) -> Plane | None:
    origin, directions, spacing = header.origin_mm, header.directions, header.pixel_spacing_mm
    return None if origin is None or directions is None or spacing is None else Plane(origin, directions, spacing)


def _copied(head: Dataset, names: Sequence[str]) -> Dataset:
    """Return the attributes that have a value, as text in Unicode."""
    copied = Dataset()
    for name in names:
        if head.get(name):
            element = head[name]
            value = element.value
            texts = [str(one) for one in value] if isinstance(value, MultiValue) else str(value)
            copied.add(DataElement(element.tag, element.VR, texts))
    if "DeidentificationMethod" not in copied:
        copied.pop("PatientIdentityRemoved", None)  # which would ask for the method (PS3.3, C.7.1.1)
    return copied
