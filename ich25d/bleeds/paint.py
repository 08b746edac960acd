"""Planned bleeds into HU slices, with their labels and masks.

A slice looks the same whichever slices are asked for with it.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import Anatomy, Box
from ich25d.bleeds.shape import Bleed, Layer, inner, trimmed
from ich25d.bleeds.skull import Bool, Float
from ich25d.labels import ANY_INDEX, N_LABELS, SUBTYPES

TISSUE_FROM_HU = -40.0
"""Nothing in a skull is darker except air and fat."""

AIR_BELOW_HU = -100.0
"""Air in sinuses and after operations stays as it is."""

BONE_FROM_HU = 130.0
BONE_ONLY_HU = 230.0
"""Between these two the painting fades out: such a pixel is part bone."""

LEAST_PUSH_MM = 0.2
"""Smaller shifts of tissue are left out."""

STILL_PX = 0.03
"""A pixel that is shifted less stays as it was scanned."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How bleeds displace the tissue of a slice.

    Args:
        box: top, left, bottom, right of the part that moves.
        px: Rows and columns that it moves by, float32 (2, h, w).
    """

    box: Box
    px: Float

    @property
    def moves(self) -> Bool:
        """Which pixels of the box move, bool (h, w)."""
        return np.asarray(np.abs(self.px).max(axis=0) >= STILL_PX)

    def moved(self, plane: Float, interpolation: int) -> Float:
        """Return the box of a plane (H, W) after the push, float32 (h, w)."""
        top, left, bottom, right = self.box
        x = np.arange(left, right, dtype=np.float32)[None, :] - self.px[1]
        y = np.arange(top, bottom, dtype=np.float32)[:, None] - self.px[0]
        return np.asarray(cv2.remap(plane, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE))


def _shift(layers: Sequence[Layer], spacing_mm: tuple[float, float, float]) -> Shift | None:
    """Return the sum of all pushes of a slice; None where nothing moves."""
    pushes = [
        (layer.push_box or layer.box, layer.push_mm)
        for layer in layers
        if layer.push_mm is not None and max(layer.push_mm.max(), -layer.push_mm.min()) > LEAST_PUSH_MM
    ]
    if not pushes:
        return None
    tops, lefts, bottoms, rights = zip(*(box for box, _ in pushes), strict=True)
    whole = (min(tops), min(lefts), max(bottoms), max(rights))
    total = np.zeros((2, whole[2] - whole[0], whole[3] - whole[1]), np.float32)
    for box, push_mm in pushes:
        total[:, *inner(whole, box)] += push_mm
    total /= np.array(spacing_mm[1:], np.float32)[:, None, None]
    return Shift(whole, total)


NOISE_FROM = ((0, 0), (0, 21), (19, -9), (-23, 7), (5, -25), (-14, -17), (31, 13))
"""Offsets, rows and columns in pixels, at which noise is looked for: the first without edges of tissue is taken."""

NOISE_REACH = 36
"""Pixels around a layer that `_noise` looks at."""


def _noise(scanned: Float, anatomy: Anatomy, index: int, box: Box, blood: Bool) -> Float:
    """Return the scanner's noise in a box of a slice, free of anatomy where blood is, float32 (h, w).

    What a blur takes away is noise only where no edge runs. Elsewhere the noise of a place nearby without edges is
    taken, or the folds of the brain would show through the clot.
    """
    height, width = scanned.shape
    top, left = max(0, box[0] - NOISE_REACH), max(0, box[1] - NOISE_REACH)
    bottom, right = min(height, box[2] + NOISE_REACH), min(width, box[3] + NOISE_REACH)
    part = scanned[top:bottom, left:right]
    depth = anatomy.depth_in(index, (top, left, bottom, right))
    inside = (depth > 0) & (part < BONE_FROM_HU) & (part > -60)
    mask = inside.astype(np.float32)
    near, wide = _masked_blur(part, mask, 1.2), _masked_blur(part, mask, 3.0, half=True)
    sigma = np.float32(anatomy.noise_hu[index])
    inside &= depth > 1.5
    quiet = (np.abs(near - wide) < 1.2 + 0.5 * sigma) & inside
    residual = part - wide
    rows, columns = box[2] - box[0], box[3] - box[1]
    own = inner((top, left, bottom, right), box)
    result: Float = np.clip((part - near)[own], -1.5 * sigma, 1.5 * sigma)
    result *= mask[own]
    wanted = (mask[own] > 0) & blood
    for down, across in NOISE_FROM:
        # A box that would leave the picture is shifted back.
        y = max(0, min(own[0].start + down, part.shape[0] - rows))
        x = max(0, min(own[1].start + across, part.shape[1] - columns))
        source = np.s_[y : y + rows, x : x + columns]
        take = wanted & quiet[source]
        np.copyto(result, residual[source], where=take)
        wanted ^= take
        if not wanted.any():
            break
    return result


def _masked_blur(plane: Float, mask: Float, sigma_px: float, *, half: bool = False) -> Float:
    """Return the mean of the masked pixels around each pixel; from every second one where the blur is wide."""
    total, weight = plane * mask, mask
    if half:
        small = (max(1, plane.shape[1] // 2), max(1, plane.shape[0] // 2))
        total, weight = (cv2.resize(each, small, interpolation=cv2.INTER_AREA) for each in (total, mask))
        sigma_px /= 2
    total = cv2.GaussianBlur(total, (0, 0), sigma_px)
    total /= np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma_px), np.float32(1e-3))
    if half:
        total = cv2.resize(total, plane.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(total)


def _blend(plane: Float, scanned: Float, layer: Layer, anatomy: Anatomy, index: int) -> None:
    """Blend one layer into a slice, in place; `scanned` gives the noise, as no tissue is displaced in it."""
    top, left, bottom, right = layer.box
    part = plane[top:bottom, left:right]
    free = np.clip((BONE_ONLY_HU - part) * np.float32(1 / (BONE_ONLY_HU - BONE_FROM_HU)), 0, 1)
    free *= part > AIR_BELOW_HU
    lift = np.float32(anatomy.tissue_hu[index] - anatomy.brain_hu)
    if layer.rim_hu is not None:
        part += layer.rim_hu * free
    if not layer.alpha.any():
        return
    # Next to bone a pixel is brighter than its tissue; blood is added to it there, not put in its place,
    # or a dark line would stay between the lens and the skull.
    added = _noise(scanned, anatomy, index, layer.box, layer.alpha > 0)
    added += np.maximum(part - np.float32(anatomy.tissue_hu[index] + 8), 0) * np.clip(
        1.3 - anatomy.depth_in(index, layer.box) * np.float32(1 / 2.2), 0, 1
    )
    added += layer.blood_hu + lift
    added -= part
    added *= layer.alpha
    added *= free
    part += added


def _compose(bleeds: Sequence[Bleed], index: int) -> tuple[list[tuple[Bleed, Layer]], Shift | None]:
    """Return the layers of a slice, those in CSF first, and how they displace its tissue."""
    layers = [(bleed, trimmed(layer)) for bleed in bleeds if (layer := bleed.layer(index)) is not None]
    layers.sort(key=lambda item: not item[1].in_fluid)
    if not layers:
        return [], None
    return layers, _shift([layer for _, layer in layers], layers[0][0].anatomy.spacing_mm)


def _seen(layers: Sequence[tuple[Bleed, Layer]], shift: Shift | None, shape: tuple[int, int]) -> Bool:
    """Return where each subtype would be seen on a slice, bool (5, H, W); empty where too little is."""
    masks = np.zeros((N_LABELS - 1, *shape), bool)
    for name_index, name in enumerate(SUBTYPES):
        own = [(bleed, layer) for bleed, layer in layers if bleed.label == name]
        if not own:
            continue
        need = float("inf")
        for _, layer in own:
            top, left, bottom, right = layer.box
            seen, need_mm2 = layer.look()
            need = min(need, need_mm2)
            if layer.in_fluid and shift is not None:
                mask = np.zeros(shape, np.float32)
                mask[top:bottom, left:right] = seen
                mask[inner((0, 0, *shape), shift.box)] = shift.moved(mask, cv2.INTER_LINEAR)
                masks[name_index] |= mask > 0.5
            else:
                masks[name_index, top:bottom, left:right] |= seen
        anatomy = own[0][0].anatomy
        if masks[name_index].sum() * anatomy.spacing_mm[1] * anatomy.spacing_mm[2] < need:
            masks[name_index] = False
    return masks


class Painted(NamedTuple):
    """Slices with bleeds painted in; k slices of H x W px."""

    hu: npt.NDArray[np.int16]
    """(k, H, W)."""
    labels: npt.NDArray[np.uint8]
    """(k, 6) in `LABELS` order: 1 where enough of the bleed would be seen; 0 on slices that weren't to be labelled."""
    masks: Bool
    """(k, 5, H, W) in `SUBTYPES` order: where each would be seen; empty where its label is 0."""


def paint(
    hu: npt.NDArray[np.int16],
    slice_indices: Sequence[int],
    bleeds: Sequence[Bleed],
    *,
    labelled: Container[int] | None = None,
) -> Painted:
    """Paint bleeds into some slices of their head; everything was drawn when they were planned.

    Args:
        hu: int16 (k, H, W), the wanted slices as scanned.
        slice_indices: Which slices of the scan they are; may repeat.
        bleeds: What `plan_bleeds` returned for this head.
        labelled: Which of these slices get labels and masks, which take time; by default all.
    """
    painted = hu.copy()
    labels = np.zeros((len(hu), N_LABELS), np.uint8)
    masks = np.zeros((len(hu), len(SUBTYPES), *hu.shape[1:]), bool)
    for k, index in enumerate(slice_indices):
        layers, shift = _compose(bleeds, int(index))
        if not layers:
            continue
        anatomy = layers[0][0].anatomy
        scanned = hu[k].astype(np.float32)
        plane = scanned.copy()
        for _, layer in layers:
            if layer.in_fluid:
                _blend(plane, scanned, layer, anatomy, int(index))
        if shift is not None:
            # Cubic interpolation overshoots at edges of bone and air: they are clipped off, and neither is moved.
            moved = shift.moved(np.clip(plane, TISSUE_FROM_HU, BONE_ONLY_HU), cv2.INTER_CUBIC)
            part = plane[inner((0, 0, *plane.shape), shift.box)]
            np.copyto(part, moved, where=shift.moves & (part <= BONE_FROM_HU) & (moved <= BONE_FROM_HU))
        for _, layer in layers:
            if not layer.in_fluid:
                _blend(plane, scanned, layer, anatomy, int(index))
        painted[k] = np.rint(plane).astype(np.int16)
        if labelled is None or index in labelled:
            masks[k] = _seen(layers, shift, anatomy.plane_shape)
            labels[k, :ANY_INDEX] = masks[k].any(axis=(1, 2))
    labels[:, ANY_INDEX] = labels[:, :ANY_INDEX].max(axis=1)
    return Painted(painted, labels, masks)


def truth_masks(bleeds: Sequence[Bleed]) -> Bool:
    """Return where each subtype would be seen, to compare heat maps and volumes with.

    Args:
        bleeds: What `plan_bleeds` returned; at least one.

    Returns:
        bool (5, n, H, W), subtypes in `SUBTYPES` order; a slice's mask is empty where its label is 0.
    """
    assert bleeds, "truth_masks needs a bleed to know the head's shape"
    anatomy = bleeds[0].anatomy
    composed = [_compose(bleeds, index) for index in range(anatomy.n_slices)]
    return np.stack([_seen(layers, shift, anatomy.plane_shape) for layers, shift in composed], axis=1)
