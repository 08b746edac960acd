"""Where in a slab an encoder saw a label: activations of its stages, weighted by the gradient of the label's logit.

Axes: B slices, L labels (6), G grid of a stage.

References:
    Selvaraju et al., Grad-CAM, ICCV 2017. Jiang et al., LayerCAM, IEEE TIP 30, 2021, eq. 5.
    Draelos and Carin, HiResCAM, arXiv 2011.08891.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

from ich25d.encoder.model_directory import LoadedEncoder
from ich25d.errors import UsageError
from ich25d.labels import N_LABELS
from ich25d.slabs.dataset import SlabBatch
from ich25d.slabs.network_input import network_input

Method = Literal["gradcam", "hirescam", "layercam"]


def class_maps(
    encoder: LoadedEncoder,
    batch: SlabBatch,
    *,
    strides: Sequence[int],
    method: Method,
    flip: bool = False,
    labels: Sequence[int] = tuple(range(N_LABELS)),
) -> list[torch.Tensor]:
    """Map the evidence for labels that an encoder finds in slabs.

    The slab's neighbours are channels of one picture, so that its evidence belongs to the slice in the middle.

    Args:
        encoder: One fold's encoder.
        batch: Slabs of B slices.
        strides: Stages to look at, by their px of input a cell, finest first, as (16, 32).
        method: `gradcam` weighs a channel by its mean gradient; `hirescam` each place by its own; `layercam` by its
            own where that is positive.
        flip: Look at the slabs mirrored left to right; the maps come back unmirrored.
        labels: Whose logits, as positions in `LABELS`.

    Returns:
        A map a stride, float32 (B, len(labels), G, G) on the CPU, not negative. What `gradcam` and `hirescam` give at
        the last stage of a network that ends in a mean and a linear layer are shares of the logit.

    Raises:
        UsageError: The encoder has no such stage.
    """
    stages = [stage_of(encoder.model.backbone, stride) for stride in strides]
    x_BCHW = network_input(batch, encoder.slab, encoder.device, flip=flip)  # noqa: N806  # axes as suffix
    maps: list[list[torch.Tensor]] = [[] for _ in strides]
    with torch.enable_grad(), _kept(encoder.model, [module for module, _ in stages]) as kept:
        _, logit_BL = encoder.model(x_BCHW)  # noqa: N806
        for label in labels:
            is_last = label == labels[-1]
            gradients = torch.autograd.grad(logit_BL[:, label].sum(), kept, retain_graph=not is_last)
            for number, (activation, gradient) in enumerate(zip(kept, gradients, strict=True)):
                planes = (as_planes(part, encoder.model.backbone, stages[number][1]) for part in (activation, gradient))
                maps[number].append(evidence(*planes, method=method))
    stacked = [torch.stack(several, dim=1).float().cpu() for several in maps]
    return [several.flip(3) for several in stacked] if flip else stacked


def evidence(activation: torch.Tensor, gradient: torch.Tensor, *, method: Method) -> torch.Tensor:
    """Weigh activations by gradients and sum over channels.

    Args:
        activation: Shape (B, E, G, G).
        gradient: The same.
        method: As in `class_maps`.

    Returns:
        Shape (B, G, G), not negative.
    """
    activation = activation.detach()
    if method == "gradcam":
        gradient = gradient.mean(dim=(2, 3), keepdim=True)
    elif method == "layercam":
        activation, gradient = activation.clamp(min=0), gradient.clamp(min=0)
    return (activation * gradient).sum(dim=1).clamp(min=0)


def stage_of(backbone: nn.Module, stride: int) -> tuple[nn.Module, int]:
    """Return the last stage of a timm model with a stride, and its number of channels.

    Raises:
        UsageError: It has none.
    """
    stages: Any = getattr(backbone, "feature_info", None) or []
    found = [stage for stage in stages if stage["reduction"] == stride and stage.get("module")]
    if not found:
        known = sorted({int(stage["reduction"]) for stage in stages})
        raise UsageError(f"a heat map needs a stage of stride {stride} (got an encoder with strides {known})")
    # Where one token alone goes on, the last block gives the others no gradient: the one before it does.
    by_token = getattr(backbone, "global_pool", "") == "token" and len(found) > 1
    chosen = found[-2] if by_token else found[-1]
    return backbone.get_submodule(str(chosen["module"])), int(chosen["num_chs"])


def usable_strides(backbone: nn.Module, wanted: Sequence[int]) -> tuple[int, ...]:
    """Return those of the wanted strides that a model has; its coarsest where it has none of them."""
    stages: Any = getattr(backbone, "feature_info", None) or []
    known = {int(stage["reduction"]) for stage in stages if stage.get("module")}
    return tuple(stride for stride in wanted if stride in known) or tuple(sorted(known)[-1:]) or tuple(wanted)


def as_planes(feature: torch.Tensor, backbone: nn.Module, n_channels: int) -> torch.Tensor:
    """Bring a stage's output to (B, E, G, G), whatever form it has.

    Args:
        feature: (B, E, G, G), (B, G, G, E), or tokens (B, N, E) with special ones in front.
        backbone: Says how many of those there are.
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
def _kept(model: nn.Module, stages: Sequence[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """Keep what stages put out while a model runs; gradients reach back to the first of them and no further."""
    kept: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        feature = output if kept else output.detach().requires_grad_()
        kept.append(feature)
        return feature.clone()  # what follows may work in place

    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hooks = [stage.register_forward_hook(keep) for stage in stages]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        yield kept
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
        for hook in hooks:
            hook.remove()
