"""Encoder and sequence model trained together: the same network, the same gradients, resumable, honest, refused."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from bright_squares import SIZE, write_toy_store
from hypothesis import given
from hypothesis import strategies as st

from ich25d.config import EncoderConfig, JointConfig, Recipe, SequenceConfig, SlabConfig, TrainConfig
from ich25d.encoder.loaded import load_encoder
from ich25d.encoder.model_directory import read_run
from ich25d.encoder.train import train_cnn
from ich25d.encoder.weights import build_encoder
from ich25d.errors import UsageError
from ich25d.features.store import FeatureStore
from ich25d.joint import train as train_module
from ich25d.joint.drawn_series import augmented_alike, draw_series
from ich25d.joint.model import JointModel
from ich25d.joint.train import train_joint
from ich25d.recipes import write_recipe
from ich25d.sequence.model import SequenceModel, module_of
from ich25d.sequence.model_directory import load_sequence
from ich25d.sequence.train import train_rnn
from ich25d.slabs.dataset import SlabReader
from ich25d.slabs.network_input import network_input
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.device import Precision

FP32 = Precision("fp32", "a test's")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """A tiny network."""
    return Recipe(
        slab=SlabConfig(windows=("brain",), size=SIZE),
        encoder=EncoderConfig(name="test_resnet", weights="none", dropout=0.2),
        train=TrainConfig(epochs=1, batch_size=6, lr=1e-3, ema=0.0, keep="last", precision="fp32"),
        sequence=SequenceConfig(project=8, hidden=4, epochs=2, seeds=2),
        joint=JointConfig(epochs=2, series=2, micro_batch=4, encoder_lr=1e-3, sequence_lr=1e-2, ema=0.5),
    )


@pytest.fixture(scope="module")
def two_stages(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> tuple[Path, Path]:
    """A toy store of two folds, and a run of train-rnn on it."""
    root = tmp_path_factory.mktemp("stages")
    store = write_toy_store(root / "studies", n_folds=2)
    train_cnn(store, recipe, root / "cnn", device="cpu")
    train_rnn(store, root / "cnn", root / "rnn", device="cpu")
    return store, root / "rnn"


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory, two_stages: tuple[Path, Path]) -> Path:
    """A run of train-joint on the same store."""
    out = tmp_path_factory.mktemp("joint") / "run"
    train_joint(*two_stages, out, device="cpu")
    return out


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_starts_as_the_two_stages_predict(two_stages: tuple[Path, Path], recipe: Recipe) -> None:
    """The joint network of untouched weights gives a held-out series the logits of train-rnn's own table."""
    store, rnn = StudyStore.open(two_stages[0]), two_stages[1]
    loaded, encoder = load_sequence(rnn), load_encoder(rnn / "encoder", 1).model
    statistics = loaded.standardisation
    model = JointModel(encoder, loaded.models[1][0].module, statistics.mean["1"], statistics.spread["1"]).eval()
    reader = SlabReader(store, recipe.slab)
    batch = reader.read(reader.rows_of(["ID_s3"]))
    with torch.no_grad():
        found = model(network_input(batch, recipe.slab, CPU), 5.0 * torch.arange(6), micro_batch=4, precision=FP32)
    features = FeatureStore.open(rnn / "features").read("ID_s3")
    standard = torch.from_numpy(statistics.apply(features.embedding[0], "1"))
    logit = torch.from_numpy(features.logit[0])
    with torch.no_grad():
        refined, series = loaded.models[1][0].module(
            standard[None], logit[None], 5.0 * torch.arange(6)[None], torch.tensor([6])
        )

    assert torch.allclose(found.slices, logit, atol=1e-5)
    assert torch.allclose(found.refined, refined[0], atol=1e-2)  # the feature store keeps 16 bits
    assert torch.allclose(found.series, series[0], atol=1e-2)


@pytest.mark.parametrize("micro_batch", [1, 3, 100])
def test_micro_batches_change_no_gradient(recipe: Recipe, micro_batch: int) -> None:
    """Loss and gradients of a series at once, activations kept, and in parts, computed again for the backward pass."""

    def gradients(size: int, *, keep: bool) -> tuple[float, list[torch.Tensor]]:
        torch.manual_seed(0)
        encoder = build_encoder(dataclasses.replace(recipe.encoder, dropout=0.0), recipe.slab)
        own = SequenceModel(encoder.embedding_size, dataclasses.replace(recipe.sequence, dropout=0.0))
        torch.nn.init.normal_(own.slice_head.weight)
        width = np.ones(encoder.embedding_size, np.float32)
        model = JointModel(encoder, own, 0 * width, width).train(not keep)  # without dropout, only in what is kept
        found = model(torch.rand(7, 3, SIZE, SIZE), torch.arange(7.0), micro_batch=size, precision=FP32)
        loss = (found.refined**2).sum() + found.series.sum() + found.slices.sum()
        loss.backward()
        return loss.item(), [part.grad for part in model.parameters() if part.grad is not None]

    loss, whole = gradients(7, keep=True)
    again, parts = gradients(micro_batch, keep=False)
    assert again == pytest.approx(loss, rel=1e-5)
    assert len(whole) == len(parts) > 20
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(one.abs().max()) + 1e-6)


def test_batch_norms_keep_the_statistics_of_their_training(recipe: Recipe) -> None:
    """The slices of one scan don't move them."""
    encoder = build_encoder(recipe.encoder, recipe.slab)
    width = np.ones(encoder.embedding_size, np.float32)
    model = JointModel(encoder, SequenceModel(encoder.embedding_size, recipe.sequence), 0 * width, width).train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    model(torch.rand(5, 3, SIZE, SIZE), torch.arange(5.0), micro_batch=2, precision=FP32)

    assert model.encoder.dropout.training
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())


@given(n=st.integers(1, 40), most=st.integers(2, 40), epoch=st.integers(0, 3), number=st.integers(0, 5))
def test_a_drawn_series_is_a_stretch_of_it(n: int, most: int, epoch: int, number: int) -> None:
    """Slices in one direction, all or every second one, no more than allowed, each with its own position."""
    rows, position = 100 + np.arange(n), 7.0 + 5.0 * np.arange(n)
    config = JointConfig(most_slices=most)
    drawn = draw_series(rows, position, config, SequenceConfig(), epoch=epoch, number=number)
    again = draw_series(rows, position, config, SequenceConfig(), epoch=epoch, number=number)
    steps = set(np.diff(drawn.rows).tolist())

    assert 1 <= len(drawn.rows) <= most
    assert steps in (set(), {1}, {-1}, {2}, {-2})
    assert np.allclose(drawn.position_mm, 5.0 * (drawn.rows - 100))
    assert np.array_equal(drawn.rows, again.rows)


def test_a_head_is_augmented_as_a_whole(two_stages: tuple[Path, Path], recipe: Recipe) -> None:
    """Two slices that are alike stay alike."""
    reader = SlabReader(StudyStore.open(two_stages[0]), recipe.slab)
    batch = reader.read(np.array([0, 1]))
    alike = dataclasses.replace(batch, hu=batch.hu[:1].repeat(2, 1, 1, 1))
    apart, together = (
        network_input(one, recipe.slab, CPU, augment=recipe.augment, seed=1) for one in (alike, augmented_alike(alike))
    )
    assert not torch.equal(apart[0], apart[1])
    assert torch.equal(together[0], together[1])


def test_leaves_a_sequence_models_directory(joint: Path, two_stages: tuple[Path, Path]) -> None:
    """Weights moved, each fold with its own encoder; every series held out once; the card says how it was trained."""
    loaded, before = load_sequence(joint), load_sequence(two_stages[1])
    run = read_run(joint / "encoder")
    oof = pd.concat([pd.read_parquet(joint / f"fold{fold}" / "oof.parquet") for fold in (0, 1)])

    assert loaded.paired
    assert (len(loaded.models), len(loaded.models[0])) == (2, 1)
    assert sorted(oof["image_id"]) == sorted(StudyStore.open(two_stages[0]).slices["image_id"])
    assert all(np.array_equal(loaded.standardisation.mean[key], before.standardisation.mean[key]) for key in "01")
    for fold in (0, 1):
        own, other = (load_encoder(folder / "encoder", fold).model.state_dict() for folder in (joint, two_stages[1]))
        assert not torch.equal(own["head.weight"], other["head.weight"])
        assert run.folds[fold]["from_fold"] == fold
    for card in (joint / "MODEL_CARD.md", joint / "encoder" / "MODEL_CARD.md"):
        assert "## What it goes on from" in card.read_text(encoding="utf-8")
    assert "Trained together with the encoder on whole series (loss 2 x sequence + 1 x slice)" in (
        joint / "MODEL_CARD.md"
    ).read_text(encoding="utf-8")


def test_each_fold_reads_its_own_encoder_alone(joint: Path) -> None:
    """Paired: the mean over folds of each pair; other encoders' embeddings change nothing."""
    loaded = load_sequence(joint)
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(2, len(loaded.views), 6, loaded.dim)).astype(np.float32)
    logit = rng.normal(size=(2, len(loaded.views), 6, 6))
    whole = loaded.predict(embedding, logit, 5.0 * np.arange(6))
    items = [dataclasses.replace(loaded, folds=(fold,), models=loaded.models[fold : fold + 1]) for fold in (0, 1)]
    free = [dataclasses.replace(one, refinement=_untouched(one)) for one in items]
    alone = [one.predict(embedding[i : i + 1], logit[i : i + 1], 5.0 * np.arange(6)) for i, one in enumerate(free)]
    both = dataclasses.replace(loaded, refinement=_untouched(loaded)).predict(embedding, logit, 5.0 * np.arange(6))

    def logits(probability: np.ndarray) -> np.ndarray:
        return np.log(probability / (1 - probability))

    assert np.isfinite(whole.probability).all()
    mean = np.mean([logits(one.probability[:, :5]) for one in alone], axis=0)
    assert np.allclose(mean, logits(both.probability[:, :5]), atol=1e-6)


def _untouched(loaded: object) -> object:
    """The sequence model's logits as they are, for all labels."""
    refinement = loaded.refinement
    blends = tuple(
        dataclasses.replace(blend, slope=1.0, bias=0.0, sigma_mm=0.0, smoothed=0.0, sequence=1.0)
        for blend in refinement.blends
    )
    return dataclasses.replace(refinement, blends=blends)


def test_a_killed_run_loses_nothing(
    joint: Path, two_stages: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, then the same call: it goes on, and leaves the same to the bit; once more, and nothing is trained."""
    steps = iter(range(10_000))

    @contextmanager
    def asked() -> Iterator[Callable[[], bool]]:
        yield lambda: next(steps) >= 1

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "asked_to_stop", asked)
        with pytest.raises(KeyboardInterrupt):
            train_joint(*two_stages, tmp_path / "run", device="cpu")
    assert (tmp_path / "run" / "encoder" / "fold0" / "last.pt").is_file()
    with pytest.raises(UsageError, match=r"a run of train-joint in it"):
        train_rnn(two_stages[0], two_stages[1] / "encoder", tmp_path / "run", device="cpu")
    train_joint(*two_stages, tmp_path / "run", device="cpu")
    for name in ("fold0/weights.safetensors", "fold1/weights.safetensors", "encoder/fold0/weights.safetensors",
                 "fold0/oof.parquet", "comparison.json", "statistics.safetensors"):  # fmt: skip
        assert (tmp_path / "run" / name).read_bytes() == (joint / name).read_bytes(), name
    with monkeypatch.context() as patched:
        patched.setattr(train_module, "JointFold", None)
        train_joint(*two_stages, tmp_path / "run", device="cpu")


def test_sequence_models_may_go_on_from_it(joint: Path, two_stages: tuple[Path, Path], tmp_path: Path) -> None:
    """train-rnn --from: every seed starts from the one of its fold; and train-rnn's from encoders trained jointly."""
    still = ("sequence.lr=1e-12", "sequence.epochs=1", "features.painted_copies=0")
    store, cnn = two_stages[0], joint / "encoder"
    for parent, name in ((joint, "same"), (two_stages[1], "child")):
        summary = train_rnn(store, cnn, tmp_path / name, device="cpu", parent=parent, overrides=still)
        before, after = load_sequence(parent), load_sequence(tmp_path / name)
        assert not after.paired
        assert summary.changes.keys() == {"old"}
        for fold in (0, 1):
            for seed, model in enumerate(after.models[fold]):
                start = before.models[fold][seed % len(before.models[fold])]
                old, new = module_of(start).state_dict(), module_of(model).state_dict()
                assert all(torch.allclose(old[key], new[key], atol=1e-9) for key in old)


def test_what_does_not_fit_is_refused(
    joint: Path, two_stages: tuple[Path, Path], recipe: Recipe, tmp_path: Path
) -> None:
    """Another recipe or store in a begun run, another GRU, a run without encoders, and somebody else's folder."""
    store, rnn = two_stages
    before = _tree(joint)
    with pytest.raises(UsageError, match=r"other values of joint\.epochs"):
        train_joint(store, rnn, joint, overrides=("joint.epochs=3",), device="cpu")
    other = write_toy_store(tmp_path / "other", first=6, n_folds=2)
    with pytest.raises(UsageError, match="goes on with the study store that it was begun with"):
        train_joint(other, rnn, joint, device="cpu")
    assert _tree(joint) == before
    file = tmp_path / "recipe.toml"
    file.write_text(write_recipe(dataclasses.replace(recipe, sequence=SequenceConfig(project=9, hidden=4))))
    with pytest.raises(UsageError, match=r"other values of sequence\.project"):
        train_joint(store, rnn, tmp_path / "new", config=file, device="cpu")
    shutil.copytree(rnn, tmp_path / "rnn")
    content = json.loads((rnn / "model.json").read_text())
    (tmp_path / "rnn" / "model.json").write_text(json.dumps({**content, "has_encoder": False}))
    with pytest.raises(UsageError, match="needs a run with an encoder for each fold"):
        train_joint(store, tmp_path / "rnn", tmp_path / "new", device="cpu")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="must be a new folder or a run of train-joint"):
        train_joint(store, rnn, tmp_path / "mine", device="cpu")
    assert not (tmp_path / "new").exists()
