"""Every trained model directory has its card, and no card names a patient, a scan or a place on the machine."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from scipy.special import expit
from toy_walk import Walk

from ich25d.config import CalibrationConfig
from ich25d.encoder.held_out import calibration_of, read_held_out
from ich25d.encoder.model_directory import read_run
from ich25d.labels import LABELS
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.calibration import Calibration
from ich25d.training.metrics import mean_log_loss
from ich25d.training.operating_point import FLAGGED, RULES, read_points

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
    assert text.index("\n## Limits\n") < text.index("\n## What CLAIM and TRIPOD+AI ask, and where it is answered\n")
    assert ("\n## Sequence model\n" in text) == (kind == "rnn")
    assert "not a medical device" in text
    assert not re.search(r"\{[{%]|\n\n\n", text)  # the template is filled, and leaves no gaps
    assert f"| all | {len(slices)} |" in text
    for entry in content["folds"].values():
        assert entry["sha256"] in text
    for column in ("patient_id", "series_id", "study_id", "image_id"):
        assert not [name for name in slices[column].unique() if name in text], column
    assert str(walk.store.parent) not in text
    assert "non-commercial research" in text  # the toy series have ids of RSNA's form


@pytest.mark.parametrize("kind", ["cnn", "rnn"])
def test_a_trained_model_has_operating_points(walk: Walk, kind: str) -> None:
    """Both levels have a threshold of each rule for the labels with five positive series, and what it reached."""
    folder: Path = getattr(walk, kind)
    content = json.loads((folder / "model.json").read_text())
    thresholds = content["thresholds"]

    assert set(thresholds) == {"slice", "series"}
    for by_rule in thresholds.values():
        assert set(by_rule) == set(RULES)
        for found in by_rule.values():
            assert set(found) <= set(LABELS)
            assert {"any"} <= set(found)
    reached = content["operating_points"]["series"]["sensitivity_95"]
    assert (reached[FLAGGED]["n_positive"], reached[FLAGGED]["n_negative"]) == (5, 5)
    assert {point.measured.n_positive for point in read_points(folder)} == {5}
    card = (folder / "MODEL_CARD.md").read_text()
    assert re.search(r"\| any \| [\d.]+: [\d.]+ of 5 found, [\d.]+ of 5 spared \|", card)
    assert re.search(r"\| any of them \| [\d.]+ of 5 found", card)
    assert "fewer than 5 positive or 5 negative series" in card


def test_a_cnn_alone_is_calibrated_out_of_fold(walk: Walk) -> None:
    """Its `model.json` holds the calibration that lowers the log loss of the out-of-fold logits."""
    content = json.loads((walk.cnn / "model.json").read_text())
    calibration = Calibration.from_dict(content["calibration"])
    held_out = read_held_out(walk.cnn, read_run(walk.cnn), StudyStore.open(walk.store))
    column = LABELS.index("any")
    target = held_out.target[:, column].astype(float)

    bare, fitted = expit(held_out.logit)[:, column], held_out.probability(calibration)[:, column]

    assert mean_log_loss(target, fitted) < mean_log_loss(target, bare)


def test_a_prevalence_draws_the_calibration_of_a_cnn(walk: Walk) -> None:
    """Where bleeds are said to be rarer, probabilities fall; a pattern that matches no series changes nothing."""
    held_out = read_held_out(walk.cnn, read_run(walk.cnn), StudyStore.open(walk.store))
    rarer = CalibrationConfig(prevalence={"any": 0.001}, prevalence_weight=1e5)

    natural = held_out.probability(calibration_of(held_out, CalibrationConfig()))[:, -1]

    assert calibration_of(held_out, rarer).bias[-1] < calibration_of(held_out, CalibrationConfig()).bias[-1]
    assert 0 < natural.mean() < 1
    assert calibration_of(held_out, CalibrationConfig(fit_on=("nobody*",))) == Calibration()
