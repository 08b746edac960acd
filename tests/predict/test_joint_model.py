"""A run of train-joint offers what one of train-rnn offers: predict, explain, report, info and a further start."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from toy_walk import Walk
from typer.testing import CliRunner

from ich25d import load_model
from ich25d.cli.app import app
from ich25d.encoder.parent import read_parent
from ich25d.engine.compiled import COMPILED_ENGINES
from ich25d.engine.export import EXAMPLE_FILE, export
from ich25d.errors import ModelError
from ich25d.files import sha256_file
from ich25d.labels import LABELS
from ich25d.sequence.model_directory import load_sequence


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


@pytest.fixture(scope="module")
def told_apart(joint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with corrections so large, and a blend of the sequence models alone, that it shows who reads what."""
    run = Path(shutil.copytree(joint, tmp_path_factory.mktemp("apart") / "run"))
    content = json.loads((run / "model.json").read_text())
    for fold, entry in content["folds"].items():
        weights, rng = load_file(run / entry["weights"]), np.random.default_rng(int(fold))
        head = weights["0.slice_head.weight"]
        save_file(weights | {"0.slice_head.weight": rng.normal(size=head.shape).astype(np.float32)},
                  run / entry["weights"])  # fmt: skip
        entry["sha256"] = sha256_file(run / entry["weights"])
    for label in LABELS:
        content["refinement"][label]["blend"] = {
            "slope": 1.0, "bias": 0.0, "sigma_mm": 0.0, "smoothed": 0.0, "sequence": 1.0,
        }  # fmt: skip
    (run / "model.json").write_text(json.dumps(content))
    return run


def test_exports_each_folds_pair(told_apart: Path, walk: Walk, tmp_path: Path) -> None:
    """torch, both engines and the example agree; were every sequence model to read every encoder, none would."""
    loaded, rng = load_sequence(told_apart), np.random.default_rng(0)
    shape = (len(loaded.folds), len(loaded.views), 5)
    numbers = rng.normal(size=(*shape, loaded.dim)), rng.normal(size=(*shape, 6)), 5.0 * np.arange(5)
    mixed = replace(loaded, paired=False).predict(*numbers).probability
    assert np.abs(loaded.predict(*numbers).probability - mixed).max() > 0.05

    out = tmp_path / "exported"
    export(told_apart, out)
    torch = load_model(told_apart, device="cpu", engine="torch").predict(walk.test)
    for engine in COMPILED_ENGINES:
        for ours, theirs in zip(load_model(out, engine=engine).predict(walk.test), torch, strict=True):
            assert ours.probability == pytest.approx(theirs.probability, abs=1e-4)
            assert ours.series_probability == pytest.approx(theirs.series_probability, abs=1e-4)
    done = subprocess.run([sys.executable, str(out / EXAMPLE_FILE)], capture_output=True, text=True, check=True)
    assert float(done.stderr.strip().rpartition(" ")[2]) < 1e-4
    content = json.loads((out / "model.json").read_text())
    (out / "model.json").write_text(
        json.dumps({**content, "sequence_models": [{**one, "fold": 0} for one in content["sequence_models"]]})
    )
    shutil.rmtree(out / ".engine", ignore_errors=True)
    with pytest.raises(ModelError, match="must have sequence models of every fold"):
        load_model(out, engine="onnx")
