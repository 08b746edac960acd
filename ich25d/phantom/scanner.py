"""The scanner: where its slices lie, and what it adds to the head: blur, streaks, noise, head-rest."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.phantom.forms import Float


@dataclass(frozen=True, slots=True)
class Scan:
    """How one head is scanned.

    Args:
        pixel_mm: Size of a pixel at 512.
        tilt_deg: Lean of the gantry; the slices' normal is (0, sin, cos).
        origin_z_mm: (n,) table positions: z of the slices' corners, ascending.
        thickness_mm: (n,).
        pitch_deg: How far the chin is up.
        roll_deg: Lean to the side.
        yaw_deg: Turn of the face.
        centre_mm: Where the head's origin lies: x, y, z of the patient's coordinates.
        noise_hu: Standard deviation in the middle of the brain.
        sharpness: 0 a smooth kernel, 1 a sharp one.
        streaks: Strength of beam hardening.
        has_holder: A head-rest under the head.
    """

    pixel_mm: float
    tilt_deg: float
    origin_z_mm: npt.NDArray[np.float64]
    thickness_mm: npt.NDArray[np.float64]
    pitch_deg: float
    roll_deg: float
    yaw_deg: float
    centre_mm: tuple[float, float, float]
    noise_hu: float
    sharpness: float
    streaks: float
    has_holder: bool

    @property
    def directions(self) -> tuple[float, float, float, float, float, float]:
        """ImageOrientationPatient."""
        tilt = np.deg2rad(self.tilt_deg)
        return (1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(-np.sin(tilt)))

    @property
    def slice_position_mm(self) -> npt.NDArray[np.float64]:
        """Position along the slices' normal, relative to the isocentre's plane."""
        return np.asarray(self.origin_z_mm * np.cos(np.deg2rad(self.tilt_deg)))

    def origins_mm(self) -> npt.NDArray[np.float64]:
        """Return ImagePositionPatient of every slice, float64 (n, 3)."""
        half = 512 * self.pixel_mm / 2
        tilt = np.deg2rad(self.tilt_deg)
        n = len(self.origin_z_mm)
        origin = np.column_stack([np.full(n, -half), np.full(n, -half * np.cos(tilt)), self.origin_z_mm])
        origin[:, 2] += half * np.sin(tilt)
        return origin


def draw_scan(rng: np.random.Generator, top_mm: float) -> Scan:
    """Draw a protocol.

    Args:
        rng: Draws everything.
        top_mm: Height of the scalp's vertex above the head's origin.
    """
    is_tilted = rng.random() < 0.5
    pitch = float(rng.normal(6, 5))
    tilt = float(np.clip(pitch + rng.normal(0, 3) + 8, 2, 25)) * float(rng.choice([1, 1, 1, -1])) if is_tilted else 0.0
    if is_tilted:
        pitch = tilt + float(rng.normal(0, 2.5))
    cos = np.cos(np.deg2rad(tilt))
    below = float(rng.uniform(24, 36))
    reach = below + top_mm + float(rng.uniform(4, 12))
    gap = float(rng.choice([4.8, 5.0, 5.0, 5.0, 5.2])) if not is_tilted else 5.0 / float(rng.choice([cos, 1.0]))
    fine = float(rng.choice([2.5, 2.5, 3.75])) if rng.random() < 0.3 else gap
    split = below + float(rng.uniform(-6, 12))
    positions = [0.0]
    while positions[-1] < reach:
        positions.append(positions[-1] + (fine if positions[-1] < split else gap))
    position = np.array(positions) - below
    thickness = np.where(position + below < split, fine, gap)
    centre = (float(rng.normal(0, 4)), float(rng.normal(3, 5)), float(np.round(rng.uniform(20, 90), 3)))
    return Scan(
        pixel_mm=float(rng.choice([0.4296875, 0.45703125, 0.46875, 0.48828125, 0.48828125])),
        tilt_deg=tilt,
        origin_z_mm=np.round((position + centre[1] * np.sin(np.deg2rad(tilt))) / cos + centre[2], 3),
        thickness_mm=thickness,
        pitch_deg=pitch,
        roll_deg=float(rng.normal(0, 3)),
        yaw_deg=float(rng.normal(0, 5)),
        centre_mm=centre,
        noise_hu=float(rng.uniform(3.0, 5.6)),
        sharpness=float(rng.uniform(0, 1)),
        streaks=float(rng.uniform(0.4, 1.3)),
        has_holder=bool(rng.random() < 0.85),
    )


def blur(hu: Float, pixel_mm: float, sharpness: float, hardening: float) -> Float:
    """Blur a slice as the kernel does, and brighten the brain beside bone a little.

    Args:
        hu: float32 (h, w).
        pixel_mm: Size of a pixel.
        sharpness: 0 a smooth kernel, 1 a sharp one.
        hardening: How much brighter, 1 as usual.
    """
    result = cv2.GaussianBlur(hu, (0, 0), (0.62 - 0.22 * sharpness) / pixel_mm)
    spread = cv2.GaussianBlur(np.clip(result, 0, 1500), (0, 0), 5.0 / pixel_mm)
    result += np.float32(0.009 * hardening) * spread * (result > -100) * (result < 120)
    return np.asarray(result, np.float32)


def streaks(rng: np.random.Generator, hu: Float, pixel_mm: float, strength: float) -> Float:
    """Return the HU that beam hardening takes from or adds between dense bones, float32 (h, w).

    Dense bone is summed along rows in three directions: where there is much on both sides, what lies between is too
    dark, with stripes.

    Args:
        rng: Draws the directions and stripes.
        hu: float32 (h, w).
        pixel_mm: Size of a pixel.
        strength: 1 is usual.
    """
    dense = np.clip(hu - 500, 0, 1200) * np.float32(pixel_mm / 1000)
    height, width = hu.shape
    total = np.zeros_like(hu)
    for angle in (0.0, float(rng.uniform(-14, -6)), float(rng.uniform(6, 14))):
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
        turned = cv2.warpAffine(dense, turn, (width, height))
        left = np.cumsum(turned, axis=1)
        right = left[:, -1:] - left
        between = np.minimum(left, right)
        stripes = cv2.GaussianBlur(rng.standard_normal((height, 1)).astype(np.float32), (1, 0), 0, sigmaY=1.3)
        shade = -between * (0.55 + 1.5 * stripes)
        back = cv2.getRotationMatrix2D((width / 2, height / 2), -angle, 1.0)
        total += cv2.warpAffine(shade, back, (width, height))
    return np.asarray(np.clip(total * np.float32(0.42 * strength), -40, 30), np.float32)


def noise(rng: np.random.Generator, shape: tuple[int, int], sharpness: float) -> Float:
    """Return correlated noise of unit variance: white noise through the kernel, without its slow part.

    Args:
        rng: Draws it.
        shape: Rows and columns.
        sharpness: 0 a smooth kernel, 1 a sharp one.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    fine = cv2.GaussianBlur(white, (0, 0), 1.05 - 0.35 * sharpness)
    fine -= (0.55 + 0.3 * sharpness) * cv2.GaussianBlur(fine, (0, 0), 2.4)
    return np.asarray(fine / np.float32(fine.std()), np.float32)


def field_of_view(size: int) -> npt.NDArray[np.bool_]:
    """Return the circular field of reconstruction, bool (size, size)."""
    centre = (size - 1) / 2
    y, x = np.ogrid[:size, :size]
    return np.asarray((x - centre) ** 2 + (y - centre) ** 2 <= (size / 2) ** 2)


def put_holder(hu: Float, bottom_row: float, pixel_mm: float, seed: int) -> None:
    """Paint the head-rest under the head, in place: a shell of plastic, foam inside.

    Args:
        hu: float32 (size, size), air outside the head.
        bottom_row: Row of the head's lowest point in the scan.
        pixel_mm: Size of a pixel.
        seed: Seeds the foam's folds; the same for all slices.
    """
    size = hu.shape[0]
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    x = (x - (size - 1) / 2) * np.float32(pixel_mm)
    y = (y - np.float32(bottom_row)) * np.float32(pixel_mm)
    radius = float(rng.uniform(105, 130))
    depth = radius - np.hypot(x, y + radius - float(rng.uniform(9, 14)))
    low = np.clip((y + float(rng.uniform(25, 45))) / 10, 0, 1)
    foam = np.clip(depth / 2, 0, 1) * np.clip((12 - depth) / 4, 0, 1) * low
    shell = np.clip(1.4 - np.abs(depth), 0, 1) * low
    free = np.clip((-700 - hu) / 250, 0, 1)
    crumple = cv2.GaussianBlur(rng.standard_normal((size, size), dtype=np.float32), (0, 0), 3.0)
    hu += free * (foam * (45 + 250 * crumple) + shell * float(rng.uniform(250, 700)))
