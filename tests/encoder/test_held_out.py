"""Held-out logits joined with the store: whose slices they are."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from ich25d.encoder.held_out import counts_of, read_held_out
from ich25d.labels import LABELS
from ich25d.studies.store_dir.store import StudyStore


def test_series_without_a_patient_are_not_one_patient(tmp_path: Path, make_store: Callable[..., Path]) -> None:
    """One cluster has no spread: AUC .86 [.86, .86]."""
    root = make_store(n_series=4)
    for name in ("series", "slices"):
        pd.read_parquet(root / f"{name}.parquet").assign(patient_id="").to_parquet(root / f"{name}.parquet")
    store = StudyStore.open(root)
    table = store.slices[["image_id", "series_id"]].assign(**dict.fromkeys(LABELS, np.float32(0)))
    (tmp_path / "fold0").mkdir()
    table.to_parquet(tmp_path / "fold0" / "oof.parquet")
    held_out = read_held_out(tmp_path, SimpleNamespace(folds={0: {}}), store)

    assert set(held_out.split_unit) == {f"study ID_s{number}" for number in range(4)}
    assert counts_of(store)["n_patients"] == 4
