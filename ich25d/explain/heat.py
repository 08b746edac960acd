"""The heat of a series: what its encoders saw where, as far as the sequence step left it standing.

Every fold's encoder looks at every slab as it is and mirrored. Their evidence is averaged, stage by stage; the
stages' maps are multiplied, so that the coarse one says what and the fine one where.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from ich25d.explain.class_map import Method, class_maps, usable_strides
from ich25d.labels import N_LABELS
from ich25d.predict.network import Network
from ich25d.slabs.dataset import SlabBatch, series_batches

STRIDES: tuple[int, ...] = (8, 16)
METHOD: Method = "layercam"
"""Chosen on bleeds painted into held-out scans. The hottest px lies in the bleed on 39 % of slices, against 32 % for
stride 8 alone, 22 % for 16 with 32, 34 % with HiResCAM, 9 % with Grad-CAM; Grad-CAM's usual stride 32 gives 3 %."""

BATCH_SIZE = 16
"""Slabs at once: their activations are kept for the way back."""

LEAST_WEIGHT = 0.05
"""Slices with less are cold: nobody would see their heat."""

FAINT = 0.3
"""A slice's map is scaled by its maximum, but by no less than this share of the series' largest: noise stays faint."""

BACKGROUND = 0.75
"""What this share of a slice's cells doesn't exceed is nothing: what stands out from it is heat. On painted bleeds
that lifts the share of heat inside the head from .51 to .73 and inside the bleed from .06 to .16."""

Floats = npt.NDArray[np.float64]


def slice_weight(probability: Floats, threshold: Floats) -> Floats:
    """Return how far a slice's heat counts: its odds against those of a threshold.

    Args:
        probability: Shape (n, 6), final.
        threshold: Shape (6,).

    Returns:
        Shape (n, 6): 0.5 at the threshold, towards 0 below and 1 above.
    """
    share = np.clip(probability, 1e-9, 1 - 1e-9)
    turn = np.clip(threshold, 1e-6, 1 - 1e-6)
    logit: Floats = np.log(share / (1 - share)) - np.log(turn / (1 - turn))
    return np.asarray(1 / (1 + np.exp(-logit)))


def series_heat(
    network: Network,
    hu: npt.NDArray[np.int16],
    slice_position_mm: Floats,
    window: npt.NDArray[np.float32] | None,
    weight: Floats,
    *,
    labels: Sequence[int] = tuple(range(N_LABELS)),
    strides: Sequence[int] = STRIDES,
    method: Method = METHOD,
) -> npt.NDArray[np.float16]:
    """Make the heat maps of a series.

    Args:
        network: The model.
        hu: Shape (n, h, w), int16, in scan order.
        slice_position_mm: Shape (n,), mm; NaN where unknown.
        window: The files' own level and width, shape (n, 2), or None.
        weight: What each slice's heat counts, shape (n, 6), 0 to 1.
        labels: Whose heat, as positions in `LABELS`; that of the others is 0.
        strides: Stages, finest first, by their px of input a cell.
        method: As in `class_maps`.

    Returns:
        Shape (n, 6, h, w), 0 to 1: at most a slice's weight.
    """
    heat = np.zeros((len(hu), N_LABELS, *hu.shape[1:]), dtype=np.float16)
    chosen = list(labels)
    warm = np.flatnonzero((weight[:, chosen] >= LEAST_WEIGHT).any(axis=1)) if chosen else np.zeros(0, np.int64)
    if not len(warm):
        return heat
    stages = _evidence(network, hu, slice_position_mm, window, warm, chosen, strides, method)
    fine = combine(stages).numpy()
    for number, label in enumerate(chosen):
        counted = np.where(weight[warm, label] >= LEAST_WEIGHT, weight[warm, label], 0.0)
        for row, plane in enumerate(scaled(fine[:, number], counted)):
            if counted[row] > 0:
                full = functional.interpolate(torch.from_numpy(plane)[None, None], size=hu.shape[1:], mode="bilinear")
                heat[warm[row], label] = full[0, 0].numpy()
    return heat


def combine(stages: Sequence[torch.Tensor]) -> torch.Tensor:
    """Multiply the maps of several stages: their geometric mean, on the finest grid.

    Args:
        stages: Evidence, not negative, shape (n, L, G, G) each, finest first.

    Returns:
        Shape (n, L, G, G) of the finest.
    """
    size = stages[0].shape[2:]
    spread = [functional.interpolate(stage, size=size, mode="bilinear") for stage in stages]
    return torch.stack([stage.clamp(min=1e-12).log() for stage in spread]).mean(dim=0).exp()


def scaled(planes: npt.NDArray[np.float32], weight: Floats) -> npt.NDArray[np.float32]:
    """Scale the maps of one label to 0 .. weight.

    Args:
        planes: Evidence, shape (n, G, G), not negative.
        weight: Of each slice, shape (n,); 0 leaves it cold, and out of the comparison.
    """
    peak = planes.max(axis=(1, 2), initial=0.0)
    largest = float(peak[weight > 0].max(initial=0.0))
    if largest <= 0:
        return np.zeros_like(planes)
    background = np.quantile(planes, BACKGROUND, axis=(1, 2))
    above = np.clip(planes - background[:, None, None], 0, None) / np.maximum(peak - background, 1e-12)[:, None, None]
    share = weight * peak / np.maximum(peak, FAINT * largest)
    return np.asarray(above * share[:, None, None], dtype=np.float32)


def _evidence(
    network: Network,
    hu: npt.NDArray[np.int16],
    slice_position_mm: Floats,
    window: npt.NDArray[np.float32] | None,
    rows: npt.NDArray[np.int64],
    labels: Sequence[int],
    strides: Sequence[int],
    method: Method,
) -> list[torch.Tensor]:
    """Average the evidence of all encoders and views; a tensor (rows, labels, G, G) a stage."""
    views = list(network.views) or ["plain"]
    total: list[Any] = []
    for encoder in network.encoders:
        steps = usable_strides(encoder.model.backbone, strides)
        for view in views:
            parts = [
                class_maps(encoder, batch, strides=steps, method=method, flip=view == "flip", labels=labels)
                for batch in _slabs(hu, slice_position_mm, window, network, rows)
            ]
            joined = [torch.cat(several) for several in zip(*parts, strict=True)]
            total = joined if not total else [sum_ + part for sum_, part in zip(total, joined, strict=True)]
    return [sum_ / (len(network.encoders) * len(views)) for sum_ in total]


def _slabs(
    hu: npt.NDArray[np.int16],
    slice_position_mm: Floats,
    window: npt.NDArray[np.float32] | None,
    network: Network,
    rows: npt.NDArray[np.int64],
) -> Iterator[SlabBatch]:
    """Yield the slabs of some slices of a series."""
    size = min(BATCH_SIZE, network.batch_size)
    for batch in series_batches(hu, slice_position_mm, window, network.run.slab, size, device=network.device):
        part = torch.from_numpy(np.isin(batch.row.numpy(), rows))
        if part.any():
            values = (getattr(batch, field.name)[part] for field in dataclasses.fields(batch))
            yield SlabBatch(*values)
