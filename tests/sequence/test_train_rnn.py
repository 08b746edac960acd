"""train-rnn from a feature store to a run that predicts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file
from synthetic_features import DIM, VIEWS, make_store

from ich25d.config import CalibrationConfig, SequenceConfig
from ich25d.errors import ConfigError, ModelError, UsageError
from ich25d.features.store import FeatureStore
from ich25d.sequence.comparison import ALONE, FULL, RAW, SMOOTHED, Probabilities, compare, cross_fitted
from ich25d.sequence.dataset import SequenceReader
from ich25d.sequence.division import divide
from ich25d.sequence.fold_training import finished_entry, painted_shift, read_held_out_series, train_sequence_model
from ich25d.sequence.item import logits_of_each
from ich25d.sequence.model import TorchRunner
from ich25d.sequence.model_directory import load_sequence, thin_strides
from ich25d.sequence.standardisation import Standardisation, fit_standardisation
from ich25d.sequence.train import RnnSummary, train_rnn
from ich25d.summary import as_json
from ich25d.training.metrics import auc, case_losses

QUICK = (
    "sequence.epochs=16", "sequence.batch_size=4", "sequence.project=12", "sequence.hidden=8", "sequence.layers=1",
    "sequence.lr=1e-2", "sequence.dropout=0.1", "sequence.seeds=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, RnnSummary]:
    """A store whose embeddings tell of their neighbours, a run trained on it, and its summary."""
    root = tmp_path_factory.mktemp("rnn")
    make_store(root / "features", n_series=20, n_folds=2, painted=4)
    summary = train_rnn(None, None, root / "run", features=root / "features", overrides=QUICK, device="cpu")
    return root / "features", root / "run", summary


def test_neighbours_beat_the_slice_alone(trained: tuple[Path, Path, RnnSummary]) -> None:
    """Where neighbours carry the information, the sequence model has it, on patients never seen."""
    systems = trained[2].scopes["all held-out series"]["systems"]

    assert systems[FULL]["log_loss"].value < 0.7 * systems[ALONE]["log_loss"].value
    assert systems[FULL]["auc"]["any"].value > systems[SMOOTHED]["auc"]["any"].value
    assert systems[FULL]["against_alone"].high < 0
    assert list(systems) == [RAW, ALONE, SMOOTHED, FULL]


def test_the_comparison_is_saved_and_shown(trained: tuple[Path, Path, RnnSummary]) -> None:
    """The same numbers on the screen, in JSON and in text."""
    _, run, summary = trained
    saved = json.loads((run / "comparison.json").read_text())["all held-out series"]
    lines = "\n".join(summary.lines())

    assert saved["n_series"] == 20
    assert saved["systems"][FULL]["log_loss"] == as_json(
        summary.scopes["all held-out series"]["systems"][FULL]["log_loss"]
    )
    assert lines in (run / "comparison.txt").read_text()
    assert "CNN + smoothing" in lines
    assert summary.exit_code == 0
    assert json.loads(json.dumps(as_json(summary), allow_nan=False))["out"] == str(run)


def test_predicts_a_series_from_its_run_alone(trained: tuple[Path, Path, RnnSummary], tmp_path: Path) -> None:
    """A copied run predicts; views and encoders average; the result is in range and ordered."""
    features, run, _ = trained
    shutil.copytree(run, tmp_path / "run")
    loaded = load_sequence(tmp_path / "run")
    found = FeatureStore.open(features).read("series002")
    n_slices = len(found.slice_position_mm)
    assert found.logit is not None
    prediction = loaded.predict([found.embedding, found.embedding], [found.logit, found.logit], found.slice_position_mm)

    assert (loaded.folds, loaded.views, loaded.dim) == ((0, 1), VIEWS, DIM)
    assert [len(models) for models in loaded.models] == [2, 2]
    assert prediction.probability.shape == (n_slices, 6)
    assert prediction.series_probability.shape == (6,)
    assert ((prediction.probability > 0) & (prediction.probability < 1)).all()
    assert (prediction.probability[:, 5] >= prediction.probability[:, :5].max(axis=1)).all()
    assert prediction.series_probability[5] >= prediction.series_probability[:5].max()
    expected = 1 / (1 + np.exp(-found.logit.astype(float).mean(axis=0)))
    np.testing.assert_allclose(prediction.encoder_probability, expected, rtol=1e-6)
    assert set(loaded.thresholds) == {"slice", "series"}
    assert 0 < loaded.prior[5] < 0.5


def test_unknown_positions_and_single_slices_predict(trained: tuple[Path, Path, RnnSummary]) -> None:
    """NaN positions, one slice and no logits are answered; wrong shapes and NaN are refused."""
    loaded = load_sequence(trained[1])
    rng = np.random.default_rng(0)
    for n_slices in (1, 2, 5):
        embedding = rng.normal(size=(2, 2, n_slices, DIM))
        prediction = loaded.predict(embedding, None, np.full(n_slices, np.nan))
        assert np.isfinite(prediction.probability).all()
        assert np.isfinite(prediction.series_probability).all()

    with pytest.raises(ModelError, match="must come as embeddings of shape"):
        loaded.predict(embedding[:1], None, np.zeros(5))
    with pytest.raises(ModelError, match="must be finite"):
        loaded.predict(embedding * np.nan, None, np.zeros(5))


def test_a_thin_series_is_read_in_usual_gaps(trained: tuple[Path, Path, RnnSummary]) -> None:
    """Every slice eight times over at 0.625 mm has the answers of the slices at 5 mm."""
    loaded = load_sequence(trained[1])
    embedding = np.random.default_rng(0).normal(size=(2, 2, 12, DIM))
    usual = loaded._refine(_items(loaded, embedding), np.arange(12) * 5.0)[0]
    thin = loaded._refine(_items(loaded, embedding.repeat(8, axis=2), 0.625), np.arange(96) * 0.625)[0]

    np.testing.assert_allclose(thin, usual.repeat(8, axis=1), atol=0.05)
    assert loaded.gap_mm == 5
    assert [thin_strides(np.arange(20) * gap, 5.0) for gap in (0.625, 1.25, 2.5, 3.0, 5.0, 7.0)] == [8, 4, 2, 1, 1, 1]
    assert thin_strides(np.zeros(20), 5.0) == 1
    assert thin_strides(np.full(20, np.nan), 5.0) == 1


def _items(loaded, embedding, gap_mm=5.0):
    from ich25d.sequence.item import SeriesItem

    n_slices = embedding.shape[2]
    return [
        SeriesItem(
            loaded.standardisation.apply(embedding[0, view], "0"),
            np.full((n_slices, 6), -2, np.float32),
            (np.arange(n_slices) * gap_mm).astype(np.float32),
            np.full((n_slices, 6), np.nan, np.float32),
        )
        for view in range(2)
    ]


def test_a_second_call_trains_nothing(trained: tuple[Path, Path, RnnSummary], monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished folds are kept; the result is the same."""
    features, run, summary = trained

    def never(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("ich25d.sequence.fold_training.train_sequence_model", never)
    again = train_rnn(None, None, run, features=features, overrides=QUICK, device="cpu")

    assert as_json(again) == as_json(summary)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "encoder"}, "must say kind 'sequence'"),
        ({"labels": ["any"]}, "labels must be"),
        ({"dim": "x"}, "must be whole"),
        ({"gap_mm": -1}, "must be whole"),
        ({"folds": {"0": {"weights": "../w.safetensors", "sha256": ""}}}, "must be whole .*stay in it"),
        ({"folds": {"0": {"weights": "fold0/weights.safetensors", "sha256": "0" * 64}}}, "must have the SHA-256"),
        ({"statistics": {"file": "model.json", "sha256": "0"}}, "statistics must be the file"),
        ({"encoders": [0, 1, 7]}, "every encoder must have its statistics"),
        ({"refinement": {}}, "refinement must be whole"),
        ({"thresholds": {"slice": {"f1": {"any": 3}}, "series": {}}}, "threshold must be a probability"),
        ({"sequence": {"hidden": -1}}, "must be whole"),
        ({"sequence": {"hidden": 10**9}}, "must be whole"),
    ],
)
def test_refuses_a_strange_run(
    trained: tuple[Path, Path, RnnSummary], tmp_path: Path, change: dict, message: str
) -> None:
    """Whatever is changed in a run is refused by name."""
    shutil.copytree(trained[1], tmp_path / "run")
    path = tmp_path / "run" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(ModelError, match=message):
        load_sequence(tmp_path / "run")


def test_refuses_what_does_not_fit_together(tmp_path: Path) -> None:
    """Sources, recipe and folder are checked before anything is written."""
    with pytest.raises(UsageError, match="takes a study store and --cnn, or --features alone"):
        train_rnn(None, None, tmp_path / "run")
    with pytest.raises(UsageError, match="takes a study store and --cnn, or --features alone"):
        train_rnn(tmp_path, None, tmp_path / "run", features=tmp_path)
    with pytest.raises(ConfigError, match="unknown key"):
        train_rnn(None, None, tmp_path / "run", features=tmp_path, overrides=("sequence.hiden=3",))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("")
    with pytest.raises(UsageError, match="--out must be a new folder"):
        train_rnn(None, None, tmp_path / "run", features=tmp_path)


def test_folds_are_made_by_patient_where_there_are_none(tmp_path: Path) -> None:
    """A strange store without folds: positives in every fold, patients whole, copies with their patient."""
    store = make_store(tmp_path, n_series=20, n_folds=1, painted=0)
    path = tmp_path / "slices.parquet"
    table = pd.read_parquet(path)
    table["patient_id"] = [f"p{int(name[6:9]) // 2}" for name in table["series_id"]]
    table.drop(columns="fold").to_parquet(path)
    store = FeatureStore.open(tmp_path)
    division = divide(store, seed=0)
    patients = store.series["patient_id"]

    assert division.made_here
    assert division.folds == [0, 1, 2, 3, 4]
    for fold in division.folds:
        own = {patients[name] for name in division.held_out(fold)}
        assert own
        assert own.isdisjoint({patients[name] for name in division.train(fold)})
    assert sorted(name for fold in division.folds for name in division.held_out(fold)) == sorted(store.series.index)


def test_encoders_are_brought_together(tmp_path: Path) -> None:
    """Every encoder's shift and scale are taken out; damaged statistics are refused."""
    store = make_store(tmp_path / "f", n_series=16, n_folds=2)
    standardisation = fit_standardisation(store)
    for encoder, ids in {"0": ["series000", "series001"], "1": ["series002", "series003"]}.items():
        embeddings = [standardisation.apply(store.read(name).embedding, encoder) for name in ids]
        joined = np.concatenate([embedding.reshape(-1, DIM) for embedding in embeddings])
        assert np.abs(joined.mean(axis=0)).max() < 0.7
        assert 0.3 < joined.std(axis=0).mean() < 2
    standardisation.save(tmp_path / "s.safetensors")
    again = Standardisation.load(tmp_path / "s.safetensors", DIM)

    assert np.array_equal(again.mean["1"], standardisation.mean["1"])
    with pytest.raises(ModelError, match=r"statistics must be finite, shape \(5,\)"):
        Standardisation.load(tmp_path / "s.safetensors", 5)
    save_file(
        {**load_file(tmp_path / "s.safetensors"), "spread.0": np.zeros(DIM, np.float32)}, tmp_path / "t.safetensors"
    )
    with pytest.raises(ModelError, match="statistics must be finite"):
        Standardisation.load(tmp_path / "t.safetensors", DIM)


def test_painted_copies_train_and_are_never_judged(trained: tuple[Path, Path, RnnSummary]) -> None:
    """They are in no held-out fold, and their surplus of positives is taken out of the logits."""
    store = FeatureStore.open(trained[0])
    division = divide(store, seed=0)
    reader = SequenceReader(store, fit_standardisation(store), np.zeros(6))
    everyone = list(store.series.index)

    assert len(everyone) == 24
    assert len(division.judged) == 20
    assert not any("painted" in name for fold in division.folds for name in division.held_out(fold))
    assert any("painted" in name for name in division.train(0))
    assert painted_shift(reader, everyone)[5] < -0.1
    assert painted_shift(reader, division.judged).tolist() == [0] * 6


def test_training_repeats_itself(trained: tuple[Path, Path, RnnSummary]) -> None:
    """The same seed gives the same model; another one another."""
    store = FeatureStore.open(trained[0])
    reader = SequenceReader(store, fit_standardisation(store), np.zeros(6))
    ids = list(store.series.index)[:6]
    config = SequenceConfig(epochs=2, batch_size=3, project=8, hidden=4)
    import torch

    cpu = torch.device("cpu")
    models = [train_sequence_model(reader, ids, config, seed=seed, device=cpu)[0] for seed in (1, 1, 2)]
    logits = [logits_of_each([TorchRunner(model, cpu)], reader.items(ids[0]))[0] for model in models]

    assert np.array_equal(logits[0], logits[1])
    assert not np.array_equal(logits[0], logits[2])


def test_the_comparison_is_what_the_metrics_say(trained: tuple[Path, Path, RnnSummary]) -> None:
    """Values equal the plain metrics; the raw system is the encoder's own; intervals hold the value."""
    features, run, _ = trained
    store = FeatureStore.open(features)
    reader = SequenceReader(store, fit_standardisation(store), np.zeros(6))
    division = divide(store, seed=0)
    series = [
        item
        for fold in division.folds
        for item in read_held_out_series(reader, division.held_out(fold), run / f"fold{fold}", fold)
    ]
    predicted = cross_fitted(series, CalibrationConfig(fit_on=("series00*",)))
    found = compare(series, predicted, replicates=50)
    target = np.concatenate([item.target for item in series])
    raw = np.concatenate([predicted[RAW][item.series_id].slices for item in series])
    measured = found["systems"][RAW]
    loss, weight = case_losses(target, raw)

    plain = 1 / (1 + np.exp(-np.concatenate([item.encoder_logit for item in series])))
    np.testing.assert_allclose(raw[:, :5], plain[:, :5])
    assert measured["log_loss"].value == pytest.approx(loss.sum() / weight.sum())
    assert measured["auc"]["any"].value == pytest.approx(auc(target[:, 5], raw[:, 5]))
    assert measured["log_loss"].low <= measured["log_loss"].value <= measured["log_loss"].high
    share = np.tile(target.mean(axis=0), (len(target), 1))
    assert measured["of_prior"].value == pytest.approx(loss.sum() / case_losses(target, share)[0].sum())
    perfect = {item.series_id: Probabilities(item.target, item.target.max(axis=0)) for item in series}
    best = compare(series, {**predicted, FULL: perfect}, replicates=5)
    assert best["systems"][FULL]["log_loss"].value == pytest.approx(0, abs=1e-9)


def test_a_damaged_fold_is_not_taken_for_finished(trained: tuple[Path, Path, RnnSummary], tmp_path: Path) -> None:
    """A changed byte is found by predict and by the next training alike."""
    shutil.copytree(trained[1] / "fold1", tmp_path / "fold1")
    entry = json.loads((tmp_path / "fold1" / "fold.json").read_text())
    assert finished_entry(tmp_path / "fold1", entry["fingerprint"]) is not None
    assert finished_entry(tmp_path / "fold1", "of other data") is None

    weights = tmp_path / "fold1" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert finished_entry(tmp_path / "fold1", entry["fingerprint"]) is None
