"""Exported models and engines: torch's numbers without torch, checked, kept, named and never mixed."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from toy_model import head_hu, positions, write_model
from toy_walk import Walk
from typer.testing import CliRunner

from ich25d import load_model
from ich25d.cli.app import app
from ich25d.encoder.loaded import load_encoder
from ich25d.engine import choice
from ich25d.engine.compiled import COMPILED_ENGINES, is_installed
from ich25d.engine.described import describe_model
from ich25d.engine.export import CHECK_FILE, EXAMPLE_FILE, export
from ich25d.engine.parity import Check
from ich25d.errors import Ich25dError, ModelError, UsageError
from ich25d.files import sha256_file
from ich25d.predict.answer import predict_pixels, resumable_answer
from ich25d.predict.found import find_series
from ich25d.predict.network import Network, load_network
from ich25d.predict.series import read_pixels

BLOCK = """
import sys
from importlib.machinery import PathFinder
class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {blocked!r} else super().find_spec(name, path, target)
sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""
TORCH = {"torch", "timm", "torchvision", "sklearn", "einops", "onnx", "onnxscript", "onnx_ir"}


def run_without(blocked: set[str], code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a process where importing some packages fails."""
    script = BLOCK.format(blocked=blocked) + code
    return subprocess.run([sys.executable, "-P", "-c", script, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def exported(walk: Walk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy walk's encoders and sequence models, exported by the command."""
    out = tmp_path_factory.mktemp("export") / "exported"
    done = CliRunner().invoke(app, ["export", "--model", str(walk.rnn), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "logits differ from torch's by at most" in done.output
    return out


@pytest.fixture(scope="module")
def with_pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with a pixel head."""
    return write_model(tmp_path_factory.mktemp("pixels") / "run", folds=1, pixels=0.3)


class Prepared(NamedTuple):
    """The encoder with a pixel head on the engine that was prepared for it."""

    network: Network
    said: str


@pytest.fixture(scope="module")
def prepared(with_pixels: Path) -> Prepared:
    """What `auto` does the first time, beside the model."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stderr(said):
        patched.delenv(choice.VARIABLE)
        return Prepared(load_network(with_pixels, "cpu"), said.getvalue())


@pytest.mark.parametrize("engine", COMPILED_ENGINES)
def test_gives_torchs_numbers(engine: str, exported: Path, walk: Walk) -> None:
    """Slices, series and encoders, of every series, on both engines; the model is the same and the engine is named."""
    torch, other = load_model(walk.rnn, device="cpu", engine="torch"), load_model(exported, engine=engine)

    for ours, theirs in zip(other.predict(walk.test), torch.predict(walk.test), strict=True):
        assert ours.encoder_probability == pytest.approx(theirs.encoder_probability, abs=1e-5)
        assert ours.probability == pytest.approx(theirs.probability, abs=1e-5)
        assert ours.series_probability == pytest.approx(theirs.series_probability, abs=1e-5)
    assert describe_model(exported).stamp == describe_model(walk.rnn).stamp
    assert (torch.engine.split()[0], other.engine.split()[0]) == ("torch", {"onnx": "onnxruntime"}.get(engine, engine))


def test_folds_keep_their_own_weights(exported: Path, walk: Walk) -> None:
    """One graph is written for all folds: the kept answer of each differs, and names the weights that it is of."""
    check = Check.load(exported / CHECK_FILE)
    entries = json.loads((exported / "model.json").read_text())["encoders"]

    assert not np.allclose(check.logit[0], check.logit[1], atol=1e-4)
    assert [one["weights_sha256"] for one in entries] == [load_encoder(walk.cnn, fold).sha256 for fold in (0, 1)]


def test_predicts_and_reports_without_torch(exported: Path, walk: Walk, tmp_path: Path) -> None:
    """`predict --report` from an exported folder in a process that has no torch, timm, scikit-learn or onnx."""
    csv, reference = tmp_path / "p" / "out.csv", tmp_path / "torch" / "out.csv"
    code = "from ich25d.cli.app import main\nmain()"
    words = ["predict", str(walk.test), "--out", str(csv), "--report", str(tmp_path / "r"), "--model", str(exported)]

    done = run_without(TORCH, code, *words)
    CliRunner().invoke(app, ["predict", str(walk.test), "--out", str(reference), "--model", str(walk.rnn)])

    assert done.returncode == 0, done.stderr
    assert "computed by openvino" in done.stdout
    ours, theirs = (pd.read_csv(path)["Label"] for path in (csv, reference))
    assert np.abs(ours - theirs).max() < 1e-5
    assert "openvino" in pd.read_csv(csv.with_name("studies.csv"))["model"].iloc[0]
    assert (tmp_path / "r" / "index.html").is_file()
    refused = run_without(TORCH, code, *words[:4], "--model", str(walk.rnn))
    assert refused.returncode == 2
    assert "torch must be installed" in refused.stderr


@pytest.mark.usefixtures("prepared")
def test_the_example_needs_numpy_and_onnxruntime_alone(exported: Path, with_pixels: Path) -> None:
    """It gives torch's answer to the kept series, with and without a sequence model."""
    blocked = {*TORCH, "ich25d", "pandas", "scipy", "cv2", "pydicom", "safetensors"}

    for folder in (exported, next(with_pixels.glob(f"{choice._BESIDE}/*/exported"))):
        done = run_without(
            blocked, f"import runpy\nrunpy.run_path({str(folder / EXAMPLE_FILE)!r}, run_name='__main__')"
        )
        assert done.returncode == 0, done.stderr
        assert float(done.stderr.strip().rpartition(" ")[2]) < 1e-5
        assert len(done.stdout.splitlines()) == 1 + len(Check.load(folder / CHECK_FILE).hu)


def test_maps_of_pixel_heads_come_along(
    with_pixels: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a CPU the fastest engine is prepared beside the model, checked and said once, and then found ready."""
    monkeypatch.delenv(choice.VARIABLE)
    reference = load_network(with_pixels, "cpu", "torch")
    monkeypatch.setattr(choice, "write_export", lambda *_: pytest.fail("it is there already"))
    monkeypatch.setattr(choice, "difference", lambda *_: pytest.fail("it was checked already"))
    second = load_network(with_pixels, "cpu")
    hu, position = head_hu(), positions()

    (ours, our_maps), (theirs, their_maps) = (one.predict(hu, position, None, 30.0) for one in (second, reference))

    assert "openvino" in prepared.network.engine.label
    assert "and torch on a phantom series: logits differ from torch's by at most" in prepared.said
    assert capsys.readouterr().err == ""
    assert ours.probability == pytest.approx(theirs.probability, abs=1e-5)
    assert our_maps is not None
    assert their_maps is not None
    assert our_maps.dtype == their_maps.dtype
    assert our_maps.astype(float) == pytest.approx(their_maps.astype(float), abs=2e-3)
    assert len(second.torch_encoders()) == 1


def test_what_cant_be_written_beside_goes_to_the_users_cache(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with an installed model."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    before = sorted(exported.iterdir())

    load_network(exported, engine="onnx")

    assert sorted(exported.iterdir()) == before
    assert len(list((tmp_path / "cache" / "ich25d").glob("*/parity-*.json"))) == 1


def test_an_engine_with_other_numbers_isnt_used(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    with_pixels: Path,
) -> None:
    """By itself torch computes then, and a line says why; where it is asked for by name, that is an error."""
    other = tmp_path / "other"
    shutil.copytree(exported, other, ignore=shutil.ignore_patterns(choice._BESIDE))
    check = Check.load(other / CHECK_FILE)
    check.logit[0, 0, 0, 0] += 0.01
    check.save(other / CHECK_FILE)
    with pytest.raises(ModelError, match=r"an engine must give torch's numbers to 0.001 \(openvino .* at most 0.01"):
        load_network(other, engine="openvino")
    monkeypatch.delenv(choice.VARIABLE)
    monkeypatch.setattr(choice, "_exported", lambda *_: describe_model(other))
    network = load_network(with_pixels, "cpu")

    assert network.engine.name == "torch"
    assert capsys.readouterr().err.count("torch computes: an engine must give torch's numbers") == len(COMPILED_ENGINES)


def test_engines_arent_mixed_in_one_prediction(exported: Path, walk: Walk, tmp_path: Path) -> None:
    """Series that torch finished before a kill are predicted again by another engine, and kept for the same."""
    torch, other = load_network(walk.rnn, "cpu", "torch"), load_network(exported, engine="onnx")
    found, out = find_series([walk.test], torch), tmp_path / "out.csv"

    def n_resumed_until_killed(network: Network) -> int:
        try:
            with resumable_answer(found, network, out) as answer:
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            return answer.n_resumed

    assert [n_resumed_until_killed(one) for one in (torch, other, other, torch)] == [0, 0, 3, 3]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"engine": "tensorrt"}, r"--engine must be auto, torch, openvino or onnx \(got 'tensorrt'\)"),
        ({"engine": "onnx", "device": "cuda"}, r"--engine onnx computes on a CPU \(got --device cuda\)"),
        ({"engine": "torch"}, "an exported model computes on a CPU, by openvino or onnx"),
        ({"device": "cuda"}, "an exported model computes on a CPU, by openvino or onnx"),
    ],
)
def test_refuses_what_cant_be(options: dict[str, str], sentence: str, exported: Path) -> None:
    """One sentence each."""
    with pytest.raises(UsageError, match=sentence):
        load_network(exported, **options)


def test_refuses_other_files(exported: Path, walk: Walk, tmp_path: Path) -> None:
    """A network that was changed, a folder of others as --out, an exported model to export, an absent engine."""
    changed = tmp_path / "changed"
    shutil.copytree(exported, changed)
    (changed / "encoder0.onnx").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"must be the file that model\.json names .* in .*encoder0\.onnx"):
        load_network(changed)
    (changed / CHECK_FILE).unlink()
    shutil.copyfile(exported / "encoder0.onnx", changed / "encoder0.onnx")
    shutil.rmtree(changed / choice._BESIDE, ignore_errors=True)
    with pytest.raises(ModelError, match="the series that its engine is checked on"):
        load_network(changed, engine="onnx")
    with pytest.raises(UsageError, match="--out must be a new folder or an exported model's"):
        export(walk.cnn, walk.rnn)
    with pytest.raises(UsageError, match="got an exported one"):
        export(exported, tmp_path / "again")
    assert sha256_file(exported / "encoder0.onnx") != sha256_file(exported / "encoder1.onnx")


def test_an_absent_engine_is_named(walk: Walk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the extra that brings it; by itself torch computes without a word."""
    monkeypatch.setattr(choice, "is_installed", lambda _: False)
    with pytest.raises(UsageError, match=r"--engine openvino must be installed .* pip install 'ich25d\[engine\]'"):
        load_network(walk.cnn, engine="openvino")
    monkeypatch.delenv(choice.VARIABLE)

    assert load_network(walk.cnn, "cpu").engine.name == "torch"


def test_what_to_install_without_torch_is_all_but_its_companions() -> None:
    """The packages that the page names are those of the project, without what only torch's part needs."""
    root = Path(__file__).resolve().parents[2]
    needed = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.match(r"[\w-]+", one)[0] for one in needed}
    line = re.search(r"^pip install (?!-)(blosc2 .*)$", (root / "docs" / "engine.md").read_text(), re.MULTILINE)

    assert set(line[1].split()) == names - {"torch", "timm", "einops", "scikit-learn"} | {"openvino"}


def test_heat_without_a_pixel_head_needs_torch(exported: Path, walk: Walk) -> None:
    """LayerCAM asks gradients: of the model directory on any engine, of an exported folder not at all."""
    network = load_network(exported)
    found = find_series([walk.test], network)
    pixels = read_pixels(found.series[0], crop=network.crop, size=network.size)

    assert predict_pixels(network, pixels).pixel is None
    with pytest.raises(Ich25dError, match="heat maps of a model without a pixel head need torch"):
        network.torch_encoders()
    assert all(map(is_installed, COMPILED_ENGINES))
