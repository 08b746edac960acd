"""Toy heads as DICOM, and where a walk over them leaves everything."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ich25d.labels import row_ids
from ich25d.phantom.dicom import dicom_bytes

SIDE, SIZE, N_SLICES = 64, 32, 5


def toy_hu(number: int, n: int = N_SLICES) -> np.ndarray:
    """Return n slices, int16 HU: skull and brain in air; every second series has a bright square in the middle."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    radius = np.hypot(x / 0.28, y / 0.36)
    hu = np.where(radius < 0.9, 35, np.where(radius < 1, 1000, -1000)) + rng.integers(-4, 5, (n, SIDE, SIDE))
    if number % 2:
        hu[n // 2, 28:36, 28:36] = 75
    return np.clip(hu, -1000, 3071).astype(np.int16)


def image_id(number: int, index: int) -> str:
    """Return an id whose order isn't the order in space."""
    return f"ID_{(index * 7 + 3) % 11:02d}{number:07d}"


def write_series(folder: Path, number: int, n: int = N_SLICES) -> list[str]:
    """Write a series of DICOM files and return its image ids in scan order."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [image_id(number, index) for index in range(n)]
    for index, hu in enumerate(toy_hu(number, n)):
        content = dicom_bytes(
            hu,
            image_id=ids[index],
            series_id=f"ID_{number:010d}",
            study_id=f"ID_{number + 5000:010d}",
            patient_id=f"ID_{number:08d}",
            origin_mm=(-120.0, -120.0, 10.0 + 5.0 * index),
            pixel_spacing_mm=(240 / SIDE, 240 / SIDE),
        )
        (folder / f"{ids[index]}.dcm").write_bytes(content)
    return ids


def write_sample(path: Path, ids: list[str], value: str = "0.5") -> Path:
    """Write a sample submission."""
    path.write_text("ID,Label\n" + "".join(f"{row},{value}\n" for row in row_ids(ids)))
    return path


@dataclass(frozen=True)
class Walk:
    """Where everything is."""

    test: Path
    """A folder of three series of DICOM."""
    ids: dict[int, list[str]]
    """Their image ids in scan order, by number."""
    sample: Path
    store: Path
    """A store of the training series."""
    labels: Path
    """Their labels."""
    cnn: Path
    rnn: Path
