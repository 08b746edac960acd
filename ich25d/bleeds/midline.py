"""The plane between the hemispheres, from the mirror symmetry of the skull."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.skull import Bool, Float


@dataclass(frozen=True, slots=True)
class Midline:
    """The plane between the hemispheres, and with it two coordinates in each slice.

    With x and y in mm from the middle of the image, right and down:
    `lateral = cos * x + sin * y - lateral_mm[slice]` and `along = -sin * x + cos * y - along_mm`.
    Lateral is 0 on the midline; along is 0 half-way between front and back, positive to the back.

    Args:
        angle: Lean of the head in the slice plane, radians.
        lateral_mm: (n,) mm.
        along_mm: mm.
        half_length_mm: Half the length of the brain, front to back.
        half_width_mm: Half the width of the brain.
    """

    angle: float
    lateral_mm: npt.NDArray[np.float64]
    along_mm: float
    half_length_mm: float
    half_width_mm: float

    def coordinates(self, index: int, x_mm: Float, y_mm: Float) -> tuple[Float, Float]:
        """Return lateral and along in mm of a grid of pixels.

        Args:
            index: Slice.
            x_mm: From the middle of the image, (w,).
            y_mm: Likewise, (h,).

        Returns:
            Two float32 (h, w).
        """
        x, y = x_mm[None, :], y_mm[:, None]
        cos, sin = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        # What is added to a row or a column is added before they make a plane.
        lateral = (cos * x - np.float32(self.lateral_mm[index])) + sin * y
        along = (cos * y - np.float32(self.along_mm)) - sin * x
        return lateral, along


def _mirror_score(planes: Float) -> tuple[float, float]:
    """Return the column about which stacked planes (k, h, w) are most symmetric, and how much."""
    width = planes.shape[2]
    spectrum = np.fft.rfft(planes, n=2 * width, axis=2)
    response = np.fft.irfft((spectrum * spectrum).sum(axis=(0, 1)), n=2 * width)
    peak = int(response.argmax())
    score = float(response[peak] / (planes.astype(np.float64) ** 2).sum())
    around = response[[peak - 1, peak, (peak + 1) % (2 * width)]]
    curve = around[0] - 2 * around[1] + around[2]
    offset = 0.0 if curve == 0 else 0.5 * (around[0] - around[2]) / curve
    return (peak + float(np.clip(offset, -0.5, 0.5))) / 2, score


def find_midline(hu: npt.NDArray[np.int16], inside: Bool, pixel_mm: float) -> Midline:
    """Fit the plane of mirror symmetry to the skull and what it holds.

    Args:
        hu: int16 (n, H, W).
        inside: Intracranial mask, same shape.
        pixel_mm: Size of a pixel in mm.

    Returns:
        The plane; one rotation for the scan, a straight line of crossings along the slices.
    """
    n, height, width = hu.shape
    area = inside.sum(axis=(1, 2))
    chosen = np.flatnonzero(area > 0.5 * area.max())
    if len(chosen) > 14:
        chosen = chosen[np.linspace(0, len(chosen) - 1, 14).round().astype(int)]
    factor = max(1.0, 2.0 / pixel_mm)
    small = (max(8, round(width / factor)), max(8, round(height / factor)))
    planes = []
    for index in chosen:
        features = inside[index] * 1.0 + np.clip(hu[index], 100, 900) / 800.0
        planes.append(cv2.resize(features.astype(np.float32), small, interpolation=cv2.INTER_AREA))
    stack = np.stack(planes)
    stack -= np.median(stack, axis=(1, 2), keepdims=True)
    middle = ((small[0] - 1) / 2, (small[1] - 1) / 2)

    def turned(degrees: float, planes: Float) -> Float:
        matrix = cv2.getRotationMatrix2D(middle, degrees, 1.0)
        return np.stack([cv2.warpAffine(plane, matrix, small) for plane in planes])

    coarse = {d: _mirror_score(turned(d, stack))[1] for d in np.arange(-60, 61, 4.0)}
    best = max(coarse, key=lambda d: coarse[d])
    fine = {d: _mirror_score(turned(d, stack))[1] for d in np.arange(best - 4, best + 4.1, 1.0)}
    best = float(max(fine, key=lambda d: fine[d]))
    upright = turned(best, stack)
    columns = np.array([_mirror_score(plane[None])[0] for plane in upright])
    common = float(np.median(columns))
    keep = np.abs(columns - common) < 6.0
    slope, start = np.polyfit(chosen[keep], columns[keep], 1) if keep.sum() >= 4 else (0.0, common)
    if abs(slope) * max(1, len(chosen)) > 12:
        slope, start = 0.0, common
    angle = np.deg2rad(best)
    size = pixel_mm * width / small[0]
    y, x = np.nonzero(inside[int(area.argmax())])
    x_mm, y_mm = (x - (width - 1) / 2) * pixel_mm, (y - (height - 1) / 2) * pixel_mm
    along = -np.sin(angle) * x_mm + np.cos(angle) * y_mm
    lateral = np.cos(angle) * x_mm + np.sin(angle) * y_mm
    front, back = np.percentile(along, [0.5, 99.5])
    left, right = np.percentile(lateral, [0.5, 99.5])
    return Midline(
        angle=float(angle),
        lateral_mm=(start + slope * np.arange(n) - middle[0]) * size,
        along_mm=float(front + back) / 2,
        half_length_mm=float(back - front) / 2,
        half_width_mm=float(right - left) / 2,
    )
