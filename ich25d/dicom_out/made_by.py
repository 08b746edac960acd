"""Who made an object, from which input: identification of the model, and UIDs that a second run makes again."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from ich25d import __version__
from ich25d.dicom_out.source import SourceSeries
from ich25d.predict.network import Network
from ich25d.training.model_file import About
from ich25d.training.operating_point import OperatingPoint

MAKER = "ich25d"
NOT_FOR_DIAGNOSIS = "Research, not for diagnosis"
"""Stands in every object: in its series' description, in its content, and burned into captures."""

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "dicom-objects.ich25d")
_LO = 64
"""Characters that a long string holds (PS3.5, table 6.2-1)."""


@dataclass(frozen=True, slots=True)
class MadeBy:
    """The model, the program and the operating point behind an object."""

    about: About
    stamp: str
    """SHA-256 over `model.json`, which names the SHA-256 of all weights."""
    point: OperatingPoint

    @property
    def name(self) -> str:
        """The model's name as an attribute holds it."""
        return self.about.name[:_LO]

    @property
    def serial_number(self) -> str:
        """The first digits of the model's hash."""
        return self.stamp[:16]

    @property
    def version(self) -> str:
        """Version of the algorithm: that of the program, and the first digits of the model's hash."""
        return f"{MAKER} {__version__}, model {self.stamp[:12]}"

    @property
    def uid(self) -> str:
        """UID of the device that a model with this program is."""
        return uid_of("device", self.stamp, __version__)


def made_by(network: Network, point: OperatingPoint) -> MadeBy:
    """Return who makes the objects of a model at an operating point."""
    return MadeBy(network.about, network.stamp, point)


def uid_of(*parts: str) -> str:
    """Return the UID that belongs to some texts, always the same.

    References:
        DICOM PS3.5, B.2: a UUID as a UID under 2.25; RFC 9562, 5.5: a UUID by name.
    """
    return f"2.25.{uuid.uuid5(_NAMESPACE, chr(0).join(parts)).int}"


def object_uid(source: SourceSeries, maker: MadeBy, *what: str) -> str:
    """Return the UID of an object: it changes with the images, the model, the version and the operating point.

    Args:
        source: The images.
        maker: The rest.
        what: The kind of object, and which of its kind.
    """
    return uid_of(*what, maker.stamp, __version__, maker.point.rule, *_images(source))


def _images(source: SourceSeries) -> Sequence[str]:
    return [f"{image.study} {image.series} {image.sop_instance} {image.frame}" for image in source.images]


def describe_series(what: str) -> str:
    """Return a Series Description."""
    return f"{MAKER} {what} ({NOT_FOR_DIAGNOSIS})"[:_LO]
