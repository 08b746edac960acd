"""The encoder: any timm model, its stem fitted to a slab's channels, an embedding and six logits.

Axes: B batch, C = S * V channels (neighbours x windows), H, W, E embedding, L labels (6).
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import timm
import torch
from timm.layers import SelectAdaptivePool2d
from timm.models import group_parameters
from torch import nn

from ich25d.config import EncoderConfig, PixelsConfig, SlabConfig
from ich25d.encoder.pixel_head import STRIDES, PixelHead, pooled
from ich25d.errors import ConfigError
from ich25d.labels import N_LABELS

OWN_MAP = 0.5
"""What the pooled map of a label adds to its logit at the start of training."""


class GemPool(nn.Module):
    """Generalised mean of a feature map: the mean at power 1, towards the maximum as the power grows.

    A bleed fills few pixels of the map, which a plain mean thins out.

    Args:
        flatten: Return (B, E) instead of (B, E, 1, 1).
        channels_last: The map comes as (B, H, W, E).

    References:
        Radenovic et al., Fine-tuning CNN image retrieval with no human annotation, 2018, eq. 3.
    """

    def __init__(self, *, flatten: bool, channels_last: bool) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor([3.0]))
        self._flatten, self._axes = flatten, (1, 2) if channels_last else (2, 3)

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        """Pool a feature map, in float32 whatever comes in: powers overflow half precision."""
        with torch.autocast(feature.device.type, enabled=False):
            lifted = feature.float().clamp(min=1e-6).pow(self.power)
            pooled = lifted.mean(self._axes, keepdim=not self._flatten).pow(1.0 / self.power)
        return pooled.to(feature.dtype)


class Encoded(NamedTuple):
    """What an encoder says of B slabs; float32."""

    embedding: torch.Tensor
    """Shape (B, E); with a pixel head, its pooled maps are the last six numbers."""
    logit: torch.Tensor
    """Shape (B, 6)."""
    pixel: torch.Tensor | None = None
    """Logits of cells of 8 px of input, shape (B, 6, G, G); None without a pixel head."""


class SlabEncoder(nn.Module):
    """A timm backbone, with its normalisation before it and new last layers behind it.

    Args:
        backbone: timm model without classifier, built for C channels.
        mean: Mean of every channel that the pretrained weights expect, of grey values 0 to 1; length C.
        std: Standard deviation likewise.
        embedding_size: Length of what the backbone gives.
        dropout: Share of the backbone's embedding dropped in front of the last layer.
        pixels: The pixel head and the backbone's stages that it reads; None without one.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        embedding_size: int,
        dropout: float,
        pixels: tuple[PixelHead, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.pixels: PixelHead | None = None if pixels is None else pixels[0]
        self._stages: list[int] = [] if pixels is None else list(pixels[1])
        self.embedding_size = embedding_size + (0 if pixels is None else N_LABELS)
        self.head = nn.Linear(self.embedding_size, N_LABELS)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        if pixels is not None:
            with torch.no_grad():  # a label's own map counts from the start
                self.head.weight[:, embedding_size:] += OWN_MAP * torch.eye(N_LABELS)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)
        self.mean: torch.Tensor
        self.std: torch.Tensor

    def forward(self, x_BCHW: torch.Tensor) -> Encoded:  # noqa: N803  # axes as suffix
        """Encode slabs.

        Args:
            x_BCHW: Grey values from 0 to 1, float32.
        """
        x_BCHW = (x_BCHW - self.mean) / self.std  # noqa: N806
        x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)  # noqa: N806  # twice as fast on a CPU
        pixel = None
        if self.pixels is None:
            feature = self.backbone.forward_features(x_BCHW)  # type: ignore[operator]  # every timm model has it
        else:
            feature, stages = self.backbone.forward_intermediates(x_BCHW, indices=self._stages)  # type: ignore[operator]  # checked in assemble
            pixel = self.pixels(stages)
        embedding_BE = self.backbone.forward_head(feature, pre_logits=True)  # type: ignore[operator]  # noqa: N806  # as above
        embedding_BE = embedding_BE.float()  # noqa: N806
        with torch.autocast(embedding_BE.device.type, enabled=False):
            seen = self.dropout(embedding_BE)
            if pixel is not None:
                maps = pooled(pixel)
                embedding_BE, seen = torch.cat([embedding_BE, maps], 1), torch.cat([seen, maps], 1)  # noqa: N806
            return Encoded(embedding_BE, self.head(seen), pixel)

    def train(self, mode: bool = True) -> "SlabEncoder":
        """Switch between training and evaluation, where activations work in place.

        In training the backward pass needs their input, and in-place ones would copy it first: an eighth of a training
        step of EfficientNet-Lite0 on a CPU.
        """
        super().train(mode)
        for part in self.backbone.modules():
            if isinstance(part, nn.Hardtanh | nn.Hardswish | nn.SiLU):
                part.inplace = not mode
        return self

    @torch.no_grad()
    def set_odds(self, logit: torch.Tensor) -> None:
        """Set the last layer's bias to the labels' log odds, shape (6,), so that no step is spent on learning them."""
        self.head.bias.copy_(logit)

    def freeze(self, frozen: bool) -> None:
        """Let only the last layer learn, or all; frozen batch norms keep their pretrained statistics."""
        self.train()
        self.backbone.requires_grad_(not frozen)
        self.backbone.train(not frozen)

    def layer_depth(self) -> tuple[dict[str, int], int]:
        """Return each parameter's layer group by name, 0 at the stem, and that of the new last layer.

        The groups are timm's own for decaying the learning rate; a model without any is one group.
        """
        matcher = getattr(self.backbone, "group_matcher", None)
        if matcher is None:
            return {}, 0
        groups: Mapping[str, Any] = group_parameters(self.backbone, matcher(coarse=False), reverse=True)
        depth = {f"backbone.{name}": int(layer) for name, layer in groups.items()}
        return depth, max(depth.values()) + 1


def build_backbone(config: EncoderConfig, *, channels: int, size: int, **options: Any) -> nn.Module:  # noqa: ANN401
    """Build the timm model of a recipe, with random weights unless the options say otherwise.

    Args:
        config: [encoder].
        channels: Channels of the input.
        size: Side of the input in px; models of a fixed size are built for it.
        options: Further arguments of `timm.create_model`.

    Raises:
        ConfigError: timm has no such model, or it can't be built as the recipe asks.
    """
    if not timm.is_model(config.name):
        raise ConfigError(f"encoder.name must be a timm model (got {config.name!r}){_nearest(config.name)}")
    settings: dict[str, Any] = {"in_chans": channels, "num_classes": 0, **options}
    if config.drop_path > 0:
        settings["drop_path_rate"] = config.drop_path
    if config.output_stride != 32:
        settings["output_stride"] = config.output_stride
    default = timm.get_pretrained_cfg(config.name)
    if default is not None and default.fixed_input_size:
        settings["img_size"] = size
    try:
        backbone: nn.Module = timm.create_model(config.name, **settings)
    except (TypeError, AssertionError, NotImplementedError) as error:  # what timm raises for a setting it lacks
        raise ConfigError(
            f"encoder {config.name!r} can't be built with {settings} (timm says: {error}); "
            "try encoder.drop_path = 0, encoder.output_stride = 32 or another slab.size"
        ) from error
    if config.pool == "gem":
        _use_gem(backbone, config.name)
    return backbone


def channel_colours(slab: SlabConfig) -> list[int]:
    """Return the colour, of the three of a pretrained stem, of each channel of a slab.

    Channels are neighbours x windows. Several windows are the colours of every neighbour alike (brain,
    subdural, soft as red, green, blue); with one window the neighbours are the colours.
    """
    n_neighbours, n_windows = len(slab.neighbours), len(slab.windows)
    return [
        (window if n_windows > 1 else neighbour) % 3 for neighbour in range(n_neighbours) for window in range(n_windows)
    ]


def normalisation(config: EncoderConfig, slab: SlabConfig) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation that a backbone's weights expect, one a channel."""
    default = timm.get_pretrained_cfg(config.name)
    mean, std = (default.mean, default.std) if default is not None else ((0.5,) * 3, (0.5,) * 3)
    colours = channel_colours(slab)
    return [float(mean[colour % len(mean)]) for colour in colours], [
        float(std[colour % len(std)]) for colour in colours
    ]


def assemble(
    backbone: nn.Module,
    config: EncoderConfig,
    slab: SlabConfig,
    pixels: PixelsConfig,
    mean: Sequence[float],
    std: Sequence[float],
) -> SlabEncoder:
    """Put normalisation and last layers around a backbone; a forward pass of one slab gives E.

    Args:
        backbone: timm model without classifier.
        config: [encoder].
        slab: [slab].
        pixels: [pixels].
        mean: Mean of every channel, of grey values 0 to 1; length C.
        std: Standard deviation likewise.

    Raises:
        ConfigError: The backbone can't take the slab's size, or has no stages for a pixel head.
    """
    head = None if not pixels.weight else _pixel_head(backbone, config, pixels)
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            feature = backbone.forward_features(torch.zeros(1, len(mean), slab.size, slab.size))  # type: ignore[operator]  # as there
            embedding = backbone.forward_head(feature, pre_logits=True)  # type: ignore[operator]  # as there
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"encoder {config.name!r} can't take slabs of {slab.size} px ({error}); choose another slab.size"
        ) from error
    backbone.train(was_training)
    if embedding.ndim != 2:
        raise ConfigError(f"encoder {config.name!r} gives no embedding (got shape {tuple(embedding.shape)})")
    size, dropout = int(embedding.shape[1]), config.dropout
    encoder = SlabEncoder(backbone, mean=mean, std=std, embedding_size=size, dropout=dropout, pixels=head)
    return encoder.to(memory_format=torch.channels_last)


def _pixel_head(backbone: nn.Module, config: EncoderConfig, pixels: PixelsConfig) -> tuple[PixelHead, list[int]]:
    """Build the pixel head and name the stages that it reads: of each stride the last, as timm counts them."""
    stages: Any = getattr(backbone, "feature_info", None) or []
    by_stride = {int(stage["reduction"]): number for number, stage in enumerate(stages)}
    if not hasattr(backbone, "forward_intermediates") or any(stride not in by_stride for stride in STRIDES):
        raise ConfigError(
            f"a pixel head needs an encoder with stages of {STRIDES} px a cell (got {config.name!r} with "
            f"{sorted(by_stride) or 'none'}); set pixels.weight = 0, encoder.output_stride = 32 or another encoder.name"
        )
    chosen = [by_stride[stride] for stride in STRIDES]
    return PixelHead([int(stages[number]["num_chs"]) for number in chosen], pixels.channels), chosen


def _use_gem(backbone: nn.Module, name: str) -> None:
    found = [(path, part) for path, part in backbone.named_modules() if isinstance(part, SelectAdaptivePool2d)]
    if not found:
        raise ConfigError(f'encoder.pool = "gem" needs a model that averages a feature map (got {name!r}); use "avg"')
    for path, part in found:
        flatten = not isinstance(part.flatten, nn.Identity)
        channels_last = getattr(part.pool, "input_fmt", "NCHW") == "NHWC"
        backbone.set_submodule(path, GemPool(flatten=flatten, channels_last=channels_last))


def _nearest(name: str) -> str:
    found = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=3)
    return f"; near: {', '.join(found)}" if found else ""
