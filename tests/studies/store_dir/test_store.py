"""What was written is what is read, and damage shows."""

import json
import pickle
from pathlib import Path

import blosc2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.errors import StoreError
from ich25d.labels import LABELS
from ich25d.studies.build import build_studies
from ich25d.studies.store_dir.schema import SERIES_COLUMNS, SLICE_COLUMNS, TEXT
from ich25d.studies.store_dir.store import StudyStore, seal
from ich25d.studies.store_dir.volume_file import COMPRESSION, b2nd_bytes, content_hash, write_volume
from ich25d.studies.store_dir.volume_place import volume_path


@pytest.fixture(scope="module")
def store(tmp_path_factory, write_scan) -> StudyStore:
    """A store of two small series."""
    root = tmp_path_factory.mktemp("store")
    for number in (1, 2):
        write_scan(root / "in", number, n=5)
    build_studies([root / "in"], root / "studies", size=32, folds=2, workers=1)
    return StudyStore.open(root / "studies")


def test_volume_is_a_plain_blosc2_file_of_one_chunk_a_slice(store):
    """Any program with blosc2 reads it, a slice at a time."""
    path = volume_path(store.root, "ID_0000000001")
    assert path.parent.parent.name == "hu"
    volume = blosc2.open(str(path), mode="r")
    assert volume.shape == (5, 32, 32)
    assert volume.chunks == (1, 32, 32)
    assert volume.dtype == np.int16


@settings(max_examples=30, deadline=None)
@given(indices=st.lists(st.integers(0, 4), max_size=8))
def test_slices_come_in_the_order_asked_for(store, indices):
    """Repeats too, as a batch of slabs asks for neighbours."""
    whole = store.hu("ID_0000000001")
    np.testing.assert_array_equal(store.hu("ID_0000000001", indices), whole[np.array(indices, dtype=int)])


@pytest.mark.parametrize(("name", "columns"), [("slices", SLICE_COLUMNS), ("series", SERIES_COLUMNS)])
def test_the_tables_are_the_schemas(store, name, columns):
    """Names, order and dtypes on disk; every column says what it means."""
    table = getattr(store, name)
    assert list(table) == [column.name for column in columns]
    for column in columns:
        dtype = str(table[column.name].dtype)
        assert dtype in (("object", "str") if column.dtype == TEXT else (column.dtype,)), column.name
        assert column.meaning


def test_the_documents_name_every_column():
    """docs/files.md is written by hand."""
    text = (Path(__file__).parents[3] / "docs" / "files.md").read_text()
    names = {column.name for column in (*SERIES_COLUMNS, *SLICE_COLUMNS)} - set(LABELS)
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_an_array_of_indices_works_too(store):
    """As NumPy users ask."""
    series_id = store.series["series_id"].iloc[0]
    np.testing.assert_array_equal(store.hu(series_id, np.array([3, 1])), store.hu(series_id, [3, 1]))


def test_python_slices_work_too(store):
    """Start, stop and step mean what they mean in NumPy."""
    whole = store.hu("ID_0000000002")
    np.testing.assert_array_equal(store.hu("ID_0000000002", slice(1, None, 2)), whole[1::2])


def test_series_are_contiguous_and_in_scan_order(store):
    """Readers take a series' rows as one block."""
    assert store.slices["series_id"].tolist() == ["ID_0000000001"] * 5 + ["ID_0000000002"] * 5
    assert store.slices["slice_index"].tolist() == [0, 1, 2, 3, 4] * 2
    assert store.slices["slice_position_mm"].tolist() == [10.0, 15.0, 20.0, 25.0, 30.0] * 2


def test_pickles_as_its_path(store):
    """Loader processes get a path, no tables."""
    again = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 300
    np.testing.assert_array_equal(again.hu("ID_0000000001"), store.hu("ID_0000000001"))


def test_unknown_series_and_indices_are_named(store):
    """The message holds what was asked for."""
    with pytest.raises(StoreError, match=r"must be in the store .got 'nobody'."):
        store.hu("nobody")
    with pytest.raises(StoreError, match=r"must lie in 0 .. 4 .got \[5\]"):
        store.hu("ID_0000000001", [5])


def test_a_hash_depends_on_pixels_and_shape_alone():
    """Neither memory order nor machine matters."""
    hu = np.arange(64, dtype=np.int16).reshape(1, 8, 8)
    assert content_hash(hu) == content_hash(hu.copy(order="F"))
    assert content_hash(hu) != content_hash(hu.reshape(4, 4, 4))
    assert content_hash(hu) != content_hash(hu + np.int16(1))


def test_the_same_volume_makes_the_same_file(tmp_path):
    """Stores are compared by their files' hashes."""
    hu = np.random.default_rng(0).integers(-1024, 3072, (3, 40, 40)).astype(np.int16)
    first, second = write_volume(tmp_path / "a", "x", hu), write_volume(tmp_path / "b", "x", hu)
    assert first == second


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 60), rows=st.integers(1, 40), columns=st.integers(1, 40), data=st.data(),
    packing=st.sampled_from(sorted(COMPRESSION)),
)  # fmt: skip
def test_files_are_the_librarys_own_byte_for_byte(n, rows, columns, data, packing):
    """A file joined in one pass is what the library would have written; constant slices are no exception."""
    hu = np.random.default_rng(n).integers(-1024, 3072, (n, rows, columns)).astype(np.int16)
    hu[data.draw(st.lists(st.integers(0, n - 1)))] = -1024
    content = b2nd_bytes(hu, packing)
    np.testing.assert_array_equal(blosc2.ndarray_from_cframe(content)[:], hu)
    chunk = (1, rows, columns)
    array = blosc2.asarray(hu, chunks=chunk, blocks=chunk, cparams=COMPRESSION[packing], dparams={"nthreads": 1})
    assert content == bytes(array.to_cframe())


def test_a_shape_that_would_come_out_otherwise_is_left_to_the_library(monkeypatch):
    """Another version of blosc2 may write another header."""
    monkeypatch.setattr("ich25d.studies.store_dir.volume_file._pattern", lambda shape, packing: None)
    hu = np.arange(3 * 64, dtype=np.int16).reshape(3, 8, 8)
    np.testing.assert_array_equal(blosc2.ndarray_from_cframe(b2nd_bytes(hu, "small"))[:], hu)


def test_an_id_never_leaves_the_folder(tmp_path):
    """Ids are from foreign files."""
    hu = np.zeros((1, 8, 8), dtype=np.int16)
    write_volume(tmp_path / "store", "../../evil", hu)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_nothing_there_is_said_so(tmp_path):
    """With the command that makes a store."""
    with pytest.raises(StoreError, match=r"must be a study store .got none.*build-studies"):
        StudyStore.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"version": 99}, r"version 1 .got 99.*empty folder"),
        ({"format": "photos"}, "another format"),
    ],
)
def test_other_forms_are_refused(tmp_path, change, match):
    """An older or foreign store isn't guessed at."""
    (tmp_path / "store.json").write_text(json.dumps({"format": "ich25d-studies", "version": 1, "size": 32} | change))
    with pytest.raises(StoreError, match=match):
        StudyStore.open(tmp_path)


def test_seal_holds_and_breaks():
    """store.json is checked by a hash that it holds itself."""
    marker = seal({"size": 256})
    assert seal(marker) == marker
    assert seal(marker | {"size": 255}) != marker | {"size": 255}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_verify_finds_any_flipped_bit(store, data):
    """In the tables and in every volume."""
    assert store.verify() == []
    names = ["qc.csv", "slices.parquet", "series.parquet"] + [
        str(path.relative_to(store.root)) for path in sorted(store.root.rglob("*.b2nd"))
    ]
    path = Path(store.root / data.draw(st.sampled_from(names)))
    content = path.read_bytes()
    position = data.draw(st.integers(0, len(content) - 1))
    bit = data.draw(st.integers(0, 7))
    try:
        path.write_bytes(content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :])
        assert store.verify() == [f"{path.relative_to(store.root)} isn't what was written"]
    finally:
        path.write_bytes(content)


def test_a_missing_volume_is_named(store):
    """By its path in the store."""
    path = volume_path(store.root, "ID_0000000002")
    content = path.read_bytes()
    try:
        path.unlink()
        assert store.verify() == [f"{path.relative_to(store.root)} is missing"]
        with pytest.raises(StoreError, match="volume of series ID_0000000002 must be readable"):
            StudyStore.open(store.root).hu("ID_0000000002")
    finally:
        path.write_bytes(content)
