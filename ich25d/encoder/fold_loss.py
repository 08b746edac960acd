"""The loss of a batch in a fold's training: of slices, bags of series, canvases and the pixel head."""

from collections.abc import Callable

import torch
from torch import nn

from ich25d.config import Recipe
from ich25d.encoder.canvas import pair_loss
from ich25d.encoder.model import Encoded
from ich25d.encoder.pixel_head import pixel_loss
from ich25d.encoder.teaching import Teaching
from ich25d.slabs.dataset import SlabBatch
from ich25d.slabs.network_input import network_input, pixel_truth
from ich25d.training.device import Precision, to_device
from ich25d.training.loss import score_loss


class FoldLoss:
    """Computes it.

    Args:
        recipe: [slab], [augment] and [pixels] are used.
        teaching: What the slices are taught, those of canvases too.
        n_own: Slices of the store that is trained on.
        n_canvas: Slices of the canvases; 0 without any.
        device: Where to train.
        precision: Number format of the forward pass.
        seed: Seed of the augmentation.
    """

    def __init__(
        self,
        recipe: Recipe,
        teaching: Teaching,
        *,
        n_own: int,
        n_canvas: int,
        device: torch.device,
        precision: Precision,
        seed: int,
    ) -> None:
        self._recipe, self._teaching, self._n_own, self._n_canvas = recipe, teaching, n_own, n_canvas
        self._device, self._precision, self._seed = device, precision, seed

    def of_epoch(self, epoch: int) -> Callable[[nn.Module, SlabBatch], torch.Tensor]:
        """Return the function from model and batch to a scalar loss in one epoch."""
        return lambda model, batch: self._loss(model, batch, epoch)

    def scored(self, batch: SlabBatch) -> torch.Tensor:
        """Return the targets that count by themselves, shape (B, 6): those of unlabelled canvases do in pairs."""
        return torch.where(self._is_pair(batch)[:, None], torch.nan, batch.target)

    def _is_pair(self, batch: SlabBatch) -> torch.Tensor:
        """Say which slabs are canvases without labels, painted or as they were, bool (B,)."""
        return batch.row >= self._n_own + self._n_canvas

    def _loss(self, model: nn.Module, batch: SlabBatch, epoch: int) -> torch.Tensor:
        recipe, device = self._recipe, self._device
        x_BCHW = network_input(  # noqa: N806  # axes as suffix
            batch, recipe.slab, device, augment=recipe.augment, seed=self._seed, epoch=epoch
        )
        with self._precision.autocast(device):
            found: Encoded = model(x_BCHW)
        target = to_device(self.scored(batch), device)
        loss = score_loss(found.logit, target, self._teaching.bags(batch.row, device))
        if self._n_canvas:
            loss = loss + pair_loss(found.logit, batch, self._n_own, self._n_canvas)
        if found.pixel is None:
            return loss
        grid = found.pixel.shape[-1]
        share, known = pixel_truth(batch, grid, device, augment=recipe.augment, seed=self._seed, epoch=epoch)
        if self._n_canvas:  # of a canvas without labels nothing is known but what was painted in
            own = to_device(~self._is_pair(batch), device)[:, None, None, None]
            known = known[:, :, None, None] & (own | (share > 0))
        return loss + recipe.pixels.weight * pixel_loss(found.pixel, share, known)
