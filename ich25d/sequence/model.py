"""The sequence model: a correction of the encoder's slice logits from the slices around, and logits of the series.

Axes: B batch, T padded series length, E embedding, P projection, H hidden, L labels (6).
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ich25d.config import SequenceConfig
from ich25d.labels import N_LABELS
from ich25d.sequence.item import Runner
from ich25d.training.weights_file import load_weights

_LOGIT_SCALE, _LOGIT_LIMIT = 4.0, 12.0
_GAP_MM, _REACH_MM, _FAR = 5.0, 100.0, 3.0
"""Units of gaps and of distances from an end of the scan, and the limit of both in these units."""
_N_POSITION = 6


class SequenceModel(nn.Module):
    """A residual bidirectional GRU over a series, with an attention-pooling head for the whole of it.

    Its last layers begin at zero: untrained, the slice logits are the encoder's and the series logit is their
    largest. Padding changes nothing: every sum over T is masked, and the GRU runs over packed sequences.

    Args:
        embedding_size: Length E.
        config: [sequence].
    """

    def __init__(self, embedding_size: int, config: SequenceConfig) -> None:
        super().__init__()
        self.deltas = config.deltas
        width = config.project
        copies = 3 if config.deltas else 1
        self.norm = nn.LayerNorm(embedding_size)
        self.project = nn.Linear(embedding_size, width)
        self.mix = nn.Linear(copies * (width + N_LABELS) + _N_POSITION, width)
        self.dropout = nn.Dropout(config.dropout)
        self.gru = nn.GRU(
            width,
            config.hidden,
            num_layers=config.layers,
            batch_first=True,
            bidirectional=True,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        joined = 2 * config.hidden + width
        self.slice_head = nn.Linear(joined, N_LABELS)
        self.attention = nn.Linear(joined, N_LABELS)
        self.series_weight = nn.Parameter(torch.zeros(N_LABELS, joined))
        self.series_bias = nn.Parameter(torch.zeros(N_LABELS))
        nn.init.zeros_(self.slice_head.weight)
        nn.init.zeros_(self.slice_head.bias)

    def forward(
        self,
        embedding_BTE: torch.Tensor,  # noqa: N803  # axes as suffix
        encoder_logit_BTL: torch.Tensor,  # noqa: N803
        position_mm_BT: torch.Tensor,  # noqa: N803
        length_B: torch.Tensor | None = None,  # noqa: N803
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Refine series.

        Args:
            embedding_BTE: Standardised embeddings, float32; anything finite beyond a series' length.
            encoder_logit_BTL: The encoder's logits.
            position_mm_BT: Slice positions, mm, rising or (a reversed series) falling.
            length_B: Slices of each series, int64, at least 1; None is T for all.

        Returns:
            Slice logits, shape (B, T, 6), and series logits, shape (B, 6). Slice logits beyond a series' length
            are the encoder's.
        """
        is_padded = length_B is not None
        if length_B is None:
            length_B = torch.full_like(position_mm_BT[:, 0], embedding_BTE.shape[1], dtype=torch.int64)  # noqa: N806
        here_BT1 = (torch.arange(embedding_BTE.shape[1], device=length_B.device) < length_B[:, None])[..., None]  # noqa: N806
        projected = self.project(self.dropout(self.norm(embedding_BTE)))
        scaled = encoder_logit_BTL.clamp(-_LOGIT_LIMIT, _LOGIT_LIMIT) / _LOGIT_SCALE
        inputs = [torch.cat([projected, scaled], dim=2)]
        if self.deltas:
            inputs += _deltas(inputs[0], here_BT1)
        inputs.append(_positions(position_mm_BT, length_B))
        mixed = nn.functional.gelu(self.mix(torch.cat(inputs, dim=2)))
        if is_padded:
            packed = pack_padded_sequence(self.dropout(mixed), length_B.cpu(), batch_first=True, enforce_sorted=False)
            hidden, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=mixed.shape[1])
        else:
            hidden = self.gru(self.dropout(mixed))[0]
        state = self.dropout(torch.cat([hidden, mixed], dim=2))
        correction = torch.where(here_BT1, self.slice_head(state), 0.0)
        logit_BTL = encoder_logit_BTL + correction  # noqa: N806
        weight_BTL = torch.where(here_BT1, self.attention(state), -torch.inf).softmax(dim=1)  # noqa: N806
        pooled = torch.einsum("btl,bth->blh", weight_BTL, torch.where(here_BT1, state, 0.0))
        # The series head corrects the largest slice logit; detached, so that its loss doesn't train the slice logits.
        largest = torch.where(here_BT1, logit_BTL, -torch.inf).amax(dim=1).detach()
        series_BL = largest + (pooled * self.series_weight).sum(dim=2) + self.series_bias  # noqa: N806
        return logit_BTL, series_BL


def _deltas(value_BTC: torch.Tensor, here_BT1: torch.Tensor) -> list[torch.Tensor]:  # noqa: N803
    """Return the differences to the slices before and after; 0 where there is none."""
    step = value_BTC[:, 1:] - value_BTC[:, :-1]
    step = torch.where(here_BT1[:, 1:], step, 0.0)
    edge = torch.zeros_like(value_BTC[:, :1])
    return [torch.cat([edge, step], dim=1), torch.cat([-step, edge], dim=1)]


def _positions(position_mm_BT: torch.Tensor, length_B: torch.Tensor) -> torch.Tensor:  # noqa: N803
    """Describe the position of each slice, shape (B, T, 6): gaps, distances from both ends, whether it is an end."""
    steps = torch.arange(position_mm_BT.shape[1], device=length_B.device)
    last = length_B[:, None] - 1
    gap = (position_mm_BT[:, 1:] - position_mm_BT[:, :-1]).abs()
    gap = torch.where(steps[1:] <= last, gap, 0.0)
    edge = torch.zeros_like(position_mm_BT[:, :1])
    begin, end = position_mm_BT[:, :1], position_mm_BT.gather(1, last)
    columns = [
        (torch.cat([edge, gap], dim=1) / _GAP_MM).clamp(max=_FAR),
        (torch.cat([gap, edge], dim=1) / _GAP_MM).clamp(max=_FAR),
        ((position_mm_BT - begin) / _REACH_MM).clamp(-_FAR, _FAR),
        ((end - position_mm_BT) / _REACH_MM).clamp(-_FAR, _FAR),
        (steps == 0).float().expand_as(position_mm_BT),
        (steps == last).float(),
    ]
    return torch.stack(columns, dim=2)


@dataclasses.dataclass(frozen=True, slots=True)
class TorchRunner:
    """A sequence model for `logits_of_each`."""

    module: SequenceModel
    """In evaluation mode."""
    device: torch.device
    """Where it is."""

    def __call__(self, *arrays: npt.NDArray[np.float32]) -> Sequence[npt.NDArray[np.float32]]:
        """Refine series of one length: embeddings, logits and positions to slice logits and series logits."""
        with torch.inference_mode():
            found = self.module(*(torch.from_numpy(array).to(self.device) for array in arrays))
            return [part.cpu().numpy() for part in found]


def module_of(runner: Runner) -> SequenceModel:
    """Return the sequence model of what `load_sequence` loaded."""
    assert isinstance(runner, TorchRunner)
    return runner.module


def load_models(
    dim: int, config: SequenceConfig, files: Sequence[tuple[Path, str]], n_seeds: int, device: torch.device | str
) -> tuple[tuple[TorchRunner, ...], ...]:
    """Load the sequence models of a run, by fold.

    Args:
        dim: Length E of an embedding.
        config: [sequence].
        files: Weights of every fold, `n_seeds` models in each, and their SHA-256.
        n_seeds: Models a fold.
        device: Where to put them.

    Raises:
        ModelError: A file is another one, or doesn't fit.
    """
    target = torch.device(device)
    models = []
    for file, sha256 in files:
        several = [SequenceModel(dim, config) for _ in range(n_seeds)]
        load_weights(nn.ModuleList(several), file, sha256)
        models.append(tuple(TorchRunner(model.eval().to(target), target) for model in several))
    return tuple(models)
