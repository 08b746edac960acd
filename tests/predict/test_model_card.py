"""Every trained model directory has its card, and no card names a patient, a scan or a place on the machine."""

import json
from pathlib import Path

import pandas as pd
import pytest
from toy_walk import Walk

from ich25d.labels import LABELS
from ich25d.training.thresholds import POINTS, RULES

_SECTIONS = (
    "Summary", "Intended use", "Data", "Flow of exclusions", "Partitions", "Preprocessing", "Architecture", "Training",
    "Calibration and thresholds", "Performance", "Run time", "Files and checksums",
    "Licences of weights and of the data behind them", "Limits",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_a_trained_model_has_its_card(walk: Walk, kind: str) -> None:
    """All sections, the store's counts, every fold's checksum; no ids and no paths."""
    folder: Path = getattr(walk, kind)
    text = (folder / "MODEL_CARD.md").read_text()
    content = json.loads((folder / "model.json").read_text())
    slices = pd.read_parquet(walk.store / "slices.parquet")

    for name in _SECTIONS:
        assert f"\n## {name}\n" in text, name
    assert f"| all | {len(slices)} |" in text
    for entry in content["folds"].values():
        assert entry["sha256"] in text
    for column in ("patient_id", "series_id", "study_id", "image_id"):
        assert not [name for name in slices[column].unique() if name in text], column
    assert str(walk.store.parent) not in text
    assert "non-commercial research" in text  # the toy series have ids of RSNA's form


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_a_trained_model_has_operating_points(walk: Walk, kind: str) -> None:
    """Both levels have a threshold of each rule and point for the labels that have positives."""
    folder: Path = getattr(walk, kind)
    thresholds = json.loads((folder / "model.json").read_text())["thresholds"]

    assert set(thresholds) == {"slice", "series"}
    for by_rule in thresholds.values():
        assert set(by_rule) == {*RULES, *POINTS}
        for found in by_rule.values():
            assert set(found) <= set(LABELS)
            assert {"any"} <= set(found)
