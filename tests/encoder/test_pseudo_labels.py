"""Pseudo-labels: who may speak of whom, where a teacher is sure, what a fold takes, and what its run inherits."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bright_squares import write_toy_store
from typer.testing import CliRunner

from ich25d.cli.app import app
from ich25d.config import Recipe
from ich25d.encoder.learnt_images import LearntImages, image_hashes
from ich25d.encoder.model_directory import read_run
from ich25d.encoder.parent import terms_of
from ich25d.encoder.pseudo_labels import LABELS_FILE, make_pseudo_labels, read_pseudo_labels, sure
from ich25d.encoder.teaching import teaching_of
from ich25d.encoder.train import train_cnn
from ich25d.errors import ModelError, UsageError
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.studies.store_dir.store import StudyStore

NAN = np.nan


def test_sure_ones_by_hand() -> None:
    """Below .1 absent, from .5 there, between them unsure; any absent says all; a subtype there says any."""
    low, high = np.full(6, 0.1), np.full(6, 0.5)
    low[0], high[0] = -np.inf, np.inf  # a label without thresholds
    probability = np.array([
        [0.02, 0.3, 0.02, 0.02, 0.02, 0.05],
        [0.02, 0.3, 0.02, 0.9, 0.02, 0.92],
        [0.02, 0.3, 0.2, 0.2, 0.6, 0.45],
        [0.02, 0.3, 0.2, 0.2, 0.2, 0.3],
    ])  # fmt: skip

    np.testing.assert_array_equal(
        sure(probability, low, high),
        [
            [0.02, 0.3, 0.02, 0.02, 0.02, 0.05],
            [NAN, NAN, 0.02, 0.9, 0.02, 0.92],
            [NAN, NAN, NAN, NAN, 0.6, 0.45],
            [NAN] * 6,
        ],
    )


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, toy_store: Path, recipe: Recipe) -> Path:
    """A run of three folds that was asked for thresholds: half of the slices absent below .5, the others there."""
    out = tmp_path_factory.mktemp("teacher") / "cnn"
    train_cnn(toy_store, recipe, out, device="cpu")
    content = json.loads((out / "model.json").read_text())
    content["attribution"] = "of the teacher"
    content["thresholds"] = {"slice": {
        "sensitivity_95": dict.fromkeys(LABELS, 0.49), "specificity_90": dict.fromkeys(LABELS, 0.51),
    }}  # fmt: skip
    (out / "model.json").write_text(json.dumps(content))
    return out


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Series 0 to 8 in the teacher's folds; 3, which it knows, and 6, 7, 8, which it doesn't, have no labels."""
    root = write_toy_store(tmp_path_factory.mktemp("mixed"), n_series=9)
    slices = pd.read_parquet(root / "slices.parquet")
    slices.loc[slices["series_id"].isin(["ID_s3", "ID_s6", "ID_s7", "ID_s8"]), list(LABELS)] = pd.NA
    slices.to_parquet(root / "slices.parquet")
    return root


@pytest.fixture(scope="module")
def pseudo(tmp_path_factory: pytest.TempPathFactory, teacher: Path, mixed: Path) -> Path:
    """Made on the command line."""
    out = tmp_path_factory.mktemp("pseudo") / "labels"
    command = ["pseudo-labels", str(mixed), "--model", str(teacher), "--out", str(out), "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n_slices"] == 24
    return out


def test_a_network_speaks_of_nobody_whom_it_knows(pseudo: Path) -> None:
    """Series 3 by the network alone that held it out; series 6 to 8 by all three; labelled ones by none."""
    table = pd.read_parquet(pseudo / LABELS_FILE)
    series = table["image_id"].str.split("_").str[1]

    assert set(table.loc[series == "3", "network"]) == {0}
    assert set(series) <= {"3", "6", "7", "8"}
    assert table.groupby("image_id")["network"].nunique().max() == 3
    value = table[list(LABELS)].to_numpy()
    assert (((value < 0.49) | (value >= 0.51)) | np.isnan(value)).all(axis=1).any()
    assert "ID_" not in (pseudo / "pseudo.json").read_text()


def test_a_fold_takes_the_network_that_held_out_the_same(pseudo: Path, mixed: Path) -> None:
    """Fold 1 holds out series 1, 4, 7: network 1 knows none of them, and its word alone counts."""
    store = StudyStore.open(mixed)
    found = read_pseudo_labels(pseudo, [store])
    held_out = np.flatnonzero(store.slices["series_id"].isin(["ID_s1", "ID_s4", "ID_s7"]))
    teaching, canvas, known = found.for_fold(store, teaching_of(store), None, held_out)
    own = found.table[found.table["network"] == 1].set_index("image_id")[list(LABELS)]
    wanted = own.reindex(store.slices["image_id"]).to_numpy(dtype=np.float32)

    assert canvas is None
    is_free = np.isnan(teaching.truth).all(axis=1)
    np.testing.assert_array_equal(teaching.target[is_free], wanted[is_free])
    np.testing.assert_array_equal(teaching.target[~is_free], teaching.truth[~is_free])
    assert np.isnan(teaching.truth[is_free]).all()
    assert not known[held_out].any()
    assert known.any()


def test_a_run_learns_soft_labels_and_names_its_teacher(
    pseudo: Path, mixed: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """What validates are the store's own labels; the card names teacher and terms; other pseudo-labels are refused."""
    out = tmp_path / "cnn"
    with_paint = dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, painted=0.5))
    canvas = write_toy_store(tmp_path / "canvas", n_series=2, first=30, labelled=False)
    summary = train_cnn(mixed, with_paint, out, fold=1, device="cpu", pseudo_labels=pseudo, canvas=canvas)

    assert summary.finished == (1,)
    run = read_run(out)
    assert run.content["data"]["pseudo"]["teacher"]["attribution"] == "of the teacher"
    card = (out / "MODEL_CARD.md").read_text()
    assert "Pseudo-labels: where nothing else is known" in card
    assert "Inherited, and to be named with these weights: of the teacher" in card
    own = pd.read_parquet(out / "fold1" / "oof.parquet")
    assert set(own["series_id"]) == {"ID_s1", "ID_s4", "ID_s7"}
    assert not own["seen"].any()
    learnt = LearntImages.read(out, run.folds[1])
    assert np.isin(image_hashes(StudyStore.open(canvas)), learnt.trained).all()
    with pytest.raises(UsageError, match="same --pseudo-labels"):
        train_cnn(mixed, with_paint, out, fold=0, device="cpu", canvas=canvas)


def test_terms_pass_through_teachers() -> None:
    """A child of a run that a teacher of RSNA's scans taught is bound by their terms; so are RSNA's canvases."""
    teacher = {"data": {"n_rsna": 5}, "attribution": "A"}
    parent = {"data": {"n_rsna": 0, "pseudo": {"teacher": teacher}, "canvas": {"n_rsna": 2}}, "attribution": "B"}

    found = terms_of({}, parent)
    assert (found["n_rsna"], found["attributions"], found["chain"]) == (7, ["B", "A"], [parent])


def test_canvases_may_have_pseudo_labels(teacher: Path, toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Slices of which the teacher is sure are taught so, without paint; the others stay canvases."""
    canvas = write_toy_store(tmp_path / "canvas", n_series=3, first=30, labelled=False)
    make_pseudo_labels(canvas, teacher, tmp_path / "pseudo", device="cpu")
    painted = dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, painted=0.5))
    out = tmp_path / "cnn"
    train_cnn(toy_store, painted, out, fold=0, device="cpu", canvas=canvas, pseudo_labels=tmp_path / "pseudo")

    assert read_run(out).content["data"]["canvas"]["n_unlabelled_slices"] == 18
    with pytest.raises(UsageError, match="got none of"):
        train_cnn(toy_store, painted, tmp_path / "other", device="cpu", pseudo_labels=tmp_path / "pseudo")


def test_what_cannot_teach_is_refused(
    teacher: Path, toy_store: Path, mixed: Path, pseudo: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """No slice without labels, no thresholds, a changed table, no folder of pseudo-labels; nothing is written."""
    with pytest.raises(UsageError, match="for slices without labels"):
        make_pseudo_labels(toy_store, teacher, tmp_path / "a", device="cpu")
    shutil.copytree(teacher, tmp_path / "bare")
    content = json.loads((tmp_path / "bare" / "model.json").read_text())
    (tmp_path / "bare" / "model.json").write_text(json.dumps({**content, "thresholds": {}}))
    with pytest.raises(ModelError, match="must have thresholds of slices for any"):
        make_pseudo_labels(mixed, tmp_path / "bare", tmp_path / "a", device="cpu")
    shutil.copytree(pseudo, tmp_path / "changed")
    table = pd.read_parquet(pseudo / LABELS_FILE)
    table.assign(**{LABELS[ANY_INDEX]: 1.0}).to_parquet(tmp_path / "changed" / LABELS_FILE)
    for folder, message in (
        (tmp_path / "changed", "changed labels.parquet"),
        (tmp_path / "bare", "must be a folder of"),
    ):
        with pytest.raises(UsageError, match=message):
            train_cnn(mixed, recipe, tmp_path / "cnn", device="cpu", pseudo_labels=folder)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "cnn").exists()
