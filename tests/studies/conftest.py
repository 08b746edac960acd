"""Small heads as DICOM on disk: a skull, a brain, a table below it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ich25d.phantom.dicom import dicom_bytes

SIDE = 128


def head_hu(n: int, *, seed: int = 0, side: int = SIDE) -> np.ndarray:
    """Return n slices, int16 HU: an ellipse of skull and brain in air, a little noise, a thin table."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side - 0.5
    radius = np.hypot(x / 0.28, (y + 0.03) / 0.36)
    slice_hu = np.where(radius < 0.9, 35, np.where(radius < 1, 1000, -1000))
    slice_hu[round(0.92 * side)] = 200
    noisy = slice_hu + rng.integers(-4, 5, (n, side, side))
    return np.clip(noisy, -1000, 3071).astype(np.int16)


WriteScan = Callable[..., list[Path]]


@pytest.fixture(scope="session")
def write_scan() -> WriteScan:
    """Write a scan as files; names, ids and order of files say nothing of the order in space."""

    def write(folder: Path, number: int = 1, n: int = 4, *, hu: np.ndarray | None = None, **changes) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        hu = head_hu(n, seed=number) if hu is None else hu
        paths = []
        for index in range(len(hu)):
            image_id = f"ID_{(index * 7 + number * 101) % 997:05d}{number:04d}"
            path = folder / f"{image_id}.dcm"
            header = {
                "image_id": image_id,
                "series_id": f"ID_{number:010d}",
                "study_id": f"ID_{number + 5000:010d}",
                "patient_id": f"ID_{number:08d}",
                "origin_mm": (-120.0, -120.0, 10.0 + 5.0 * index),
                "pixel_spacing_mm": (240 / hu.shape[1], 240 / hu.shape[2]),
            } | changes
            path.write_bytes(dicom_bytes(hu[index], **header))
            paths.append(path)
        return paths

    return write
