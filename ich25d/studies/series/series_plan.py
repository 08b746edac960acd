"""The plan of one series: what is known of it before a pixel is read, and how to read it.

Plans pickle and are small: at most 1 kB a slice.
"""

import dataclasses
import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ich25d.dicom.geometry import Display, patient_axes, to_usual_display
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
class TurnedImages:
    """A series' images in the usual display."""

    images: Images
    """As their files have them."""
    display: Display

    def __len__(self) -> int:
        return len(self.images)

    def read(
        self, index: int, out: npt.NDArray[np.int16] | None = None
    ) -> tuple[npt.NDArray[np.int16], tuple[Remark, ...]]:
        """Read one slice and turn it."""
        hu, remarks = self.images.read(index)
        turned = self.display.turned(hu)
        if out is None or out.shape != turned.shape:
            return np.ascontiguousarray(turned), remarks
        out[:] = turned
        return out, remarks

    def source(self, index: int) -> str:
        """Where one slice is from."""
        return self.images.source(index)

    def shape(self) -> tuple[int, int]:
        """Rows and columns of the turned slices."""
        rows, columns = self.images.shape()
        return (columns, rows) if self.display.transpose else (rows, columns)

    def stamps(self) -> list[str]:
        """What changes when a file of the series or its turn does."""
        return [*self.images.stamps(), f"turned {tuple(map(int, self.display))}"]

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
    source_orientation: str = ""
    """The same of the slices in their files, before they were turned."""
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


def turned(plan: SeriesPlan, directions: Sequence[float] | None) -> tuple[SeriesPlan, list[Remark]]:
    """Bring a series to the usual display: rows run to the patient's left, columns to the back. Nothing is resampled.

    Args:
        plan: The series as its files have it.
        directions: Cosines of the row, then of the column; None where unknown, and nothing is turned.

    Returns:
        The plan with its orientations, and remarks where slices are turned.
    """
    if directions is None:
        return plan, []
    display = to_usual_display(directions)
    stored = patient_axes(directions)
    if display == Display():
        return dataclasses.replace(plan, orientation=stored, source_orientation=stored), []
    shown = patient_axes(display.turned_directions(directions).tolist())
    remarks = [Remark("TURNED", f"rows and columns run to {stored} in the files; brought to {shown}")]
    if display.is_mirrored:
        remarks.append(Remark("MIRRORED", f"{stored} shows a head seen from above; left and right are as it says"))
    spacing = plan.pixel_spacing_mm
    return dataclasses.replace(
        plan,
        orientation=shown,
        source_orientation=stored,
        shape=plan.shape[::-1] if display.transpose else plan.shape,
        pixel_spacing_mm=None if spacing is None else display.turned_spacing(spacing),
        images=TurnedImages(plan.images, display),
    ), remarks


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
