"""A toy store: bright squares are bleeds."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich25d.config import AugmentConfig, EncoderConfig, Recipe, SlabConfig, TrainConfig
from ich25d.labels import LABELS
from ich25d.studies.store_dir.store import FORMAT, VERSION
from ich25d.studies.store_dir.volume_file import write_volume

SIZE = 32


def write_toy_store(
    root: Path, *, n_series: int = 6, n_slices: int = 6, n_folds: int = 3, labelled: bool = True
) -> Path:
    """Write a store whose slices with a bright square are subdural and any."""
    rng = np.random.default_rng(0)
    series, slices = [], []
    for number in range(n_series):
        name = f"ID_s{number}"
        hu = rng.integers(0, 60, (n_slices, SIZE, SIZE)).astype(np.int16)
        positive = np.arange(n_slices) % 2 == number % 2
        hu[positive, 10:20, 10:20] += 60
        volume = write_volume(root, name, hu)
        series.append(
            {
                "series_id": name, "study_id": name, "patient_id": name, "fold": number % n_folds,
                "n_slices": n_slices, "slice_spacing_mm": 5.0, **volume._asdict(),
                "pixel_spacing_mm": 0.5, "scale": 2.0,
            }
        )  # fmt: skip
        for index in range(n_slices):
            labels = {label: int(positive[index] and label in ("subdural", "any")) for label in LABELS}
            slices.append(
                {
                    "image_id": f"ID_{number}_{index}", "series_id": name, "study_id": name, "patient_id": name,
                    "slice_index": index, "slice_position_mm": 5.0 * index, "window_level": np.nan,
                    "window_width": np.nan, **(labels if labelled else dict.fromkeys(LABELS, pd.NA)),
                }
            )  # fmt: skip
    pd.DataFrame(series).to_parquet(root / "series.parquet")
    pd.DataFrame(slices).astype(dict.fromkeys(LABELS, "Int8")).to_parquet(root / "slices.parquet")
    marker = {"format": FORMAT, "version": VERSION, "size": SIZE, "crop": "head"}
    (root / "store.json").write_text(json.dumps(marker))
    return root


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
