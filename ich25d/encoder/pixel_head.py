"""The pixel head: maps of where each label is seen, from three stages of the backbone; and their loss.

Axes: B batch, L labels (6), G grid of the finest stage (8 px of input a cell).
"""

from collections.abc import Sequence

import torch
from timm.layers import create_conv2d
from torch import nn
from torch.nn import functional

from ich25d.labels import N_LABELS

STRIDES = (8, 16, 32)
"""Stages that it reads, in px of input a cell; the maps are of the first."""

START_LOGIT = -4.6
"""Every cell's logit at the start: a probability of .01."""

RARE = 0.01
"""Share of positive cells that the loss counts at least: it keeps batches without blood from counting for more."""

POSITIVE_WEIGHT = 5.0
"""How much more a positive cell counts than a negative one. With 1 the maps learn to be empty: after 58 steps on CT-ICH
the hottest cell of a painted slab lay in the bleed on .41 of them for .71, and no cell's probability passed .01."""

RATE = 5.0
"""Factor on the learning rate of the head, which is new and has few steps."""


class PixelHead(nn.Module):
    """Adds up projections of three stages and maps the six labels.

    Args:
        channels: Channels of the stages, finest first.
        width: Channels of the sum.

    References:
        Lin et al., Feature pyramid networks for object detection, CVPR 2017, figure 3.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList([nn.Conv2d(count, width, 1) for count in channels])
        self.norm = nn.BatchNorm2d(width)
        self.spread = create_conv2d(width, width, 3, depthwise=True)
        self.mix = nn.Conv2d(width, width, 1)
        self.last = nn.Conv2d(width, N_LABELS, 1)
        nn.init.normal_(self.last.weight, std=0.1)
        with torch.no_grad():
            self.last.bias.fill_(START_LOGIT)  # type: ignore[union-attr]  # it has one

    def forward(self, stages: Sequence[torch.Tensor]) -> torch.Tensor:
        """Map the labels.

        Args:
            stages: Features (B, E, G, G) of each stage, finest first.

        Returns:
            Logits, shape (B, 6, G, G), float32.
        """
        size = stages[0].shape[2:]
        first, *coarser = (conv(stage) for conv, stage in zip(self.lateral, stages, strict=True))
        for part in coarser:
            first = first + functional.interpolate(part, size=size, mode="bilinear")
        mixed = self.mix(self.spread(functional.relu(self.norm(first))))
        logit: torch.Tensor = self.last(functional.relu(mixed)).float()
        return logit


def pooled(pixel_BLGG: torch.Tensor) -> torch.Tensor:  # noqa: N803  # axes as suffix
    """Pool maps to one number a label: the log of the cells' mean odds, 0 at the start of training.

    It grows with the area of a bleed as with its evidence, and every cell gets its share of the gradient.

    Args:
        pixel_BLGG: Logits of cells, float32.

    Returns:
        Shape (B, 6), float32.
    """
    flat = pixel_BLGG.flatten(2)
    highest = flat.amax(dim=2, keepdim=True).detach()  # taken out before exp, which would overflow
    return (flat - highest).exp().mean(dim=2).log() + highest[..., 0] - START_LOGIT


def pixel_loss(pixel_BLGG: torch.Tensor, share_BLGG: torch.Tensor, known_BL: torch.Tensor) -> torch.Tensor:  # noqa: N803  # axes as suffix
    """Return the log loss of the cells, against the share of each that is blood.

    The sum over cells is divided by the number of positive ones (at least `RARE` of all): bleeds fill few cells, and a
    mean over all would fade beside the slices' loss. The probabilities come out too high, by the odds of
    `POSITIVE_WEIGHT`; they serve as evidence, not as calibrated numbers.

    Args:
        pixel_BLGG: Logits, float32.
        share_BLGG: Truth, 0 to 1.
        known_BL: Which maps have a truth; the others don't count. Of shape (B, 6), or by cell, (B, 6, G, G).
    """
    each = functional.binary_cross_entropy_with_logits(
        pixel_BLGG, share_BLGG, reduction="none", pos_weight=pixel_BLGG.new_tensor(POSITIVE_WEIGHT)
    )
    known = (known_BL if known_BL.ndim == 4 else known_BL[:, :, None, None]).expand_as(each).to(each.dtype)
    n_cells = known.sum()
    least = (RARE * n_cells).clamp(min=1.0)
    return (each * known).sum() / torch.maximum((share_BLGG * known).sum(), least)
