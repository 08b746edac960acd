"""A small encoder with random weights as a model directory, and heads to show it."""

import dataclasses
from pathlib import Path

import numpy as np
import torch

from ich25d.config import AugmentConfig, EncoderConfig, PixelsConfig, Recipe, SlabConfig
from ich25d.encoder.loaded import export_weights
from ich25d.encoder.model import normalisation
from ich25d.encoder.model_directory import add_fold
from ich25d.encoder.weights import build_encoder
from ich25d.labels import LABELS, N_LABELS
from ich25d.recipes import write_recipe

SIZE, N_SLICES, GAP_MM = 96, 12, 5.0
PIXEL_MM = 2.0


def write_model(folder: Path, *, folds: int = 2, name: str = "test_resnet", pixels: float = 0.0) -> Path:
    """Write a finished, untrained run; with `pixels` above 0 it has a pixel head."""
    recipe = Recipe(
        slab=SlabConfig(windows=("brain",), size=SIZE),
        augment=AugmentConfig(painted=0.5),
        encoder=EncoderConfig(name=name, weights="none"),
        pixels=PixelsConfig(weight=pixels),
    )
    mean, std = normalisation(recipe.encoder, recipe.slab)
    content = {
        "format": 1, "kind": "encoder", "encoder": dataclasses.asdict(recipe.encoder),
        "slab": dataclasses.asdict(recipe.slab), "pixels": dataclasses.asdict(recipe.pixels), "labels": list(LABELS),
        "normalisation": {"mean": list(mean), "std": list(std)}, "store": {"size": SIZE, "crop": "none"},
        "prior": [0.1] * N_LABELS, "calibration": None,
        "thresholds": {"slice": {"f1": {"any": 0.25}}, "series": {"f1": {"any": 0.4}}},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(write_recipe(recipe))
    for fold in range(folds):
        torch.manual_seed(fold)
        encoder = build_encoder(recipe.encoder, recipe.slab, recipe.pixels)
        torch.nn.init.normal_(encoder.head.weight, std=0.5)
        weights = folder / f"fold{fold}" / "weights.safetensors"
        weights.parent.mkdir()
        sha256 = export_weights(encoder, torch.zeros(N_LABELS), weights)
        entry = {"weights": f"fold{fold}/weights.safetensors", "sha256": sha256, "prior": [0.1] * N_LABELS}
        add_fold(folder, content, fold, entry)
    return folder


def head_hu(*, clot: bool = True) -> np.ndarray:
    """Return int16 HU (12, 96, 96) at 2 mm: a skull that closes at the top, brain, a clot on the image's right."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2) * PIXEL_MM
    hu = np.full((N_SLICES, SIZE, SIZE), -1000.0)
    for index in range(N_SLICES):
        shrink = np.sqrt(max(0.05, 1 - (index / N_SLICES) ** 4))
        radius = np.hypot(x / (66 * shrink), y / (80 * shrink))
        hu[index][radius < 1.14] = 40
        hu[index][radius < 1.1] = 1100
        hu[index][radius < 1.0] = 34
        if clot and 3 <= index <= 6:
            hu[index][np.hypot(x - 30, y - 10) < 14] = 68
    return np.clip(hu + rng.normal(0, 2, hu.shape), -1024, 3071).round().astype(np.int16)


def positions() -> np.ndarray:
    """Return where the slices are, mm."""
    return np.arange(N_SLICES) * GAP_MM + 100.0
