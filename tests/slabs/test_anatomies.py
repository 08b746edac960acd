"""Anatomies are found once a run, whatever process asks for them."""

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest

from ich25d.bleeds.anatomy import Anatomy
from ich25d.slabs import anatomies, painting
from ich25d.slabs.anatomies import Anatomies, from_bytes, to_bytes
from ich25d.slabs.painting import Painter
from ich25d.studies.store_dir.store import StudyStore


def _series(store: StudyStore) -> list[str]:
    return list(store.series["series_id"])


def _flat(anatomy: Anatomy) -> dict[str, object]:
    midline = {f"midline.{name}": value for name, value in dataclasses.asdict(anatomy.midline).items()}
    return {field.name: getattr(anatomy, field.name) for field in dataclasses.fields(anatomy)} | midline


def _assert_same(one: Anatomy, other: Anatomy) -> None:
    for (name, value), again in zip(_flat(one).items(), _flat(other).values(), strict=True):
        if isinstance(value, np.ndarray):
            assert (value.dtype, value.shape, value.tobytes()) == (again.dtype, again.shape, again.tobytes()), name
        elif name != "midline":
            assert (type(value), value) == (type(again), again), name


def test_packs_bit_for_bit(store: StudyStore) -> None:
    """A slab painted from the file is the slab painted from what was found."""
    found = Painter(store, 1.0, 0).anatomy(_series(store)[0])

    assert found.usable
    _assert_same(found, from_bytes(to_bytes(found)))


def test_other_processes_and_passes_find_nothing_again(
    store: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the painter, as a process gets it, reads what this one found; a damaged file is found again."""
    painter = Painter(store, 1.0, 0, folder=tmp_path / "anatomies")
    series_id = _series(store)[0]
    found = painter.anatomy(series_id)
    (file,) = (tmp_path / "anatomies").iterdir()
    copy, third = (pickle.loads(pickle.dumps(painter)) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(painting, "find_anatomy", None)
        _assert_same(found, copy.anatomy(series_id))

    file.write_bytes(file.read_bytes()[:-1000])
    _assert_same(found, third.anatomy(series_id))
    _assert_same(found, from_bytes(file.read_bytes()))


def test_memory_holds_the_last_ones(store: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the bytes that it is given, by what the arrays really take; the one in use always stays."""
    anatomy = Painter(store, 1.0, 0).anatomy(_series(store)[0])
    kept = Anatomies(None, int(2.5 * anatomies._n_bytes(anatomy)))
    asked: list[str] = []

    def find(key: str) -> Anatomy:
        return kept.get(key, lambda: asked.append(key) or anatomy)

    for key in "abacab":
        find(key)
    assert asked == ["a", "b", "c", "b"]
    tight = Anatomies(None, 1)
    assert tight.get("a", lambda: anatomy) is tight.get("a", lambda: pytest.fail("found twice"))


def test_a_full_disk_is_left_alone(
    store: StudyStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is kept where little is free, and a failed write is said once; the anatomy is there all the same."""
    found = Painter(store, 1.0, 0).anatomy(_series(store)[0])
    monkeypatch.setattr(anatomies.shutil, "disk_usage", lambda _: anatomies.shutil._ntuple_diskusage(100, 95, 5))
    full = Anatomies(tmp_path / "full")
    assert full.get("a", lambda: found) is found
    assert list((tmp_path / "full").iterdir()) == []

    (tmp_path / "file").touch()
    broken = Anatomies(tmp_path / "file", memory_bytes=1)
    assert broken.get("a", lambda: found) is found
    assert broken.get("b", lambda: found) is found
    assert capsys.readouterr().err.count("kept in memory alone") == 1


def test_positions_are_the_series_own(store: StudyStore) -> None:
    """By the rows that a series has in the table."""
    painter = Painter(store, 1.0, 0)
    for series_id, of_series in store.slices.groupby("series_id"):
        assert (painter._position_mm(series_id) == of_series["slice_position_mm"].to_numpy(float)).all()
