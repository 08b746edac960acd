"""Training from labels of whole series: what their slices are taught, how they are shown, and what judges."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from bright_squares import write_toy_store
from sklearn.metrics import roc_auc_score

from ich25d.config import Recipe
from ich25d.encoder.epoch_plan import EpochPlan, bag_size
from ich25d.encoder.model_directory import read_run
from ich25d.encoder.teaching import TARGETS_FILE, teaching_of
from ich25d.encoder.train import train_cnn
from ich25d.errors import UsageError
from ich25d.labels import ANY_INDEX, LABELS, N_LABELS
from ich25d.slabs.dataset import SlabReader
from ich25d.studies.store_dir.store import StudyStore
from ich25d.studies.store_dir.volume_file import write_volume
from ich25d.training.loss import BAG_WEIGHT, OpenBags, pooled_logit, score_loss
from ich25d.training.model_file import SERIES_LABELS_FILE
from ich25d.training.processes import Processes
from ich25d.training.series_target import spread_series_labels

NAN = np.nan


def test_labels_of_series_leave_those_of_slices_alone() -> None:
    """0: all unknown slices have none. 1: one of the unknown slices has it, unless a slice is known to."""
    target = np.full((7, N_LABELS), NAN, np.float32)
    target[:, 0] = [NAN, 0, NAN, 1, NAN, NAN, NAN]  # series 0: slices 0, 1, 2; series 1: 3, 4; series 2: 5, 6
    series = np.full((3, N_LABELS), NAN, np.float32)
    series[:, 0] = [1, 1, 0]

    spread = spread_series_labels(target, series, np.array([0, 0, 0, 1, 1, 2, 2]))

    np.testing.assert_array_equal(spread.target[:, 0], [NAN, 0, NAN, 1, NAN, 0, 0])
    assert spread.is_open[:, 0].tolist() == [True, False, True, False, False, False, False]
    assert not spread.is_open[:, 1:].any()


def test_a_bag_is_as_likely_as_one_of_its_slices_at_least() -> None:
    """P = 1 - (1 - .5)(1 - .2) = .6 of two slices; one slice alone keeps its logit."""
    logit = torch.logit(torch.tensor([[0.5], [0.2], [0.7]])).expand(3, N_LABELS)
    of_bag = torch.zeros(2, 3, N_LABELS, dtype=torch.bool)
    of_bag[0, :2], of_bag[1, 2] = True, True

    torch.testing.assert_close(
        torch.sigmoid(pooled_logit(logit, of_bag)), torch.tensor([[0.6], [0.7]]).expand(2, N_LABELS)
    )


def test_the_loss_of_bags_by_hand() -> None:
    """Two slices of an open series (P = .6, weight 4), one known negative slice of .3: for `any`, all twice."""
    logit = torch.zeros(3, N_LABELS)
    logit[:, ANY_INDEX] = torch.logit(torch.tensor([0.5, 0.2, 0.3]))
    target = torch.full((3, N_LABELS), NAN)
    target[2, ANY_INDEX] = 0
    is_open = torch.zeros(3, N_LABELS, dtype=torch.bool)
    is_open[:2, ANY_INDEX] = True

    loss = score_loss(logit, target, OpenBags(torch.tensor([5, 5, 9]), is_open))

    wanted = (BAG_WEIGHT * -np.log(0.6) - np.log(0.7)) / (BAG_WEIGHT + 1)
    assert float(loss) == pytest.approx(wanted, rel=1e-5)
    none = OpenBags(torch.tensor([5, 5, 9]), torch.zeros_like(is_open))
    assert float(score_loss(logit, target, none)) == float(score_loss(logit, target))


def test_gradients_of_bags_are_finite_at_the_ends() -> None:
    """Certain slices, either way, in either sign."""
    logit = torch.tensor([[-200.0], [200.0], [-200.0], [-200.0]]).repeat(1, N_LABELS).requires_grad_()
    is_open = torch.ones(4, N_LABELS, dtype=torch.bool)
    loss = score_loss(logit, torch.full((4, N_LABELS), NAN), OpenBags(torch.tensor([0, 0, 1, 1]), is_open))
    loss.backward()

    assert torch.isfinite(loss)
    assert logit.grad is not None
    assert torch.isfinite(logit.grad).all()


@pytest.mark.parametrize(("batch", "size"), [(32, 16), (4, 4), (24, 12), (31, 1), (16, 16)])
def test_bags_fill_batches(batch: int, size: int) -> None:
    """A bag never lies in two batches."""
    assert bag_size(batch) == size


def test_an_epoch_shows_all_and_never_cuts_a_bag() -> None:
    """Batches of 8 are of bags of 8 or of single slices alone; a series of 20 slices comes in two bags, spread."""
    plan = EpochPlan(np.arange(100, 120), None, [np.arange(20), np.arange(20, 25)], batch_size=8)
    order = plan.order(48, seed=1, epoch=0)
    blocks = order.reshape(-1, 8)

    assert plan.n_shown == 20 + 16 + 8
    assert order.tolist() == plan.order(48, seed=1, epoch=0).tolist() != plan.order(48, seed=1, epoch=1).tolist()
    assert set(range(100, 120)) <= set(order.tolist())
    kinds = sorted("long" if (block < 20).all() else "short" if (block < 25).all() else "single" for block in blocks)
    assert kinds == ["long", "long", "short", "single", "single", "single"]
    for block in blocks[(blocks < 20).all(axis=1)]:  # one slice of each eighth
        assert (np.floor(block * 8 / 20) - np.arange(8) <= 0).all()
        assert np.diff(block).min() >= 0
        assert block.max() - block.min() >= 12


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Series 0 and 1 have labels of slices; a table calls the odd ones of series 2 to 8 positive, the others not."""
    root = write_toy_store(tmp_path_factory.mktemp("reports"), n_series=9)
    slices = pd.read_parquet(root / "slices.parquet")
    number = slices["series_id"].str.removeprefix("ID_s").astype(int)
    slices.loc[number > 1, list(LABELS)] = pd.NA
    slices.to_parquet(root / "slices.parquet")
    table = root / "reports.csv"
    table.write_text("series_id,any\n" + "".join(f"ID_s{number},{number % 2}\n" for number in range(2, 9)))
    return root, table


def test_slices_of_negative_series_are_negatives(reports: tuple[Path, Path], tmp_path: Path) -> None:
    """And those of positive ones unknown; of the counts, a quarter of them is positive."""
    store = StudyStore.open(reports[0])
    labels = pd.read_csv(reports[1]).reindex(columns=["series_id", *LABELS])
    labels.loc[labels["any"] == 0, list(LABELS)] = 0
    teaching = teaching_of(store, labels)
    by_series = teaching.target.reshape(9, 6, N_LABELS)

    assert (by_series[[2, 4, 6, 8]] == 0).all()
    assert np.isnan(by_series[[3, 5, 7]]).all()
    assert np.isnan(teaching.truth.reshape(9, 6, N_LABELS)[2:]).all()
    assert teaching.in_bag.reshape(9, 6).all(axis=1).tolist() == [False] * 3 + [True, False] * 3
    # 6 of 12 slices of series with labels of slices are positive, and a quarter of 16 more: 10 of 28.
    np.testing.assert_allclose(teaching.counted().reshape(9, 6, N_LABELS)[3, :, ANY_INDEX], 10 / 28, rtol=1e-6)
    path = teaching.write(tmp_path, Processes())
    reader = SlabReader(store, Recipe().slab, taught=path)
    np.testing.assert_array_equal(reader.read(np.array([12, 18])).target.numpy(), teaching.target[[12, 18]])
    assert teaching_of(store).write(tmp_path, Processes()) is None


def test_a_run_learns_from_reports(reports: tuple[Path, Path], recipe: Recipe, tmp_path: Path) -> None:
    """Slices with labels validate slices; whole series are scored beside them; the run says what it learnt from."""
    out = tmp_path / "cnn"
    summary = train_cnn(reports[0], recipe, out, device="cpu", series_labels=reports[1])

    assert summary.finished == (0, 1, 2)
    assert summary.series["auc"]["any"] is not None
    assert any("whole series" in line for line in summary.lines())
    assert summary.pooled["auc"]["any"] is not None
    given = read_run(out).content["data"]["series_labels"]
    assert (given["n_series"], given["positive_series"]["any"], given["known_series"]["subdural"]) == (7, 3, 4)
    assert len(pd.read_parquet(out / SERIES_LABELS_FILE)) == 7
    assert not list(out.glob(f"fold*/{TARGETS_FILE}"))
    assert "Labels of whole series" in (out / "MODEL_CARD.md").read_text()
    assert "ID_s" not in (out / "model.json").read_text() + (out / "MODEL_CARD.md").read_text()
    with pytest.raises(UsageError, match="same --series-labels"):
        train_cnn(reports[0], recipe, out, device="cpu", resume=True)


def test_reports_alone_validate_by_series(reports: tuple[Path, Path], recipe: Recipe, tmp_path: Path) -> None:
    """No slice has a label: the largest logit of a series is judged and calibrated, and the card says so."""
    store = write_toy_store(tmp_path / "store", n_series=9, labelled=False)
    table = tmp_path / "all.csv"
    table.write_text("series_id,any\n" + "".join(f"ID_s{number},{int(number % 2)}\n" for number in range(9)))
    out = tmp_path / "cnn"
    chosen = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, keep="best"))
    summary = train_cnn(store, chosen, out, device="cpu", series_labels=table)

    content = json.loads((out / "model.json").read_text())
    assert summary.pooled == {}
    assert summary.series["auc"]["any"] is not None
    assert content["calibration"] is not None
    assert content["folds"]["0"]["validation"]["log_loss"] is not None
    assert "Out-of-fold series" in (out / "MODEL_CARD.md").read_text()


def test_bags_find_the_bright_squares(recipe: Recipe, tmp_path: Path) -> None:
    """Series of eight slices with squares in two of them or in none: told yes or no, slices are ranked right."""
    root = write_toy_store(tmp_path / "store", n_series=18, n_slices=8, labelled=False)
    rng = np.random.default_rng(0)
    series, truth, rows = pd.read_parquet(root / "series.parquet"), [], []
    for place, name in enumerate(series["series_id"]):
        hu = rng.integers(0, 60, (8, 32, 32)).astype(np.int16)
        positive = np.isin(np.arange(8), [place % 5, place % 5 + 1]) & (place % 2 == 1)
        hu[positive, 8:22, 8:22] += 80
        for column, value in write_volume(root, name, hu)._asdict().items():
            series.loc[place, column] = value
        truth.append(positive)
        rows.append(f"{name},{place % 2}")
    series.to_parquet(root / "series.parquet")
    (tmp_path / "reports.csv").write_text("series_id,any\n" + "\n".join(rows) + "\n")
    longer = dataclasses.replace(recipe.train, epochs=8, batch_size=8, accumulate=1, lr=3e-3, ema=0.8)
    train_cnn(
        root, dataclasses.replace(recipe, train=longer), tmp_path / "cnn", fold=0, device="cpu",
        series_labels=tmp_path / "reports.csv",
    )  # fmt: skip

    oof = pd.read_parquet(tmp_path / "cnn" / "fold0" / "oof.parquet")
    wanted = np.concatenate([truth[number] for number in range(18) if number % 3 == 0])
    assert roc_auc_score(wanted, oof["any"]) > 0.8


def test_a_slice_that_denies_its_report_is_refused(toy_store: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Before anything is written, with the slice and the cure."""
    (tmp_path / "reports.csv").write_text("series_id,any\nID_s1,0\nID_s2,1\n")
    with pytest.raises(UsageError, match=r"no slice with it \(got slice ID_1_1 of series ID_s1, and 1 such series\)"):
        train_cnn(toy_store, recipe, tmp_path / "cnn", device="cpu", series_labels=tmp_path / "reports.csv")
    assert not (tmp_path / "cnn").exists()
