"""Whose run a folder is: one recipe, one CNN, one feature store, and nobody else's files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from synthetic_features import make_store

from ich25d.config import Recipe
from ich25d.errors import UsageError
from ich25d.recipes import write_recipe
from ich25d.sequence import fold_training as fold_module
from ich25d.sequence.train import train_rnn
from ich25d.training.ownership import owner_of

QUICK = ("sequence.epochs=1", "sequence.batch_size=8", "sequence.project=6", "sequence.hidden=4", "sequence.layers=1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A feature store, and a run trained on it."""
    root = tmp_path_factory.mktemp("whose")
    make_store(root / "features", n_series=12, n_folds=2, painted=0)
    train_rnn(None, None, root / "rnn", features=root / "features", overrides=QUICK, device="cpu")
    return root


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """Copies of both to change."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _refused(root: Path, out: Path, message: str, *more: str) -> None:
    """Expect a refusal that changes nothing."""
    before = _tree(out)
    with pytest.raises(UsageError, match=message):
        train_rnn(None, None, out, features=root / "features", overrides=(*QUICK, *more), device="cpu")
    assert _tree(out) == before


@pytest.mark.parametrize(
    "config",
    ["", "[sequence]\nepochs = 3\n", "[my]\nsetting = 3\n", "not TOML", None],
    ids=["empty", "part of a recipe", "another program's", "no TOML", "none"],
)
def test_nobody_elses_files_are_replaced(trained: Path, tmp_path: Path, config: str | None) -> None:
    """A project folder with a config.toml, features, a report and a card of its own stays as it is."""
    out = tmp_path / "project"
    (out / "features").mkdir(parents=True)
    for name in ("report.html", "MODEL_CARD.md", "statistics.safetensors", "features/mine.csv"):
        (out / name).write_text("mine")
    if config is not None:
        (out / "config.toml").write_text(config)

    _refused(trained, out, r"new folder or a sequence model's directory \(got .*project, with other files in it")


def _finished(out: Path) -> None:
    (out / "model.json").write_text('{"kind": "encoder"}')


def _checkpointed(out: Path) -> None:
    (out / "fold0" / "last.pt").write_bytes(b"weeks of work")


def _just_begun(out: Path) -> None:
    (out / "fold0" / "metrics.jsonl").write_text('{"event": "begin", "step": 0}\n')


@pytest.mark.parametrize("make", [_finished, _checkpointed, _just_begun])
def test_a_cnns_run_is_not_replaced(trained: Path, tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Neither a finished one nor one under way."""
    out = tmp_path / "cnn"
    (out / "fold0").mkdir(parents=True)
    (out / "config.toml").write_text(write_recipe(Recipe()))
    make(out)

    assert owner_of(out) == "encoder"
    _refused(trained, out, "with a CNN's run in it")


def test_a_directory_holds_one_recipe(copied: Path) -> None:
    """Other settings are refused by name; those of unused sections may differ, and the call may be repeated."""
    _refused(copied, copied / "rnn", r"other values of sequence\.epochs\) in .*; choose", "sequence.epochs=2")
    _refused(copied, copied / "rnn", r"other values of calibration\.fit_on\)", 'calibration.fit_on=["series00*"]')
    before = _tree(copied / "rnn")

    train_rnn(
        None, None, copied / "rnn", features=copied / "features", device="cpu",
        overrides=(*QUICK, "train.lr=0.5", "features.painted_copies=3"),
    )  # fmt: skip
    assert _tree(copied / "rnn")["model.json"] == before["model.json"]


def test_a_directory_is_of_one_feature_store(copied: Path, tmp_path: Path) -> None:
    """Other embeddings or labels are refused before anything is written."""
    (tmp_path / "other").mkdir()
    make_store(tmp_path / "other" / "features", n_series=14, n_folds=2, painted=0)
    _refused(
        tmp_path / "other", copied / "rnn", r"one feature store \(got one with .*other.features\) in .*rnn; choose"
    )

    table = pd.read_parquet(copied / "features" / "slices.parquet")
    table.assign(any=1 - table["any"]).to_parquet(copied / "features" / "slices.parquet")
    _refused(copied, copied / "rnn", "one feature store")


def test_a_directory_is_of_one_cnn(copied: Path) -> None:
    """A run that carries an encoder's copy isn't replaced by one without, nor by one of other weights."""
    encoder = copied / "rnn" / "encoder"
    encoder.mkdir()
    content = {
        "kind": "encoder", "format": 1, "encoder": {}, "slab": {}, "store": {"size": 32, "crop": "head"},
        "normalisation": {"mean": [0], "std": [1]}, "folds": {"0": {"sha256": "a"}},
        "labels": json.loads((copied / "rnn" / "model.json").read_text())["labels"],
    }  # fmt: skip
    (encoder / "model.json").write_text(json.dumps(content))

    _refused(copied, copied / "rnn", r"made of one CNN \(got other weights, of fold\(s\) \[\] for \[0\]\)")


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_killed_training_goes_on(copied: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Killed before its first fold, after it, or before model.json: the same call ends, with the same weights."""
    calls = iter(range(9))
    train = fold_module.train_sequence_model

    def killed(*args: object, **options: object) -> object:
        if next(calls) == at:
            raise KeyboardInterrupt
        return train(*args, **options)

    def call() -> None:
        train_rnn(None, None, copied / "again", features=copied / "features", overrides=QUICK, device="cpu")

    with monkeypatch.context() as patch:
        patch.setattr(fold_module, "train_sequence_model", killed)
        if at < 2:
            with pytest.raises(KeyboardInterrupt):
                call()
        else:
            call()
            (copied / "again" / "model.json").unlink()
    assert owner_of(copied / "again") == ("begun" if at == 0 else "sequence")
    kept = {path: path.read_bytes() for path in (copied / "again").glob("fold*/weights.safetensors")}
    call()

    found, whole = (json.loads((copied / name / "model.json").read_text()) for name in ("again", "rnn"))
    assert len(kept) == at
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert (found["data"], found["base_logit"]) == (whole["data"], whole["base_logit"])
    assert found["folds"] == whole["folds"]


def test_a_training_killed_twice_goes_on(copied: Path) -> None:
    """The second time before its first line, when the log is empty again and the page of the first time is there."""
    out = copied / "again"
    (out / "fold0").mkdir(parents=True)
    (out / "fold0" / "metrics.jsonl").touch()
    for name in ("config.toml", "report.html"):
        shutil.copy(copied / "rnn" / name, out)
    assert owner_of(out) == "begun"

    train_rnn(None, None, out, features=copied / "features", overrides=QUICK, device="cpu")

    found, whole = (json.loads((copied / name / "model.json").read_text()) for name in ("again", "rnn"))
    assert found["folds"] == whole["folds"]


def test_a_training_killed_while_it_embedded_goes_on(trained: Path, tmp_path: Path) -> None:
    """Its features are there, and no recipe yet; or both."""
    out = tmp_path / "rnn"
    (out / "features").mkdir(parents=True)
    assert owner_of(out) == "sequence"
    (out / "config.toml").write_text(write_recipe(Recipe()))
    assert owner_of(out) == "sequence"

    train_rnn(None, None, out, features=trained / "features", overrides=QUICK, device="cpu")
