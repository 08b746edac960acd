"""The heat of a series: where its encoders find a label, weighted by the final probability of each slice.

A model with pixel heads has its maps from the prediction itself; one without them is asked anew (`layer_cam`).

Axes: n slices, L labels (6), G grid of a map.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ich25d.labels import ANY_INDEX, N_LABELS
from ich25d.predict.network import Network
from ich25d.predict.series import SeriesPixels

LEAST_WEIGHT = 0.05
"""Slices of a lower weight get no heat: it couldn't be seen."""

FAINT = 0.3
"""A slice's map is scaled by its maximum, but by no less than this share of the series' largest: noise stays faint."""

RIVAL = 0.5
"""A cell counts for a subtype where its map is at least this share of the highest subtype's."""

Floats = npt.NDArray[np.float64]


def slice_weight(probability: Floats, threshold: Floats) -> Floats:
    """Return how far a slice's heat counts: its odds against those of a threshold.

    Args:
        probability: Shape (n, 6), final.
        threshold: Shape (6,).

    Returns:
        Shape (n, 6): 0.5 at the threshold, towards 0 below and 1 above.
    """
    probability, threshold = np.clip(probability, 1e-9, 1 - 1e-9), np.clip(threshold, 1e-6, 1 - 1e-6)
    logit = np.log(probability / (1 - probability)) - np.log(threshold / (1 - threshold))
    return np.asarray(1 / (1 + np.exp(-logit)))


def series_heat(
    network: Network,
    pixels: SeriesPixels,
    weight: Floats,
    *,
    labels: Sequence[int],
    maps: npt.NDArray[np.float16] | None = None,
) -> npt.NDArray[np.float16]:
    """Make the heat maps of a series.

    Args:
        network: The model.
        pixels: The series, n slices of h x w px.
        weight: What each slice's heat counts, shape (n, 6), 0 to 1.
        labels: Labels that get heat, as positions in `LABELS`; the others' is 0.
        maps: The pixel heads' of the series, shape (n, 6, G, G); None asks the encoders anew, by LayerCAM.

    Returns:
        Shape (n, 6, h, w), 0 to 1: at most a slice's weight.
    """
    side = pixels.hu.shape[1:]
    heat = np.zeros((len(pixels.hu), N_LABELS, *side), dtype=np.float16)
    rows = np.flatnonzero((weight[:, list(labels)] >= LEAST_WEIGHT).any(axis=1))
    if not len(rows):
        return heat
    if maps is None:
        from ich25d.explain.layer_cam import layer_cam

        fine = layer_cam(network, pixels, rows, labels)
    else:
        fine = own_cells(maps[rows][:, list(labels)].astype(np.float32), labels)
    faint = FAINT if maps is None else 1.0
    for number, label in enumerate(labels):
        counted = np.where(weight[rows, label] >= LEAST_WEIGHT, weight[rows, label], 0.0)
        for row, share, plane in zip(rows, counted, scaled(fine[:, number], counted, faint), strict=True):
            if share > 0:
                heat[row, label] = cv2.resize(plane, side[::-1], interpolation=cv2.INTER_LINEAR)
    return heat


def scaled(planes: npt.NDArray[np.float32], weight: Floats, faint: float = FAINT) -> npt.NDArray[np.float32]:
    """Scale the maps of one label to 0 .. weight.

    Args:
        planes: Evidence, shape (n, G, G), not negative.
        weight: Of each slice, shape (n,); a slice of weight 0 gets no heat and sets no scale.
        faint: A slice is scaled by its maximum, but by no less than this share of the series'; 1 where the maps of
            different slices can be compared, as a pixel head's.
    """
    peak = planes.max(axis=(1, 2), initial=0.0)
    largest = float(peak[weight > 0].max(initial=0.0))
    if largest <= 0:
        return np.zeros_like(planes)
    return np.asarray(planes * (weight / np.maximum(peak, faint * largest))[:, None, None], dtype=np.float32)


def sharpened(heat: npt.NDArray[np.float16], dense: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Leave a pixel head's heat where the scan is dense: its cells are larger than many bleeds.

    On bleeds painted into held-out scans the hottest px lies in the bleed on .66 of slices, for .44 without. A label
    whose heat lies where nothing is dense, as over an isodense bleed, keeps it as it is.

    Args:
        heat: Shape (n, L, h, w), 0 to 1.
        dense: How much each voxel looks like fresh blood, shape (n, h, w), 0 to 1.
    """
    result = heat.copy()
    for label in range(heat.shape[1]):
        both = heat[:, label].astype(np.float32) * dense
        peak, before = float(both.max(initial=0.0)), float(heat[:, label].max(initial=0))
        if peak >= FAINT * before > 0:
            result[:, label] = np.minimum(both * (before / peak), heat[:, label].max(axis=(1, 2), keepdims=True))
    return result


def own_cells(planes: npt.NDArray[np.float32], labels: Sequence[int]) -> npt.NDArray[np.float32]:
    """Leave each cell to the subtypes that it shows most: a bleed isn't drawn again under another subtype's name.

    Args:
        planes: Probabilities of cells, shape (n, len(labels), G, G).
        labels: Positions in `LABELS`.
    """
    subtypes = [number for number, label in enumerate(labels) if label != ANY_INDEX]
    if len(subtypes) < 2:
        return planes
    most = planes[:, subtypes].max(axis=1, keepdims=True)
    kept = planes >= RIVAL * most
    kept[:, [number for number in range(len(labels)) if number not in subtypes]] = True
    return np.where(kept, planes, np.float32(0))
