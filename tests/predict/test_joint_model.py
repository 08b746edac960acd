"""A run of train-joint offers what one of train-rnn offers: predict, explain, report, info and a further start."""

from pathlib import Path

import numpy as np
import pytest
from toy_walk import Walk
from typer.testing import CliRunner

from ich25d import load_model
from ich25d.cli.app import app
from ich25d.encoder.parent import read_parent


@pytest.fixture(scope="module")
def joint(walk: Walk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The walk's two stages, trained together."""
    out = tmp_path_factory.mktemp("joint") / "run"
    words = ["train-joint", str(walk.store), "--from", str(walk.rnn), "--out", str(out), "--device", "cpu",
             "--set", "joint.epochs=1", "--set", "joint.micro_batch=2"]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "CNN + GRU is what predict uses" in done.output
    return out


def test_predicts_explains_and_reports(joint: Path, walk: Walk, tmp_path: Path) -> None:
    """The commands and the Python functions, on DICOM that the model has never seen."""
    csv, pages, explained = tmp_path / "p" / "out.csv", tmp_path / "pages", tmp_path / "explained"
    source = [str(walk.test), "--model", str(joint), "--device", "cpu"]
    for words in (["predict", *source, "--out", str(csv)], ["report", *source, "--out", str(pages)],
                  ["explain", *source, "--out", str(explained)], ["info", str(joint), "--verify"]):  # fmt: skip
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    model = load_model(joint, device="cpu")
    found = model.predict(walk.test)

    assert len(found) == 3
    assert all(np.isfinite(one.probability).all() for one in found)
    assert len(list(model.explain(walk.test, labels=["any"]))) == 3


def test_may_be_gone_on_from(joint: Path, walk: Walk) -> None:
    """Its encoders know what they have learnt, through both runs."""
    before, after = (read_parent(folder) for folder in (walk.rnn, joint))
    for fold in after.run.folds:
        assert np.array_equal(after.start_of(fold).images.trained, before.start_of(fold).images.trained)
