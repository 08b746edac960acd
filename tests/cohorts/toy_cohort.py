"""A cohort as CQ500 comes: a folder a study, in it a folder a series, named by the series' description."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ich25d.phantom.dicom import SIGNED_EXPLICIT, Element, Tag, dicom_bytes

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


@dataclass(frozen=True)
class Head:
    """Slices of a head: HU, shape (n, size, size), and how far apart they and their pixels are."""

    hu: npt.NDArray[np.int16]
    gap_mm: float
    pixel_mm: float

    def thinner(self, times: int) -> "Head":
        """Return each slice several times, as a thin reconstruction has it."""
        return Head(self.hu.repeat(times, axis=0), self.gap_mm / times, self.pixel_mm)


@dataclass(frozen=True)
class Series:
    """What tells a study's series apart."""

    description: str
    """(0008,103E); `CT` and this, without slashes, names its folder."""
    kernel: str = "STANDARD"
    image_type: str = "ORIGINAL\\PRIMARY\\AXIAL"
    agent: str = ""
    """(0018,0010) Contrast/Bolus Agent."""
    times: int = 1
    """How many times thinner than the head's slices."""
    n_slices: int | None = None
    directions: Sequence[float] = AXIAL
    cut: tuple[int, ...] = ()
    """Slices whose files end in the middle of their pixels."""
    spoilt: tuple[int, ...] = ()
    """Slices that hold one value everywhere."""
    number: int = field(default=2)


PLAIN = Series("5/5mm Plain")
THIN = Series("Thin Plain", times=4, number=3)
BONE = Series("Plain BONE", kernel="BONE", number=4)
POST = Series("POST CONTRAST", agent="IOHEXOL", number=5)
UNTOLD = Series("POST CONTRAST 5mm", number=6)
"""A contrast series whose header names no agent."""
SCOUT = Series("Scout", image_type="ORIGINAL\\PRIMARY\\LOCALIZER", n_slices=1, directions=SAGITTAL, number=1)


def write_study(root: Path, number: int, head: Head, series: Sequence[Series], *, folder: str = "") -> Path:
    """Write one study, as `CQ500CT7 CQ500CT7/Unknown Study/CT 55mm Plain/CT000000.dcm`, and return its folder."""
    study = root / (folder or f"CQ500CT{number} CQ500CT{number}")
    for one in series:
        place = study / "Unknown Study" / f"CT {one.description.replace('/', '')}"
        place.mkdir(parents=True)
        shown = head.thinner(one.times)
        for index, hu in enumerate(shown.hu[: one.n_slices]):
            (place / f"CT{index:06d}.dcm").write_bytes(_file(number, one, index, hu, shown))
    return study


def _file(number: int, one: Series, index: int, hu: npt.NDArray[np.int16], head: Head) -> bytes:
    series_id = f"1.2.276.{number}.{one.number}"
    extra: dict[Tag, Element | None] = {
        (0x0008, 0x0008): ("CS", one.image_type),
        (0x0008, 0x103E): ("LO", one.description),
        (0x0018, 0x0050): ("DS", f"{head.gap_mm:.6f}"),
        (0x0018, 0x1210): ("SH", one.kernel),
        (0x0020, 0x0011): ("IS", str(one.number)),
        (0x0020, 0x0013): ("IS", str(index + 1)),
    }
    if one.agent:
        extra[0x0018, 0x0010] = ("LO", one.agent)
    content = dicom_bytes(
        np.full_like(hu, 40) if index in one.spoilt else hu,
        image_id=f"{series_id}.{index}",
        series_id=series_id,
        study_id=f"1.2.276.{number}",
        patient_id=f"CQ500-CT-{number}",
        origin_mm=(-120.0, -120.0, 20.0 + index * head.gap_mm),
        directions=one.directions,
        pixel_spacing_mm=(head.pixel_mm, head.pixel_mm),
        family=SIGNED_EXPLICIT,
        extra=extra,
    )
    return content[: len(content) * 2 // 3] if index in one.cut else content
