"""A toy store, and a recipe for it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bright_squares import SIZE, write_toy_store

from ich25d.config import AugmentConfig, EncoderConfig, Recipe, SlabConfig, TrainConfig


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six series of six slices in three folds, half of the slices positive."""
    return write_toy_store(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Path]:
    """Write a toy store of another shape."""
    return lambda **shape: write_toy_store(tmp_path / "store", **shape)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """A tiny network, two passes, everything switched on that a step can do."""
    return Recipe(
        slab=SlabConfig(windows=("brain", "subdural"), size=SIZE),
        augment=AugmentConfig(),
        encoder=EncoderConfig(name="test_resnet", weights="none", dropout=0.2),
        train=TrainConfig(
            epochs=2, batch_size=4, accumulate=2, lr=1e-3, ema=0.9, layer_decay=0.9, keep="last", precision="fp32"
        ),
    )
