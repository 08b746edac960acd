"""A feature store in which a slice's embedding shows the labels of its neighbours: what a sequence model can learn."""

from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from ich25d.features.store import FeatureStore, write_tables
from ich25d.files import file_key
from ich25d.labels import LABELS

DIM = 12
VIEWS = ("plain", "flip")


def make_store(folder: Path, *, n_series: int = 40, n_folds: int = 4, seed: int = 0, painted: int = 0) -> FeatureStore:
    """Write a store: one bleed in half of the series; embeddings show the labels of both neighbours."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(n_series + painted):
        is_painted = number >= n_series
        n_slices = int(rng.integers(12, 25))
        target = np.zeros((n_slices, 6), np.float32)
        if number % 2 == 0 or is_painted:
            first = int(rng.integers(2, n_slices - 5))
            label = int(rng.integers(5))
            target[first : first + int(rng.integers(2, 6)), [label, 5]] = 1
        beside = np.pad(target, ((1, 1), (0, 0)))
        beside = beside[:-2] + beside[2:]
        fold = (number // 2) % n_folds
        # Every fold's encoder has its own shift and scale.
        shift, scale = 3.0 * fold, 1.0 + fold
        embedding = rng.normal(0, 0.3, (len(VIEWS), n_slices, DIM))
        embedding[:, :, :6] += 2 * beside
        logit = -2.0 + 1.0 * target + rng.normal(0, 1.0, (n_slices, 6)) + rng.normal(0, 0.1, (len(VIEWS), n_slices, 6))
        series_id = f"series{number:03d}" + ("~painted1" if is_painted else "")
        save_file(
            {
                "embedding": (embedding * scale + shift).astype(np.float16),
                "logit": logit.astype(np.float32),
                "slice_position_mm": np.arange(n_slices) * 5.0,
            },
            folder / f"{file_key(series_id)}.safetensors",
        )
        for index in range(n_slices):
            rows.append(
                {
                    "image_id": f"image{number:03d}_{index}",
                    "series_id": series_id,
                    "patient_id": f"patient{number:03d}",
                    "slice_index": index,
                    "fold": fold,
                    "train_only": is_painted,
                    **{name: int(target[index, column]) for column, name in enumerate(LABELS)},
                }
            )
    encoder = {str(fold): f"{fold:064x}" for fold in range(n_folds)}
    write_tables(folder, pd.DataFrame(rows), dim=DIM, views=VIEWS, encoder=encoder, size=256)
    return FeatureStore.open(folder)
