"""Where in a slab an encoder finds a label: LayerCAM, a stage's activations weighted by the gradient of the logit.

Axes: B slices, L labels (6), E channels, G grid of a stage.

References:
    Jiang et al., LayerCAM, IEEE TIP 30, 2021, eq. 5.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ich25d.encoder.model_directory import LoadedEncoder
from ich25d.errors import UsageError
from ich25d.slabs.dataset import SlabBatch
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
        _, logit_BL = encoder.model(x_BCHW)  # noqa: N806
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
