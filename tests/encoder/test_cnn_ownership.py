"""Whose run a folder is: of one study store, nobody else's files, and what its closing table says of all of it."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from ich25d.config import Recipe
from ich25d.encoder.fold_rows import data_digest
from ich25d.encoder.model_directory import read_run
from ich25d.encoder.train import train_cnn
from ich25d.errors import UsageError
from ich25d.labels import LABELS
from ich25d.recipes import write_recipe
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.ownership import owner_of


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def one_fold(tmp_path_factory: pytest.TempPathFactory, toy_store: Path, recipe: Recipe) -> Path:
    """A run of which fold 0 is finished."""
    out = tmp_path_factory.mktemp("one") / "cnn"
    train_cnn(toy_store, recipe, out, fold=0, device="cpu")
    return out


def _other_folds(root: Path) -> None:
    series = pd.read_parquet(root / "series.parquet")
    series.assign(fold=(series["fold"] + (series.index > 2)) % 3).to_parquet(root / "series.parquet")


def _other_label(root: Path) -> None:
    slices = pd.read_parquet(root / "slices.parquet")
    slices.loc[0, "epidural"] = 1
    slices.to_parquet(root / "slices.parquet")


def _labels_exchanged(root: Path) -> None:
    slices = pd.read_parquet(root / "slices.parquet")
    slices.loc[[0, 1], ["subdural", "any"]] = slices.loc[[1, 0], ["subdural", "any"]].to_numpy()
    slices.to_parquet(root / "slices.parquet")


def _fewer_series(root: Path) -> None:
    for name in ("series", "slices"):
        table = pd.read_parquet(root / f"{name}.parquet")
        table[table["series_id"] != "ID_s5"].to_parquet(root / f"{name}.parquet")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (_other_folds, r"other series in fold\(s\) \[0\], in"),
        (_other_label, r"other labels \(epidural\), in"),
        (_labels_exchanged, "other labels of single slices, images or positions, in"),
        (_fewer_series, "5 patients for 6, 5 series for 6, 30 slices for 36, other labels"),
    ],
)
@pytest.mark.parametrize("fold", [0, 1])
def test_a_run_is_of_one_store(
    toy_store: Path, recipe: Recipe, tmp_path: Path, one_fold: Path, change: Callable[[Path], None], difference: str,
    fold: int,
) -> None:  # fmt: skip
    """Folds dealt otherwise would count a series twice, other labels would calibrate what never learned them."""
    store, out = tmp_path / "studies", tmp_path / "cnn"
    shutil.copytree(toy_store, store)
    shutil.copytree(one_fold, out)
    change(store)
    before = _tree(out)

    with pytest.raises(UsageError, match=rf"{difference} .*studies\) in .*cnn; give the store .* another --out"):
        train_cnn(store, recipe, out, fold=fold, device="cpu", resume=True)
    assert _tree(out) == before


def test_a_run_into_which_two_stores_went_is_named(
    toy_store: Path, recipe: Recipe, tmp_path: Path, one_fold: Path
) -> None:
    """Its model.json has the second one's hash: the folds' tables tell."""
    store, out = tmp_path / "studies", tmp_path / "cnn"
    shutil.copytree(toy_store, store)
    shutil.copytree(one_fold, out)
    _other_folds(store)
    content = json.loads((out / "model.json").read_text())
    content["data"]["digest"] = data_digest(StudyStore.open(store))
    (out / "model.json").write_text(json.dumps(content))

    with pytest.raises(UsageError, match=r"with other series in fold\(s\) \[0\], in"):
        train_cnn(store, recipe, out, fold=0, device="cpu", resume=True)


def test_a_copy_of_the_store_is_the_same_store(toy_store: Path, recipe: Recipe, tmp_path: Path, one_fold: Path) -> None:
    """What counts is what is in it: the run goes on, and its next fold joins."""
    shutil.copytree(toy_store, tmp_path / "studies")
    shutil.copytree(one_fold, tmp_path / "cnn")

    assert train_cnn(tmp_path / "studies", recipe, tmp_path / "cnn", fold=1, device="cpu", resume=True).finished == (
        0,
        1,
    )


@pytest.mark.parametrize(
    "config",
    ["", "[slab]\nsize = 64\n", "[my]\nsetting = 3\n", "not TOML", None],
    ids=["empty", "part of a recipe", "another program's", "no TOML", "none"],
)
def test_nobody_elses_files_are_replaced(toy_store: Path, recipe: Recipe, tmp_path: Path, config: str | None) -> None:
    """A project folder with a config.toml, a report and a card of its own stays as it is."""
    out = tmp_path / "project"
    out.mkdir()
    for name in ("report.html", "MODEL_CARD.md"):
        (out / name).write_text("mine")
    if config is not None:
        (out / "config.toml").write_text(config)
    before = _tree(out)

    for resume in (False, True):
        with pytest.raises(UsageError, match="with other files in it"):
            train_cnn(toy_store, recipe, out, fold=0, device="cpu", resume=resume)
    assert _tree(out) == before


def test_our_own_recipe_beside_somebodys_report_is_not_a_run(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """A recipe as a run spells it claims the folder only where nothing is in it that a run makes later."""
    (tmp_path / "config.toml").write_text(write_recipe(recipe))
    (tmp_path / ".DS_Store").write_bytes(b"a desktop's own")
    assert owner_of(tmp_path) == "begun"
    (tmp_path / "report.html").write_text("mine")

    assert owner_of(tmp_path) == "other"
    with pytest.raises(UsageError, match="with other files in it"):
        train_cnn(toy_store, recipe, tmp_path, fold=0, device="cpu")


def test_the_closing_table_is_what_scikit_learn_says(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Folds and all by one definition, of all labelled held-out slices, whatever the epochs were compared by."""
    train = dataclasses.replace(recipe.train, exclude_from_validation=("ID_s0", "ID_s1", "ID_s4"))
    out = tmp_path / "cnn"
    summary = train_cnn(toy_store, dataclasses.replace(recipe, train=train), out, device="cpu")
    run = read_run(out)
    tables = {fold: pd.read_parquet(out / f"fold{fold}" / "oof.parquet").assign(fold=fold) for fold in run.folds}
    truth = StudyStore.open(toy_store).slices.set_index("image_id")[list(LABELS)].astype(float)
    weight = np.array([2 if label == "any" else 1 for label in LABELS]) / 7

    def log_loss(target: np.ndarray, probability: np.ndarray) -> float:
        each = [reference.log_loss(target[:, k], probability[:, k], labels=[0, 1]) for k in range(6)]
        return float(np.dot(each, weight))

    for found, table in [*((summary.scores[fold], tables[fold]) for fold in tables),
                         (summary.pooled, pd.concat(tables.values()))]:  # fmt: skip
        target = truth.loc[table["image_id"]].to_numpy()
        logit = table[list(LABELS)].to_numpy(dtype=float)
        constant = np.array([run.folds[fold]["prior"] for fold in table["fold"]])
        loss = log_loss(target, 1 / (1 + np.exp(-logit)))
        assert found["log_loss"] == pytest.approx(loss, rel=1e-5)
        assert found["of_prior"] == pytest.approx(loss / log_loss(target, constant), rel=1e-5)
        assert found["auc"]["any"] == pytest.approx(reference.roc_auc_score(target[:, 5], logit[:, 5]))
        assert found["average_precision"]["any"] == pytest.approx(
            reference.average_precision_score(target[:, 5], logit[:, 5])
        )
    lines = summary.lines()
    assert f"{summary.scores[1]['of_prior']:.4f}" in next(line for line in lines if "fold 1" in line)
    assert any(line.startswith("of prior: ") for line in lines)


def test_all_is_the_fold_where_there_is_one(toy_store: Path, recipe: Recipe, tmp_path: Path, one_fold: Path) -> None:
    """The same slices have the same numbers in both rows."""
    shutil.copytree(one_fold, tmp_path / "cnn")
    summary = train_cnn(toy_store, recipe, tmp_path / "cnn", fold=0, device="cpu", resume=True)

    assert summary.scores[0] == summary.pooled != {}


def test_a_fold_without_labels_is_named(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """It isn't left out of the table."""
    shutil.copytree(toy_store, tmp_path / "studies")
    slices = pd.read_parquet(tmp_path / "studies" / "slices.parquet")
    slices.loc[slices["series_id"].isin(["ID_s0", "ID_s3"]), list(LABELS)] = pd.NA
    slices.to_parquet(tmp_path / "studies" / "slices.parquet")
    summary = train_cnn(tmp_path / "studies", recipe, tmp_path / "cnn", fold=0, device="cpu")

    assert summary.scores == {0: {}}
    assert any("fold 0 no labelled slice" in line for line in summary.lines())
