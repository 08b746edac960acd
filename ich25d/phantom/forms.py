"""Soft-edged shapes over one plane of a head, in mm: what all anatomy here is made of."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.shape import Waves
from ich25d.phantom.traits import Traits

Float = npt.NDArray[np.floating[Any]]
"""float32 (h, w) over the pixels of a plane, unless said otherwise."""

Number = float | np.floating[Any]


@dataclass(slots=True)
class Plane:
    """One thin plane through a head: where each of its pixels is, and the HU painted so far.

    Args:
        x: mm, 0 on the midline, positive to the image's right.
        y: mm, 0 half-way between forehead and occiput, positive to the back.
        z: mm, 0 at the petrous bones, positive to the vertex.
        u_mm: (w,) in-plane coordinate along rows, of the scanner.
        v_mm: (h,) in-plane coordinate along columns, of the scanner.
        n_mm: Coordinate along the normal of the slice.
        pixel_mm: Size of a pixel.
        hu: The picture.
        traits: Whose head it is.
        computed: Noise of this plane, by its waves' id.
    """

    x: Float
    y: Float
    z: Float
    u_mm: npt.NDArray[np.float32]
    v_mm: npt.NDArray[np.float32]
    n_mm: float
    pixel_mm: float
    hu: Float
    traits: Traits
    computed: dict[int, Float] = field(default_factory=dict)

    def noise(self, waves: Waves, coarse: int = 1) -> Float:
        """Return a field of noise on this plane, computed once, on every `coarse`-th pixel."""
        values = self.computed.get(id(waves))
        if values is None:
            u, v = self.u_mm[coarse // 2 :: coarse], self.v_mm[coarse // 2 :: coarse]
            values = waves.at(u, v, self.n_mm)
            if coarse > 1:
                height, width = self.hu.shape
                matrix = np.array([[coarse, 0, coarse // 2], [0, coarse, coarse // 2]], np.float32)
                values = cv2.warpAffine(values, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
            self.computed[id(waves)] = values
        return values

    def put(self, hu: Float | Number, alpha: Float) -> None:
        """Paint a tissue into the picture; alpha is the share of each pixel that it takes."""
        self.hu += alpha * (hu - self.hu)

    def cover(self, depth: Float, blur_mm: float = 0.0) -> Float:
        """Return the share of each pixel that lies inside, from the depth below a surface in mm."""
        return cover(depth, max(self.pixel_mm, blur_mm))

    def ellipsoid(self, centre: tuple[Number, Number, Number], radii: tuple[Number, Number, Number]) -> Float:
        """Return the approximate depth below an ellipsoid's surface in mm, positive inside."""
        q = np.sqrt(
            ((self.x - np.float32(centre[0])) / np.float32(radii[0])) ** 2
            + ((self.y - np.float32(centre[1])) / np.float32(radii[1])) ** 2
            + ((self.z - np.float32(centre[2])) / np.float32(radii[2])) ** 2
        )
        return np.asarray((1 - q) * np.float32(min(radii)))

    def tube(self, points: npt.NDArray[np.float64], *, flatten: tuple[float, float, float] = (1, 1, 1)) -> Float:
        """Return the depth below a tube along a polyline in mm, positive inside.

        Args:
            points: (m, 4): x, y, z and the tube's radius in mm, which changes evenly between points.
            flatten: The axes' scale: 2 makes the tube half as thick along that axis.
        """
        scale = np.asarray(flatten, np.float32)
        px, py, pz = self.x * scale[0], self.y * scale[1], self.z * scale[2]
        best = np.full(self.x.shape, -1e3, np.float32)
        low, high = float(self.z.min()), float(self.z.max())
        for start, end in itertools.pairwise(points):
            reach = max(start[3], end[3]) / scale[2] + 3
            if min(start[2], end[2]) - reach > high or max(start[2], end[2]) + reach < low:
                continue
            a, b = (start[:3] * scale).astype(np.float32), (end[:3] * scale).astype(np.float32)
            along = b - a
            t = ((px - a[0]) * along[0] + (py - a[1]) * along[1] + (pz - a[2]) * along[2]) / np.float32(along @ along)
            t = np.clip(t, 0, 1)
            distance = np.sqrt(
                (px - a[0] - t * along[0]) ** 2 + (py - a[1] - t * along[1]) ** 2 + (pz - a[2] - t * along[2]) ** 2
            )
            np.maximum(best, np.float32(start[3]) + t * np.float32(end[3] - start[3]) - distance, out=best)
        return best

    def near(self, centre: tuple[Number, Number, Number], reach_mm: float) -> bool:
        """Say whether the plane is near a point along z; far from a structure there is nothing to compute."""
        low, high = float(self.z.min()), float(self.z.max())
        return bool(low - reach_mm <= centre[2] <= high + reach_mm)


def cover(depth: Float, width_mm: float) -> Float:
    """Return 0 outside, 1 inside and a ramp of `width_mm` between, from a depth in mm."""
    return np.asarray(np.clip(depth * np.float32(1 / width_mm) + np.float32(0.5), 0, 1))


def bump(value: Float, width: float) -> Float:
    """Return exp(-(value / width)^2)."""
    scaled = value * np.float32(1 / width)
    return np.asarray(np.exp(-scaled * scaled))


def step(value: Float, width: float) -> Float:
    """Return a smooth step from 0 to 1 around 0, about `width` wide to each side."""
    t = np.clip(value * np.float32(0.5 / width) + np.float32(0.5), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def look_up(table: npt.NDArray[np.float32], columns: Float, rows: Float) -> npt.NDArray[np.float32]:
    """Return values of a table at fractional places.

    Args:
        table: (H, W) or (H, W, C).
        columns: (h, w), cut at the table's edge.
        rows: Likewise.
    """
    return np.asarray(cv2.remap(table, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def noise_table(rng: np.random.Generator, size: int, sigma_px: float, *, octaves: int = 1) -> npt.NDArray[np.float32]:
    """Return smooth noise of unit variance, float32 (size, size); wraps around at its edges.

    Args:
        rng: Draws everything.
        size: Rows and columns.
        sigma_px: Its smoothness.
        octaves: Parts added up, each half as smooth and about half as strong as the one before.
    """
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        sigma = max(0.6, sigma_px / 2**octave)
        white = rng.standard_normal((size, size), dtype=np.float32)
        pad = min(size, int(4 * sigma) + 1)
        wrapped = np.pad(white, pad, mode="wrap")
        smooth = cv2.GaussianBlur(wrapped, (0, 0), sigma)[pad : pad + size, pad : pad + size]
        total += smooth / max(1e-6, float(smooth.std())) * 0.55**octave
    return total / np.float32(total.std())
