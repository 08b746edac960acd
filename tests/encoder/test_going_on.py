"""A run that goes on from another one: its start, what may judge it, what it says of its parent and of what changed."""

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
from bright_squares import write_toy_store
from sklearn import metrics as reference

from ich25d.config import Recipe
from ich25d.encoder import train as train_module
from ich25d.encoder.beforehand import EPOCHS, RATE
from ich25d.encoder.change import CHANGE_FILE, read_changes
from ich25d.encoder.held_out import read_held_out
from ich25d.encoder.learnt_images import LearntImages, image_hashes
from ich25d.encoder.loaded import load_encoder
from ich25d.encoder.model_directory import read_run
from ich25d.encoder.parent import checked_parent, child_recipe, read_parent, terms_of
from ich25d.encoder.train import train_cnn
from ich25d.encoder.weights import build_encoder
from ich25d.errors import ModelError, UsageError
from ich25d.labels import LABELS
from ich25d.predict.open_model import OPEN_MODEL, named_model
from ich25d.studies.store_dir.store import StudyStore


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, toy_store: Path, recipe: Recipe) -> Path:
    """A run of two folds of a store of series 0 to 5."""
    out = tmp_path_factory.mktemp("parent") / "cnn"
    for fold in (0, 1):
        train_cnn(toy_store, recipe, out, fold=fold, device="cpu")
    return out


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Series 3 to 8, of which the parent knows 3 to 5, in other folds than there."""
    return write_toy_store(tmp_path_factory.mktemp("mixed"), first=3, shift=1)


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory, parent: Path, mixed: Path, toy_store: Path, recipe: Recipe) -> Path:
    """A run that goes on from the parent with old and new series."""
    out = tmp_path_factory.mktemp("child") / "cnn"
    train_cnn(mixed, recipe, out, device="cpu", parent=parent, old=toy_store)
    return out


def _started(parent: Path, recipe: Recipe, fold: int, *, as_shown: bool) -> dict[str, torch.Tensor]:
    encoder = build_encoder(recipe.encoder, recipe.slab)
    read_parent(parent).start_of(fold).begin(encoder, as_shown=as_shown)
    return encoder.state_dict()


def test_fold_k_starts_from_the_parents_network_k_mod_n(parent: Path, recipe: Recipe) -> None:
    """Weights and head to the bit; fold 2 of a child of two networks starts from the first again."""
    networks = [load_encoder(parent, fold).model.state_dict() for fold in (0, 1)]
    for fold, network in ((0, 0), (1, 1), (2, 0)):
        started = _started(parent, recipe, fold, as_shown=False)
        assert all(torch.equal(started[name], networks[network][name]) for name in started)


def test_a_start_with_paint_takes_the_last_correction_back(parent: Path, recipe: Recipe, tmp_path: Path) -> None:
    """From odds of 1 in 10 as they are to odds of 1 in 2 as shown: log 5 is added to the bias, and to nothing else."""
    shutil.copytree(parent, tmp_path / "cnn")
    content = json.loads((tmp_path / "cnn" / "model.json").read_text())
    content["folds"]["0"] |= {"prior": [1 / 11] * 6, "prior_shown": [1 / 3] * 6}
    (tmp_path / "cnn" / "model.json").write_text(json.dumps(content))
    plain, shown = (_started(tmp_path / "cnn", recipe, 0, as_shown=as_shown) for as_shown in (False, True))

    assert torch.allclose(shown["head.bias"] - plain["head.bias"], torch.full((6,), float(np.log(5))), atol=1e-5)
    assert all(torch.equal(shown[name], plain[name]) for name in plain if name != "head.bias")


def test_patients_that_a_network_knows_judge_nothing(child: Path, parent: Path, mixed: Path, toy_store: Path) -> None:
    """Series 3, 4, 5: network 0 held out series 3, network 1 series 4; everything else of them they have learnt."""
    run = read_run(child)
    seen = {}
    for fold in run.folds:
        table = pd.read_parquet(child / f"fold{fold}" / "oof.parquet")
        seen |= dict(zip(table["series_id"], table["seen"], strict=True))
    # Fold of series n here: (n + 1) % 3. Its network came from parent 0, 1, 0, which held out n % 3 == 0, 1.
    assert seen == {"ID_s3": True, "ID_s4": True, "ID_s5": True, "ID_s6": False, "ID_s7": False, "ID_s8": False}

    judged = read_held_out(child, run, StudyStore.open(mixed))
    assert set(judged.series_id) == {"ID_s6", "ID_s7", "ID_s8"}
    assert set(judged.split_unit) == {"ID_s6", "ID_s7", "ID_s8"}
    images = LearntImages.read(child, run.folds[1])
    assert images.seen(StudyStore.open(toy_store)).sum() == 6 * 6 - 6  # all but series 1, which no fold 1 has seen
    assert not np.isin(images.held_out, images.trained).any()


def test_a_patient_is_known_by_one_image(mixed: Path) -> None:
    """One slice of series 3 is recognised: all of its patient are seen, and nobody else."""
    store = StudyStore.open(mixed)
    hashes = image_hashes(store)
    one = LearntImages.of(hashes[:1], hashes[6:7], None)

    assert one.seen(store).tolist() == [True] * 6 + [False] * 30
    assert one.unseen(store).tolist() == [False] * 6 + [True] + [False] * 29
    assert LearntImages.of(np.zeros(3, np.int64), hashes[:0], None).trained.size == 0  # slices of air are alike


def test_what_changed_is_measured_on_both(child: Path, mixed: Path, toy_store: Path) -> None:
    """New: the three new series once each; old: those that a fold's parent network held out and its child never saw."""
    changes = read_changes(child, read_run(child).content)
    tables = [pd.read_parquet(child / f"fold{fold}" / CHANGE_FILE).assign(fold=fold) for fold in range(3)]
    table = pd.concat(tables, ignore_index=True)
    new, old = (table[table["part"] == part] for part in ("new", "old"))

    assert (changes["new"].n_slices, changes["new"].n_patients, changes["new"].n_positive) == (18, 3, 9)
    assert set(new["series_id"]) == {"ID_s6", "ID_s7", "ID_s8"}
    # Old scans that aren't in the child's own store: series 0 of network 0 (twice), series 1 of network 1.
    assert sorted(old.groupby(["fold", "series_id"]).groups) == [(0, "ID_s0"), (1, "ID_s1"), (2, "ID_s0")]
    for side in ("before", "after"):
        found = getattr(changes["new"].measures["AUC any"], side)
        assert found == pytest.approx(reference.roc_auc_score(new["truth_any"], new[f"{side}_any"]))
    out_of_fold = pd.concat([pd.read_parquet(child / f"fold{fold}" / "oof.parquet") for fold in range(3)])
    after = out_of_fold.set_index("image_id").loc[new["image_id"], list(LABELS)]
    assert np.allclose(after, new[[f"after_{label}" for label in LABELS]])


def test_a_child_that_was_stopped_is_the_same_child(
    child: Path, parent: Path, mixed: Path, toy_store: Path, recipe: Recipe, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Ctrl-C in the second epoch, then --resume: weights, hashes and comparison to the bit."""
    out = tmp_path / "cnn"
    steps = iter(range(10_000))

    @contextmanager
    def asked() -> Iterator[Callable[[], bool]]:
        yield lambda: next(steps) >= 5

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "asked_to_stop", asked)
        assert train_cnn(mixed, recipe, out, fold=0, device="cpu", parent=parent, old=toy_store).interrupted
    with pytest.raises(UsageError, match=r"goes on from one run \(got no run for cnn"):
        train_cnn(mixed, recipe, out, fold=0, device="cpu", resume=True)
    train_cnn(mixed, recipe, out, fold=0, device="cpu", resume=True, parent=parent, old=toy_store)
    for name in ("weights.safetensors", "images.safetensors", "oof.parquet", CHANGE_FILE):
        assert (out / "fold0" / name).read_bytes() == (child / "fold0" / name).read_bytes()


def test_the_card_names_the_parent_and_its_terms(
    child: Path, parent: Path, mixed: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """Hash, counts, an inherited attribution, and the non-commercial terms of RSNA's series, through two steps."""
    card = (child / "MODEL_CARD.md").read_text(encoding="utf-8")
    content = json.loads((child / "model.json").read_text())
    assert content["parent"]["model_sha256"] in card
    assert content["parent"]["networks"].keys() == {"0", "1"}
    assert "non-commercial research" not in card
    assert "\n\n\n" not in card
    assert "18" in card[card.index("## What it goes on from") : card.index("## Flow of exclusions")]

    shutil.copytree(parent, tmp_path / "first")
    first = json.loads((tmp_path / "first" / "model.json").read_text())
    first |= {"attribution": "Made of somebody's scans, CC BY 4.0.", "data": {**first["data"], "n_rsna": 7}}
    (tmp_path / "first" / "model.json").write_text(json.dumps(first))
    train_cnn(mixed, recipe, tmp_path / "second", fold=0, device="cpu", parent=tmp_path / "first")
    newest = write_toy_store(tmp_path / "newest", first=20)
    train_cnn(newest, recipe, tmp_path / "third", fold=0, device="cpu", parent=tmp_path / "second")
    for name, n_before in (("second", 1), ("third", 2)):
        card = (tmp_path / name / "MODEL_CARD.md").read_text(encoding="utf-8")
        content = json.loads((tmp_path / name / "model.json").read_text())
        terms = terms_of(content["data"], content["parent"])
        assert "Made of somebody's scans, CC BY 4.0." in card
        assert "non-commercial research" in card
        assert (len(terms["chain"]), terms["n_rsna"]) == (n_before, 7)
        assert "ID_" not in (tmp_path / name / "model.json").read_text()


def test_nothing_is_left_to_judge_by(parent: Path, toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Folds dealt anew over the parent's own scans: refused, nothing written; the parent's own folds go on."""
    dealt_anew = write_toy_store(tmp_path / "anew", n_series=2, shift=1)
    with pytest.raises(UsageError, match=r"wasn't trained on \(got 0 of 12 held-out slices"):
        train_cnn(dealt_anew, recipe, tmp_path / "cnn", device="cpu", parent=parent)
    assert not (tmp_path / "cnn").exists()
    train_cnn(toy_store, recipe, tmp_path / "cnn", fold=0, device="cpu", parent=parent)
    assert read_changes(tmp_path / "cnn", read_run(tmp_path / "cnn").content).keys() == {"old"}
    with pytest.raises(UsageError, match=r"in 1 fold\(s\) for 2 or more"):  # as train-joint asks
        checked_parent(parent, recipe, StudyStore.open(toy_store), [0], least_folds=2)


@pytest.mark.parametrize(
    ("section", "change", "named"),
    [
        ("slab", {"size": 64}, "slab.size"),
        ("slab", {"windows": ("brain",)}, "slab.windows"),
        ("encoder", {"name": "test_vit"}, "encoder.name"),
        ("pixels", {"weight": 0.3}, "pixels.weight"),
    ],
)
def test_other_networks_are_refused_by_the_key(
    parent: Path, mixed: Path, recipe: Recipe, tmp_path: Path, section: str, change: dict[str, object], named: str
) -> None:
    """The message names the key; nothing is written."""
    augment = dataclasses.replace(recipe.augment, painted=0.5)
    other = dataclasses.replace(
        recipe, augment=augment, **{section: dataclasses.replace(getattr(recipe, section), **change)}
    )
    with pytest.raises(UsageError, match=f"other values of {named} than cnn's"):
        train_cnn(mixed, other, tmp_path / "cnn", device="cpu", parent=parent)
    assert not (tmp_path / "cnn").exists()


def test_what_is_no_parent_is_refused(parent: Path, mixed: Path, recipe: Recipe, tmp_path: Path) -> None:
    """One without hashes, with others' hashes, itself, and --old without --from."""
    shutil.copytree(parent, tmp_path / "first")
    with pytest.raises(UsageError, match="another folder than the run that it goes on from"):
        train_cnn(mixed, recipe, parent, device="cpu", parent=parent)
    with pytest.raises(UsageError, match="got no --from"):
        train_cnn(mixed, recipe, tmp_path / "cnn", device="cpu", old=mixed)
    (tmp_path / "first" / "fold1" / "images.safetensors").write_bytes(
        (parent / "fold0" / "images.safetensors").read_bytes()
    )
    with pytest.raises(ModelError, match=r"must be the file that model\.json names"):
        train_cnn(mixed, recipe, tmp_path / "cnn", device="cpu", parent=tmp_path / "first")
    content = json.loads((parent / "model.json").read_text())
    del content["folds"]["0"]["images"]
    (tmp_path / "first" / "model.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="must say which images it was trained on"):
        train_cnn(mixed, recipe, tmp_path / "cnn", device="cpu", parent=tmp_path / "first")
    assert not (tmp_path / "cnn").exists()


def test_the_recipe_is_the_parents_at_smaller_rates(parent: Path, child: Path, recipe: Recipe) -> None:
    """A child's child doesn't slow down further; what the user sets, holds."""
    first, second = (child_recipe(read_parent(run), None) for run in (parent, child))
    assert (first.train.lr, first.train.epochs) == (pytest.approx(RATE * recipe.train.lr), EPOCHS)
    assert second.train == recipe.train
    assert dataclasses.replace(first, train=recipe.train) == recipe
    assert child_recipe(read_parent(parent), None, ("train.lr=0.5",)).train.lr == 0.5


def test_the_model_in_the_box_is_a_parent() -> None:
    """Three networks with hashes of CT-ICH's 2,501 slices: each is held out by one of them."""
    assert named_model(Path("open")) == OPEN_MODEL
    found = read_parent(OPEN_MODEL)
    images = [found.start_of(fold).images for fold in range(3)]
    assert child_recipe(found, None).slab == found.run.slab
    assert sum(len(one.held_out) for one in images) == len(np.unique(np.concatenate([one.trained for one in images])))
    assert 2400 < len(images[0].trained) + len(images[0].held_out) <= 2501
    assert "CC BY 4.0" in str(found.describe()["attribution"])
