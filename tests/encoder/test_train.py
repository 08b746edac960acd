"""The whole training on a toy store."""

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ich25d.config import Recipe
from ich25d.encoder import train as train_module
from ich25d.encoder.fold_rows import rows_of_fold
from ich25d.encoder.fold_training import FoldTraining
from ich25d.encoder.loaded import load_encoder
from ich25d.encoder.model_directory import read_run
from ich25d.encoder.train import train_cnn
from ich25d.errors import TrainingError, UsageError, WeightsError
from ich25d.files import locked
from ich25d.labels import LABELS
from ich25d.recipes import read_recipe, write_recipe
from ich25d.slabs import painting
from ich25d.slabs.dataset import SlabReader
from ich25d.slabs.loading import LostReaderError, SlabLoader
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.runlog import read_log


def _stop_after(monkeypatch: pytest.MonkeyPatch, n_steps: int) -> None:
    """Press Ctrl-C during the n-th step of training, or batch of validation or of what was held out."""
    steps = iter(range(10_000))

    @contextmanager
    def asked() -> Iterator[Callable[[], bool]]:
        yield lambda: next(steps) >= n_steps - 1

    monkeypatch.setattr(train_module, "asked_to_stop", asked)


def _bytes(out: Path, name: str) -> bytes:
    return (out / "fold0" / name).read_bytes()


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_leaves_a_model_directory(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """All folds: weights, log, out-of-fold logits of every slice once, and what prediction needs to know."""
    out = tmp_path / "cnn"

    summary = train_cnn(toy_store, recipe, out, device="cpu")

    assert summary.exit_code == 0
    assert summary.finished == (0, 1, 2)
    assert "fold 1" in "\n".join(summary.lines())
    json.dumps(summary.to_dict(), allow_nan=False)
    assert {path.name for path in (out / "fold2").iterdir()} == {
        "weights.safetensors", "metrics.jsonl", "oof.parquet", "last.pt", "images.safetensors",
    }  # fmt: skip
    oof = pd.concat([pd.read_parquet(out / f"fold{fold}" / "oof.parquet") for fold in range(3)])
    slices = StudyStore.open(toy_store).slices
    assert sorted(oof["image_id"]) == sorted(slices["image_id"])
    assert list(oof.columns) == ["image_id", "series_id", *LABELS]
    run = read_run(out)
    assert (run.store_size, run.crop, run.slab) == (32, "head", recipe.slab)
    assert read_recipe(out / "config.toml") == recipe
    assert "ID_" not in (out / "model.json").read_text()


def test_the_kept_weights_made_the_out_of_fold_logits(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Loading a fold and predicting what it held out gives its table again."""
    train_cnn(toy_store, recipe, tmp_path / "cnn", fold=1, device="cpu")
    loaded = load_encoder(tmp_path / "cnn", 1)
    reader = SlabReader(StudyStore.open(toy_store), loaded.slab)
    oof = pd.read_parquet(tmp_path / "cnn" / "fold1" / "oof.parquet")

    rows = reader.rows_of(list(oof["series_id"].unique()))
    logit = torch.cat([loaded(batch)[1] for batch in SlabLoader(reader).batches(rows, 5)])

    np.testing.assert_allclose(logit.numpy(), oof[list(LABELS)].to_numpy(), atol=1e-5)


@pytest.mark.parametrize("n_steps", [1, 3, 4, 10, 12])
def test_an_interrupted_run_ends_as_the_uninterrupted_one(
    toy_store: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_steps: int
) -> None:
    """Stopped in a pass, at its end, in validation, in the next one and its own, in predicting: the same bits."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_cnn(toy_store, recipe, whole, fold=0, device="cpu")

    with monkeypatch.context() as patch:
        _stop_after(patch, n_steps)
        stopped = train_cnn(toy_store, recipe, parts, fold=0, device="cpu")
    torch.manual_seed(999)
    resumed = train_cnn(toy_store, recipe, parts, fold=0, device="cpu", resume=True)

    assert (stopped.exit_code, stopped.finished) == (130, ())
    assert resumed.exit_code == 0
    assert _bytes(parts, "weights.safetensors") == _bytes(whole, "weights.safetensors")
    assert _bytes(parts, "oof.parquet") == _bytes(whole, "oof.parquet")
    events = [
        [(line["event"], line["step"]) for line in read_log(out / "fold0" / "metrics.jsonl")] for out in (whole, parts)
    ]
    assert events[0] == events[1]


def _lose_readers(monkeypatch: pytest.MonkeyPatch, n_batches: int) -> None:
    """Kill the process that reads, after so many batches."""
    whole = SlabLoader.batches

    def cut(self: SlabLoader, *args: object, **options: object) -> Iterator[object]:
        yield from itertools.islice(whole(self, *args, **options), n_batches)
        raise LostReaderError(RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated."))

    monkeypatch.setattr(SlabLoader, "batches", cut)


def test_readers_killed_with_a_stop_lose_nothing(
    toy_store: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second step waits for its second batch when the group is stopped: the first step is saved, to the bit."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_cnn(toy_store, recipe, whole, fold=0, device="cpu")

    with monkeypatch.context() as patch:
        _lose_readers(patch, 3)
        patch.setattr(FoldTraining, "_epoch", _after_a_stop(FoldTraining._epoch))
        stopped = train_cnn(toy_store, recipe, parts, fold=0, device="cpu")
    resumed = train_cnn(toy_store, recipe, parts, fold=0, device="cpu", resume=True)

    assert (stopped.exit_code, resumed.exit_code) == (130, 0)
    assert _bytes(parts, "weights.safetensors") == _bytes(whole, "weights.safetensors")


def _after_a_stop(epoch: Callable[..., None]) -> Callable[..., None]:
    """Let a signal come once the pass no longer looks: while it waits for a batch."""

    def run(self: FoldTraining, log: object, stop: Callable[[], bool]) -> None:
        try:
            epoch(self, log, lambda: False)
        except LostReaderError:
            os.kill(os.getpid(), signal.SIGTERM)
            raise

    return run


def test_a_reader_that_dies_by_itself_is_named(
    toy_store: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a traceback: what to do."""
    _lose_readers(monkeypatch, 3)

    with pytest.raises(TrainingError, match=r"processes that read slabs must live.*--resume"):
        train_cnn(toy_store, recipe, tmp_path / "cnn", fold=0, device="cpu")


def test_finished_folds_are_not_trained_again(
    toy_store: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--resume goes on with the next fold; without it a finished run isn't touched."""
    out = tmp_path / "cnn"
    train_cnn(toy_store, recipe, out, fold=0, device="cpu")
    before = (out / "fold0" / "weights.safetensors").stat().st_mtime_ns

    with pytest.raises(UsageError, match=r"holds fold\(s\) \[0\] already; --resume"):
        train_cnn(toy_store, recipe, out, device="cpu")
    summary = train_cnn(toy_store, recipe, out, device="cpu", resume=True)

    assert summary.finished == (0, 1, 2)
    assert (out / "fold0" / "weights.safetensors").stat().st_mtime_ns == before


def test_a_directory_holds_one_recipe(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Another recipe is refused by the names of what differs, and so is a folder of something else."""
    out = tmp_path / "cnn"
    train_cnn(toy_store, recipe, out, fold=0, device="cpu")
    other = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, lr=0.5, loader_workers=3))
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.docx").touch()

    with pytest.raises(UsageError, match=r"other values of train\.lr\) in"):
        train_cnn(toy_store, other, out, fold=1, device="cpu")
    with pytest.raises(UsageError, match="other files in it"):
        train_cnn(toy_store, recipe, tmp_path / "else", device="cpu")


def test_a_run_that_never_began_may_change_its_recipe(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """A kill before the first step leaves a recipe and empty folders behind, but no claim on them."""
    out = tmp_path / "cnn"
    (out / "fold0").mkdir(parents=True)
    other = dataclasses.replace(recipe, encoder=dataclasses.replace(recipe.encoder, dropout=0.5))
    (out / "config.toml").write_text(write_recipe(other))

    assert train_cnn(toy_store, recipe, out, fold=0, device="cpu").finished == (0,)
    assert read_recipe(out / "config.toml") == recipe


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("cause", ["weights", "first step"])
def test_a_failure_before_the_first_step_leaves_nothing(
    toy_store: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str, is_there: bool
) -> None:
    """No recipe, page or empty fold stands there as if something had been trained; a folder of the user's stays."""
    out = tmp_path / "run"
    if is_there:
        out.mkdir()
    if cause == "weights":
        recipe = dataclasses.replace(recipe, encoder=dataclasses.replace(recipe.encoder, weights=str(tmp_path / "no")))
    else:
        monkeypatch.setattr(FoldTraining, "_epoch", lambda *_: (_ for _ in ()).throw(TrainingError("no memory")))

    with pytest.raises((WeightsError, TrainingError)):
        train_cnn(toy_store, recipe, out, fold="all", device="cpu", tensorboard=True)

    assert out.exists() == is_there
    assert not is_there or not list(out.iterdir())


@pytest.mark.parametrize("fails", [False, True])
def test_a_fold_that_another_call_trains_is_left_alone(
    toy_store: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """A command given twice: the second call neither trains the fold too, nor removes it when it fails."""
    out, log = tmp_path / "run", tmp_path / "run" / "fold0" / "metrics.jsonl"
    line = '{"event": "begin", "step": 0}\n'

    with contextlib.ExitStack() as other_call:

        def begin_elsewhere(*_: Any, **__: Any) -> None:
            log.write_text(line)
            other_call.enter_context(locked(out / ".fold0.lock", "trains"))
            if fails:
                raise TrainingError("no memory")

        monkeypatch.setattr("ich25d.encoder.train._painter", begin_elsewhere)
        with pytest.raises(TrainingError if fails else UsageError, match="no memory" if fails else "trains fold 0 in"):
            train_cnn(toy_store, recipe, out, fold=0, device="cpu")

    assert log.read_text() == line
    assert read_recipe(out / "config.toml") == recipe


def test_a_failure_in_a_later_fold_keeps_the_first(
    toy_store: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was trained stays, and is gone on with."""
    train = FoldTraining.run

    def run(training: FoldTraining, *arguments: Any, **options: Any) -> dict[str, Any]:
        if training._fold == 1:
            raise TrainingError("no memory")
        return train(training, *arguments, **options)

    monkeypatch.setattr(FoldTraining, "run", run)
    with pytest.raises(TrainingError):
        train_cnn(toy_store, recipe, tmp_path / "run", fold="all", device="cpu")

    assert list(read_run(tmp_path / "run").folds) == [0]
    assert read_recipe(tmp_path / "run" / "config.toml") == recipe


def test_a_checkpoint_of_other_data_is_refused(
    toy_store: Path, make_store: Callable[..., Path], recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on with other labels or folds would train on what was held out."""
    with monkeypatch.context() as patch:
        _stop_after(patch, 1)
        train_cnn(toy_store, recipe, tmp_path / "cnn", fold=0, device="cpu")

    other = make_store(n_series=9)
    before = _tree(tmp_path / "cnn")
    for fold in (0, 1):
        with pytest.raises(
            UsageError, match=r"the same study store \(got another one, with .* than fold0's, in .*store"
        ):
            train_cnn(other, recipe, tmp_path / "cnn", fold=fold, device="cpu", resume=True)
    assert _tree(tmp_path / "cnn") == before
    assert train_cnn(toy_store, recipe, tmp_path / "cnn", fold=1, device="cpu", resume=True).finished == (1,)


@pytest.mark.parametrize(
    ("shape", "fold", "message"),
    [
        ({"n_folds": 1}, "all", r"at least 2 \(got 1"),
        ({"labelled": False}, "all", r"labelled slices.*--labels"),
        ({}, 7, r"one of the store's, \[0, 1, 2\]"),
    ],
)
def test_says_what_a_store_lacks(
    make_store: Callable[..., Path], recipe: Recipe, tmp_path: Path, shape: dict[str, object], fold: int, message: str
) -> None:
    """Folds, labels, or the fold that was asked for."""
    with pytest.raises(UsageError, match=message):
        train_cnn(make_store(**shape), recipe, tmp_path / "cnn", fold=fold, device="cpu")


def test_held_out_series_are_never_trained_on(toy_store: Path) -> None:
    """Nor are those that only don't count in the validation."""
    store = StudyStore.open(toy_store)
    reader = SlabReader(store, Recipe().slab)

    rows = rows_of_fold(store, reader, 0, ("ID_s3*",))

    series = store.slices["series_id"]
    assert set(series.iloc[rows.held_out]) == {"ID_s0", "ID_s3"}
    assert set(series.iloc[rows.validated]) == {"ID_s0"}
    assert set(series.iloc[rows.train]) == {"ID_s1", "ID_s2", "ID_s4", "ID_s5"}


def test_balanced_drawing_is_undone_in_the_bias(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """The log names the shift; labels never shown differently have none."""
    store = tmp_path / "rare"
    store.mkdir()
    for path in toy_store.rglob("*"):
        target = store / path.relative_to(toy_store)
        target.mkdir() if path.is_dir() else target.write_bytes(path.read_bytes())
    slices = pd.read_parquet(store / "slices.parquet")
    slices.loc[slices["slice_index"] > 1, ["subdural", "any"]] = 0
    slices.to_parquet(store / "slices.parquet")
    balanced = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, balanced=True))

    train_cnn(store, balanced, tmp_path / "cnn", fold=0, device="cpu")

    shift = read_log(tmp_path / "cnn" / "fold0" / "metrics.jsonl")[-2]["logit_shift"]
    assert shift["any"] < -1
    assert shift["epidural"] == pytest.approx(0, abs=1e-6)
    entry = read_run(tmp_path / "cnn").folds[0]
    assert entry["prior_shown"][-1] > 0.4
    assert entry["prior"][-1] < 0.25


def test_frozen_then_free(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """The first pass trains the last layer alone; the run goes through."""
    train = dataclasses.replace(recipe.train, freeze_epochs=1, keep="best", accumulate=1)

    summary = train_cnn(toy_store, dataclasses.replace(recipe, train=train), tmp_path / "cnn", fold=0, device="cpu")

    assert summary.finished == (0,)
    assert read_run(tmp_path / "cnn").folds[0]["epoch"] in (1, 2)


def test_each_anatomy_is_found_once_a_run(
    toy_store: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes and resumed calls share them on disk, however little fits into memory; at the end they are gone."""
    found = []
    find = painting.find_anatomy
    monkeypatch.setattr(painting, "find_anatomy", lambda hu, *a, **k: found.append(hu.tobytes()) or find(hu, *a, **k))
    monkeypatch.setattr(train_module, "MEMORY_BYTES", 1)
    painted = dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, painted=1.0))
    out = tmp_path / "cnn"

    with monkeypatch.context() as patch:
        _stop_after(patch, 3)
        assert train_cnn(toy_store, painted, out, fold=0, device="cpu").interrupted
    assert any((out / ".anatomies").iterdir())
    for fold in (0, 1):
        train_cnn(toy_store, painted, out, fold=fold, device="cpu", resume=True)
        assert not (out / ".anatomies").exists()
        assert len(found) == len(set(found)) > 0
        found.clear()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["auto", "fp16", "fp32"])
def test_trains_on_a_gpu_and_answers_alike_on_a_cpu(
    toy_store: Path, recipe: Recipe, tmp_path: Path, precision: str
) -> None:
    """Half precision in training, and logits that a CPU gives as well."""
    train = dataclasses.replace(recipe.train, precision=precision)
    out = tmp_path / "cnn"

    train_cnn(toy_store, dataclasses.replace(recipe, train=train), out, fold=0, device="cuda")

    oof = pd.read_parquet(out / "fold0" / "oof.parquet")
    loaded = load_encoder(out, 0, "cpu")
    reader = SlabReader(StudyStore.open(toy_store), loaded.slab)
    rows = reader.rows_of(list(oof["series_id"].unique()))
    logit = torch.cat([loaded(batch)[1] for batch in SlabLoader(reader).batches(rows, 5)])
    np.testing.assert_allclose(logit.numpy(), oof[list(LABELS)].to_numpy(), atol=0.05)


def test_two_calls_and_another_process_make_the_same_weights(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Neither memory, hash seeds nor threads may show in the file: results can be repeated bit for bit."""
    train_cnn(toy_store, recipe, tmp_path / "one", fold=0, device="cpu")
    train_cnn(toy_store, recipe, tmp_path / "two", fold=0, device="cpu")
    command = ["train-cnn", str(toy_store), "--config", str(tmp_path / "one" / "config.toml"), "--fold", "0"]
    command += ["--out", str(tmp_path / "three"), "--device", "cpu", "--quiet"]
    subprocess.run([sys.executable, "-m", "ich25d", *command], check=True, capture_output=True)

    weights = {(tmp_path / name / "fold0" / "weights.safetensors").read_bytes() for name in ("one", "two", "three")}
    assert len(weights) == 1
