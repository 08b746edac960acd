"""Every shipped recipe builds; the classic architectures also step, save, load and predict."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ich25d.encoder.learner import make_learner, make_schedule
from ich25d.encoder.loaded import encode, export_weights, load_encoder
from ich25d.encoder.model import build_backbone
from ich25d.encoder.model_directory import add_fold
from ich25d.encoder.train import describe
from ich25d.recipes import read_recipe
from ich25d.slabs.dataset import SlabBatch, SlabReader
from ich25d.slabs.loading import SlabLoader
from ich25d.slabs.network_input import network_input
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.loop import train_steps
from ich25d.training.loss import score_loss
from ich25d.training.processes import Processes

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
CLASSIC = {"resnet50": 32, "vgg16": 32, "inception_v3": 75, "dilated_resnet50": 32, "densenet121": 32}
"""Smallest size in px that each architecture takes (32 is the smallest slab)."""


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_is_complete_and_can_be_built(path: Path) -> None:
    """No key is left to a default, and timm has the model with these settings."""
    recipe = read_recipe(path)

    text = path.read_text()
    for section in dataclasses.fields(recipe):
        for field in dataclasses.fields(getattr(recipe, section.name)):
            assert f"\n{field.name} = " in text, f"{section.name}.{field.name}"
    channels = len(recipe.slab.windows) * len(recipe.slab.neighbours)
    with torch.device("meta"):
        build_backbone(recipe.encoder, channels=channels, size=recipe.slab.size)


def test_every_classic_recipe_is_tested() -> None:
    """A new one needs a line above."""
    assert {path.stem for path in (CONFIGS / "classic").glob("*.toml")} == set(CLASSIC)


@pytest.mark.parametrize("name", CLASSIC)
def test_steps_saves_loads_and_predicts(name: str, toy_store: Path, tmp_path: Path) -> None:
    """From random weights over a frozen and a free step to a loaded model that answers as the trained one."""
    recipe = read_recipe(
        CONFIGS / "classic" / f"{name}.toml",
        (
            f"slab.size={CLASSIC[name]}",
            "encoder.weights=none",
            "train.ema=0.0",
            "train.accumulate=1",
            "train.precision=fp32",
        ),
    )
    assert len(recipe.slab.windows) * len(recipe.slab.neighbours) == 3
    assert recipe.train.freeze_epochs == 1
    cpu, studies = torch.device("cpu"), StudyStore.open(toy_store)
    learner, model = make_learner(recipe, torch.zeros(6), device=cpu, processes=Processes(), seed=0)
    before = next(model.backbone.parameters()).clone()
    batch = next(SlabLoader(SlabReader(studies, recipe.slab)).batches(np.arange(6), 6))

    def loss_of(network: nn.Module, given: SlabBatch) -> torch.Tensor:
        x = network_input(given, recipe.slab, cpu, augment=recipe.augment)
        return score_loss(network(x)[1], given.target)

    for frozen in (True, False):
        model.freeze(frozen)
        report = next(train_steps(learner, iter([batch]), loss_of, make_schedule(recipe.train, 1), n_steps=1))
        assert not report.skipped
        assert torch.equal(before, next(model.backbone.parameters())) == frozen
    folder = tmp_path / "fold0"
    folder.mkdir()
    sha256 = export_weights(model, torch.zeros(6), folder / "weights.safetensors")
    entry = {"weights": "fold0/weights.safetensors", "sha256": sha256, "prior": [0.1] * 6}
    add_fold(tmp_path, describe(studies, recipe, ""), 0, entry)

    loaded = load_encoder(tmp_path, 0)
    embedding, logit, _ = loaded(batch)

    assert embedding.shape == (6, model.embedding_size)
    torch.testing.assert_close(logit, encode(model.eval(), batch, recipe.slab, cpu, loaded.precision)[1])
