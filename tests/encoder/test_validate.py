"""Logits of held-out slices: finite, or a sentence."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ich25d.config import Recipe
from ich25d.encoder import validate
from ich25d.encoder.model import Encoded
from ich25d.encoder.validate import predict_rows
from ich25d.errors import TrainingError
from ich25d.slabs.dataset import SlabReader
from ich25d.slabs.loading import SlabLoader
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.device import Precision

CPU = torch.device("cpu")


class _Fragile(nn.Module):
    """Overflows in half precision, or in any."""

    def __init__(self, *, always: bool) -> None:
        super().__init__()
        self._always = always

    def forward(self, x_BCHW: torch.Tensor) -> Encoded:  # noqa: N803  # axes as suffix
        overflows = self._always or torch.is_autocast_enabled("cpu")
        logit = torch.full((len(x_BCHW), 6), torch.inf if overflows else 1.5)
        return Encoded(logit[:, :2], logit)


def _predict(store: Path, recipe: Recipe, model: nn.Module) -> np.ndarray:
    loader = SlabLoader(SlabReader(StudyStore.open(store), recipe.slab))
    return predict_rows(model, loader, np.arange(5), recipe.slab, CPU, batch_size=4)


def test_what_overflows_in_fp16_is_done_again_in_fp32(
    toy_store: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large activation is the number format's fault and not the model's."""
    monkeypatch.setattr(validate, "quick_inference", lambda device: Precision("fp16", ""))

    assert (_predict(toy_store, recipe, _Fragile(always=False)) == 1.5).all()


def test_useless_weights_are_named(toy_store: Path, recipe: Recipe) -> None:
    """NaN in the validation is a sentence with a cure, where it arises; the scores never see it."""
    with pytest.raises(TrainingError, match=r"logits must be finite \(got .* 4 of 4 slices in fp32\).*train\.lr"):
        _predict(toy_store, recipe, _Fragile(always=True))
