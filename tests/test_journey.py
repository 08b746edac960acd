"""The whole walk: four commands on phantom heads, as a user calls them, checked to the last column."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich25d.labels import LABELS
from ich25d.phantom.synth import synthesise

pytestmark = pytest.mark.slow


def ich25d(*words: str | Path, expect: int = 0) -> str:
    """Run a command in a process of its own and return what it printed."""
    command = [sys.executable, "-m", "ich25d", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do the walk once, at a small size."""
    out = tmp_path_factory.mktemp("walk")
    heads = synthesise(out / "dicom", 8, seed=5, size=96, workers=1)
    recipe = out / "tiny.toml"
    recipe.write_text(
        '[slab]\nwindows = ["brain"]\nsize = 32\n[encoder]\nname = "test_resnet"\nweights = "none"\n'
        '[train]\nepochs = 1\nbatch_size = 32\nprecision = "fp32"\n'
        "[sequence]\nepochs = 2\nproject = 8\nhidden = 4\n"
    )
    ich25d("build-studies", heads.train, "--labels", heads.train_labels, "--out", out / "studies", "--size", "64",
           "--folds", "2", "--workers", "1")  # fmt: skip
    ich25d("train-cnn", out / "studies", "--config", recipe, "--out", out / "cnn", "--device", "cpu")
    table = ich25d("train-rnn", out / "studies", "--cnn", out / "cnn", "--out", out / "rnn", "--device", "cpu")
    (out / "table.txt").write_text(table)
    ich25d("predict", heads.test, "--model", out / "rnn", "--out", out / "predicted" / "submission.csv",
           "--sample", heads.sample, "--device", "cpu", "--workers", "1")  # fmt: skip
    return out


def test_the_csv_answers_the_sample_id_for_id(walk: Path) -> None:
    """Same ids in the same order, probabilities inside the bounds, `any` at least the largest subtype."""
    sample = pd.read_csv(walk / "dicom" / "stage_2_sample_submission.csv")
    answer = pd.read_csv(walk / "predicted" / "submission.csv")

    assert list(answer.columns) == ["ID", "Label"]
    assert answer["ID"].tolist() == sample["ID"].tolist()
    assert answer["Label"].between(1e-6, 1 - 1e-6).all()
    probability = answer["Label"].to_numpy().reshape(-1, 6)
    assert (probability[:, 5] >= probability[:, :5].max(axis=1) - 1e-9).all()
    assert "sound" in ich25d("check-submission", walk / "predicted" / "submission.csv",
                          "--sample", walk / "dicom" / "stage_2_sample_submission.csv").lower()  # fmt: skip


def test_tables_stand_beside_the_csv(walk: Path) -> None:
    """Slices in scan order with encoder and final probabilities; a row a series."""
    slices = pd.read_parquet(walk / "predicted" / "predictions.parquet")
    studies = pd.read_csv(walk / "predicted" / "studies.csv")

    assert {"image_id", "series_id", "slice_index", "slice_position_mm", "flags", *LABELS} <= set(slices.columns)
    for _, series in slices.groupby("series_id"):
        assert (np.diff(series.sort_values("slice_index")["slice_position_mm"]) > 0).all()
    assert len(studies) == slices["series_id"].nunique()
    assert (walk / "predicted" / "qc.csv").is_file()


def test_held_out_heads_are_compared(walk: Path) -> None:
    """CNN alone, with smoothing and with the GRU, on the same held-out heads."""
    table = (walk / "table.txt").read_text()

    for word in ("CNN", "smooth", "GRU", *LABELS):
        assert word in table
    assert json.loads((walk / "rnn" / "comparison.json").read_text())


def test_a_second_call_changes_nothing(walk: Path) -> None:
    """Building again opens nothing; predicting again gives the same bytes."""
    heads = walk / "dicom"
    before = (walk / "predicted" / "submission.csv").read_bytes()
    built = json.loads(
        ich25d("build-studies", heads / "stage_2_train", "--labels", heads / "stage_2_train.csv", "--out",
               walk / "studies", "--size", "64", "--folds", "2", "--workers", "1", "--json")
    )  # fmt: skip
    ich25d("predict", heads / "stage_2_test", "--model", walk / "rnn", "--out", walk / "predicted" / "submission.csv",
           "--sample", heads / "stage_2_sample_submission.csv", "--device", "cpu", "--workers", "1")  # fmt: skip

    assert built["series_read"] == 0
    assert (walk / "predicted" / "submission.csv").read_bytes() == before


def test_scores_what_was_predicted(walk: Path) -> None:
    """`evaluate` takes thresholds from the model and gives both levels."""
    scores = json.loads(
        ich25d("evaluate", walk / "predicted" / "predictions.parquet", "--labels",
               walk / "dicom" / "stage_2_test_labels.csv", "--model", walk / "rnn", "--out", walk / "eval", "--json")
    )  # fmt: skip

    assert scores["n_not_predicted"] == 0
    assert scores["slice"]
    assert scores["series"]


def test_info_describes_what_stands(walk: Path) -> None:
    """Stores and runs are described and verified."""
    assert "slices" in ich25d("info", walk / "studies", "--verify")
    assert "all as they were written" in ich25d("info", walk / "rnn", "--verify")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["build-studies", "{empty}", "--out", "{new}"], "", id="an empty folder"),
        pytest.param(["build-studies", "{absent}", "--out", "{new}"], "absent", id="no such source"),
        pytest.param(["train-cnn", "{absent}", "--config", "demo", "--out", "{new}"], "study store", id="no store"),
        pytest.param(["train-cnn", "{absent}", "--config", "nothing", "--out", "{new}"], "recipe", id="no recipe"),
        pytest.param(["predict", "{empty}", "--model", "{empty}", "--out", "{new}/s.csv"], "model", id="no model"),
        pytest.param(["check-submission", "{absent}"], "absent", id="no CSV"),
        pytest.param(["info", "{empty}"], "neither", id="neither store nor model"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(tmp_path: Path, words: list[str], sentence: str) -> None:
    """No traceback, nothing written."""
    (tmp_path / "empty").mkdir()
    places = {"empty": tmp_path / "empty", "absent": tmp_path / "absent", "new": tmp_path / "new"}
    command = [sys.executable, "-m", "ich25d", *(word.format(**places) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert sentence in done.stderr
    assert not (tmp_path / "new").exists() or not any((tmp_path / "new").iterdir())
