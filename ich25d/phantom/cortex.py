"""The folds of the cortex: drawn once as labyrinths on maps of its surface, looked up in every plane.

The outer surface is mapped from the vertex (Lambert's equal-area projection), each medial surface by y and z. A fold
is a curve on the map; it goes into the depth about at right angles.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.phantom.forms import Float, Plane, bump, cover, look_up, noise_table, step
from ich25d.phantom.skull import Depths
from ich25d.phantom.traits import Traits

MAP_SIZE = 512
MAP_REACH = 1.9
"""The map holds Lambert coordinates from -1.9 to 1.9; 1.41 is the equator of the vault's ellipsoid."""
MAP_MM = 2 * MAP_REACH / MAP_SIZE * 75
"""Size of a map's pixel on the cortex."""

MEDIAL_SIZE = 224
MEDIAL_MM = 1.0


@dataclass(frozen=True, slots=True)
class Folds:
    """Maps of folds, float32 (H, W, 3): distance to the next fold in mm, its depth, its half-width.

    Args:
        outer: Of the outer surface.
        medial: Of both medial surfaces, the left one above the right one.
        wander: float32 (H, W, 2): how far the folds of `outer` lean in the depth, pixels a mm.
    """

    outer: npt.NDArray[np.float32]
    medial: npt.NDArray[np.float32]
    wander: npt.NDArray[np.float32]


def _labyrinth(rng: np.random.Generator, size: int, wavelength_px: float) -> npt.NDArray[np.float32]:
    """Draw a labyrinth whose walls wind at an even distance, as gyri do: float32 (size, size) in [-1, 1].

    Noise is passed through a ring of frequencies and hardened, again and again; it becomes the stripes of a
    reaction-diffusion pattern, with their forks and ends. Folds are where it changes sign.
    """
    fy, fx = np.meshgrid(np.fft.fftfreq(size), np.fft.rfftfreq(size), indexing="ij")
    frequency = np.hypot(fx, fy) * wavelength_px
    ring = np.exp(-(((frequency - 1) / 0.36) ** 2)).astype(np.float32)
    field = rng.standard_normal((size, size)).astype(np.float32)
    for _ in range(5):
        field = np.fft.irfft2(np.fft.rfft2(field) * ring, s=(size, size)).astype(np.float32)
        field /= field.std()
        field = np.tanh(2.2 * field)
    return field


def _fold_map(
    rng: np.random.Generator, size: int, pixel_mm: float, atrophy: float, depth_mm: tuple[float, float]
) -> npt.NDArray[np.float32]:
    spread = noise_table(rng, size, 11 / pixel_mm)
    field = _labyrinth(rng, size, float(rng.uniform(21, 25)) / pixel_mm)
    ridge = field > 0
    away = cv2.distanceTransform(ridge.astype(np.uint8), cv2.DIST_L2, 5)
    toward = cv2.distanceTransform((~ridge).astype(np.uint8), cv2.DIST_L2, 5)
    distance = (np.maximum(away, toward) - 0.5) * pixel_mm
    depth = depth_mm[0] + (depth_mm[1] - depth_mm[0]) * np.clip(0.4 + 0.36 * spread, 0, 1)
    # Few folds are open in a young brain, most in an old one.
    patch = noise_table(rng, size, 9 / pixel_mm, octaves=2)
    half = 0.06 + 0.30 * patch + 0.75 * atrophy + 0.25 * atrophy * spread
    return np.dstack([distance, depth, np.clip(half, -0.6, 2.2)]).astype(np.float32)


def make_folds(traits: Traits) -> Folds:
    """Draw the folds of one brain."""
    rng = np.random.default_rng([traits.seed, 2])
    outer = _fold_map(rng, MAP_SIZE, MAP_MM, traits.atrophy, (5, 21))
    left = _fold_map(rng, MEDIAL_SIZE, MEDIAL_MM, traits.atrophy * 0.7, (4, 11))
    right = _fold_map(rng, MEDIAL_SIZE, MEDIAL_MM, traits.atrophy * 0.7, (4, 11))
    wander = np.dstack([noise_table(rng, MAP_SIZE, 7 / MAP_MM) for _ in range(2)]) * np.float32(0.2 / MAP_MM)
    return Folds(outer, np.concatenate([left, right]), wander)


@dataclass(slots=True)
class Surface:
    """Where one plane's pixels lie in the cerebrum's surface.

    Args:
        fluid: Share of CSF in folds and over the surface.
        to_fluid: Distance in mm to the nearest CSF, right within the thickness of the cortex.
        fissure: Half-width of the interhemispheric fissure here, mm; negative where there is none.
        lateral: Signed distance from the (wavy) midline, mm.
    """

    fluid: Float
    to_fluid: Float
    fissure: Float
    lateral: Float


def _folded(fold: npt.NDArray[np.float32], depth: Float, scale: Float) -> tuple[Float, Float]:
    """Return distance in mm to the CSF of a fold (negative inside), and to the fold itself."""
    side = fold[..., 0] * scale
    share = depth / fold[..., 1]
    # Widest at the surface, narrow in the depth, where it ends.
    half = fold[..., 2] * (1.0 - 0.45 * np.clip(share, 0, 1)) + 0.55 * bump(depth, 2.5) * (fold[..., 2] > 0)
    past = np.maximum(depth - fold[..., 1], 0)
    line = np.sqrt(side * side + past * past)
    return line - half, line


def find_surface(plane: Plane, depths: Depths, folds: Folds) -> Surface:
    """Find sulci, the space over the brain, and the fissure between the hemispheres.

    Args:
        plane: The plane.
        depths: Of its pixels.
        folds: Of this brain.
    """
    t = plane.traits
    nx, ny, nz = depths.direction
    stretch = np.sqrt(2 / np.maximum(1 + nz, 0.12)) * np.float32(MAP_SIZE / (2 * MAP_REACH))
    columns, rows = nx * stretch + MAP_SIZE / 2, ny * stretch + MAP_SIZE / 2
    wander = look_up(folds.wander, columns, rows)
    into = np.clip(depths.vault, 0, 25)
    fold = look_up(folds.outer, columns + wander[..., 0] * into, rows + wander[..., 1] * into)
    # Low on the temporal lobes the folds are shallow.
    fold[..., 1] *= 0.45 + 0.55 * step(plane.z - 22, 16)

    slow, sway = plane.noise(t.slow, 8), plane.noise(t.sway, 6)
    patchy = np.clip(0.55 + 0.45 * sway + 0.25 * slow, 0.05, 1.6)
    gap = 0.25 + 2.1 * t.atrophy**1.3 * (0.75 + 0.6 * step(-plane.y, 30)) * patchy
    under = np.minimum(depths.vault, depths.above_base + 1.5)
    pial = under - np.maximum(gap, 0.1)
    outer_fluid, outer_line = _folded(fold, np.minimum(depths.vault, depths.above_base + 9), depths.radial)

    lateral = plane.x + 0.8 * slow
    callosum = np.sqrt((plane.y / 46) ** 2 + ((plane.z - 38) / 26) ** 2)
    open_from = (callosum - 1) * 30
    half = 0.35 + 1.5 * t.atrophy * step(-plane.y, 30) + 0.35 * t.atrophy
    fissure = np.where(open_from > 0, half * np.clip(open_from / 6, 0, 1), -6.0).astype(np.float32)
    off = np.abs(lateral)
    along = plane.y + MEDIAL_SIZE / 2 + 0.24 * sway * np.clip(off, 0, 18)
    height = np.clip(plane.z + 60, 0, MEDIAL_SIZE - 2) + (lateral > 0) * np.float32(MEDIAL_SIZE)
    both = look_up(folds.medial, along, height)
    closed = np.maximum(-open_from, 0)
    medial_fluid, medial_line = _folded(both, off + 2.5 * closed, np.ones_like(off))
    outer_fluid = np.where(fold[..., 2] > 0, outer_fluid, np.maximum(outer_fluid, 0.35))
    fluid_distance = np.minimum(np.minimum(outer_fluid, medial_fluid), np.minimum(pial, off - fissure))
    fluid = plane.cover(-fluid_distance)
    line = np.minimum(np.minimum(outer_line, medial_line), np.minimum(pial, np.where(open_from > 0, off, 30)))
    return Surface(fluid, np.minimum(line, fluid_distance + 0.4).astype(np.float32), fissure, lateral)


def paint_cortex(plane: Plane, surface: Surface, inside: Float) -> None:
    """Paint white matter, the grey ribbon along every fold, and CSF.

    Args:
        plane: The plane.
        surface: Of its pixels.
        inside: Share of each pixel that is inside the skull.
    """
    t = plane.traits
    mottle = plane.noise(t.fine, 3)
    thick = 3.0 + 0.45 * mottle
    grey = cover(thick - surface.to_fluid, 1.6)
    plane.put(np.float32(t.white_hu) + grey * np.float32(t.grey_hu - t.white_hu), inside)
    plane.put(np.float32(t.fluid_hu), inside * surface.fluid)
