"""A fold's encoder in torch: loaded from a model directory, applied to a batch, written.

load_encoder(RUN, fold) -> LoadedEncoder;  encode(model, batch) -> Encoded
"""

import dataclasses
from pathlib import Path

import torch
from torch import nn

from ich25d.config import SlabConfig
from ich25d.encoder.model import Encoded, SlabEncoder, assemble, build_backbone
from ich25d.encoder.model_directory import Run, read_run
from ich25d.errors import ModelError
from ich25d.files import inside
from ich25d.slabs.dataset import SlabBatch
from ich25d.slabs.network_input import network_input
from ich25d.training.device import Precision, quick_inference
from ich25d.training.model_file import checked_entries
from ich25d.training.weights_file import load_weights, write_weights


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """One fold's encoder, ready to use."""

    model: SlabEncoder
    """In evaluation mode, on its device."""
    run: Run
    fold: int
    prior: tuple[float, ...]
    """Share of positive slices a label in this fold's training data, length 6, in the order of `LABELS`."""
    sha256: str
    device: torch.device
    precision: Precision

    @property
    def slab(self) -> SlabConfig:
        """Return what the encoder sees of a scan."""
        return self.run.slab

    def __call__(self, batch: SlabBatch, *, flip: bool = False) -> Encoded:
        """Encode a batch, on the device."""
        return encode(self.model, batch, self.run.slab, self.device, self.precision, flip=flip)


def encode(
    model: nn.Module,
    batch: SlabBatch,
    slab: SlabConfig,
    device: torch.device,
    precision: Precision,
    *,
    flip: bool = False,
) -> Encoded:
    """Encode a batch without gradients; validation, features and prediction all come through here.

    Args:
        model: A `SlabEncoder` in evaluation mode.
        batch: Slabs in HU.
        slab: Size, neighbours and windows.
        device: Where the model is.
        precision: Number format of the forward pass; a batch that overflows in fp16 is done again in fp32.
        flip: Mirror the slabs left to right; the pixel head's maps come back unmirrored.

    Returns:
        On the device.
    """
    with torch.inference_mode():
        x_BCHW = network_input(batch, slab, device, flip=flip)  # noqa: N806  # axes as suffix
        with precision.autocast(device):
            found: Encoded = model(x_BCHW)
        if precision.name == "fp16" and not all(bool(part.isfinite().all()) for part in found[:2]):
            found = model(x_BCHW)
        return found if found.pixel is None or not flip else found._replace(pixel=found.pixel.flip(3))


def load_encoder(folder: Path, fold: int, device: torch.device | str = "cpu") -> LoadedEncoder:
    """Load one fold's encoder.

    Args:
        folder: A model directory that `train-cnn` wrote (or a copy of one).
        fold: Number of a finished fold.
        device: Where to put it.

    Raises:
        ModelError: The fold isn't there, its path leaves the directory, or its weights are not those that
            `model.json` names, don't fit, or aren't finite.
    """
    run = read_run(folder)
    if fold not in run.folds:
        raise ModelError(f"fold must be a finished one, of {sorted(run.folds)} (got {fold}) in {folder}")
    with checked_entries(folder):
        entry = run.folds[fold]
        path = inside(folder, str(entry["weights"]))
        prior = tuple(float(value) for value in entry["prior"])
        expected = str(entry["sha256"])
    config = dataclasses.replace(run.encoder, weights="none")
    backbone = build_backbone(config, channels=len(run.mean), size=run.slab.size)
    model = assemble(backbone, config, run.slab, run.pixels, run.mean, run.std)
    load_weights(model, path, expected)
    target = torch.device(device)
    return LoadedEncoder(
        model=model.eval().to(target),
        run=run,
        fold=fold,
        prior=prior,
        sha256=expected,
        device=target,
        precision=quick_inference(target),
    )


def export_weights(model: SlabEncoder, shift: torch.Tensor, path: Path) -> str:
    """Write a model's weights with a shift folded into the last layer's bias; return their SHA-256.

    Args:
        model: The model that is kept; it stays as it is.
        shift: What natural labels add to the logits, shape (6,).
        path: `weights.safetensors`.
    """
    weights = model.state_dict()
    weights["head.bias"] = (weights["head.bias"].cpu().double() + shift).float()
    return write_weights(weights, path)
