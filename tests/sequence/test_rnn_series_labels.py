"""Labels of whole series teach sequence models as they taught their encoders, and judge nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from bright_squares import SIZE, write_toy_store
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_features import DIM, make_store

from ich25d.config import EncoderConfig, Recipe, SequenceConfig, SlabConfig, TrainConfig
from ich25d.encoder.teaching import teaching_of_slices
from ich25d.encoder.train import train_cnn
from ich25d.errors import ModelError, UsageError
from ich25d.features.store import FeatureStore
from ich25d.labels import ANY_INDEX, LABELS, N_LABELS
from ich25d.sequence.dataset import SequenceReader, augment, collate
from ich25d.sequence.division import divide
from ich25d.sequence.fold_training import (
    fingerprint_of,
    read_held_out_series,
    slice_loss,
    train_sequence_model,
    write_held_out,
)
from ich25d.sequence.item import SeriesItem, reverse
from ich25d.sequence.model import SequenceModel
from ich25d.sequence.series_labels import SeriesLabels
from ich25d.sequence.standardisation import fit_standardisation
from ich25d.sequence.train import train_rnn
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.loss import BAG_WEIGHT, score_loss
from ich25d.training.model_file import SERIES_LABELS_FILE

NAN = np.nan


def _labels(told: dict[str, float]) -> SeriesLabels:
    """Return a table of `any` alone."""
    table = pd.DataFrame({"series_id": list(told)}).reindex(columns=["series_id", *LABELS])
    table["any"] = list(told.values())
    return SeriesLabels.of(table.astype(dict.fromkeys(LABELS, "float32")))


def test_slices_go_before_their_series() -> None:
    """Denied: unknown slices have none. Told: unknown ones are open. Known ones and others stay as they are."""
    slices = pd.DataFrame({"series_id": ["a", "a", "b", "b", "c", "c", "d"]}).reindex(columns=["series_id", *LABELS])
    slices["any"] = [NAN, 0, NAN, 1, NAN, 0, NAN]

    taught = teaching_of_slices(slices, _labels({"a": 0, "b": 0, "c": 1}).table)

    np.testing.assert_array_equal(taught.target[:, ANY_INDEX], [0, 0, 0, 1, NAN, 0, NAN])
    assert taught.is_open[:, ANY_INDEX].tolist() == [False] * 4 + [True, False, False]
    assert np.isnan(taught.target[:, :ANY_INDEX]).all()
    assert not taught.is_open[:, :ANY_INDEX].any()


def test_open_slices_of_a_series_are_one_bag() -> None:
    """Two open slices (P = 1 - .5 x .8 = .6, weight 4) beside a series of one known negative of .3: for `any` alone."""

    def item(target: list[float], told: float) -> SeriesItem:
        n, labels = len(target), np.full((len(target), N_LABELS), NAN, np.float32)
        labels[:, ANY_INDEX] = target
        whole, is_open = np.full(N_LABELS, NAN, np.float32), np.zeros((n, N_LABELS), bool)
        whole[ANY_INDEX], is_open[:, ANY_INDEX] = told, told == 1
        return SeriesItem(
            np.zeros((n, 3), np.float32), np.zeros((n, N_LABELS), np.float32), np.arange(n, dtype=np.float32), labels,
            whole, is_open,
        )  # fmt: skip

    two, one = item([NAN, NAN], 1), item([0], NAN)
    batch = collate([two, one])
    logit = torch.zeros(2, 2, N_LABELS)
    logit[:, :, ANY_INDEX] = torch.logit(torch.tensor([[0.5, 0.2], [0.3, 0.9]]))  # .9 lies beyond the second's end

    wanted = (BAG_WEIGHT * -np.log(0.6) - np.log(0.7)) / (BAG_WEIGHT + 1)
    assert float(slice_loss(logit, batch)) == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_array_equal(batch.series_target[:, ANY_INDEX], [1, 0])
    assert two.take(np.array([1])).is_open.sum() == 1
    assert collate([one]).is_open is None
    alone = collate([one])
    assert float(slice_loss(logit[1:, :1], alone)) == float(score_loss(logit[1:, :1], alone.target))


@pytest.mark.parametrize(
    ("slices", "told", "wanted"),
    [([NAN] * 12, 1, 1), ([NAN] * 12, NAN, NAN), ([0] * 12, 1, 0), ([1] * 12, 0, 1), ([0, NAN] * 6, 1, 1)],
)
def test_a_series_label_goes_with_every_version_of_it(slices: list[float], told: float, wanted: float) -> None:
    """Thinned, reversed, noisy: where its slices leave the label open, the series' own is the target."""
    target = np.tile(np.array(slices, np.float32)[:, None], (1, N_LABELS))
    item = SeriesItem(
        np.ones((12, 3), np.float32), np.zeros((12, N_LABELS), np.float32), np.arange(12, dtype=np.float32), target,
        np.full(N_LABELS, told, np.float32),
    )  # fmt: skip
    config = SequenceConfig(drop_second=0, reverse=1.0, feature_noise=0.1)
    versions = [item, reverse(item), augment(item, config, np.random.default_rng(0))]

    np.testing.assert_array_equal(collate(versions).series_target.numpy(), np.full((3, N_LABELS), wanted))
    thin = augment(item, SequenceConfig(drop_second=1.0), np.random.default_rng(0))
    assert len(thin.target) == 6
    assert thin.told is item.told


def _table(n_folds: int, unlabelled: set[int], *, dealt: bool) -> FeatureStore:
    """Return twelve series of two slices, two a patient, in memory; some have no labels."""
    rows = [
        {
            "image_id": f"{number}_{index}", "series_id": f"s{number}", "patient_id": f"p{number // 2}",
            "slice_index": index, "fold": number // 2 % n_folds if dealt else -1, "train_only": False,
            **dict.fromkeys(LABELS, NAN if number in unlabelled else number % 2),
        }
        for number in range(12) for index in range(2)
    ]  # fmt: skip
    encoder = {str(fold): "" for fold in range(n_folds)} if dealt else {"": ""}
    return FeatureStore(Path("none"), dim=3, views=("plain",), encoder=encoder, size=None, slices=pd.DataFrame(rows))


@settings(deadline=None, max_examples=60)
@given(st.sets(st.integers(0, 11), max_size=8), st.integers(2, 3), st.booleans())
def test_series_teach_all_folds_but_their_own(unlabelled: set[int], n_folds: int, dealt: bool) -> None:
    """Those with a label as a whole alone never teach the fold of their patient; who is judged stays the same."""
    store = _table(n_folds, unlabelled, dealt=dealt)
    if len({number // 2 for number in range(12) if number not in unlabelled}) < 2:
        return
    plain, found = divide(store, 0), divide(store, 0, [f"s{number}" for number in range(12)])
    patient = store.series["patient_id"]

    assert found.told == tuple(f"s{number}" for number in sorted(unlabelled))
    assert (found.judged, found.folds, found.n_copies) == (plain.judged, plain.folds, 0)
    for fold in found.folds:
        assert found.held_out(fold) == plain.held_out(fold)
        own = {patient[name] for name in found.held_out(fold)}
        assert own.isdisjoint({patient[name] for name in found.train(fold)})
        assert set(plain.train(fold)) <= set(found.train(fold)) <= {*plain.train(fold), *found.told}
        if not found.made_here:
            assert not any(store.series.at[name, "fold"] == fold for name in found.train(fold))
    assert set(found.told) <= {name for fold in found.folds for name in found.train(fold)}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Eight series with labels."""
    return make_store(tmp_path_factory.mktemp("told") / "features", n_series=8, n_folds=2)


def test_a_table_that_says_nothing_new_changes_no_weight(features: FeatureStore) -> None:
    """Slices that are all known leave nothing open. A table that does say something is learnt, and another run."""
    statistics, ids = fit_standardisation(features), list(features.series.index)
    config = SequenceConfig(epochs=1, batch_size=4, project=6, hidden=4, layers=1)

    def trained(store: FeatureStore, labels: SeriesLabels | None) -> list[torch.Tensor]:
        reader = SequenceReader(store, statistics, np.zeros(N_LABELS), labels)
        model, _ = train_sequence_model(reader, ids, config, seed=1, device=torch.device("cpu"))
        return list(model.state_dict().values())

    def equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
        return all(torch.equal(*pair) for pair in zip(one, other, strict=True))

    plain, told = trained(features, None), _labels({ids[0]: 1, ids[1]: 0, "another": 1})
    assert equal(trained(features, told), plain)
    slices = features.slices.copy()
    slices.loc[slices["series_id"].isin(ids[:2]), list(LABELS)] = pd.NA
    fewer = FeatureStore(
        features.path, dim=DIM, views=features.views, encoder=features.encoder, size=None, slices=slices
    )
    assert not equal(trained(fewer, told), trained(fewer, None))
    readers = [
        SequenceReader(fewer, statistics, np.zeros(N_LABELS), labels)
        for labels in (None, told, _labels({ids[0]: 1, ids[1]: 1, "another": 1}))
    ]
    prints = {fingerprint_of(reader, config, dict.fromkeys(ids, 0)) for reader in readers}
    assert len(prints) == 3
    division = divide(fewer, 0, told.told)
    described = told.describe(fewer, division)
    assert (described["n_series"], described["n_unlabelled"], described["sha256"]) == (2, 2, told.digest)
    assert told.describe(features, divide(features, 0, told.told))["n_series"] == 0


def test_what_is_taught_judges_nothing(features: FeatureStore, tmp_path: Path) -> None:
    """A series told not to bleed, of which one slice has a label: all of it is taught 0, that slice alone judges."""
    name, cpu = str(features.series.index[1]), torch.device("cpu")  # odd ones have no bleed
    slices = features.slices.copy()
    rows = slices.index[slices["series_id"] == name]
    slices.loc[rows[1:], list(LABELS)] = pd.NA
    store = FeatureStore(
        features.path, dim=DIM, views=features.views, encoder=features.encoder, size=None, slices=slices
    )
    reader = SequenceReader(store, fit_standardisation(store), np.zeros(N_LABELS), _labels({name: 0}))
    model = SequenceModel(DIM, SequenceConfig(project=6, hidden=4, layers=1)).eval()
    write_held_out(reader, [model], [name], tmp_path, cpu)
    judged = read_held_out_series(reader, [name], tmp_path, 1)[0].target
    item = reader.item(name, 0)

    assert judged[0, ANY_INDEX] == 0
    assert np.isnan(judged[1:]).all()
    assert (item.target[:, ANY_INDEX] == 0).all()
    np.testing.assert_array_equal(reader.counted(name), item.target)
    assert np.isnan(item.target[1:, :ANY_INDEX]).all()
    assert collate([item]).series_target[0, ANY_INDEX] == 0


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Series 0 to 7 in two folds: 0 to 3 have labels of slices, 4 and 6 are told to bleed, 5 and 7 not to."""
    root = tmp_path_factory.mktemp("stages")
    store = write_toy_store(root / "studies", n_series=8, n_folds=2)
    slices = pd.read_parquet(store / "slices.parquet")
    slices.loc[slices["series_id"].str.removeprefix("ID_s").astype(int) > 3, list(LABELS)] = pd.NA
    slices.to_parquet(store / "slices.parquet")
    (root / "reports.csv").write_text("series_id,any\n" + "".join(f"ID_s{n},{1 - n % 2}\n" for n in range(4, 8)))
    recipe = Recipe(
        slab=SlabConfig(windows=("brain",), size=SIZE),
        encoder=EncoderConfig(name="test_resnet", weights="none"),
        train=TrainConfig(epochs=1, batch_size=6, lr=1e-3, ema=0.0, keep="last", precision="fp32"),
        sequence=SequenceConfig(project=8, hidden=4, epochs=1, seeds=1),
    )
    train_cnn(store, recipe, root / "cnn", device="cpu", series_labels=root / "reports.csv")
    train_rnn(store, root / "cnn", root / "rnn", device="cpu")
    return root


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_train_rnn_learns_from_the_labels_of_its_cnn(stages: Path) -> None:
    """All eight are embedded by the network that held them out; four teach as wholes; four are judged."""
    content = json.loads((stages / "rnn" / "model.json").read_text())
    found = FeatureStore.open(stages / "rnn" / "features")

    assert len(found.series) == 8
    for fold in (0, 1):
        oof = pd.read_parquet(stages / "cnn" / f"fold{fold}" / "oof.parquet").set_index("image_id")
        for name in found.series.index[found.series["fold"] == fold]:
            images = found.slices.loc[found.slices["series_id"] == name, "image_id"]
            logit = found.read(name).logit
            assert logit is not None
            np.testing.assert_allclose(logit[0], oof.loc[images, list(LABELS)], atol=1e-4)
        judged = pd.read_parquet(stages / "rnn" / f"fold{fold}" / "oof.parquet")["series_id"]
        assert sorted(set(judged)) == [f"ID_s{fold}", f"ID_s{fold + 2}"]
        entry = content["folds"][str(fold)]
        assert (entry["n_train"], entry["n_held_out"]) == (4, 2)
    assert (content["data"]["n_series"], content["data"]["n_train_only"]) == (4, 0)
    told = content["data"]["series_labels"]
    assert (told["n_series"], told["n_unlabelled"]) == (4, 4)
    card = (stages / "rnn" / "MODEL_CARD.md").read_text()
    assert "Labels of whole series taught 4 series" in card
    assert "ID_s" not in card + json.dumps(content)
    assert not list((stages / "rnn").rglob(SERIES_LABELS_FILE))  # ids stay with the CNN's run


def test_another_table_is_another_run(stages: Path, tmp_path: Path) -> None:
    """A finished run refuses it and stays as it is; an unfinished one trains its folds again; none is another, too."""
    root = Path(shutil.copytree(stages, tmp_path / "copy"))
    path = root / "cnn" / SERIES_LABELS_FILE
    table, before = pd.read_parquet(path), _tree(root / "rnn")
    train_rnn(root / "studies", root / "cnn", root / "rnn", device="cpu")
    weights = {name: content for name, content in _tree(root / "rnn").items() if name.endswith("weights.safetensors")}
    assert weights == {name: before[name] for name in weights}

    before = _tree(root / "rnn")
    path.unlink()
    with pytest.raises(UsageError, match=r"one table of labels of whole series \(got none for others"):
        train_rnn(root / "studies", root / "cnn", root / "rnn", device="cpu")
    table.assign(any=[0.0, 0, 1, 0]).astype({"any": "float32"}).to_parquet(path)
    with pytest.raises(UsageError, match=r"\(got those of 4 series for others"):
        train_rnn(root / "studies", root / "cnn", root / "rnn", device="cpu")
    assert _tree(root / "rnn") == before

    (root / "rnn" / "model.json").unlink()
    train_rnn(root / "studies", root / "cnn", root / "rnn", device="cpu")
    for fold in (0, 1):
        name = f"fold{fold}/fold.json"
        entries = [json.loads(part) for part in (before[name], (root / "rnn" / name).read_bytes())]
        assert entries[0]["fingerprint"] != entries[1]["fingerprint"]


def test_what_cannot_teach_or_judge_is_refused(stages: Path, tmp_path: Path) -> None:
    """A slice that its table denies; a table that is none; a store that only reports tell of. Nothing is written."""
    root = Path(shutil.copytree(stages, tmp_path / "copy"))
    path, out = root / "cnn" / SERIES_LABELS_FILE, root / "new"
    table, slices = pd.read_parquet(path), root / "studies" / "slices.parquet"
    none = table.assign(series_id=[f"ID_s{number}" for number in range(4)], any=np.float32(0))
    for wrong, error, message in (
        (none, UsageError, "a series without any must have no slice with it"),
        (pd.concat([table, table]), ModelError, "must hold a series once"),
        (table.assign(any=np.float32(7)), ModelError, "labels 0, 1 or none"),
        (table.assign(any="yes"), ModelError, "must be a readable table"),
    ):
        wrong.to_parquet(path)
        with pytest.raises(error, match=message):
            train_rnn(root / "studies", root / "cnn", out, device="cpu")
    table.to_parquet(path)
    unlabelled = StudyStore.open(root / "studies").slices.copy()
    unlabelled[list(LABELS)] = pd.NA
    unlabelled.to_parquet(slices)
    with pytest.raises(UsageError, match=r"must have labels of slices, which alone judge .* \(got none for 8 series\)"):
        train_rnn(root / "studies", root / "cnn", out, device="cpu")
    assert not out.exists()
