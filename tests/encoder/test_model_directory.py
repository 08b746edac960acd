"""The model directory, read with nothing in it trusted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ich25d.config import Recipe
from ich25d.encoder.loaded import export_weights, load_encoder
from ich25d.encoder.model_directory import add_fold, read_run
from ich25d.encoder.train import train_cnn
from ich25d.encoder.weights import build_encoder
from ich25d.errors import ModelError
from ich25d.files import sha256_file
from ich25d.labels import LABELS
from ich25d.training.model_file import read_predictor


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, toy_store: Path, recipe: Recipe) -> Path:
    """One fold of a tiny encoder."""
    out = tmp_path_factory.mktemp("run") / "cnn"
    train_cnn(toy_store, recipe, out, fold=0, device="cpu")
    return out


@pytest.fixture
def copy_of_run(trained: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(trained, tmp_path / "cnn"))


def _edit(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((run / "model.json").read_text())
    change(content)
    (run / "model.json").write_text(json.dumps(content))


def test_loads_ready_to_use(trained: Path) -> None:
    """In evaluation mode, with the prior and the SHA-256 that were written."""
    loaded = load_encoder(trained, 0)

    assert not loaded.model.training
    assert loaded.sha256 == sha256_file(trained / "fold0" / "weights.safetensors")
    assert loaded.prior[LABELS.index("any")] == pytest.approx(0.5, abs=0.02)
    assert loaded.precision.name == "fp32"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run["labels"].reverse(), r"labels must be .* in this order"),
        (lambda run: run.update(kind="sequence"), r"kind 'encoder', format 1 \(got 'sequence', 1\)"),
        (lambda run: run.update(format=2), r"another version"),
        (lambda run: run.pop("slab"), r"must be whole \(got KeyError"),
        (lambda run: run["slab"].update(size="huge"), r"must be whole \(got ValidationError"),
        (lambda run: run["folds"]["0"].update(weights="../../secret.safetensors"), r"stay in it"),
        (lambda run: run["folds"]["0"].update(weights="/etc/passwd"), r"stay in it"),
        (lambda run: run["folds"]["0"].update(weights="fold9/weights.safetensors"), r"must be there"),
        (lambda run: run["folds"]["0"].update(sha256="0" * 64), r"SHA-256 000000000000\.\.\. of model\.json"),
        (lambda run: run["folds"]["0"].pop("prior"), r"must be whole"),
        (lambda run: run["encoder"].update(pool="gem"), r"tensor for tensor"),
        (lambda run: run.update(folds={}), r"finished one, of \[\]"),
    ],
)
def test_refuses_what_was_changed(copy_of_run: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    """Paths that leave the folder, other weights, other labels, other forms."""
    _edit(copy_of_run, change)

    with pytest.raises(ModelError, match=message):
        load_encoder(copy_of_run, 0)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'{"kind": "encoder"'])
def test_refuses_a_damaged_description(copy_of_run: Path, content: bytes) -> None:
    """Whatever model.json holds, it is a sentence, not a traceback."""
    (copy_of_run / "model.json").write_bytes(content)

    with pytest.raises(ModelError, match=r"model\.json"):
        read_run(copy_of_run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run.update(kind={}), r"must be of kind"),
        (lambda run: run.update(kind=["encoder"]), r"must be of kind"),
        (lambda run: run["store"].update(size=float("inf")), r"must be whole \(got OverflowError"),
    ],
)
def test_predicts_with_nothing_that_is_no_model(
    copy_of_run: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """A kind that is no text, and a size that is no number of pixels."""
    _edit(copy_of_run, change)
    with pytest.raises(ModelError, match=message):
        read_predictor(copy_of_run)


def test_refuses_weights_that_are_not_finite(copy_of_run: Path) -> None:
    """Even when their SHA-256 is the one named."""
    path = copy_of_run / "fold0" / "weights.safetensors"
    weights = load_file(path)
    weights["head.weight"][0, 0] = torch.nan
    save_file(weights, path)
    _edit(copy_of_run, lambda run: run["folds"]["0"].update(sha256=sha256_file(path)))

    with pytest.raises(ModelError, match=r"finite \(got NaN or infinity in \['head\.weight'\]"):
        load_encoder(copy_of_run, 0)


def test_says_that_there_is_no_run(tmp_path: Path) -> None:
    """An empty folder is no model."""
    with pytest.raises(ModelError, match=r"readable model\.json"):
        read_run(tmp_path)


def test_the_shift_is_in_the_bias(recipe: Recipe, tmp_path: Path) -> None:
    """Exported weights answer with the model's logits plus the shift; the model itself stays."""
    model = build_encoder(recipe.encoder, recipe.slab).eval()
    again = build_encoder(recipe.encoder, recipe.slab).eval()
    shift = torch.arange(6, dtype=torch.float64) - 3
    x = torch.rand(2, 6, 32, 32)
    with torch.no_grad():
        before = model(x)[1]
        export_weights(model, shift, tmp_path / "weights.safetensors")
        again.load_state_dict(load_file(tmp_path / "weights.safetensors"))

        torch.testing.assert_close(again(x)[1], before + shift.float())
        assert torch.equal(model(x)[1], before)


def test_folds_are_entered_in_any_order(trained: Path, tmp_path: Path) -> None:
    """Trained side by side, they don't lose each other's entries."""
    common = {key: value for key, value in read_run(trained).content.items() if key != "folds"}

    for fold in (10, 2, 0):
        add_fold(tmp_path, common, fold, {"weights": f"fold{fold}"})

    assert list(read_run(tmp_path).folds) == [0, 2, 10]
