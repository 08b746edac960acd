"""From a study store and a CNN to out-of-fold features, and on to a run that predicts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ich25d.bleeds.paint import Painted
from ich25d.config import EncoderConfig, FeaturesConfig, Recipe, SlabConfig, TrainConfig
from ich25d.encoder.loaded import load_encoder
from ich25d.encoder.train import train_cnn
from ich25d.errors import ModelError, UsageError
from ich25d.features import extract
from ich25d.features.extract import AtOnce, embed_series, extract_oof_features, tasks_of
from ich25d.features.store import FeatureStore
from ich25d.labels import LABELS
from ich25d.sequence.model_directory import load_sequence
from ich25d.sequence.train import train_rnn
from ich25d.studies.store_dir.store import FORMAT, VERSION, StudyStore
from ich25d.studies.store_dir.volume_file import write_volume

SIZE, N_SERIES, N_SLICES, N_FOLDS = 32, 9, 5, 3


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine series in three folds: a bright square is a subdural bleed, every third series is negative."""
    root = tmp_path_factory.mktemp("studies")
    rng = np.random.default_rng(0)
    series, slices = [], []
    for number in range(N_SERIES):
        name = f"ID_s{number}"
        hu = rng.integers(0, 60, (N_SLICES, SIZE, SIZE)).astype(np.int16)
        positive = (np.arange(N_SLICES) % 2 == number % 2) & (number >= N_FOLDS)
        hu[positive, 10:20, 10:20] += 60
        ids = {"series_id": name, "study_id": f"study{number}", "patient_id": "" if number == 1 else f"p{number}"}
        numbers = {"slice_spacing_mm": 5.0, "pixel_spacing_mm": 0.5, "scale": 2.0}
        volume = write_volume(root, name, hu)._asdict()
        series.append({**ids, **numbers, "fold": number % N_FOLDS, "n_slices": N_SLICES, **volume})
        for index in range(N_SLICES):
            labels = {label: int(positive[index] and label in ("subdural", "any")) for label in LABELS}
            place = {"slice_index": index, "slice_position_mm": 5.0 * index}
            window = {"window_level": np.nan, "window_width": np.nan}
            slices.append({"image_id": f"ID_{number}_{index}", **ids, **place, **window, **labels})
    volume = write_volume(root, "ID_test", rng.integers(0, 60, (N_SLICES, SIZE, SIZE)).astype(np.int16))._asdict()
    series.append({**series[0], "series_id": "ID_test", "patient_id": "pt", **volume})
    for index in range(N_SLICES):
        unknown = dict.fromkeys(LABELS, None)
        slices.append({**slices[index], "image_id": f"t{index}", "series_id": "ID_test", "patient_id": "pt", **unknown})
    pd.DataFrame(series).to_parquet(root / "series.parquet")
    pd.DataFrame(slices).astype(dict.fromkeys(LABELS, "Int8")).to_parquet(root / "slices.parquet")
    (root / "store.json").write_text(json.dumps({"format": FORMAT, "version": VERSION, "size": SIZE, "crop": "head"}))
    return root


@pytest.fixture(scope="module")
def cnn(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CNN of three folds."""
    run = tmp_path_factory.mktemp("cnn") / "run"
    recipe = Recipe(
        slab=SlabConfig(windows=("brain", "subdural"), size=SIZE),
        encoder=EncoderConfig(name="test_resnet", weights="none"),
        train=TrainConfig(epochs=1, batch_size=4, precision="fp32"),
        features=FeaturesConfig(painted_copies=1),
    )
    train_cnn(studies, recipe, run, device="cpu")
    return run


@pytest.fixture
def _paints_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Painters that need no head: a bright slice in the middle, nothing in series 1."""
    monkeypatch.setattr(extract.Painter, "anatomy", lambda self, series_id: series_id)
    monkeypatch.setattr(extract, "plan_bleeds", lambda anatomy, rng: [] if anatomy == "ID_s1" else ["bleed"])

    def paint(hu, indices, bleeds):
        hu, labels = hu.copy(), np.zeros((len(hu), 6), np.uint8)
        hu[2] += 70
        labels[2, [0, 5]] = 1
        return Painted(hu, labels, np.zeros((len(hu), 5, *hu.shape[1:]), bool))

    monkeypatch.setattr(extract, "paint", paint)


@pytest.mark.usefixtures("_paints_squares")
def test_every_series_is_embedded_by_the_encoder_that_never_saw_it(studies: Path, cnn: Path, tmp_path: Path) -> None:
    """Logits of the plain view are the CNN's own out-of-fold logits; copies are another series of the same patient."""
    store = StudyStore.open(studies)
    found = extract_oof_features(store, cnn, FeaturesConfig(painted_copies=1), tmp_path)
    negatives = [f"ID_s{number}" for number in range(N_FOLDS)]

    assert set(found.series.index) == {f"ID_s{n}" for n in range(N_SERIES)} | {"ID_s0~painted1", "ID_s2~painted1"}
    assert found.encoder.keys() == {"0", "1", "2"}
    for fold in range(N_FOLDS):
        oof = pd.read_parquet(cnn / f"fold{fold}" / "oof.parquet").set_index("image_id")
        for name in found.series.index[found.series["fold"] == fold]:
            if "painted" in name or name == "ID_test":
                continue
            features = found.read(name)
            images = found.slices.loc[found.slices["series_id"] == name, "image_id"]
            assert features.logit is not None
            np.testing.assert_allclose(features.logit[0], oof.loc[images, list(LABELS)], atol=1e-4)
            assert not np.array_equal(features.logit[0], features.logit[1])
    copy = found.series.loc["ID_s0~painted1"]
    assert (copy["patient_id"], copy["fold"], copy["train_only"]) == ("p0", 0, True)
    assert found.series.loc["ID_s1", "patient_id"] == "study study1"
    own = found.slices[found.slices["series_id"] == "ID_s0~painted1"]
    assert own["any"].tolist() == [0, 0, 1, 0, 0]
    assert own["image_id"].iloc[0] == "ID_0_0~painted1"
    before, painted = found.read(negatives[0]).embedding, found.read("ID_s0~painted1").embedding
    assert np.array_equal(before[:, 0], painted[:, 0])
    assert not np.array_equal(before[:, 2], painted[:, 2])


@pytest.mark.usefixtures("_paints_squares")
def test_what_is_embedded_is_kept(studies: Path, cnn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call embeds only what is missing, damaged or made from something else."""
    store, features = StudyStore.open(studies), FeaturesConfig(painted_copies=1)
    extract_oof_features(store, cnn, features, tmp_path)
    (tmp_path / "ID_s3.safetensors").unlink()
    (tmp_path / "ID_s4.safetensors").write_bytes(b"cut off")
    done = []
    embed = extract.embed_series
    monkeypatch.setattr(extract, "embed_series", lambda *a, **k: done.append(a[0].fold) or embed(*a, **k))
    extract_oof_features(store, cnn, features, tmp_path)
    assert sorted(done) == [0, 1]

    done.clear()
    extract_oof_features(store, cnn, FeaturesConfig(views=("plain",)), tmp_path)
    assert len(done) == N_SERIES
    assert FeatureStore.open(tmp_path).views == ("plain",)
    assert "ID_s0~painted1" not in FeatureStore.open(tmp_path).series.index


@pytest.mark.usefixtures("_paints_squares")
def test_another_cnn_is_refused_or_its_work_named(
    studies: Path, cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training stopped after its features were made keeps to its CNN; one stopped within them says what it redoes."""
    store, out, other = StudyStore.open(studies), tmp_path / "features", tmp_path / "other"
    extract_oof_features(store, cnn, FeaturesConfig(), out)
    shutil.copytree(cnn, other)
    model = json.loads((other / "model.json").read_text())
    model["folds"]["1"] = {**model["folds"]["1"], "sha256": "0" * 64}
    (other / "model.json").write_text(json.dumps(model))
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(
        UsageError, match=r"made of one CNN \(got other weights of fold\(s\) 1 in .*other\) in .*; choose"
    ):
        extract_oof_features(store, other, FeaturesConfig(), out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before

    (out / "features.json").unlink()
    extract_oof_features(store, cnn, FeaturesConfig(views=("plain",)), out)
    assert f"{N_SERIES} series are embedded anew" in capsys.readouterr().err


@pytest.mark.usefixtures("_paints_squares")
def test_walks_from_studies_to_a_run_that_predicts(studies: Path, cnn: Path, tmp_path: Path) -> None:
    """The run holds its encoders: it predicts after the CNN's run is out of reach, as training measured it."""
    quick = ("sequence.epochs=2", "sequence.project=8", "sequence.hidden=4")
    summary = train_rnn(studies, cnn, tmp_path / "run", overrides=quick, device="cpu")
    loaded = load_sequence(tmp_path / "run")
    assert loaded.encoder_folder == tmp_path / "run" / "encoder"
    encoders = [load_encoder(loaded.encoder_folder, fold) for fold in loaded.folds]
    hu = StudyStore.open(studies).hu("ID_test")
    position = np.arange(N_SLICES) * 5.0
    parts = [embed_series(encoder, hu, position, None, views=loaded.views) for encoder in encoders]
    prediction = loaded.predict([part[0] for part in parts], [part[1] for part in parts], position)

    assert prediction.probability.shape == (N_SLICES, 6)
    assert summary.scopes["all held-out series"]["n_series"] == N_SERIES
    assert not list((tmp_path / "run" / "encoder").rglob("last.pt"))
    assert json.loads((tmp_path / "run" / "model.json").read_text())["data"]["n_train_only"] == 2


def test_series_with_a_label_as_a_whole_are_embedded(studies: Path) -> None:
    """Those without labels of slices too; one that is denied all labels is painted as any negative is."""
    store, features = StudyStore.open(studies), FeaturesConfig(painted_copies=2)
    encoders = dict.fromkeys(range(N_FOLDS), "0" * 64)

    def listed(any_label: float | None) -> list[str]:
        table = pd.DataFrame({"series_id": ["ID_test", "ID_elsewhere"]}).reindex(columns=["series_id", *LABELS])
        table["any"] = any_label
        if any_label == 0:
            table[list(LABELS)] = 0.0
        given = None if any_label is None else table
        return [task.name for task in tasks_of(store, encoders, SlabConfig(), features, 0, given)]

    assert set(listed(1.0)) - set(listed(None)) == {"ID_test"}
    assert set(listed(0.0)) - set(listed(1.0)) == {"ID_test~painted1", "ID_test~painted2"}
    assert set(listed(None)) <= set(listed(1.0)) <= set(listed(0.0))


def test_refuses_another_store(studies: Path, cnn: Path, tmp_path: Path) -> None:
    """Another crop isn't what the CNN was trained on; nothing labelled, nothing to do."""
    store = StudyStore.open(studies)
    store.marker["crop"] = "none"
    with pytest.raises(UsageError, match=r"of the kind that the CNN was trained on \(size 32, crop head"):
        extract_oof_features(store, cnn, FeaturesConfig(), tmp_path)
    store.marker["crop"] = "head"
    store.series["fold"] = 7
    with pytest.raises(UsageError, match="a labelled series must be in a finished fold"):
        extract_oof_features(store, cnn, FeaturesConfig(), tmp_path)
    store.slices[list(LABELS)] = pd.NA
    with pytest.raises(UsageError, match=r"must have labels of slices.*\(got none for \d+ series\).*with --labels"):
        extract_oof_features(store, cnn, FeaturesConfig(), tmp_path)


def test_refuses_folds_that_the_cnn_did_not_have(studies: Path, cnn: Path, tmp_path: Path) -> None:
    """A series dealt into another fold would be embedded, as unseen, by an encoder that was trained on it."""
    store = StudyStore.open(studies)
    store.series.loc[store.series["series_id"] == "ID_s4", "fold"] = 2
    with pytest.raises(UsageError, match=r"held out by its fold's encoder \(got 1 that weren't, e.g. ID_s4\)"):
        extract_oof_features(store, cnn, FeaturesConfig(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_halves_the_batch_until_it_fits(cnn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same features in smaller batches, remembered for the next series; not even one is a sentence."""
    encoder = load_encoder(cnn, 0)
    hu = np.random.default_rng(0).integers(0, 80, (9, SIZE, SIZE)).astype(np.int16)
    position = np.arange(9) * 5.0
    whole, *_ = embed_series(encoder, hu, position, None, views=("plain",))
    fits, asked = 2, []
    embed = extract._embed

    def small(*arguments):
        asked.append(arguments[-1])
        if arguments[-1] > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return embed(*arguments)

    monkeypatch.setattr(extract, "_embed", small)
    at_once = AtOnce(8)
    for _ in range(2):
        parts, *_ = embed_series(encoder, hu, position, None, views=("plain",), at_once=at_once)
        np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert asked == [8, 4, 2, 2]

    fits = 0
    with pytest.raises(ModelError, match=r"one slab of it must fit into the device's memory .*32 px on cpu.*--device"):
        embed_series(encoder, hu, position, None, views=("plain",), at_once=at_once)


def test_a_placeholder_of_many_studies_is_no_patient(studies: Path, cnn: Path, tmp_path: Path) -> None:
    """The folds have split it study by study; so the features do."""
    shutil.copytree(studies, tmp_path / "studies")
    for name in ("series", "slices"):
        path = tmp_path / "studies" / f"{name}.parquet"
        table = pd.read_parquet(path).assign(patient_id="ANON")
        table.loc[table["series_id"] == "ID_test", "study_id"] = "study9"
        table.to_parquet(path)
    store = StudyStore.open(tmp_path / "studies")
    found = extract_oof_features(store, cnn, FeaturesConfig(painted_copies=0), tmp_path / "features")

    assert set(found.series["patient_id"]) == {f"study study{number}" for number in range(N_SERIES)}
