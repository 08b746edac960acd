"""One head from a seed: anatomy, scanner, bleeds, labels and masks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import find_anatomy
from ich25d.bleeds.paint import paint, truth_masks
from ich25d.bleeds.plan import plan_bleeds
from ich25d.labels import N_LABELS, SUBTYPES
from ich25d.phantom.cortex import Folds, find_surface, make_folds, paint_cortex
from ich25d.phantom.deep import (
    paint_cerebellum,
    paint_cisterns,
    paint_dura,
    paint_infarct,
    paint_nuclei,
    paint_ventricles,
)
from ich25d.phantom.face import AIR, paint_air, paint_face, paint_soft
from ich25d.phantom.forms import Float, Plane
from ich25d.phantom.scanner import Scan, blur, draw_scan, field_of_view, noise, put_holder, streaks
from ich25d.phantom.skull import Base, make_base, measure, paint_skull
from ich25d.phantom.traits import Traits, draw_traits

FULL_SIZE = 512
WORKING_SIZE = 272
"""Most rows and columns in which anatomy is painted; then it is enlarged, and noise is added in the size wanted."""

CROWN_MM = 14.0
"""Bone and scalp above the brain's vertex."""

ATTEMPTS = 6
CLEAR_SLICES, CLEAR_MM2 = (4, 12), 160.0
"""A clear bleed is on so many slices, 4 to 11, and so large on the largest."""


@dataclass(frozen=True, slots=True)
class PhantomHead:
    """A scanned head.

    Args:
        hu: int16 (n, size, size), caudal to cranial.
        slice_position_mm: float64 (n,) along the slices' normal.
        labels: uint8 (n, 6) in `LABELS` order.
        masks: bool (5, n, size, size), where each subtype would be seen.
        pixel_spacing_mm: Size of a pixel of `hu`.
        scan: Geometry and protocol.
        traits: What kind of head it is.
    """

    hu: npt.NDArray[np.int16]
    slice_position_mm: npt.NDArray[np.float64]
    labels: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    pixel_spacing_mm: float
    scan: Scan
    traits: Traits


def _turn(scan: Scan) -> npt.NDArray[np.float64]:
    """Return the rotation from the patient's to the head's coordinates, (3, 3)."""
    p, r, w = (np.deg2rad(v) for v in (scan.pitch_deg, scan.roll_deg, scan.yaw_deg))
    pitch = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    roll = np.array([[np.cos(r), 0, np.sin(r)], [0, 1, 0], [-np.sin(r), 0, np.cos(r)]])
    yaw = np.array([[np.cos(w), -np.sin(w), 0], [np.sin(w), np.cos(w), 0], [0, 0, 1]])
    return np.asarray(pitch @ roll @ yaw)


def _plane(traits: Traits, scan: Scan, index: int, shift_mm: float, size: int) -> Plane:
    """Place one thin plane of a slice in the head."""
    pixel = scan.pixel_mm * FULL_SIZE / size
    directions = np.array(scan.directions).reshape(2, 3)
    normal = np.cross(directions[0], directions[1])
    corner = scan.origins_mm()[index] + normal * shift_mm
    # The corner of the picture is the middle of its first pixel at 512; smaller sizes share the field.
    corner = corner + (directions[0] + directions[1]) * (pixel - scan.pixel_mm) / 2
    steps = np.arange(size) * pixel
    turn = _turn(scan)
    start = turn @ (corner - np.array(scan.centre_mm))
    along, down = turn @ directions[0], turn @ directions[1]
    axes = [(start[k] + along[k] * steps[None, :] + down[k] * steps[:, None]).astype(np.float32) for k in range(3)]
    u = (corner @ directions[0] + steps).astype(np.float32)
    v = (corner @ directions[1] + steps).astype(np.float32)
    hu = np.full((size, size), AIR, np.float32)
    return Plane(axes[0], axes[1], axes[2], u, v, float(corner @ normal), pixel, hu, traits)


def _cropped(plane: Plane) -> Plane:
    """Return the part of a plane that the head can reach; its picture is a view."""
    traits = plane.traits
    # The head narrows to the vertex; nose and ears stand out below.
    low = float(plane.z.min())
    share = (low - traits.centre_z_mm) / (traits.height_mm + CROWN_MM + 8)
    round_off = float(np.sqrt(np.clip(1 - max(share, 0.0) ** 2, 0.04, 1.0)))
    reach_x = round_off * (1.1 * traits.half_width_mm + 16) if low > 34 else 1.1 * traits.half_width_mm + 24
    reach_y = round_off * (traits.half_length_mm + 18) if low > 20 else traits.half_length_mm + 38
    near = (np.abs(plane.x) < reach_x) & (np.abs(plane.y) < reach_y)
    if not near.any():
        near[:4, :4] = True
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    x, y, z = (np.ascontiguousarray(axis[box]) for axis in (plane.x, plane.y, plane.z))
    return replace(plane, x=x, y=y, z=z, u_mm=plane.u_mm[box[1]], v_mm=plane.v_mm[box[0]], hu=plane.hu[box])


def _paint_plane(plane: Plane, base: Base, folds: Folds) -> None:
    """Paint everything but blood into one thin plane."""
    traits = plane.traits
    depths = measure(plane, base)
    paint_soft(plane, depths)
    paint_face(plane, depths)
    if float(depths.vault.max()) > -traits.bone_mm - 2:
        paint_skull(plane, depths)
    paint_air(plane, depths)
    if float(depths.cavity.max()) <= -1:
        return
    bend, sway, fine = plane.noise(traits.bend, 6), plane.noise(traits.sway, 6), plane.noise(traits.fine, 3)
    x, y, z = plane.x + 1.3 * bend + 0.35 * fine, plane.y + 1.6 * sway - 0.35 * fine, plane.z + 1.2 * bend
    bent = replace(plane, x=x, y=y, z=z)
    surface = find_surface(plane, depths, folds)
    paint_cortex(plane, surface, depths.inside)
    paint_nuclei(bent, depths.inside)
    paint_infarct(bent, depths)
    paint_cerebellum(bent, depths)
    paint_cisterns(bent, depths.inside)
    paint_ventricles(bent, depths.inside)
    paint_dura(plane, depths, surface)


def make_head(
    rng: np.random.Generator,
    *,
    labels: Sequence[str] = (),
    traits: Traits | None = None,
    size: int = FULL_SIZE,
) -> PhantomHead:
    """Make one head, scan it, and let it bleed.

    Args:
        rng: Draws everything; the same state gives the same head.
        labels: Subtypes to paint; empty for none.
        traits: Whose head it is; drawn by default.
        size: Rows and columns of a slice; 512 as in the RSNA data.
    """
    traits = draw_traits(rng) if traits is None else traits
    scan = draw_scan(rng, traits.centre_z_mm + traits.height_mm + CROWN_MM)
    base, folds = make_base(traits), make_folds(traits)
    bleed_rng, noise_rng = rng.spawn(2)
    working = min(size, WORKING_SIZE)
    clean = _clean_slices(traits, scan, base, folds, working)
    found = np.zeros((len(clean), N_LABELS), np.uint8)
    masks = np.zeros((len(SUBTYPES), *clean.shape), bool)
    if labels:
        # Before noise and enlargement, so that blood is as sharp and as noisy as all else.
        clean, found, masks = _bleed(clean, scan, bleed_rng, labels)
    pixel = scan.pixel_mm * FULL_SIZE / size
    clean = np.stack([_enlarged(plane, size) for plane in clean])
    hu = _with_noise(clean, scan, noise_rng, pixel)
    if working != size:
        masks = np.stack([[_enlarged(m.astype(np.float32), size) > 0.5 for m in kind] for kind in masks])
    return PhantomHead(hu, scan.slice_position_mm, found, masks, pixel, scan, traits)


def _enlarged(plane: Float, size: int) -> Float:
    """Return a slice at `size` pixels."""
    if plane.shape == (size, size):
        return plane
    return np.asarray(cv2.resize(plane, (size, size), interpolation=cv2.INTER_CUBIC))


def _bleed(
    clean: Float, scan: Scan, rng: np.random.Generator, labels: Sequence[str]
) -> tuple[Float, npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Paint bleeds of these labels; draw again, up to `ATTEMPTS` times, while one of them can hardly be seen."""
    hu = np.rint(clean).astype(np.int16)
    pixel = scan.pixel_mm * FULL_SIZE / clean.shape[1]
    position = scan.slice_position_mm
    anatomy = find_anatomy(hu, (float(np.median(np.diff(position))), pixel, pixel), slice_position_mm=position)
    best = (-1.0, clean, np.zeros((len(hu), N_LABELS), np.uint8), np.zeros((len(SUBTYPES), *hu.shape), bool))
    n_clear = int(rng.integers(*CLEAR_SLICES))
    asked = [SUBTYPES.index(name) for name in labels]
    for _ in range(ATTEMPTS):
        bleeds = plan_bleeds(anatomy, rng, labels=labels)
        if not bleeds:
            continue
        masks = truth_masks(bleeds)
        area_mm2 = masks.sum(axis=(2, 3)) * pixel**2
        spread = np.minimum((area_mm2[asked] > 0).sum(axis=1) / n_clear, 1)
        clarity = float((spread * np.minimum(area_mm2[asked].max(axis=1) / CLEAR_MM2, 1)).mean())
        if clarity > best[0]:
            painted, found, _ = paint(hu, range(len(hu)), bleeds)
            best = (clarity, painted.astype(np.float32), found, masks)
        if clarity >= 1:
            break
    return best[1], best[2], best[3]


def _clean_slices(traits: Traits, scan: Scan, base: Base, folds: Folds, working: int) -> Float:
    """Return the slices as a scanner without noise sees them, float32 (n, working, working)."""
    n = len(scan.origin_z_mm)
    result = np.empty((n, working, working), np.float32)
    for index in range(n):
        total = np.zeros((working, working), np.float32)
        thick = float(scan.thickness_mm[index])
        shifts = (-0.25, 0.25) if thick > 3 else (0.0,)
        for share in shifts:
            plane = _plane(traits, scan, index, share * thick, working)
            _paint_plane(_cropped(plane), base, folds)
            total += plane.hu
        result[index] = blur(total / len(shifts), scan.pixel_mm * FULL_SIZE / working, scan.sharpness, traits.hardening)
    return result


def _with_noise(clean: Float, scan: Scan, rng: np.random.Generator, pixel_mm: float) -> npt.NDArray[np.int16]:
    """Add streaks, noise and the head-rest, and round to HU."""
    n, size, _ = clean.shape
    field = field_of_view(size)
    rows = np.flatnonzero((clean > -300).any(axis=(0, 2)))
    bottom = float(rows[-1]) if len(rows) else size * 0.9
    holder_seed = int(rng.integers(2**31))
    hu = np.empty(clean.shape, np.int16)
    for index in range(n):
        plane = clean[index]
        bone = float((plane > 900).sum()) * pixel_mm**2
        if bone > 2200:
            soft = (plane > -200) & (plane < 200)
            plane = plane + streaks(rng, plane, pixel_mm, scan.streaks) * cv2.GaussianBlur(
                soft.astype(np.float32), (0, 0), 1.0
            )
        if scan.has_holder:
            put_holder(plane, bottom, pixel_mm, holder_seed)
        level = scan.noise_hu * (1 + 0.5 * min(bone / 5000, 1.0)) * np.where(plane > -600, 1.0, 1.6)
        grain = noise(rng, (size, size), scan.sharpness)
        plane = plane + grain * level
        hu[index] = np.rint(np.clip(np.where(field, plane, -1024), -1024, 3071)).astype(np.int16)
    return hu
