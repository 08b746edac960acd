"""A file that takes its reader down costs itself alone, and a damaged store its series alone."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_walk import N_SLICES, Walk, toy_hu

from ich25d.predict import answer
from ich25d.predict.answer import predict_series
from ich25d.predict.network import load_network
from ich25d.predict.run import predict
from ich25d.predict.series import plan_array
from ich25d.studies.pool import TaskTimeoutError, WorkerLostError
from ich25d.studies.store_dir.volume_file import volume_path
from ich25d.studies.volumes import rescue
from ich25d.training.precision import choose_device


@pytest.mark.parametrize(
    ("error", "code"), [(WorkerLostError(-6), "DECODER_CRASH"), (TaskTimeoutError(30.0), "TIMEOUT")]
)
@pytest.mark.parametrize("bad", [{1}, set(range(N_SLICES))])
def test_a_deadly_file_costs_itself_alone(walk: Walk, monkeypatch, error: Exception, code: str, bad: set[int]) -> None:
    """A series whose reading dies is tried file by file and predicted without those that die again."""
    plan = plan_array(toy_hu(1), 5.0 * np.arange(N_SLICES))

    def reads_as_if_deadly(function, tasks, workers, **options):
        del workers, options
        for task in tasks:
            if function is rescue.try_file:
                yield task, error if task[1] in bad else True
            else:
                yield task, error if len(task) == N_SLICES else function(task)

    monkeypatch.setattr(answer, "map_series", reads_as_if_deadly)
    monkeypatch.setattr(rescue, "map_series", reads_as_if_deadly)
    network = load_network(walk.cnn, choose_device("cpu"))
    ((series, result),) = predict_series([plan], network)

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

    assert (summary.n_series, summary.exit_code) == (5, 1)
    assert summary.refusals == {"READ_FAILED": N_SLICES}
