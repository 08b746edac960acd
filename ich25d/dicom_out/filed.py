"""What all objects have in common: patient and study of the input, and the numbers of their series."""

from typing import TypeVar

from pydicom.dataset import Dataset

from ich25d import __version__
from ich25d.dicom_out.made_by import MAKER, MadeBy
from ich25d.dicom_out.source import FILLED_EMPTY, SourceSeries

SERIES_NUMBERS = {"report": 9501, "key-objects": 9502, "captures": 9503, "heat": 9504}
"""By kind of object; beyond what scanners count to."""

UNICODE = "ISO_IR 192"

Made = TypeVar("Made", bound=Dataset)


def filed(made: Made, source: SourceSeries, maker: MadeBy) -> Made:
    """File an object under the patient and study of its input, attribute by attribute as the files have them.

    Attributes of type 2 that the files lack stay empty; nothing is made up.

    Args:
        made: The object; changed.
        source: The input.
        maker: Named as the equipment (PS3.3, C.7.5.2).
    """
    for name in FILLED_EMPTY:
        setattr(made, name, None)
    made.update(source.common)
    made.StudyInstanceUID = source.study
    if "Rows" in made:
        made.Laterality = None  # of type 2C: a head isn't one of a pair
    made.SpecificCharacterSet = UNICODE
    made.Manufacturer, made.ManufacturerModelName = MAKER, maker.name
    made.SoftwareVersions, made.DeviceSerialNumber = __version__, maker.serial_number
    return made
