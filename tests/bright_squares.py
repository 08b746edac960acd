"""A toy store: bright squares are bleeds."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from ich25d.labels import LABELS
from ich25d.studies.store_dir.store import FORMAT, VERSION
from ich25d.studies.store_dir.volume_file import write_volume

SIZE = 32


def write_toy_store(
    root: Path,
    *,
    n_series: int = 6,
    n_slices: int = 6,
    n_folds: int = 3,
    labelled: bool = True,
    first: int = 0,
    shift: int = 0,
) -> Path:
    """Write a store whose slices with a bright square are subdural and any.

    Series are numbered from `first`; equal numbers are equal scans. Series `number` is in fold `number + shift`.
    """
    series, slices = [], []
    for number in range(first, first + n_series):
        name = f"ID_s{number}"
        rng = np.random.default_rng(number)
        hu = rng.integers(0, 60, (n_slices, SIZE, SIZE)).astype(np.int16)
        positive = np.arange(n_slices) % 2 == number % 2
        hu[positive, 10:20, 10:20] += 60
        volume = write_volume(root, name, hu)
        series.append(
            {
                "series_id": name, "study_id": name, "patient_id": name, "fold": (number + shift) % n_folds,
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
                    "window_width": np.nan,
                    "pixel_hash": int.from_bytes(hashlib.sha256(hu[index].tobytes()).digest()[:7], "little"),
                    **(labels if labelled else dict.fromkeys(LABELS, pd.NA)),
                }
            )  # fmt: skip
    pd.DataFrame(series).to_parquet(root / "series.parquet")
    pd.DataFrame(slices).astype(dict.fromkeys(LABELS, "Int8")).to_parquet(root / "slices.parquet")
    marker = {"format": FORMAT, "version": VERSION, "size": SIZE, "crop": "head"}
    (root / "store.json").write_text(json.dumps(marker))
    return root
