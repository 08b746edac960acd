"""A file that takes its reader down costs itself alone, and a damaged store its series alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_walk import N_SLICES, SIZE, Walk, toy_hu, write_sample, write_series

from ich25d.errors import StoreError
from ich25d.predict.answer import predict_series
from ich25d.predict.found import find_series
from ich25d.predict.network import load_network
from ich25d.predict.run import predict
from ich25d.predict.series import plan_array, read_pixels
from ich25d.studies.build import build_studies
from ich25d.studies.pool.local_pool import LocalPool
from ich25d.studies.pool.pool import TaskTimeoutError, WorkerLostError
from ich25d.studies.qc import read_qc
from ich25d.studies.store_dir.store import StudyStore
from ich25d.studies.store_dir.volume_place import volume_path
from ich25d.studies.volumes.rescue import try_file


@pytest.mark.parametrize(
    ("error", "code"), [(WorkerLostError(-6), "DECODER_CRASH"), (TaskTimeoutError(30.0), "TIMEOUT")]
)
@pytest.mark.parametrize("bad", [{1}, set(range(N_SLICES))])
def test_a_deadly_file_costs_itself_alone(walk: Walk, error: Exception, code: str, bad: set[int]) -> None:
    """A series whose reading dies is tried file by file and predicted without those that die again."""
    plan = plan_array(toy_hu(1), 5.0 * np.arange(N_SLICES))

    class DeadlyPool(LocalPool):
        def map(self, function, tasks, **options):
            del options
            for task in tasks:
                if function is try_file:
                    yield task, error if task[1] in bad else True
                else:
                    yield task, error if len(task) == N_SLICES else function(task)

    network = load_network(walk.cnn, "cpu")
    ((series, result),) = predict_series([plan], network, pool=DeadlyPool(2))

    assert series is plan
    rows = result[1].qc if isinstance(result, tuple) else result
    assert [row.image_id for row in rows if row.code == code] == [plan.image_ids[index] for index in sorted(bad)]
    assert isinstance(result, tuple) == (len(bad) < N_SLICES)
    if isinstance(result, tuple):
        assert result[1].image_ids == tuple(name for index, name in enumerate(plan.image_ids) if index not in bad)


@pytest.mark.parametrize("flipped", [False, True], ids=["overwritten", "one bit"])
def test_a_damaged_volume_costs_its_series_alone(walk: Walk, tmp_path: Path, flipped: bool) -> None:
    """The others are predicted; exit code 1, and its images are accounted for; also where it can still be opened."""
    store = shutil.copytree(walk.store, tmp_path / "store")
    path = volume_path(store, "ID_0000000002")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if flipped else b"damaged")
    summary = predict((store,), walk.cnn, tmp_path / "s.csv", device="cpu")

    assert (summary.n_series, summary.exit_code) == (9, 1)
    assert summary.refusals == {"READ_FAILED": N_SLICES}


def test_new_images_of_a_series_that_is_known_in_part_are_predicted(walk: Walk, tmp_path: Path) -> None:
    """A store and its folder, to which images were added since: they are answered, not given the prior."""
    ids = write_series(tmp_path / "in", 21)
    later = [tmp_path / "in" / f"{image}.dcm" for image in ids[3:]]
    aside = [path.rename(tmp_path / path.name) for path in later]
    build_studies((tmp_path / "in",), tmp_path / "store", size=SIZE, folds=2, workers=1)
    for path, place in zip(aside, later, strict=True):
        path.rename(place)
    sample = write_sample(tmp_path / "sample.csv", ids)
    sources = (tmp_path / "in", tmp_path / "store")
    summary = predict(sources, walk.cnn, tmp_path / "out" / "s.csv", sample=sample, device="cpu")
    rows = read_qc(tmp_path / "out" / "qc.csv")

    assert (summary.n_series, summary.n_slices, summary.n_by_prior) == (2, N_SLICES, 0)
    assert [row.detail[:20] for row in rows if row.code == "DUP_UID_SAME"] == ["3 of its images are "]


def test_two_stores_that_share_images_keep_what_either_has_alone(walk: Walk, tmp_path: Path) -> None:
    """The part that only the later one has goes by a name of its own, and is read from the right rows."""
    ids = write_series(tmp_path / "in", 21)
    build_studies((tmp_path / "in",), tmp_path / "whole", size=SIZE, folds=2, workers=1)
    (tmp_path / "in" / f"{ids[1]}.dcm").unlink()
    build_studies((tmp_path / "in",), tmp_path / "part", size=SIZE, folds=2, workers=1)
    network = load_network(walk.cnn, "cpu")
    found = find_series([tmp_path / "part", tmp_path / "whole"], network)
    pixels = [read_pixels(series, crop=network.crop, size=network.size) for series in found.series]
    whole = StudyStore.open(tmp_path / "whole")

    assert [series.series_id for series in found.series] == ["ID_0000000021", "ID_0000000021@2"]
    assert [one.image_ids for one in pixels] == [(ids[0], *ids[2:]), (ids[1],)]
    assert np.array_equal(pixels[1].hu, whole.hu("ID_0000000021")[1:2])
    assert pixels[1].slice_position_mm.tolist() == [15.0]


def test_a_store_that_was_built_anew_is_opened_anew(walk: Walk, tmp_path: Path) -> None:
    """In one process, as a notebook is: a store in the same folder is another one; one that changes is no KeyError."""
    write_series(tmp_path / "in", 21)
    build_studies((tmp_path / "in",), tmp_path / "store", size=SIZE, folds=2, workers=1)
    network = load_network(walk.cnn, "cpu")
    (before,) = find_series([tmp_path / "store"], network).series
    read_pixels(before, crop=network.crop, size=network.size)
    shutil.rmtree(tmp_path / "in")
    shutil.rmtree(tmp_path / "store")
    ids = write_series(tmp_path / "in", 22)
    build_studies((tmp_path / "in",), tmp_path / "store", size=SIZE, folds=2, workers=1)
    (after,) = find_series([tmp_path / "store"], network).series

    assert read_pixels(after, crop=network.crop, size=network.size).image_ids == tuple(ids)
    with pytest.raises(StoreError, match="mustn't change while it is read"):
        read_pixels(before, crop=network.crop, size=network.size)
