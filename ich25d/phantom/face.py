"""What surrounds the skull: scalp, muscles and fat, orbits, sinuses, air cells, ears, neck."""

from dataclasses import replace

import numpy as np

from ich25d.phantom.forms import Float, Plane, bump, cover, step
from ich25d.phantom.skull import Depths, petrous_line

AIR, FAT, MUSCLE, SKIN = -1000.0, -95.0, 56.0, 20.0


def paint_soft(plane: Plane, depths: Depths) -> None:
    """Paint skin, fat and muscle over air."""
    x, y, z, t = plane.x, plane.y, plane.z, plane.traits
    depth = depths.body
    if float(z.min()) < 22:
        nose = plane.ellipsoid((0.0, -t.half_length_mm - 13, -26.0), (11.0, 22.0, 30.0))
        depth = np.maximum(depth, nose)
        for side in (-1, 1):
            ear = plane.ellipsoid((side * (t.half_width_mm + 12), 14.0, -4.0), (10.0, 7.0, 24.0))
            shell = np.abs(ear - 1.5) - 1.3 + 0.6 * plane.noise(t.fine, 3)
            depth = np.maximum(depth, np.where(ear > 0, -shell, -5))
    body = plane.cover(depth)
    layer, slow, sway = plane.noise(t.fine, 3), plane.noise(t.bend, 6), plane.noise(t.sway, 6)
    hu = np.full(x.shape, FAT, np.float32) + 12 * layer
    bone_side = depth - t.scalp_mm * (1 - 0.55 * t.fat) - 0.5 * layer
    temporal = step(50 - np.abs(z - 8), 20) * step(np.abs(x) - 38, 8) * step(30 - np.abs(y + 24), 12)
    deep = step(6 - z, 10)
    muscle = cover(bone_side + 2.2 * temporal + 1.2 * slow * deep, 1.2)
    # Between the muscles lies fat, in sheets and here and there in pads.
    septa = np.minimum(np.abs(slow + 0.25 * layer), np.abs(sway - 0.9 + 0.2 * layer) + 0.05)
    pads = np.maximum(cover(0.13 - septa, 0.12), cover(slow + 0.5 * sway - 1.5, 0.4))
    muscle *= 1 - deep * pads * 0.9
    hu += muscle * (MUSCLE + 4 * slow - hu)
    skin = cover(1.9 - depth, 1.0)
    hu += skin * (SKIN - hu)
    plane.put(hu.astype(np.float32), body)


def paint_face(plane: Plane, depths: Depths) -> None:
    """Paint orbits, nose, jaws and the neck's spine below the base of the skull."""
    if float(plane.z.min()) > 16:
        return
    y, z, t = plane.y, plane.z, plane.traits
    ax = np.abs(plane.x)
    below = plane.cover(-depths.above_base - 1.5, 2.0)
    bone = np.float32(t.bone_hu * 0.8)
    back = t.half_length_mm
    half = replace(plane, x=ax)

    # Orbit: a cone of fat with globe, nerve and muscles, its walls thin bone.
    apex, mouth = np.array([14.0, -30.0, 1.0]), np.array([33.0, -back + 4, -2.0])
    cone = half.tube(np.array([[*apex, 4.0], [*mouth, 19.0]]))
    walls = cover(1.2 - np.abs(cone + 1.0), 1.0) * step(y + back + 1, 3) * step(ax - 12, 3)
    front = step(-28 - y, 4)
    plane.put(bone * 0.7, below * walls * front * cover(depths.body - 6, 2.0))
    plane.put(FAT, below * cover(cone, 1.0) * cover(depths.body - 3, 2.0))
    muscles = np.maximum(cover(1.5 - np.abs(cone - 3.0), 1.0) * bump(z - mouth[2], 5), 0) * step(-y - 34, 4)
    plane.put(48.0, below * muscles * step(y + back - 14, 4))
    nerve = half.tube(np.array([[15.0, -32.0, 0.5, 2.2], [31.0, -back + 18, -1.0, 2.2]]))
    plane.put(38.0, below * cover(nerve, 1.0))
    globe = half.ellipsoid((33.0, -back + 3.5, -2.0), (12.2, 12.2, 12.2))
    plane.put(45.0, cover(globe, 1.0))
    plane.put(14.0, cover(globe - 1.4, 1.0))
    lens = half.ellipsoid((33.0, -back - 4.5, -2.0), (4.6, 2.0, 4.6))
    plane.put(72.0, cover(lens, 1.0))

    # Zygoma, jaw and pterygoid plates.
    arch = half.tube(np.array([[50, -52, -14, 4.5], [63, -36, -14, 2.6], [66, -12, -8, 2.6], [60, 0, -6, 4.0]]))
    jaw = half.tube(np.array([[51, -5, -12, 4.8], [50, -9, -30, 3.6], [49, -14, -60, 4.5]]), flatten=(1.5, 0.7, 1))
    plates = half.tube(np.array([[12, -22, -8, 2.0], [16, -20, -40, 2.0]]), flatten=(1.6, 0.5, 1))
    cheek = cover(0.8 - np.abs(_antrum(half, 1.0) + 0.6), 1.0)
    for form, density in ((arch, 0.9), (jaw, 0.85), (plates, 0.8)):
        shell = cover(form, 1.0) * (density - 0.35 * cover(form - 1.8, 1.0))
        plane.put(bone, below * shell)
    plane.put(bone * 0.8, below * cheek * cover(depths.body - 8, 2.0))
    bridge = half.tube(np.array([[4, -back - 1, 4, 2.2], [3.5, -back - 12, -16, 1.4]]))
    plane.put(bone, cover(bridge, 1.0) * 0.85)
    _paint_spine(plane, below)


def _paint_spine(plane: Plane, below: Float) -> None:
    """Paint condyles, atlas and dens around the canal."""
    x, y, z, t = plane.x, plane.y, plane.z, plane.traits
    if float(z.min()) > -20:
        return
    ring = np.hypot(x / 1.12, y - 27)
    atlas = cover(4.0 - np.abs(ring - 19.5), 1.2) * step(-26 - z, 3) * step(z + 42, 3)
    masses = cover(8.5 - np.hypot(np.abs(x) - 22, (y - 17) * 0.8), 1.2) * step(-20 - z, 3)
    dens = cover(5.2 - np.hypot(x, y - 4.5), 1.2) * step(-26 - z, 3)
    share = np.maximum(np.maximum(atlas, masses), dens)
    plane.put(np.float32(t.bone_hu * 0.8) * (0.78 + 0.1 * plane.noise(t.fine, 3)), below * share)
    canal = cover(15.0 - np.hypot(x, y - 26), 1.4) * step(-22 - z, 2)
    plane.put(np.float32(t.fluid_hu + 3), canal)
    plane.put(33.0, cover(6.2 - np.hypot(x * 0.8, y - 26), 1.4) * step(-22 - z, 2))


def _antrum(half: Plane, scale: float) -> Float:
    """Return the depth below the wall of the maxillary sinus in mm: three-cornered from above."""
    x, y, z = half.x - 29, half.y + half.traits.half_length_mm - 30, half.z + 34
    sides = np.maximum(np.maximum(-x - 13, 0.55 * x + 0.84 * y - 13), 0.62 * x - 0.78 * y - 15)
    sides = np.maximum(sides, np.abs(z) - 18)
    return np.asarray((2.5 * (scale - 1) * 3 - sides + 1.2 * half.noise(half.traits.sway, 6)).astype(np.float32))


def paint_air(plane: Plane, depths: Depths) -> None:
    """Paint what holds air: sinuses with their septa, nose, mastoid cells, ear canals."""
    if float(plane.z.min()) > 34:
        return
    x, y, z, t = plane.x, plane.y, plane.z, plane.traits
    ax = np.abs(x)
    s = np.float32(t.sinus_scale)
    half = replace(plane, x=ax)
    fine, finer = plane.noise(t.fine, 3), plane.noise(t.speck)
    below = plane.cover(-depths.above_base - 2.2)
    inside_face = cover(depths.body - 5, 2.0)
    septum = cover(np.abs(x + 2.0 * plane.noise(t.bend, 6)) - 0.7, 0.8)

    sphenoid = plane.ellipsoid((1.0, -18.0, 1.0), (13.0 * s, 11.0 * s, 9.5 * s)) + 0.8 * fine
    plane.put(AIR, below * cover(sphenoid, 1.0) * septum)
    ethmoid = np.minimum(np.minimum(11.5 - ax - 0.06 * np.abs(y + 50), 20 - np.abs(y + 52)), np.minimum(z + 22, 11 - z))
    ethmoid = ethmoid + 0.9 * fine
    partition = np.abs(np.sin((y + 3 * fine) * np.float32(np.pi / 9.5))) * 5.0
    cells = cover(partition - 0.6, 0.8) * cover(np.abs(ax - 6.0 + fine) - 0.45, 0.8)
    plane.put(np.float32(t.bone_hu * 0.35), below * cover(ethmoid + 1.0, 1.0) * inside_face)
    plane.put(AIR, below * cover(ethmoid, 1.0) * cells * septum * inside_face)
    nose = np.minimum(np.minimum(12.0 - ax + 1.5 * fine - 0.1 * np.maximum(-y - 60, 0), 34 - np.abs(y + 58)), -14 - z)
    turbinate = cover(np.abs(ax - 7.5 + 1.5 * fine) - 2.2, 1.0)
    plane.put(MUSCLE - 15, below * cover(nose, 1.0) * inside_face)
    plane.put(AIR, below * cover(nose - 0.8, 1.0) * turbinate * septum * inside_face)
    hollow = _antrum(half, float(s)) - 0.8 * np.abs(fine)
    plane.put(AIR, below * cover(hollow, 1.0) * cover(depths.body - 9, 2.0))
    throat = plane.ellipsoid((0.0, -10.0, -46.0), (13.0, 7.0, 20.0))
    plane.put(AIR, below * cover(throat, 1.0))

    frontal = np.minimum(np.minimum(-depths.vault - 1.6, depths.bone_mm + 2.0 - 1.6 + depths.vault), 17.0 * s - ax)
    frontal = np.minimum(frontal, np.minimum(10.0 * s - np.abs(z - 16), -y - 40))
    plane.put(AIR, cover(frontal, 1.0) * septum)

    crest = petrous_line(x)
    mastoid = np.minimum(np.minimum(20 - np.abs(y - crest - 8), ax - 42), 14 - np.abs(z + 3))
    mastoid = np.minimum(mastoid, np.minimum(-depths.above_base - 2.5, depths.vault + 5.0)) + 1.5 * plane.noise(
        t.bend, 6
    )
    wall = np.abs(finer) * 1.2 - (1.35 - 1.2 * t.mastoid_air)
    plane.put(np.float32(t.bone_hu * 0.55), cover(mastoid + 1.0, 1.5) * 0.5)
    plane.put(AIR, cover(mastoid, 2.0) * cover(wall, 0.5))
    canal = half.tube(np.array([[42.0, 12, -4, 3.6], [58.0, 9, -5, 3.0], [82.0, 8, -4, 3.4]]))
    plane.put(AIR, cover(canal, 1.0))
    inner_ear = half.tube(np.array([[15.0, 8.5, 2, 2.4], [24.0, 11.5, 2, 1.8]]))
    plane.put(20.0, below * cover(inner_ear, 1.0))
