"""The feature store: anybody's ten lines write one; what is wrong with one is named."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ich25d.errors import StoreError
from ich25d.features.extract import orderly_position_mm
from ich25d.features.store import FeatureStore, read_series, write_series, write_tables
from ich25d.labels import LABELS


def write_by_hand(folder: Path) -> Path:
    """The ten lines of the README: two series of three slices, one view, four numbers an embedding."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    (folder / "features.json").write_text(json.dumps({"format": 1, "dim": 4, "views": ["plain"]}))
    rows = []
    for series_id in ("A", "B"):
        embedding = rng.normal(size=(1, 3, 4)).astype(np.float16)
        position = np.array([0.0, 5.0, 10.0])
        save_file({"embedding": embedding, "slice_position_mm": position}, folder / f"{series_id}.safetensors")
        for index in range(3):
            rows.append({"image_id": f"{series_id}{index}", "series_id": series_id, **dict.fromkeys(LABELS, index % 2)})
    pd.DataFrame(rows).to_parquet(folder / "slices.parquet")
    return folder


@pytest.fixture
def by_hand(tmp_path: Path) -> Path:
    """A store as a stranger writes it."""
    return write_by_hand(tmp_path / "features")


def test_reads_what_ten_lines_of_numpy_wrote(by_hand: Path) -> None:
    """Logits, patients and folds may be absent; every series is its own patient then."""
    store = FeatureStore.open(by_hand)
    features = store.read("A")

    assert (store.dim, store.views, store.encoder) == (4, ("plain",), {"": ""})
    assert list(store.series.index) == ["A", "B"]
    assert list(store.series["patient_id"]) == ["A", "B"]
    assert list(store.series["fold"]) == [-1, -1]
    assert features.embedding.shape == (1, 3, 4)
    assert features.logit is None
    assert features.slice_position_mm.tolist() == [0, 5, 10]
    assert store.encoder_of("B") == ""


def test_writes_and_reads_back(tmp_path: Path) -> None:
    """Embedding in 16 bits, logits in 32, ids that are no file names, rows of the table in any order."""
    rng = np.random.default_rng(1)
    embedding, logit = rng.normal(size=(2, 3, 5)).astype(np.float32), rng.normal(size=(2, 3, 6)).astype(np.float32)
    series_id = "../1.2.3~painted1"
    write_series(tmp_path, series_id, embedding=embedding, logit=logit, slice_position_mm=np.array([0, 2.5, 2.5]))
    table = pd.DataFrame(
        [
            {"image_id": f"i{index}", "series_id": series_id, "patient_id": "p", "slice_index": index, "fold": 2,
             "train_only": True, "study_id": "s", **dict.fromkeys(LABELS, pd.NA)}
            for index in (2, 0, 1)
        ]
    )  # fmt: skip
    write_tables(tmp_path, table, dim=5, views=("plain", "flip"), encoder={"1": "aa", "2": "bb"}, size=256)
    store = FeatureStore.open(tmp_path)
    found = store.read(series_id)

    assert list(store.slices["image_id"]) == ["i0", "i1", "i2"]
    assert store.series.loc[series_id, ["patient_id", "fold", "train_only", "n_slices"]].tolist() == ["p", 2, True, 3]
    assert np.array_equal(found.embedding, embedding.astype(np.float16))
    assert found.logit is not None
    assert np.array_equal(found.logit, logit)
    assert (store.encoder_of(series_id), store.size) == ("2", 256)
    assert pd.read_parquet(tmp_path / "slices.parquet")["study_id"].tolist() == ["s"] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 0}, "dim must be a whole number"),
        ({"dim": True}, "dim must be a whole number"),
        ({"dim": 10**9}, "dim must be a whole number"),
        ({"views": []}, "views must be a list of names"),
        ({"views": [3]}, "views must be a list of names"),
        ({"format": 2}, "must be an object of format 1"),
        ({"encoder": {"0": 3}}, "encoder must be a SHA-256"),
        ({"size": "big"}, "size must be a number"),
        ({"encoder": {"0": "a", "1": "b"}}, "every fold must have its encoder"),
    ],
)
def test_refuses_a_strange_features_json(by_hand: Path, change: dict, message: str) -> None:
    """Every field is checked."""
    path = by_hand / "features.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(StoreError, match=message):
        FeatureStore.open(by_hand)


def test_refuses_an_unfinished_store(by_hand: Path) -> None:
    """Without features.json, which is written last, there is no store."""
    (by_hand / "features.json").unlink()

    with pytest.raises(StoreError, match="was its making interrupted"):
        FeatureStore.open(by_hand)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("any", 2, "labels must be 0, 1 or missing"),
        ("any", "yes", "any must be numbers"),
        ("image_id", "A0", "every image must have one row"),
        ("slice_index", 7, "numbered 0 to n - 1"),
        ("fold", 0.5, "fold must be a whole number"),
        ("fold", [0, 1, 0, 0, 0, 0], "fold must be the same in all slices"),
        ("train_only", 3, "train_only must be true or false"),
        ("series_id", None, "series_id must be in every row"),
        ("series_id", 2.5, "series_id must be text"),
    ],
)
def test_refuses_a_strange_table(by_hand: Path, column: str, value: object, message: str) -> None:
    """The error names the column, the rule and the value."""
    path = by_hand / "slices.parquet"
    pd.read_parquet(path).assign(**{column: value}).to_parquet(path)

    with pytest.raises(StoreError, match=message):
        FeatureStore.open(by_hand)


def test_refuses_a_patient_in_two_folds(by_hand: Path) -> None:
    """A patient is never split."""
    path = by_hand / "slices.parquet"
    pd.read_parquet(path).assign(patient_id="p", fold=[0, 0, 0, 1, 1, 1]).to_parquet(path)

    with pytest.raises(StoreError, match="a patient must be in one fold"):
        FeatureStore.open(by_hand)


GOOD = {
    "embedding": np.zeros((1, 3, 4), np.float16),
    "logit": np.zeros((1, 3, 6), np.float32),
    "slice_position_mm": np.array([0.0, 1.0, 2.0]),
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedding": np.zeros((1, 4, 4), np.float16)}, r"embedding must have shape \(1, 3, 4\)"),
        ({"embedding": np.zeros((1, 3, 4), np.int16)}, "embedding must have shape .* and type"),
        ({"embedding": np.full((1, 3, 4), np.nan, np.float16)}, "must be finite"),
        ({"embedding": np.full((1, 3, 4), 1e6, np.float32)}, "fit into 16 bits"),
        ({"logit": np.zeros((1, 3, 5), np.float32)}, "logit must have shape"),
        ({"logit": np.full((1, 3, 6), np.inf, np.float32)}, "must be finite"),
        ({"slice_position_mm": np.array([0.0, 2.0, 1.0])}, "in scan order"),
        ({"slice_position_mm": np.array([0.0, np.nan, 1.0])}, "finite, or all NaN"),
        ({"slice_position_mm": None}, "must hold slice_position_mm"),
    ],
)
def test_refuses_a_strange_series(tmp_path: Path, change: dict, message: str) -> None:
    """Shapes, types, numbers and order are checked."""
    tensors = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    save_file(tensors, tmp_path / "A.safetensors")

    with pytest.raises(StoreError, match=message):
        read_series(tmp_path / "A.safetensors", n_views=1, n_slices=3, dim=4)


def test_unknown_positions_are_fine(tmp_path: Path) -> None:
    """All NaN is unknown; a falling or half-known order is stored so."""
    save_file({**GOOD, "slice_position_mm": np.full(3, np.nan)}, tmp_path / "A.safetensors")
    found = read_series(tmp_path / "A.safetensors", n_views=1, n_slices=3, dim=4)

    assert np.isnan(found.slice_position_mm).all()
    assert np.isnan(orderly_position_mm(np.array([0.0, np.nan]))).all()
    assert np.isnan(orderly_position_mm(np.array([1.0, 0.0]))).all()
    assert orderly_position_mm(np.array([1.0, 1.0])).tolist() == [1.0, 1.0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=400), st.integers(0, 400), st.booleans())
def test_no_bytes_crash_the_reader(tmp_path: Path, noise: bytes, at: int, keep: bool) -> None:
    """Whatever a file holds, it is read or refused by name."""
    path = tmp_path / "A.safetensors"
    save_file(GOOD, path)
    content = path.read_bytes() if keep else b""
    path.write_bytes(content[:at] + noise + content[at + len(noise) :])
    with contextlib.suppress(StoreError):
        read_series(path, n_views=1, n_slices=3, dim=4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["features.json", "slices.parquet"]), st.binary(max_size=200), st.integers(0, 3000))
def test_no_bytes_crash_the_opening(tmp_path_factory: pytest.TempPathFactory, name: str, noise: bytes, at: int) -> None:
    """Damaged tables are refused by name."""
    folder = write_by_hand(tmp_path_factory.mktemp("hostile") / "features")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:at] + noise + content[at + len(noise) :])
    with contextlib.suppress(StoreError):
        FeatureStore.open(folder)
