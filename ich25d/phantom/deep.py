"""What lies deep in the brain: nuclei, ventricles, cisterns, cerebellum, falx and tentorium, calcifications."""

from dataclasses import replace

import numpy as np

from ich25d.phantom.cortex import Surface
from ich25d.phantom.forms import Float, Plane, bump, cover, step
from ich25d.phantom.skull import Depths, petrous_line

HORN = np.array([(10, -36, 33, 2.2), (7.5, -26, 38, 4.2), (5.0, -10, 43, 3.8), (4.5, -6, 42, 3.0)])
BODY = np.array([(5.0, -14, 46, 4.4), (8.0, 4, 52, 4.4), (13.0, 20, 51, 4.6), (21.0, 33, 44, 5.6)])
ATRIUM = np.array([(21.0, 33, 44, 5.6), (25.0, 38, 38, 5.4), (27.0, 35, 31, 3.4)])
OCCIPITAL = np.array([(25.0, 38, 38, 4.8), (24.0, 50, 35, 3.0), (21.0, 60, 33, 1.6)])
TEMPORAL = np.array([(27.0, 35, 31, 3.0), (33.0, 20, 20, 1.9), (33.0, 0, 12, 1.6), (30.0, -10, 10, 1.5)])
"""Half of the lateral ventricle: x, y, z and radius in mm, of a brain with `ventricle_scale` 1."""


def _cerebellum(plane: Plane) -> Float:
    """Return the depth below the tentorium in mm, positive in the posterior fossa."""
    ax = np.abs(plane.x)
    roof = 41 - 0.62 * ax - 0.46 * np.maximum(plane.y - 34, 0) - 0.9 * np.maximum(26 - plane.y, 0)
    roof = np.maximum(roof, plane.traits.petrous_top_mm - 1 - 0.02 * ax)
    behind = (plane.y - petrous_line(plane.x)) * 0.9
    return np.asarray(np.minimum((roof - plane.z) * 0.8, behind).astype(np.float32))


def paint_nuclei(plane: Plane, inside: Float) -> None:
    """Paint caudate, lentiform nucleus, thalamus and insula, grey in white."""
    half = replace(plane, x=np.abs(plane.x))
    bent = 1.2 * plane.noise(plane.traits.fine, 3)
    grey = np.float32(plane.traits.grey_hu)
    wide = plane.traits.ventricle_scale
    for centre, radii, share in (
        ((13 + 2.5 * wide, -19.0, 40.0), (6.0, 13.0, 13.0), 1.0),
        ((25.0, -4.0, 33.0), (7.5, 17.0, 13.0), 1.0),
        ((10 + 2 * wide, 12.0, 37.0), (8.0, 14.0, 12.0), 0.75),
        ((38.0, 0.0, 31.0), (2.6, 19.0, 14.0), 0.9),
    ):
        if plane.near(centre, radii[2] + 2):
            depth = half.ellipsoid(centre, radii) + bent * 0.5
            plane.put(grey + 0.5, inside * cover(depth, 2.4) * share)


def paint_infarct(plane: Plane, depths: Depths) -> None:
    """Paint an old infarct: cortex and white matter gone, nearly as dark as CSF, up to the inner table."""
    t = plane.traits
    if not t.infarct_radius_mm or not plane.near(t.infarct_mm, t.infarct_radius_mm + 3):
        return
    radius = t.infarct_radius_mm
    lost = plane.ellipsoid(t.infarct_mm, (1.2 * radius, radius, radius)) + 2.0 * plane.noise(t.fine, 3)
    share = cover(lost, 5.0) * step(depths.above_base - 4, 3)
    plane.put(np.float32(t.fluid_hu + 6) + 2 * plane.noise(t.speck), depths.inside * share * 0.85)


def paint_ventricles(plane: Plane, inside: Float) -> None:
    """Paint the four ventricles."""
    x, y, z, t = plane.x, plane.y, plane.z, plane.traits
    ax = np.abs(x)
    half = replace(plane, x=ax)
    scale = np.float32(t.ventricle_scale) * (1 + np.sign(x) * np.float32(t.ventricle_lean))
    grow = 2.6 * (scale - 1)
    depth = np.full(x.shape, -1e3, np.float32)
    for tube, flatten, width in ((HORN, (1.0, 0.55, 0.75), 1.0), (BODY, (1.0, 0.8, 0.9), 1.0), (ATRIUM, (1, 1, 1), 1.0),
                                 (OCCIPITAL, (1, 1, 1), 1.0), (TEMPORAL, (1, 1, 1), 0.35)):  # fmt: skip
        np.maximum(depth, half.tube(tube, flatten=flatten) + grow * width, out=depth)
    # The caudate's head bulges into the horn; the septum parts left from right.
    caudate = 1 - np.sqrt(((ax - 14 - 2.2 * t.ventricle_scale) / 8) ** 2 + ((y + 17) / 15) ** 2 + ((z - 40) / 14) ** 2)
    depth = np.minimum(depth, -caudate * 6)
    depth = np.minimum(depth, ax - 0.55)
    third = np.minimum(1.3 + 2.2 * max(t.ventricle_scale - 0.7, 0) - ax, 13 - np.abs(y - 2))
    third = np.minimum(third, 8 - np.abs(z - 37))
    np.maximum(depth, third, out=depth)
    fourth = 1 - np.sqrt((x / 9) ** 2 + ((y - 33 - 0.02 * x * x) / 5.0) ** 2 + ((z - 4) / 14) ** 2)
    np.maximum(depth, fourth * 5.0 + 0.5 * grow, out=depth)
    aqueduct = 1.2 - np.sqrt(x * x + (y - 22) ** 2)
    np.maximum(depth, np.where(np.abs(z - 20) < 9, aqueduct, -9), out=depth)
    share = plane.cover(depth) * inside
    if t.atrophy > 0.45:
        halo = cover(depth + 5 + 3 * t.atrophy, 6.0) * (t.atrophy - 0.4) * step(z - 28, 6)
        plane.put(plane.hu - 8, inside * halo)
    plane.put(np.float32(t.fluid_hu), share)


def paint_cisterns(plane: Plane, inside: Float) -> None:
    """Paint brainstem, basal cisterns and Sylvian fissures."""
    x, y, z, t = plane.x, plane.y, plane.z, plane.traits
    ax = np.abs(x)
    fluid = np.float32(t.fluid_hu)
    open_mm = (0.9 + 1.7 * t.atrophy) * np.clip(0.85 + 0.6 * plane.noise(t.sway, 6), 0.1, 1.8)
    low, high = float(z.min()), float(z.max())
    if low < 48 and high > 8:
        _paint_sylvian(plane, inside)
    if low > 44:
        return
    middle = 4 + 0.0 * z + np.float32(11) * step(10 - z, 14) + np.float32(9) * step(-12 - z, 8)
    radius = 16.5 - 4.5 * step(-6 - z, 10) - 2.5 * step(-20 - z, 8)
    stem = (1 - np.sqrt((ax / radius) ** 2 + ((y - middle) / (radius * 0.86)) ** 2)) * radius * 0.9
    peduncle = 1.4 * bump(ax - 8, 4) * step(middle - y, 5)
    stem = stem + peduncle * step(z - 18, 5)
    below = step(28 - z, 3)
    notch = open_mm * (0.75 + 0.45 * step(np.abs(y - middle - 8) - 6, 6))
    ring = cover(-stem, 1.2) * cover(notch + stem, 1.2) * below
    # The pons lies on the peduncles of the cerebellum: no water there.
    bridge = step(16 - z, 4) * step(z + 10, 4) * step(y - middle + 4, 4)
    ring *= 1 - bridge
    quad = cover(1.8 + 0.6 * open_mm - np.abs(y - 23.5 + 0.035 * x * x), 1.4) * cover(15 - ax, 2.0)
    quad *= step(z - 20, 3) * step(36 - z, 3)
    arms = np.minimum(np.abs(y + 14 + 0.55 * ax), np.abs(y + 11 - 0.35 * ax) + 0.8)
    star = np.maximum(
        cover(7.5 + open_mm - np.hypot(x, (y + 12) * 1.15), 1.4),
        cover(0.7 + 0.55 * open_mm - arms, 1.4) * cover(22 - ax, 3),
    )
    star *= step(z - 16, 2) * step(29 - z, 3)
    front = cover(1.2 + open_mm - np.abs(y - middle + radius * 0.86 + 2), 1.2) * cover(15 - ax, 3) * step(20 - z, 3)
    angle = cover(2.0 + open_mm * 0.5 - np.hypot(ax - 21, y - 9), 2.0) * step(8 - np.abs(z - 2), 4)
    magna = cover(4.5 + 2 * t.atrophy - np.hypot(x * 0.6, y - 0.86 * t.half_length_mm + 14), 2.0) * step(-8 - z, 5)
    canal = step(-20 - z, 3) * cover(-stem, 1.2)
    share = np.maximum.reduce([ring, quad, star, front * step(z + 18, 4), angle, magna, canal])
    plane.put(np.float32(0.5 * (t.grey_hu + t.white_hu)), inside * cover(stem, 1.4) * below)
    plane.put(fluid, inside * share)
    for cx, cy, radius_mm in ((0.5, -8.5, 1.6), (-10.0, -15.0, 1.5), (10.0, -15.0, 1.5)):
        dot = cover(radius_mm - np.hypot(x - cx, y - cy), 1.0) * step(9 - np.abs(z - 15), 3)
        plane.put(46.0, inside * dot * 0.8)


def _paint_sylvian(plane: Plane, inside: Float) -> None:
    """Paint the Sylvian fissure: a stem from the side, and the line over the insula."""
    ax, y, z, t = np.abs(plane.x), plane.y, plane.z, plane.traits
    wave = plane.noise(t.fine, 3)
    ax = ax + 1.0 * wave
    middle = 27 + 0.28 * (y + 10)
    high = 1 - np.abs(z - middle) / 15
    along = (ax - 42) / np.float32(t.half_width_mm - 42)
    stem = np.abs(y + 24 + 5 * along + 1.6 * wave)
    width = (0.3 + 2.0 * t.atrophy) * np.clip(0.8 + 0.5 * plane.noise(t.bend, 6), 0.2, 1.7)
    lateral = cover((width + 1.1 * np.clip(along, 0, 1)) * np.clip(high * 2, 0, 1) - stem, 1.3) * cover(ax - 40, 2.0)
    insula = np.hypot((ax - 41.5 - 0.003 * (y - 2) ** 2), np.maximum(np.abs(y + 2) - 18, 0))
    taper = np.clip(1.25 - ((y + 2) / 19) ** 2, 0, 1)
    inner = cover(0.75 * width * taper * np.clip(high * 2.4, 0, 1) - insula, 1.3)
    grey = cover(3.2 + width - np.minimum(np.where(ax > 40, stem, 30), insula), 1.5) * np.clip(high * 2, 0, 1)
    plane.put(np.float32(t.grey_hu), inside * grey)
    plane.put(np.float32(t.fluid_hu), inside * np.maximum(lateral, inner))


def paint_cerebellum(plane: Plane, depths: Depths) -> None:
    """Paint the cerebellum with its folia, and the tentorium as a thin bright line."""
    if float(plane.z.min()) > 46:
        return
    t, inside = plane.traits, depths.inside
    under = _cerebellum(plane)
    share = plane.cover(under - 1.0) * inside
    wave = plane.noise(t.bend, 6)
    depth = np.minimum(np.minimum(under, depths.cavity), 60)
    folia = np.cos((depth * 0.85 + 1.1 * wave + 0.02 * plane.x**2 / 4) * np.float32(2 * np.pi / 4.2))
    near = step(15 - depth, 6)
    hu = t.grey_hu - 3.2 - 2.2 * step(depth - 14, 6) + (0.9 + 1.6 * t.atrophy) * folia * near
    hu = hu - 5 * bump(plane.x, 1.6) * step(plane.y - 44, 6) * (0.4 + t.atrophy)
    plane.put(hu.astype(np.float32), share)
    gap = cover(0.4 + 1.8 * t.atrophy - np.abs(under - 1.5), 1.2) * step(30 - np.abs(plane.x), 8)
    plane.put(np.float32(t.fluid_hu), inside * gap * 0.8)
    sheet = cover(0.75 - np.abs(under), 1.0) * step(plane.y - 18, 4) * step(plane.z - t.petrous_top_mm, 3)
    plane.put(t.tentorium_hu, inside * sheet * 0.75)


def paint_dura(plane: Plane, depths: Depths, surface: Surface) -> None:
    """Paint falx and sinuses, which are brighter than brain, and the calcifications that look like blood.

    Args:
        plane: The plane.
        depths: Of its pixels.
        surface: Likewise.
    """
    y, z, t, inside = plane.y, plane.z, plane.traits, depths.inside
    off = np.abs(surface.lateral)
    reach = step(34 - depths.cavity + 14 * step(y - 10, 20), 5) * (surface.fissure > 0)
    falx = cover(0.55 - off, 1.0) * reach * step(z - 14, 4)
    plane.put(np.float32(t.dura_hu), inside * falx * 0.8)
    back = step(y - 20, 25) + 0.5 * step(z - t.centre_z_mm - 30, 12)
    sinus = cover(np.minimum(5.5 - depths.vault, 1.05 * (6.0 - depths.vault) - off) * 0.8, 1.4) * np.clip(back, 0, 1)
    plane.put(t.dura_hu, inside * sinus * step(z - 4, 3) * (depths.vault < 8))
    across = cover(3.2 - np.hypot(depths.vault - 2.5, z - t.petrous_top_mm + 2), 1.6) * step(y - 30, 8)
    plane.put(t.dura_hu - 1, inside * across)
    if t.falx_plate_hu:
        plate = cover(0.9 - off, 1.0) * bump(y + 0.62 * t.half_length_mm, 9) * bump(z - 62, 11)
        plane.put(t.falx_plate_hu, inside * plate)
    speck = plane.noise(t.speck)
    if t.pineal_hu and plane.near((0, 0, 36), 5):
        plane.put(t.pineal_hu, inside * plane.cover(plane.ellipsoid((0.3, 24.5, 36.0), (2.6, 3.2, 2.6)) + 0.4 * speck))
    for side, value in zip((-1, 1), t.choroid_hu, strict=True):
        if value and plane.near((0, 0, 40), 6):
            knot = plane.ellipsoid((side * 23.0, 39.0, 40.0), (3.4, 5.0, 4.0)) + 1.1 * speck
            plane.put(value, inside * plane.cover(knot))
        if t.pallidum_hu and plane.near((0, 0, 33), 5):
            spot = plane.ellipsoid((side * 20.0, -4.0, 33.0), (3.0, 5.5, 3.5)) + 1.2 * speck
            plane.put(t.pallidum_hu, inside * plane.cover(spot, 2.0) * 0.6)
