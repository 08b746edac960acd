"""The model directory of a CNN: written fold by fold, read with nothing in it trusted.

RUN/  model.json            all that prediction needs to know, and the weights' SHA-256
      config.toml           the resolved recipe
      parent.json           of a run that goes on from another one: what it goes on from
      foldK/                weights.safetensors, metrics.jsonl, oof.parquet, last.pt (to resume), images.safetensors
                            (hashes of what its network has learnt from), change.parquet (before and after, of a child)
      .anatomies/           while folds are trained: what painting needs of every series, to be found once
"""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import nn

from ich25d.config import EncoderConfig, PixelsConfig, SlabConfig
from ich25d.encoder.model import Encoded, SlabEncoder, assemble, build_backbone
from ich25d.errors import ModelError
from ich25d.files import inside, locked, write_json
from ich25d.slabs.dataset import SlabBatch
from ich25d.slabs.network_input import network_input
from ich25d.training.calibration import Calibration
from ich25d.training.device import Precision, quick_inference
from ich25d.training.model_file import CNN, MODEL_FILE, checked_entries, read_model_file
from ich25d.training.weights_file import load_weights, write_weights

_WRITES = "writes {}/model.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """What `model.json` says, checked."""

    folder: Path
    encoder: EncoderConfig
    slab: SlabConfig
    pixels: PixelsConfig
    mean: tuple[float, ...]
    """Mean of every channel that the encoder subtracts, of grey values 0 to 1."""
    std: tuple[float, ...]
    folds: dict[int, dict[str, Any]]
    """By number, the folds that are finished: weights, sha256, epoch, score, prior."""
    content: dict[str, Any]
    """All of the file."""

    @property
    def store_size(self) -> int:
        """Return the side in px of the store's slices that the model was trained on."""
        return int(self.content["store"]["size"])

    @property
    def crop(self) -> str:
        """Return how the store was cropped, `head` or `none`."""
        return str(self.content["store"]["crop"])


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


def read_run(folder: Path) -> Run:
    """Read and check `model.json`.

    Raises:
        ModelError: It is absent, damaged, of another kind or format, or has other labels.
    """
    content = read_model_file(folder, CNN)
    with checked_entries(folder):
        numbers = content["normalisation"]
        run = Run(
            folder=folder,
            encoder=TypeAdapter(EncoderConfig).validate_python(content["encoder"]),
            slab=TypeAdapter(SlabConfig).validate_python(content["slab"]),
            pixels=TypeAdapter(PixelsConfig).validate_python(content.get("pixels", {})),  # older runs have none
            mean=tuple(float(value) for value in numbers["mean"]),
            std=tuple(float(value) for value in numbers["std"]),
            folds={int(number): dict(entry) for number, entry in content["folds"].items()},
            content=content,
        )
        _ = (run.store_size, run.crop)
    return run


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


def add_fold(folder: Path, common: dict[str, Any], fold: int, entry: dict[str, Any]) -> None:
    """Enter a finished fold in `model.json`; folds trained at the same time don't lose each other's entries.

    Args:
        folder: The model directory.
        common: All of the file but its folds.
        fold: Number of the fold.
        entry: What is to be known of it.
    """
    with locked(folder / ".lock", _WRITES.format(folder)):
        folds = dict(read_run(folder).content["folds"]) if (folder / MODEL_FILE).exists() else {}
        folds[str(fold)] = entry
        ordered = {number: folds[number] for number in sorted(folds, key=int)}
        write_json(folder / MODEL_FILE, {**common, "folds": ordered})


def set_decision(folder: Path, calibration: Calibration, points: dict[str, Any]) -> None:
    """Enter calibration and operating points in `model.json`.

    Args:
        folder: The model directory.
        calibration: Fitted on held-out slices.
        points: `thresholds` and `operating_points`, by level (`slice`, `series`), rule and label.
    """
    with locked(folder / ".lock", _WRITES.format(folder)):
        content = read_run(folder).content
        write_json(folder / MODEL_FILE, {**content, "calibration": calibration.to_dict(), **points})
