"""The skull: the space inside it, vault with two tables and diploe, the three fossae of its base."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.phantom.forms import Float, Plane, bump, cover, look_up, noise_table, step
from ich25d.phantom.traits import Traits

BASE_HALF_X, BASE_HALF_Y = 100, 120
"""Reach in mm of the table of the base; 1 mm a pixel."""


@dataclass(slots=True)
class Depths:
    """Depths below the surfaces by which all else is placed, in mm, positive inside.

    Args:
        vault: Below the inner table's ellipsoid, as if there were no base.
        cavity: Below the inner surface of the skull, base included.
        above_base: Height above the floor of the fossae, roughly at right angles to it.
        body: Below the skin.
        bone_mm: Thickness of the vault here.
        floor: What `Base` says of each pixel, (h, w, 4).
        inside: Share of each pixel that is inside the skull.
        radial: 1 at the inner table, 0 in the middle.
        direction: Unit vectors from the middle, (h, w) each: x, y, z.
    """

    vault: Float
    cavity: Float
    above_base: Float
    body: Float
    bone_mm: Float
    floor: npt.NDArray[np.float32]
    inside: Float
    radial: Float
    direction: tuple[Float, Float, Float]


@dataclass(frozen=True, slots=True)
class Base:
    """The floor of the skull as tables over x and y, float32 (2 * BASE_HALF_Y, 2 * BASE_HALF_X, 4).

    Channels: height in mm, cosine of its slope, thickness of the bone in mm, density (1 = compact).
    """

    table: npt.NDArray[np.float32]


def petrous_line(x: Float) -> Float:
    """Return y of the petrous ridge's crest at each distance from the midline, mm."""
    return np.asarray(1.0 + 0.46 * np.maximum(np.abs(x) - 12, 0))


def make_base(traits: Traits) -> Base:
    """Shape the anterior, middle and posterior fossa, sella, clivus, ridges and foramen magnum."""
    rng = np.random.default_rng([traits.seed, 1])
    y, x = np.mgrid[-BASE_HALF_Y:BASE_HALF_Y, -BASE_HALF_X:BASE_HALF_X].astype(np.float32)
    ax = np.abs(x)
    rough = noise_table(rng, 256, 5, octaves=2)[: y.shape[0], : y.shape[1]]
    front = traits.frontal_floor_mm
    wing_y = -25 - 0.36 * np.maximum(ax - 10, 0)
    crest_y = petrous_line(x)

    anterior = front + 6 * bump(ax - 30, 15) * bump(y + 58, 24) - 5 * bump(ax, 7) + 1.6 * rough * bump(ax - 30, 22)
    middle = -9 + 7 * ((ax - 40) / 24) ** 2 + 7 * ((y + 8) / 27) ** 2
    posterior = -22 + 9 * (ax / 46) ** 2 + 11 * ((y - 44) / 38) ** 2
    height = middle + step(wing_y - y, 2.5) * (anterior - middle)
    height += step(y - crest_y, 2.5) * (posterior - height)
    sella = 15 - 6 * bump(y + 15, 5) + 0.8 * rough
    clivus = np.maximum(17 - 1.75 * (y + 6), -24)
    central = np.where(y < -7, sella, clivus)
    height += step(13 - ax, 2.0) * step(y - wing_y, 3) * step(19 - y, 3) * (central - height)
    top = traits.petrous_top_mm - 0.06 * (ax - 12)
    ridge = top - 0.22 * (y - crest_y) ** 2 + 0.8 * rough
    height = np.where((ax > 10) & (ax < 66), np.maximum(height, ridge), height)
    wing = front + 4 - 0.45 * (y - wing_y) ** 2
    height = np.where((ax > 9) & (ax < 46), np.maximum(height, wing), height)
    height = np.maximum(height, np.where(ax < 9, 19.5 - 0.6 * (y + 6.5) ** 2, -99))
    crista = np.where(ax < 1.6, front + 9 - 0.12 * (y + 60) ** 2, -99)
    height = np.maximum(height, crista)
    foramen = 1 - np.sqrt((x / 15) ** 2 + ((y - 28) / 17.5) ** 2)
    height += step(foramen * 15, 1.5) * (-90 - height)
    height = cv2.GaussianBlur(height.astype(np.float32), (0, 0), 0.9)

    gy, gx = np.gradient(height)
    cosine = 1 / np.sqrt(1 + np.minimum(gx * gx + gy * gy, 12))
    thickness = 4.0 + np.zeros_like(height)
    thickness += step(wing_y - y, 3) * (2.4 - thickness)
    petrous = step(12 - np.abs(y - crest_y), 4) * step(ax - 12, 3)
    thickness += petrous * (26 - thickness)
    thickness += step(14 - ax, 3) * step(y + 30, 4) * step(8 - y, 4) * (26 - thickness)
    rim = step(foramen * 15 + 9, 2) * step(-foramen * 15, 2) * step(24 - y, 8)
    thickness += rim * (10 - thickness)
    density = 0.62 + 0.22 * petrous + 0.12 * np.clip(rough, -1, 2)
    return Base(np.dstack([height, cosine, thickness, density]).astype(np.float32))


def measure(plane: Plane, base: Base) -> Depths:
    """Return the depths of one plane's pixels below skull and skin."""
    x, y, z, t = plane.x, plane.y, plane.z, plane.traits
    yn = np.clip(y / np.float32(t.half_length_mm), -1.3, 1.3)
    pinch = 1 - 0.075 * bump(y + 47, 15) * step(48 - z, 22)
    xs = x / (np.float32(t.half_width_mm) * (1 + np.float32(t.egg) * (yn - 0.25)) * pinch)
    ys = y / np.float32(t.half_length_mm)
    zs = (z - np.float32(t.centre_z_mm)) / np.where(z > t.centre_z_mm, np.float32(t.height_mm), np.float32(92))
    power = np.float32(t.squareness)
    flat_squared = (np.abs(xs) ** power + np.abs(ys) ** power) ** (2 / power)
    radial = np.sqrt(flat_squared + zs * zs)
    radial += np.float32(0.011) * plane.noise(t.slow, 8)
    gy, gx = np.gradient(radial, plane.pixel_mm)
    gz = zs / (np.float32(70) * np.maximum(radial, 0.2))
    slope = np.sqrt(gx * gx + gy * gy + gz * gz) + 1e-4
    slope = np.maximum(slope, 0.6 / t.half_length_mm)
    vault = (1 - radial) / slope

    floor = look_up(base.table, x + BASE_HALF_X, y + BASE_HALF_Y)
    above = (z - floor[..., 0]) * floor[..., 1]
    # The crests in the midline, front and back, grow inward.
    crest = 3.2 * bump(x, 5) * step(np.abs(y) - 58, 14) * step(95 - z, 25)
    vault = vault - crest
    cavity = np.minimum(vault, above)

    uneven = 1 + 0.11 * plane.noise(t.bend, 6)
    thin = 1 - 0.38 * step(28 - z, 20) * step(np.abs(x) - 40, 15)
    bone = np.float32(t.bone_mm) * uneven * thin + crest
    # Below the widest level face and neck go on where the brain's ellipsoid tapers.
    wall = np.where(z < t.centre_z_mm, (z - np.float32(t.centre_z_mm)) / np.float32(175), zs)
    flat = np.sqrt(flat_squared + wall * wall)
    skin = (1 - flat) * np.float32(0.5 * (t.half_width_mm + t.half_length_mm))
    low = step(t.centre_z_mm - 6 - z, 12)
    outer = vault + bone + np.float32(t.scalp_mm)
    neck_back = step(-8 - z, 18) * np.maximum(y - 40, 0) * 0.42
    body = outer + low * (np.maximum(skin + t.bone_mm + t.scalp_mm + 1.5, outer) - outer) - neck_back
    length = np.sqrt(xs * xs + ys * ys + zs * zs) + 1e-3
    direction = (xs / length, ys / length, zs / length)
    return Depths(vault, cavity, above, body, bone, floor, plane.cover(cavity), radial, direction)


def paint_skull(plane: Plane, depths: Depths) -> None:
    """Paint vault and base."""
    t, floor = plane.traits, depths.floor
    texture = plane.noise(t.fine, 3)
    outward = -depths.vault
    # Both tables are compact, the diploe between them is spongy and differs from place to place.
    share = outward / depths.bone_mm
    edge = 1.5 / t.bone_mm
    spongy = cover(share - edge, 0.22) * cover(1 - 1.2 * edge - share, 0.22)
    # Toward the temples and below, the vault is thin and has no diploe.
    spongy *= step(depths.bone_mm - 4.0, 1.2)
    density = 1.0 - spongy * (0.52 - 0.10 * np.clip(texture, -1.5, 1.5))
    suture = _sutures(plane, 1.1 * texture)
    density -= 0.5 * suture * cover(share - 0.1, 0.2)
    wall = plane.cover(outward) * plane.cover(depths.bone_mm - outward)
    wall *= plane.cover(depths.above_base + floor[..., 2] + 2, 3.0)
    plane.put(np.float32(t.bone_hu) * density, wall)
    under = plane.cover(-depths.above_base) * plane.cover(depths.above_base + floor[..., 2] * floor[..., 1])
    under *= plane.cover(depths.vault + depths.bone_mm * 1.1, 2.0)
    marrow = floor[..., 3] - 0.16 * np.clip(texture, -1, 1.5) * step(floor[..., 2] - 5, 3)
    compact = cover(depths.above_base + 1.6, 1.5)
    marrow += compact * (0.85 - marrow) * 0.6
    plane.put(np.float32(t.bone_hu) * marrow, under)


def _sutures(plane: Plane, zigzag: Float) -> Float:
    """Return where coronal, sagittal and lambdoid suture leave a gap in the vault."""
    x, y, z = plane.x, plane.y, plane.z
    level = (z - plane.traits.centre_z_mm) / plane.traits.height_mm
    coronal = bump(y + 30 - 12 * level + zigzag, 0.9)
    lambdoid = bump(y - 62 + 26 * np.maximum(level, -0.2) - 0.28 * np.abs(x) + zigzag, 0.9)
    sagittal = bump(x + zigzag, 0.9) * step(y + 18, 6) * step(40 - y, 6) * step(level - 0.4, 0.1)
    return np.asarray(np.maximum(np.maximum(coronal, lambdoid) * step(z - 12, 6), sagittal))
