"""Bleeds into HU slices: which ones, where, and with what labels and masks.

The shapes are decided in space once; a slice looks the same whichever slices are asked for with it.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.bleeds.anatomy import Anatomy
from ich25d.bleeds.blob import plan_blob
from ich25d.bleeds.cisterns import plan_cisterns
from ich25d.bleeds.crescent import plan_crescent
from ich25d.bleeds.lens import plan_lens
from ich25d.bleeds.shape import Bleed, Box, Layer, trimmed
from ich25d.bleeds.skull import Bool, Float
from ich25d.bleeds.ventricle import has_ventricle, plan_ventricle
from ich25d.labels import ANY_INDEX, N_LABELS, SUBTYPES

Planner = Callable[[Anatomy, np.random.Generator, int | None], Bleed | None]

PLANNERS: dict[str, Planner] = {
    "epidural": plan_lens,
    "intraparenchymal": plan_blob,
    "intraventricular": plan_ventricle,
    "subarachnoid": plan_cisterns,
    "subdural": plan_crescent,
}
"""The painter of each subtype."""

CHANCES: dict[str, float] = {
    "epidural": 0.12,
    "intraparenchymal": 0.23,
    "intraventricular": 0.50,
    "subarachnoid": 0.23,
    "subdural": 0.28,
}
"""Shares in which each is drawn first. Real ones would leave hardly any epidural (3 % of positive slices);
the intraventricular is drawn only where the slice shows a ventricle, about every third."""

COMPANIONS: dict[str, tuple[str, ...]] = {
    "epidural": ("subdural", "subarachnoid", "intraparenchymal"),
    "intraparenchymal": ("intraventricular", "subarachnoid", "subdural", "intraparenchymal"),
    "intraventricular": ("intraparenchymal", "subarachnoid"),
    "subarachnoid": ("subdural", "intraparenchymal", "intraventricular", "subarachnoid"),
    "subdural": ("subarachnoid", "subdural", "intraparenchymal"),
}
"""What comes along with it."""

SECOND = 0.3
"""Chance of a second bleed."""

TISSUE_FROM_HU = -40.0
"""Nothing in a skull is darker, but air and fat."""

BONE_FROM_HU = 130.0
BONE_ONLY_HU = 230.0
"""Between these the paint fades out: such a pixel is part bone."""


def plan_bleeds(
    anatomy: Anatomy,
    rng: np.random.Generator,
    *,
    labels: Sequence[str] | None = None,
    around_slice: int | None = None,
) -> list[Bleed]:
    """Decide on one or two bleeds of a head.

    Args:
        anatomy: The head.
        rng: Decides everything.
        labels: Exactly these subtypes, as far as this head has room for them; by default drawn.
        around_slice: A slice that the bleeds shall reach, or end near.

    Returns:
        One or two bleeds, or as many as `labels`; none where the head has no room, so check the
        labels that `paint` returns.
    """
    if not anatomy.usable:
        return []
    if around_slice is not None and anatomy.area_mm2[around_slice] <= 0:
        return []
    if labels is not None:
        planned = (PLANNERS[label](anatomy, rng, around_slice) for label in labels)
        return [bleed for bleed in planned if bleed is not None]
    bleeds: list[Bleed] = []
    chances = np.array([CHANCES[label] for label in SUBTYPES])
    if around_slice is not None and not has_ventricle(anatomy)[around_slice]:
        chances[SUBTYPES.index("intraventricular")] = 0
    for _ in range(6):
        first = str(rng.choice(SUBTYPES, p=chances / chances.sum()))
        bleed = PLANNERS[first](anatomy, rng, around_slice)
        if bleed is None:
            continue
        bleeds.append(bleed)
        if rng.random() < SECOND:
            second = PLANNERS[str(rng.choice(COMPANIONS[first]))](anatomy, rng, around_slice)
            if second is not None:
                bleeds.append(second)
        break
    return bleeds


def _shifts(layers: Sequence[Layer], shape: tuple[int, int]) -> Float | None:
    """Return the sum of all pushes in mm, float32 (2, H, W); None where nothing moves."""
    pushes = [layer for layer in layers if layer.push_mm is not None and np.abs(layer.push_mm).max() > 0.2]
    if not pushes:
        return None
    total = np.zeros((2, *shape), np.float32)
    for layer in pushes:
        assert layer.push_mm is not None
        top, left, bottom, right = layer.push_box or layer.box
        total[:, top:bottom, left:right] += layer.push_mm
    return total


def _moved(plane: Float, shift_px: Float, *, smooth: bool) -> Float:
    """Return a plane of which every pixel comes from `shift_px` (2, h, w) away."""
    moving = np.abs(shift_px).max(axis=0) > 0.03
    rows, columns = np.flatnonzero(moving.any(axis=1)), np.flatnonzero(moving.any(axis=0))
    if len(rows) == 0:
        return plane
    part = np.s_[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    x = np.float32(columns[0]) + np.arange(columns[-1] - columns[0] + 1, dtype=np.float32)[None, :] - shift_px[1][part]
    y = np.float32(rows[0]) + np.arange(rows[-1] - rows[0] + 1, dtype=np.float32)[:, None] - shift_px[0][part]
    kind = cv2.INTER_LINEAR if smooth else cv2.INTER_CUBIC
    result = plane.copy()
    result[part] = cv2.remap(plane, x, y, kind, borderMode=cv2.BORDER_REPLICATE)
    return result


NOISE_FROM = ((0, 0), (0, 21), (19, -9), (-23, 7), (5, -25), (-14, -17), (31, 13))
"""Where noise is taken from, rows and columns in pixels: the first place without edges of tissue."""


NOISE_REACH = 36
"""Pixels around a layer that `_noise` looks at."""


def _noise(scanned: Float, anatomy: Anatomy, index: int, box: Box) -> Float:
    """Return the scanner's noise in a box of a slice, free of anatomy, float32 (h, w).

    What a blur takes away is noise only where no edge runs. Elsewhere the noise of a quiet place
    nearby is put in, or the folds of the brain would shine through the clot.
    """
    height, width = scanned.shape
    top, left = max(0, box[0] - NOISE_REACH), max(0, box[1] - NOISE_REACH)
    around = np.s_[top : min(height, box[2] + NOISE_REACH), left : min(width, box[3] + NOISE_REACH)]
    part = scanned[around]
    depth = anatomy.depth[index][around].astype(np.float32)
    inside = ((depth > 0) & (part < BONE_FROM_HU) & (part > -60)).astype(np.float32)
    near, wide = _masked_blur(part, inside, 1.2), _masked_blur(part, inside, 3.0)
    sigma = float(anatomy.noise_hu[index])
    quiet = (np.abs(near - wide) < 1.2 + 0.5 * sigma) & (inside > 0) & (depth > 1.5)
    residual = part - wide
    rows, columns = box[2] - box[0], box[3] - box[1]
    own = np.s_[box[0] - top : box[2] - top, box[1] - left : box[3] - left]
    result: Float = np.clip((part - near)[own], -1.5 * sigma, 1.5 * sigma) * inside[own]
    wanted = inside[own] > 0
    for down, right in NOISE_FROM:
        y, x = box[0] - top + down, box[1] - left + right
        # Where the donor's box leaves the picture, it is shifted back.
        y, x = max(0, min(y, part.shape[0] - rows)), max(0, min(x, part.shape[1] - columns))
        donor = np.s_[y : y + rows, x : x + columns]
        take = wanted & quiet[donor]
        np.copyto(result, residual[donor], where=take)
        wanted &= ~take
        if not wanted.any():
            break
    return result


def _masked_blur(plane: Float, mask: Float, sigma_px: float) -> Float:
    """Return the mean of the masked pixels around each pixel."""
    weight = cv2.GaussianBlur(mask, (0, 0), sigma_px)
    total: Float = cv2.GaussianBlur(plane * mask, (0, 0), sigma_px)
    total /= np.maximum(weight, 1e-3)
    return total


def _blend(plane: Float, scanned: Float, layer: Layer, anatomy: Anatomy, index: int) -> None:
    """Lay one layer over a slice, in place; `scanned` gives the noise, as no tissue was moved in it."""
    top, left, bottom, right = layer.box
    part = plane[top:bottom, left:right]
    free = np.clip((BONE_ONLY_HU - part) / (BONE_ONLY_HU - BONE_FROM_HU), 0, 1)
    lift = np.float32(anatomy.tissue_hu[index] - anatomy.brain_hu)
    if layer.rim_hu is not None:
        part += layer.rim_hu * free
    # Next to bone a pixel is brighter than its tissue; blood is added there, not put in its place,
    # or a dark line would be left between the lens and the skull.
    depth = anatomy.depth[index, top:bottom, left:right].astype(np.float32)
    glow = np.maximum(part - np.float32(anatomy.tissue_hu[index] + 8), 0) * np.clip(1.3 - depth / 2.2, 0, 1)
    part += layer.alpha * free * (layer.blood_hu + lift + _noise(scanned, anatomy, index, layer.box) + glow - part)


def _compose(bleeds: Sequence[Bleed], index: int) -> tuple[list[tuple[Bleed, Layer]], Float | None]:
    """Return the layers of a slice, those in CSF first, and the shift of tissue in pixels."""
    layers = [(bleed, trimmed(layer)) for bleed in bleeds if (layer := bleed.layer(index)) is not None]
    layers.sort(key=lambda item: not item[1].in_fluid)
    if not layers:
        return [], None
    anatomy = layers[0][0].anatomy
    shift = _shifts([layer for _, layer in layers], anatomy.depth.shape[1:])
    if shift is not None:
        shift /= np.array(anatomy.spacing_mm[1:], np.float32)[:, None, None]
    return layers, shift


def _seen(layers: Sequence[tuple[Bleed, Layer]], shift: Float | None, shape: tuple[int, int]) -> Bool:
    """Return where each subtype would be seen on a slice, bool (5, H, W); empty where too little is."""
    masks = np.zeros((N_LABELS - 1, *shape), bool)
    for name_index, name in enumerate(SUBTYPES):
        own = [(bleed, layer) for bleed, layer in layers if bleed.label == name]
        if not own:
            continue
        for _, layer in own:
            top, left, bottom, right = layer.box
            mask = np.zeros(shape, np.float32)
            mask[top:bottom, left:right] = layer.seen
            if layer.in_fluid and shift is not None:
                mask = _moved(mask, shift, smooth=True)
            masks[name_index] |= mask > 0.5
        anatomy = own[0][0].anatomy
        need = min(layer.need_mm2 for _, layer in own)
        if masks[name_index].sum() * anatomy.spacing_mm[1] * anatomy.spacing_mm[2] < need:
            masks[name_index] = False
    return masks


def paint(
    hu: npt.NDArray[np.int16], slice_indices: Sequence[int], bleeds: Sequence[Bleed]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Paint bleeds into some slices of their head; everything was drawn when they were planned.

    Args:
        hu: int16 (k, H, W), the wanted slices as scanned.
        slice_indices: Which slices of the scan they are; may repeat.
        bleeds: What `plan_bleeds` returned for this head.

    Returns:
        The painted slices, int16 (k, H, W), and labels, uint8 (k, 6) in `LABELS` order: 1 where
        enough of the bleed would be seen on that slice.
    """
    painted = hu.copy()
    labels = np.zeros((len(hu), N_LABELS), np.uint8)
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
            # A cubic curve swings over at an edge of bone or air; what moves is neither.
            moved = _moved(np.clip(plane, TISSUE_FROM_HU, BONE_ONLY_HU), shift, smooth=False)
            still = (np.abs(shift).max(axis=0) < 0.03) | (plane > BONE_FROM_HU) | (moved > BONE_FROM_HU)
            plane = np.where(still, plane, moved)
        for _, layer in layers:
            if not layer.in_fluid:
                _blend(plane, scanned, layer, anatomy, int(index))
        painted[k] = np.rint(plane).astype(np.int16)
        labels[k, : N_LABELS - 1] = _seen(layers, shift, hu.shape[1:]).any(axis=(1, 2))
    labels[:, ANY_INDEX] = labels[:, :ANY_INDEX].max(axis=1)
    return painted, labels


def truth_masks(bleeds: Sequence[Bleed], slice_indices: Sequence[int] | None = None) -> Bool:
    """Return where each subtype would be seen: the truth for heat maps and volumes.

    Args:
        bleeds: What `plan_bleeds` returned; at least one.
        slice_indices: The wanted slices; by default all of the head.

    Returns:
        bool (5, k, H, W), subtypes in `SUBTYPES` order; a slice's mask is empty where its label is 0.
    """
    assert bleeds, "truth_masks needs a bleed to know the head's shape"
    anatomy = bleeds[0].anatomy
    wanted = range(anatomy.n_slices) if slice_indices is None else slice_indices
    planes = []
    for index in wanted:
        layers, shift = _compose(bleeds, int(index))
        planes.append(_seen(layers, shift, anatomy.depth.shape[1:]))
    return np.stack(planes, axis=1)
