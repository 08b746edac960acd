"""Canvases in a training: what is drawn, what counts, whom it may not touch."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bright_squares import write_toy_store

from ich25d.config import PixelsConfig, Recipe
from ich25d.encoder.canvas import Canvas, open_canvas, pair_loss, with_canvas
from ich25d.encoder.epoch_plan import EpochPlan
from ich25d.encoder.fold_loss import FoldLoss
from ich25d.encoder.learnt_images import LearntImages, image_hashes
from ich25d.encoder.model import Encoded
from ich25d.encoder.model_directory import read_run
from ich25d.encoder.teaching import teaching_of
from ich25d.encoder.train import train_cnn
from ich25d.errors import UsageError
from ich25d.slabs.dataset import SlabBatch
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.device import choose_precision

NAN = float("nan")


def _batch(rows: list[int], targets: list[list[float]]) -> SlabBatch:
    n = len(rows)
    return SlabBatch(
        hu=torch.zeros(n, 3, 32, 32, dtype=torch.int16), target=torch.tensor(targets), row=torch.tensor(rows),
        key=torch.arange(n), window=torch.full((n, 2), NAN), painted=torch.zeros(n, dtype=torch.bool),
        brain_hu=torch.full((n,), NAN), mask=torch.zeros(n, 5, 8, 8, dtype=torch.uint8),
    )  # fmt: skip


NONE = [NAN] * 6
SUBDURAL = [NAN, NAN, NAN, NAN, 1.0, 1.0]


def test_a_pair_counts_by_hand() -> None:
    """Of 10 own slices and 4 canvases: row 15 is painted, 19 its original; any counts twice, sure originals little."""
    batch = _batch([3, 19, 15, 16], [[0.0] * 6, NONE, SUBDURAL, SUBDURAL])  # 16 has no partner here
    logit = torch.zeros(4, 6)
    logit[1, 4], logit[1, 5] = 2.0, -1.0
    logit[2, 4], logit[2, 5] = 3.0, -1.0

    def sigmoid(x: float) -> float:
        return float(1 / (1 + np.exp(-x)))

    subdural = np.log1p(np.exp(2.0 - 3.0)) * (1 - sigmoid(2.0))
    any_label = np.log(2) * (1 - sigmoid(-1.0))
    assert float(pair_loss(logit, batch, 10, 4)) == pytest.approx((subdural + 2 * any_label) / 3 / 4, rel=1e-5)
    assert float(pair_loss(logit, _batch([3, 4], [NONE, NONE]), 10, 4)) == 0.0


def test_what_a_scanner_adds_cancels_out() -> None:
    """The same on both sides of a pair has no gradient: that all of its scans bleed can't be learnt."""
    shift = torch.zeros(6, requires_grad=True)
    logit = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)) + shift
    pair_loss(logit, _batch([14, 18], [SUBDURAL, NONE]), 10, 4).backward()

    assert shift.grad is not None
    torch.testing.assert_close(shift.grad, torch.zeros(6), atol=1e-7, rtol=0)


def test_pairs_stay_together() -> None:
    """A quarter of all others at most, in every batch painted beside original; other ones in the next epoch."""
    plan = EpochPlan(np.arange(64), None, [], 8, painted=np.arange(200, 300), apart=100, most=0.25)
    first, second = (plan.order(plan.n_shown, seed=0, epoch=epoch) for epoch in (0, 1))

    assert plan.n_shown == 64 + 16
    pairs = first[first >= 200]
    assert len(pairs) == 16
    for batch in first.reshape(-1, 8):
        canvases = set(batch[batch >= 200].tolist())
        assert {row + 100 for row in canvases if row < 300} == {row for row in canvases if row >= 300}
    assert set(pairs.tolist()) != set(second[second >= 200].tolist())
    assert set(first[first < 200].tolist()) == set(range(64))


class _Fixed(torch.nn.Module):
    def __init__(self, found: Encoded) -> None:
        super().__init__()
        self.found = found

    def forward(self, _: torch.Tensor) -> Encoded:
        return self.found


def test_the_pixel_head_learns_inside_the_paint_alone(toy_store: Path, recipe: Recipe) -> None:
    """Of a canvas without labels: a hot cell outside the paint costs nothing, a cold one inside does."""
    store = StudyStore.open(toy_store)
    canvas = _canvas(store, recipe, toy_store)
    teaching = with_canvas(teaching_of(store), canvas)
    still = dataclasses.replace(
        recipe, augment=type(recipe.augment)(flip=0, rotate_deg=0, scale=0, aspect=0, shift=0, erase=0, painted=0.5),
        pixels=PixelsConfig(weight=1.0),
    )  # fmt: skip
    device = torch.device("cpu")
    precision = choose_precision("fp32", device, torch.nn.Linear(1, 1))
    n = len(store.slices)
    loss = FoldLoss(still, teaching, n_own=n, n_canvas=n, device=device, precision=precision, seed=0).of_epoch(0)
    batch = _batch([2 * n, 3 * n], [SUBDURAL, NONE])
    batch.painted[0] = True
    batch.mask[0, 4, 2:4, 2:4] = 255

    def of_cells(value: float, rows: slice) -> float:
        pixel = torch.zeros(2, 6, 4, 4)
        pixel[0, :, rows] = value
        return float(loss(_Fixed(Encoded(torch.zeros(2, 4), torch.zeros(2, 6), pixel)), batch))

    assert of_cells(9.0, slice(3, 4)) == pytest.approx(of_cells(0.0, slice(3, 4)))
    assert of_cells(9.0, slice(1, 2)) < of_cells(0.0, slice(1, 2)) < of_cells(-9.0, slice(1, 2))


def _canvas(store: StudyStore, recipe: Recipe, path: Path) -> Canvas:
    painted = dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, painted=0.5))
    found = StudyStore.open(path)
    elsewhere = StudyStore(found.root.parent, found.marker, found.slices, found.series)
    return open_canvas(elsewhere, painted, store, labels=None, anatomies=path / ".none", memory_bytes=10**6)


def test_nobody_held_out_is_a_canvas(toy_store: Path, recipe: Recipe) -> None:
    """The store itself as canvases: of its six patients those of the fold are left out, by id and by pixels."""
    store = StudyStore.open(toy_store)
    canvas = _canvas(store, recipe, toy_store)
    held_out = np.arange(6)  # series 0
    negative, unknown = canvas.rows(store, held_out)

    assert len(unknown) == 0
    assert set(store.slices["series_id"].iloc[negative]) == {f"ID_s{number}" for number in range(1, 6)}
    canvas.store.slices["split_unit"] = "other " + canvas.store.slices["split_unit"].astype(str)
    assert set(store.slices["series_id"].iloc[canvas.rows(store, held_out)[0]]) == {f"ID_s{n}" for n in range(1, 6)}


@pytest.fixture(scope="module")
def canvases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three series without labels, of other patients than the toy store's."""
    return write_toy_store(tmp_path_factory.mktemp("canvas"), n_series=3, first=20, labelled=False)


def test_a_run_with_canvases(toy_store: Path, canvases: Path, recipe: Recipe, tmp_path: Path) -> None:
    """Unlabelled ones and, by a report, negative ones: named, learnt from, the same for all folds."""
    painted = dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, painted=0.5))
    (tmp_path / "reports.csv").write_text("series_id,any\nID_s20,0\n")
    out = tmp_path / "cnn"
    beside = {"canvas": canvases, "series_labels": tmp_path / "reports.csv"}
    summary = train_cnn(toy_store, painted, out, fold=0, device="cpu", **beside)

    assert summary.finished == (0,)
    run = read_run(out)
    told = run.content["data"]["canvas"]
    assert (told["n_series"], told["n_negative_slices"], told["n_unlabelled_slices"]) == (3, 6, 12)
    assert run.content["data"]["n_series"] == 6
    learnt = LearntImages.read(out, run.folds[0])
    assert np.isin(image_hashes(StudyStore.open(canvases)), learnt.trained).all()
    assert "18 slices of 3 series of 3 patients, painted into" in (out / "MODEL_CARD.md").read_text()
    assert not [path.name for path in (out / "fold0").iterdir() if path.name.startswith(".")]
    first = json.loads((out / "fold0" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["total_steps"] > 0
    other = write_toy_store(tmp_path / "other", n_series=4, first=20, labelled=False)
    with pytest.raises(UsageError, match="same --canvas"):
        train_cnn(toy_store, painted, out, fold=1, device="cpu", **{**beside, "canvas": other})


def test_canvases_that_would_teach_nothing_are_refused(
    toy_store: Path, canvases: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """Without paint, an even batch, another store or a slice to use; nothing is written."""
    painted = dataclasses.replace(recipe, augment=dataclasses.replace(recipe.augment, painted=0.5))
    odd = dataclasses.replace(painted, train=dataclasses.replace(recipe.train, batch_size=3))
    cases = [
        (recipe, canvases, "augment.painted above 0"),
        (odd, canvases, "even train.batch_size"),
        (painted, toy_store, "another store"),
    ]
    for chosen, canvas, message in cases:
        with pytest.raises(UsageError, match=message):
            train_cnn(toy_store, chosen, tmp_path / "cnn", device="cpu", canvas=canvas)
    assert not (tmp_path / "cnn").exists()
