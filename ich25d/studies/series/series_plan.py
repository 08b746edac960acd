"""The plan of one series: what is known of it before a pixel is read, and how to read it.

Plans pickle and are small: at most 1 kB a slice.
"""

import dataclasses
import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ich25d.dicom.header import Remark


class Images(Protocol):
    """The images of one series in scan order, wherever they come from."""

    def __len__(self) -> int:
        """Number of slices planned."""

    def read(
        self, index: int, out: npt.NDArray[np.int16] | None = None
    ) -> tuple[npt.NDArray[np.int16], tuple[Remark, ...]]:
        """Read one slice in HU, shape (rows, columns), int16; into `out` where its shape is right. Or DicomError."""

    def source(self, index: int) -> str:
        """Where one slice is from, relative to the source's root."""

    def shape(self) -> tuple[int, int]:
        """Rows and columns, for plans whose `shape` is unknown; may open a file."""

    def stamps(self) -> list[str]:
        """Texts that change when a file does."""

    @property
    def is_native(self) -> bool:
        """No codec takes part in reading."""


@dataclass(frozen=True, slots=True, eq=False)
class SomeImages:
    """Some of a series' images."""

    images: Images
    chosen: tuple[int, ...]
    """Indices into them."""

    def __len__(self) -> int:
        return len(self.chosen)

    def read(
        self, index: int, out: npt.NDArray[np.int16] | None = None
    ) -> tuple[npt.NDArray[np.int16], tuple[Remark, ...]]:
        """Read one slice."""
        return self.images.read(self.chosen[index], out)

    def source(self, index: int) -> str:
        """Where one slice is from."""
        return self.images.source(self.chosen[index])

    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.images.shape()

    def stamps(self) -> list[str]:
        """What changes when a file of the series does."""
        return self.images.stamps()

    @property
    def is_native(self) -> bool:
        """No codec takes part."""
        return self.images.is_native


@dataclass(frozen=True, slots=True, eq=False)
class SeriesPlan:
    """One series to read: the attributes of its headers, and where its slices are."""

    series_id: str
    study_id: str
    patient_id: str
    """RSNA's id as it is, of others a pseudonym; empty where the file has none."""
    image_ids: tuple[str, ...]
    """In scan order, as all that follows."""
    slice_position_mm: tuple[float, ...]
    """NaN where unknown."""
    slice_spacing_mm: float | None
    spacing_is_regular: bool
    tilt_deg: float | None
    order_key: str
    shape: tuple[int, int]
    """Rows and columns of most slices; (0, 0) where only the pixels tell."""
    pixel_spacing_mm: tuple[float, float] | None
    """Distance of rows, then of columns."""
    pixel_family: str
    """Bits, signedness and intercept, as `16s-1024`."""
    kernel: str
    thickness_mm: float | None
    windows: tuple[tuple[float, float] | None, ...]
    """The files' own level and width."""
    images: Images
    """How to read them."""
    labels: tuple[tuple[int | None, ...] | None, ...] = ()
    """Six labels a slice where the source itself brings them; empty where it doesn't."""
    orientation: str = ""
    """Where rows and columns run in the patient, as `LP`; empty where unknown (`dicom.geometry.patient_axes`)."""
    traits: frozenset[str] = frozenset()
    """What the headers say of the series: `derived`, `contrast`, `angio`, `perfusion`, `bone`."""
    highest_hu: float = math.inf
    """HU above which every slice is saturated, where a windowed picture ends."""
    series_number: int | None = None
    """(0020,0011), where the headers agree on it."""

    def __len__(self) -> int:
        return len(self.image_ids)

    def source_hash(self) -> str:
        """Return a hash that changes when a file, its place in the scan or its ids do."""
        parts = [self.series_id, self.study_id, self.patient_id, *self.image_ids, *map(repr, self.slice_position_mm)]
        return hashlib.sha256("\n".join([*parts, *self.images.stamps()]).encode("utf-8", "surrogatepass")).hexdigest()


def without(plan: SeriesPlan, indices: Collection[int]) -> SeriesPlan:
    """Return a plan that leaves out some of its slices."""
    kept = [index for index in range(len(plan)) if index not in indices]
    return dataclasses.replace(
        plan,
        image_ids=tuple(plan.image_ids[index] for index in kept),
        slice_position_mm=tuple(plan.slice_position_mm[index] for index in kept),
        windows=tuple(plan.windows[index] for index in kept),
        labels=tuple(plan.labels[index] for index in kept) if plan.labels else (),
        spacing_is_regular=plan.spacing_is_regular and len(kept) == len(plan),
        images=SomeImages(plan.images, tuple(kept)),
    )
