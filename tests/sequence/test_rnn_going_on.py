"""Sequence models that go on from another run: their start, who judges them, what changed, what is refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from bright_squares import SIZE, write_toy_store
from safetensors.numpy import load_file

from ich25d.config import EncoderConfig, Recipe, SequenceConfig, SlabConfig, TrainConfig
from ich25d.encoder.beforehand import RATE
from ich25d.encoder.change import CHANGE_FILE, read_changes
from ich25d.encoder.learnt_images import image_hashes
from ich25d.encoder.loaded import load_encoder
from ich25d.encoder.model_directory import read_run
from ich25d.encoder.parent import read_parent
from ich25d.encoder.train import train_cnn
from ich25d.errors import ModelError, UsageError
from ich25d.features.extract import embed_series
from ich25d.labels import LABELS
from ich25d.recipes import read_recipe
from ich25d.sequence.beforehand import came_from, form_of
from ich25d.sequence.model import module_of
from ich25d.sequence.model_directory import LoadedSequence, load_sequence
from ich25d.sequence.train import train_rnn
from ich25d.studies.store_dir.store import StudyStore

STILL = ("sequence.lr=1e-12", "sequence.epochs=1")
"""A training that changes nothing."""


@dataclasses.dataclass(frozen=True)
class Runs:
    """What all tests share."""

    store: Path
    """Series 0 to 5, number n in fold n mod 2."""
    cnn: Path
    rnn: Path
    mixed: Path
    """Series 3 to 8, number n in fold (n + 1) mod 2: networks of the first run know 3, 4, 5 in these folds."""
    child_cnn: Path
    child: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Both stages on one store, and both once more, on from there, on another one."""
    root = tmp_path_factory.mktemp("runs")
    recipe = Recipe(
        slab=SlabConfig(windows=("brain",), size=SIZE),
        encoder=EncoderConfig(name="test_resnet", weights="none"),
        train=TrainConfig(epochs=1, batch_size=6, lr=1e-3, ema=0.0, keep="last", precision="fp32"),
        sequence=SequenceConfig(project=8, hidden=4, epochs=2, seeds=2),
    )
    store = write_toy_store(root / "studies", n_folds=2)
    train_cnn(store, recipe, root / "cnn", device="cpu")
    train_rnn(store, root / "cnn", root / "rnn", device="cpu")
    mixed = write_toy_store(root / "mixed", first=3, shift=1, n_folds=2)
    train_cnn(mixed, recipe, root / "child_cnn", device="cpu", parent=root / "rnn")
    train_rnn(mixed, root / "child_cnn", root / "child", device="cpu", parent=root / "rnn", old=store)
    return Runs(store, root / "cnn", root / "rnn", mixed, root / "child_cnn", root / "child")


def _content(run: Path) -> dict:
    return dict(json.loads((run / "model.json").read_text(encoding="utf-8")))


def _weights(run: LoadedSequence, fold: int, seed: int) -> dict[str, torch.Tensor]:
    return module_of(run.models[fold][seed]).state_dict()


def test_learning_nothing_gives_the_parent_back(runs: Runs, tmp_path: Path) -> None:
    """Fold k from fold k, seeds alike (the third from the first again), statistics to the bit; nothing is forgotten."""
    out = tmp_path / "rnn"
    summary = train_rnn(
        runs.store, runs.cnn, out, device="cpu", parent=runs.rnn, overrides=(*STILL, "sequence.seeds=3")
    )
    before, after = load_sequence(runs.rnn), load_sequence(out)
    for fold in (0, 1):
        for seed in range(3):
            old, new = _weights(before, fold, seed % 2), _weights(after, fold, seed)
            assert all(torch.allclose(old[name], new[name], atol=1e-9) for name in old)
    assert (out / "statistics.safetensors").read_bytes() == (runs.rnn / "statistics.safetensors").read_bytes()
    # All was held out by the very fold that it started from: old scans alone, on which nothing has changed.
    assert summary.changes.keys() == {"old"}
    assert (summary.changes["old"].n_slices, summary.changes["old"].n_patients) == (36, 6)
    table = pd.concat([pd.read_parquet(out / f"fold{fold}" / CHANGE_FILE) for fold in (0, 1)])
    sides = [table[[f"{side}_{label}" for label in LABELS]].to_numpy() for side in ("before", "after")]
    # Two seeds in front, three behind: equal to the means of the same models, up to their weights.
    assert np.abs(sides[0] - sides[1]).max() < 0.05


def test_a_child_starts_from_the_fold_that_its_encoder_came_from(runs: Runs, tmp_path: Path) -> None:
    """Encoder 0 of a CNN with its folds turned round came from encoder 1: so do its sequence models and statistics."""
    turned = Path(shutil.copytree(runs.child_cnn, tmp_path / "cnn"))
    content = _content(turned)
    for fold, entry in content["folds"].items():
        entry["from_fold"] = 1 - int(fold)
    (turned / "model.json").write_text(json.dumps(content))
    assert came_from(runs.child_cnn, runs.rnn) == {0: 0, 1: 1}
    assert came_from(turned, runs.rnn) == {0: 1, 1: 0}

    train_rnn(runs.mixed, turned, tmp_path / "rnn", device="cpu", parent=runs.rnn, overrides=STILL)
    before, after = load_sequence(runs.rnn), load_sequence(tmp_path / "rnn")
    for fold in (0, 1):
        old, new = _weights(before, 1 - fold, 1), _weights(after, fold, 1)
        assert all(torch.allclose(old[name], new[name], atol=1e-9) for name in old)
        assert np.array_equal(before.standardisation.mean[str(1 - fold)], after.standardisation.mean[str(fold)])


def test_patients_that_a_network_knows_judge_nothing(runs: Runs) -> None:
    """Of series 3 to 8 the new ones alone are held out; no image of theirs is among what their start has learnt."""
    store, parent = StudyStore.open(runs.mixed), read_parent(runs.rnn)
    hashes = pd.Series(image_hashes(store), index=store.slices["image_id"].astype(str))
    judged = {}
    for fold in (0, 1):
        table = pd.read_parquet(runs.child / f"fold{fold}" / "oof.parquet")
        judged[fold] = sorted(set(table["series_id"]))
        assert not np.isin(hashes[table["image_id"]], parent.start_of(fold).images.trained).any()
    assert judged == {0: ["ID_s7"], 1: ["ID_s6", "ID_s8"]}
    assert _content(runs.child)["data"]["n_series"] == 3


def test_what_changed_is_measured_on_both(runs: Runs) -> None:
    """New: the three new series; old: those of the old store that network 0 (0, 2) and network 1 (1) held out."""
    changes = read_changes(runs.child, _content(runs.child))
    tables = [pd.read_parquet(runs.child / f"fold{fold}" / CHANGE_FILE).assign(fold=fold) for fold in (0, 1)]
    table = pd.concat(tables, ignore_index=True)
    old = table[table["part"] == "old"]

    assert [(changes[part].n_slices, changes[part].n_patients) for part in ("new", "old")] == [(18, 3), (18, 3)]
    assert sorted(old.groupby(["fold", "series_id"]).groups) == [(0, "ID_s0"), (0, "ID_s2"), (1, "ID_s1")]
    text = (runs.child / "comparison.txt").read_text(encoding="utf-8")
    assert "before and after, 18 slices that neither run was trained on, of 3 patients:" in text
    # By hand: series 7 is in fold 0, whose encoder and sequence models were the parent's fold 0.
    found = table[(table["part"] == "new") & (table["series_id"] == "ID_s7")]
    assert np.allclose(found[[f"before_{label}" for label in LABELS[:5]]], _alone(runs, "ID_s7", 0), atol=1e-4)


def _alone(runs: Runs, series_id: str, fold: int) -> np.ndarray:
    """Return logits of the parent's fold alone, as prediction computes them, shape (n, 5)."""
    loaded = load_sequence(runs.rnn)
    blends = tuple(
        dataclasses.replace(blend, slope=1.0, bias=0.0, sigma_mm=0.0, smoothed=0.0, sequence=1.0)
        for blend in loaded.refinement.blends
    )
    plain = dataclasses.replace(loaded.refinement, blends=blends)
    one = dataclasses.replace(loaded, folds=(fold,), models=loaded.models[fold : fold + 1], refinement=plain)
    hu, position = StudyStore.open(runs.mixed).hu(series_id), 5.0 * np.arange(6)
    seen = embed_series(load_encoder(runs.rnn / "encoder", fold), hu, position, None, views=loaded.views)
    probability = one.predict([seen.embedding], [seen.logit], position).probability[:, :5]
    return np.log(probability / (1 - probability))


def test_the_card_names_the_chain_and_its_terms(runs: Runs, tmp_path: Path) -> None:
    """Hash, what changed, and through two steps an attribution and the terms of RSNA's series."""
    parent, card = _content(runs.child)["parent"], (runs.child / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert parent["name"] == "rnn"
    assert parent["networks"] == {fold: entry["sha256"] for fold, entry in _content(runs.rnn)["folds"].items()}
    section = card[card.index("## Sequence model") : card.index("## Training")]
    assert parent["model_sha256"] in section
    assert "AUC any" in section
    assert "non-commercial research" not in card
    assert "\n\n\n" not in card
    assert "ID_" not in (runs.child / "parent.json").read_text() + (runs.child / "model.json").read_text()

    first = Path(shutil.copytree(runs.rnn, tmp_path / "first"))
    content, of_encoder = _content(first), _content(first / "encoder")
    (first / "model.json").write_text(json.dumps({**content, "attribution": "Made of somebody's scans, CC BY 4.0."}))
    of_encoder["data"]["n_rsna"] = 7
    (first / "encoder" / "model.json").write_text(json.dumps(of_encoder))
    train_rnn(runs.store, runs.cnn, tmp_path / "second", device="cpu", parent=first, overrides=STILL)
    train_rnn(runs.store, runs.cnn, tmp_path / "third", device="cpu", parent=tmp_path / "second", overrides=STILL)
    card = (tmp_path / "third" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert _content(tmp_path / "third")["parent"]["parent"]["name"] == "first"
    assert "Made of somebody's scans, CC BY 4.0." in card
    assert "or among those of a run before it. The RSNA 2019 data are for non-commercial research" in card


def test_the_recipe_is_the_parents_at_a_smaller_rate(runs: Runs, tmp_path: Path) -> None:
    """A child's child doesn't slow down further; what the user sets, holds."""
    first, second = (read_recipe(run / "config.toml") for run in (runs.rnn, runs.child))
    assert second.sequence == dataclasses.replace(first.sequence, lr=pytest.approx(RATE * first.sequence.lr))
    train_rnn(
        runs.mixed, runs.child_cnn, tmp_path / "rnn", device="cpu", parent=runs.child,
        overrides=("sequence.epochs=1",),
    )  # fmt: skip
    third = read_recipe(tmp_path / "rnn" / "config.toml").sequence
    assert third == dataclasses.replace(second.sequence, epochs=1)


def test_a_child_keeps_to_its_parent(runs: Runs) -> None:
    """Called again alike, nothing is trained; without --from, or from another run, it is refused and unchanged."""
    before = {path: path.read_bytes() for path in runs.child.glob("fold*/*.safetensors")}
    again = train_rnn(runs.mixed, runs.child_cnn, runs.child, device="cpu", parent=runs.rnn, old=runs.store)
    assert again.changes == read_changes(runs.child, _content(runs.child))
    rate = f"sequence.lr={read_recipe(runs.child / 'config.toml').sequence.lr}"
    with pytest.raises(UsageError, match=r"goes on from one run \(got no run for rnn"):
        train_rnn(runs.mixed, runs.child_cnn, runs.child, device="cpu", overrides=(rate,))
    with pytest.raises(UsageError, match="another folder than the run that it goes on from"):
        train_rnn(runs.store, runs.cnn, runs.rnn, device="cpu", parent=runs.rnn)
    assert before == {path: path.read_bytes() for path in runs.child.glob("fold*/*.safetensors")}


def test_other_encoders_and_forms_are_refused_by_name(runs: Runs, tmp_path: Path) -> None:
    """A CNN trained apart, a child of another run, another GRU, a feature store, a fold without its encoder."""
    out = tmp_path / "out"
    apart = Path(shutil.copytree(runs.cnn, tmp_path / "apart"))
    content = _content(apart)
    content["folds"]["1"]["sha256"] = "0" * 64
    (apart / "model.json").write_text(json.dumps(content))
    for cnn, store, parent in ((apart, runs.store, runs.rnn), (runs.cnn, runs.store, runs.child)):
        with pytest.raises(UsageError, match=rf"networks of another origin in {cnn} than those of {parent}\): embedd"):
            train_rnn(store, cnn, out, device="cpu", parent=parent)
    with pytest.raises(UsageError, match=r"other values of sequence\.hidden"):
        train_rnn(runs.store, runs.cnn, out, device="cpu", parent=runs.rnn, overrides=("sequence.hidden=5",))
    with pytest.raises(UsageError, match="goes on with the encoders of a run"):
        train_rnn(None, None, out, features=runs.rnn / "features", device="cpu", parent=runs.rnn)
    with pytest.raises(UsageError, match="got no --from"):
        train_rnn(runs.store, runs.cnn, out, device="cpu", old=runs.store)
    with pytest.raises(ModelError, match="must say kind 'sequence'"):
        train_rnn(runs.store, runs.cnn, out, device="cpu", parent=runs.cnn)
    lacking = Path(shutil.copytree(runs.rnn, tmp_path / "lacking"))
    content = _content(lacking)
    del content["folds"]["1"]
    (lacking / "model.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"an encoder for each fold of its sequence model \(got encoders of 0, 1 for"):
        form_of(lacking, "train-rnn --from")
    assert not out.exists()


def test_an_encoder_that_may_judge_nothing_is_left_out(runs: Runs, tmp_path: Path) -> None:
    """All that fold 1 held out was known: new folds of what is left, one encoder, and a run that loads."""
    cnn = Path(shutil.copytree(runs.child_cnn, tmp_path / "cnn"))
    path = cnn / "fold1" / "oof.parquet"
    pd.read_parquet(path).assign(seen=True).to_parquet(path)
    first = cnn / "fold0" / "oof.parquet"
    pd.read_parquet(first).assign(seen=False).to_parquet(first)
    train_rnn(runs.mixed, cnn, tmp_path / "plain", device="cpu", overrides=("sequence.epochs=1",))
    train_rnn(runs.mixed, cnn, tmp_path / "from", device="cpu", parent=runs.rnn, overrides=STILL)

    for name in ("plain", "from"):
        assert load_sequence(tmp_path / name).folds == (0,)
        assert load_file(tmp_path / name / "statistics.safetensors").keys() == {"mean.0", "spread.0"}
        assert sorted(read_run(tmp_path / name / "encoder").folds) == [0, 1]
        with pytest.raises(UsageError, match="an encoder for each fold"):
            form_of(tmp_path / name, "train-joint")
