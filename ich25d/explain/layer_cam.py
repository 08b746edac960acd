"""LayerCAM: where the encoders of a model without pixel heads find a label, by the gradients of its logit.

Every fold's encoder maps every slab as it is and mirrored: a stage's activations weighted by the gradient of the logit.
Maps are averaged stage by stage, and the stages' maps multiplied: the coarse stage says what, the fine one where.

Axes: B slices, L labels (6), E channels, G grid of a stage.

References:
    Jiang et al., LayerCAM, IEEE TIP 30, 2021, eq. 5.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from ich25d.encoder.loaded import LoadedEncoder
from ich25d.errors import UsageError
from ich25d.predict.network import Network
from ich25d.predict.series import SeriesPixels
from ich25d.slabs.dataset import SlabBatch, series_batches
from ich25d.slabs.network_input import network_input

Stage = tuple[nn.Module, int]
"""A stage of a backbone, and its number of channels."""


def class_maps(
    encoder: LoadedEncoder, batch: SlabBatch, *, strides: Sequence[int], labels: Sequence[int], flip: bool = False
) -> list[torch.Tensor]:
    """Map an encoder's evidence for labels.

    The slab's neighbours are channels of one picture, so its evidence belongs to the slice in the middle.

    Args:
        encoder: One fold's encoder.
        batch: Slabs of B slices.
        strides: Stages to look at, in px of input a cell, finest first; see `stages_of`.
        labels: Positions in `LABELS`.
        flip: Mirror the slabs left to right; the maps come back unmirrored.

    Returns:
        A map a stage, float32 (B, len(labels), G, G) on the CPU, not negative.

    Raises:
        UsageError: The encoder has no stages, or none whose features lie on a square grid.
    """
    backbone = encoder.model.backbone
    stages = stages_of(backbone, strides)
    x_BCHW = network_input(batch, encoder.slab, encoder.device, flip=flip)  # noqa: N806  # axes as suffix
    maps: list[list[torch.Tensor]] = [[] for _ in stages]
    with torch.enable_grad(), _recorded(encoder.model, [module for module, _ in stages]) as features:
        logit_BL = encoder.model(x_BCHW).logit  # noqa: N806
        for label in labels:
            gradients = torch.autograd.grad(logit_BL[:, label].sum(), features, retain_graph=label != labels[-1])
            for of_stage, (_, n_channels), *pair in zip(maps, stages, features, gradients, strict=True):
                of_stage.append(evidence(*(as_planes(part, backbone, n_channels) for part in pair)))
    stacked = [torch.stack(of_stage, dim=1).float().cpu() for of_stage in maps]
    return [of_stage.flip(3) for of_stage in stacked] if flip else stacked


def evidence(activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Sum positive activations times positive gradients over the channels.

    Args:
        activation: Shape (B, E, G, G).
        gradient: Of a logit, the same shape.

    Returns:
        Shape (B, G, G), not negative.
    """
    return (activation.detach().clamp(min=0) * gradient.clamp(min=0)).sum(dim=1)


def stages_of(backbone: nn.Module, strides: Sequence[int]) -> list[Stage]:
    """Return a timm model's last stage of each of these strides, or its coarsest stage where it has none of them.

    Raises:
        UsageError: The model names no stages.
    """
    named: Any = [stage for stage in getattr(backbone, "feature_info", None) or [] if stage.get("module")]
    if not named:
        raise UsageError(f"a heat map needs an encoder with stages in feature_info (got {type(backbone).__name__})")
    known = [int(stage["reduction"]) for stage in named]
    stages = []
    for stride in [stride for stride in strides if stride in known] or [max(known)]:
        same = [stage for stage in named if stage["reduction"] == stride]
        # Where the class token alone goes on, the last block gives the other tokens no gradient: the one before does.
        is_by_token = getattr(backbone, "global_pool", "") == "token" and len(same) > 1
        chosen = same[-2] if is_by_token else same[-1]
        stages.append((backbone.get_submodule(str(chosen["module"])), int(chosen["num_chs"])))
    return stages


def as_planes(feature: torch.Tensor, backbone: nn.Module, n_channels: int) -> torch.Tensor:
    """Bring a stage's output to (B, E, G, G).

    Args:
        feature: (B, E, G, G), (B, G, G, E), or tokens (B, N, E) after `num_prefix_tokens` special ones.
        backbone: The timm model.
        n_channels: E.

    Raises:
        UsageError: It has none of these forms.
    """
    if feature.ndim == 4 and feature.shape[1] == n_channels:
        return feature
    if feature.ndim == 4 and feature.shape[3] == n_channels:
        return feature.permute(0, 3, 1, 2)
    if feature.ndim == 3:
        tokens = feature[:, int(getattr(backbone, "num_prefix_tokens", 0)) :]
        side = round(tokens.shape[1] ** 0.5)
        if side * side == tokens.shape[1]:
            return tokens.transpose(1, 2).reshape(len(tokens), -1, side, side)
    raise UsageError(f"a heat map needs a stage that gives a square of features (got shape {tuple(feature.shape)})")


@contextmanager
def _recorded(model: nn.Module, stages: Sequence[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """Record what stages put out while a model runs; gradients go back to the first of them and no further."""
    features: list[torch.Tensor] = []

    def record(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        feature = output if features else output.detach().requires_grad_()
        features.append(feature)
        return feature.clone()  # what follows may work in place

    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hooks = [stage.register_forward_hook(record) for stage in stages]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        yield features
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
        for hook in hooks:
            hook.remove()


STRIDES: tuple[int, ...] = (8, 16)
"""Stages whose maps are multiplied, in px of input a cell, finest first. Chosen on bleeds painted into held-out scans:
the hottest px lies in the bleed on 39 % of slices, against 32 % for stride 8 alone and 22 % for 16 with 32 (and 34 %
with HiResCAM, 9 % with Grad-CAM instead of LayerCAM)."""

BATCH_SIZE = 16
"""Slabs at once: their activations are kept for the gradient."""

BACKGROUND = 0.75
"""Quantile of a slice's cells that is taken for background: heat is what exceeds it. On painted bleeds that lifts the
share of heat inside the head from .51 to .73 and inside the bleed from .06 to .16."""


def layer_cam(
    network: Network, pixels: SeriesPixels, rows: npt.NDArray[np.int64], labels: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Map the evidence of some slices of a series.

    Args:
        network: The model; on an engine without torch its encoders are loaded in torch.
        pixels: The series.
        rows: Its slices that are mapped, rising.
        labels: Positions in `LABELS`.

    Returns:
        Shape (len(rows), len(labels), G, G), not negative, without background.
    """
    encoders = network.torch_encoders()
    parts = [_evidence(network, encoders, batch, labels) for batch in _slabs(network, encoders[0], pixels, rows)]
    return without_background(combine([torch.cat(of_stage) for of_stage in zip(*parts, strict=True)]).numpy())


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


def without_background(planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Take the background off LayerCAM's maps, and keep their peaks; shape (n, L, G, G)."""
    peak = planes.max(axis=(2, 3), initial=0.0, keepdims=True)
    background = np.quantile(planes, BACKGROUND, axis=(2, 3), keepdims=True)
    above = np.clip(planes - background, 0, None) / np.maximum(peak - background, 1e-12)
    return np.asarray(above * peak, dtype=np.float32)


def _evidence(
    network: Network, encoders: Sequence[LoadedEncoder], batch: SlabBatch, labels: Sequence[int]
) -> list[torch.Tensor]:
    """Average the maps of all encoders and views; a tensor (B, len(labels), G, G) a stage."""
    views = [(encoder, view == "flip") for encoder in encoders for view in network.model.views]
    maps = [class_maps(encoder, batch, strides=STRIDES, labels=labels, flip=flip) for encoder, flip in views]
    return [torch.stack(of_stage).mean(dim=0) for of_stage in zip(*maps, strict=True)]


def _slabs(
    network: Network, encoder: LoadedEncoder, pixels: SeriesPixels, rows: npt.NDArray[np.int64]
) -> Iterator[SlabBatch]:
    """Yield the slabs of some slices of a series."""
    parts = pixels.hu, pixels.slice_position_mm, pixels.window
    for batch in series_batches(*parts, network.slab, BATCH_SIZE, device=encoder.device):
        part = torch.from_numpy(np.isin(batch.row.numpy(), rows))
        if part.any():
            yield SlabBatch(*(getattr(batch, field.name)[part] for field in dataclasses.fields(batch)))
