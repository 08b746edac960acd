"""Held-out logits joined with the store: whose slices they are."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd

from ich25d.config import CalibrationConfig
from ich25d.encoder.held_out import HeldOut, calibration_of, counts_of, read_held_out
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


def _series(logit: np.ndarray, target: np.ndarray) -> HeldOut:
    """Series of 20 slices, 5 mm apart, whose rows are mixed up."""
    n = len(logit)
    mixed = np.random.default_rng(5).permutation(n)
    names = [f"s{row // 20}" for row in mixed]
    position = 5.0 * (mixed % 20)
    return HeldOut(logit[mixed], target[mixed].astype(np.float32), names, names, np.zeros(n, np.int64), position)


def test_smooths_where_neighbours_tell_and_not_where_they_mislead() -> None:
    """Bleeds over several slices seen through noise want a width; single slices without noise want none."""
    rng = np.random.default_rng(1)
    bleeds = np.zeros((60, 20))
    bleeds[::2, 6:12] = 1
    long = np.repeat(bleeds.reshape(-1, 1), 6, axis=1)
    alone = np.repeat((rng.random((1200, 1)) < 0.2).astype(float), 6, axis=1)

    wide = calibration_of(_series(4 * long - 2 + rng.normal(0, 4, long.shape), long), CalibrationConfig())
    none = calibration_of(_series(4 * alone - 2 + rng.normal(0, 0.5, alone.shape), alone), CalibrationConfig())

    assert wide.sigma_mm >= 5
    assert none.sigma_mm == 0


def test_smooths_each_series_by_itself_in_any_order() -> None:
    """The rows come back where they were."""
    logit = np.random.default_rng(2).normal(size=(40, 6))
    held_out = _series(logit, np.zeros((40, 6)))
    alone = held_out.take(np.array([name == "s1" for name in held_out.series_id]))

    smoothed = held_out.smoothed(7.5)

    rows = [row for row, name in enumerate(held_out.series_id) if name == "s1"]
    np.testing.assert_allclose(smoothed[rows], alone.smoothed(7.5))
    np.testing.assert_array_equal(held_out.smoothed(0), held_out.logit)
