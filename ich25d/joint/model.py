"""An encoder and a sequence model as one network, from the slabs of a series to the logits of both.

Axes: T slices of a series, C channels, E embedding, L labels (6).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ich25d.encoder.model import Encoded, SlabEncoder
from ich25d.sequence.model import SequenceModel
from ich25d.sequence.standardisation import LIMIT
from ich25d.training.device import Precision


class Joined(NamedTuple):
    """What the joint network says of one series; float32."""

    slices: torch.Tensor
    """The encoder's own logits, shape (T, 6)."""
    refined: torch.Tensor
    """The sequence model's, shape (T, 6)."""
    series: torch.Tensor
    """Of the whole series, shape (6,)."""


class JointModel(nn.Module):
    """Encodes a series in micro-batches, standardises the embeddings and refines them along the scan.

    In training the activations of a micro-batch are dropped after the forward pass and computed again for the backward
    pass, so that memory is that of one micro-batch however long the series is. Batch norms keep the statistics that the
    encoder was trained with: the slices of one scan are no fair sample, and a micro-batch would change the result. The
    pixel head stays as it is, as no masks teach it here.

    Args:
        encoder: One fold's encoder.
        sequence: A sequence model.
        mean: Mean of that encoder's embeddings, by which the sequence model was trained, shape (E,).
        spread: Their standard deviation.
    """

    def __init__(
        self,
        encoder: SlabEncoder,
        sequence: SequenceModel,
        mean: npt.NDArray[np.float32],
        spread: npt.NDArray[np.float32],
    ) -> None:
        super().__init__()
        self.encoder, self.sequence = encoder, sequence
        self.register_buffer("mean", torch.from_numpy(mean.copy()))
        self.register_buffer("spread", torch.from_numpy(spread.copy()))
        self.mean: torch.Tensor
        self.spread: torch.Tensor
        if encoder.pixels is not None:
            encoder.pixels.requires_grad_(False)

    def train(self, mode: bool = True) -> "JointModel":
        """Switch to training, but for batch norms (and the pixel head), which stay in evaluation."""
        super().train(mode)
        for part in self.encoder.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                part.eval()
        if self.encoder.pixels is not None:
            self.encoder.pixels.eval()
        return self

    def forward(
        self,
        x_TCHW: torch.Tensor,  # noqa: N803  # axes as suffix
        position_mm_T: torch.Tensor,  # noqa: N803
        *,
        micro_batch: int,
        precision: Precision,
        noise: float = 0.0,
    ) -> Joined:
        """Encode and refine one series.

        Args:
            x_TCHW: Grey values from 0 to 1, in the order in which the sequence model reads the slices.
            position_mm_T: Their positions, mm, rising or falling.
            micro_batch: Slabs that go through the encoder at once.
            precision: Number format of the encoder.
            noise: Standard deviation of the noise added to the standardised embeddings.
        """

        def encode(part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            with precision.autocast(part.device):
                found: Encoded = self.encoder(part)
            return found.embedding.float(), found.logit.float()

        learns = torch.is_grad_enabled() and self.training
        parts = [
            checkpoint(encode, part, use_reentrant=False) if learns else encode(part)
            for part in x_TCHW.split(micro_batch)
        ]
        embedding_TE = torch.cat([embedding for embedding, _ in parts])  # noqa: N806
        logit_TL = torch.cat([logit for _, logit in parts])  # noqa: N806
        standard_TE = ((embedding_TE - self.mean) / self.spread).clamp(-LIMIT, LIMIT)  # noqa: N806
        if noise > 0:
            standard_TE = standard_TE + noise * torch.randn_like(standard_TE)  # noqa: N806
        length = torch.tensor([len(x_TCHW)], device=x_TCHW.device)
        refined, series = self.sequence(standard_TE[None], logit_TL[None], position_mm_T[None], length)
        return Joined(logit_TL, refined[0], series[0])
