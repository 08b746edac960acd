"""Batches ahead of the device: in order, from processes that last and leave signals to the one that trains."""

import multiprocessing
import os
import pickle
import signal
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ich25d.config import SlabConfig
from ich25d.errors import StoreError
from ich25d.labels import LABELS
from ich25d.slabs.dataset import SlabReader
from ich25d.slabs.loading import LostReaderError, SlabLoader
from ich25d.slabs.painting import Painter
from ich25d.studies.store_dir.store import StudyStore

SLAB = SlabConfig(windows=("brain", "subdural"), neighbour_mm=5.0, size=48)
PIPE_BYTES = 64 * 1024


def _readers() -> list[multiprocessing.process.BaseProcess]:
    return multiprocessing.active_children()


@pytest.mark.slow
def test_processes_read_what_a_thread_reads_pass_after_pass(store: StudyStore) -> None:
    """The same batches, painted ones included, from the same processes; a stop's signals don't reach them."""
    reader = SlabReader(store, SLAB, Painter(store, 1.0, seed=3))
    rows = np.arange(8)

    with SlabLoader(reader, workers=1) as loader:
        for epoch in (2, None, 3):
            there = loader.batches(rows, 4, epoch=epoch)
            parts = [next(there)]
            (process,) = _readers()
            os.kill(process.pid, signal.SIGTERM)
            os.kill(process.pid, signal.SIGINT)
            parts += there
            here = list(SlabLoader(reader).batches(rows, 4, epoch=epoch))

            for one, other in zip(here, parts, strict=True):
                assert (one.hu == other.hu).all()
                assert (one.target == other.target).all()
                assert one.row.tolist() == other.row.tolist()
            assert [found.pid for found in _readers()] == [process.pid]
    assert _readers() == []


@pytest.mark.slow
def test_a_process_hands_over_a_sentence_and_its_death(store: StudyStore, tmp_path: Path) -> None:
    """A damaged volume is named as in this process, without a traceback; a killed process isn't waited for."""
    copy = tmp_path / "store"
    for path in sorted(store.root.rglob("*")):
        target = copy / path.relative_to(store.root)
        if path.is_dir():
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    for volume in (copy / "hu").rglob("*.b2nd"):
        volume.write_bytes(b"")

    with SlabLoader(SlabReader(StudyStore.open(copy), SLAB), workers=1) as loader:
        with pytest.raises(StoreError, match=r"^the volume of series") as caught:
            next(loader.batches(np.arange(4), 4))
        assert "Traceback" not in str(caught.value)
        (process,) = _readers()
        os.kill(process.pid, signal.SIGKILL)
        # torch says so where the batch is waited for, or from its handler of SIGCHLD, wherever that comes in.
        with pytest.raises((LostReaderError, RuntimeError), match="DataLoader worker"):
            list(loader.batches(np.arange(100) % 8, 4))


def test_little_travels_to_a_process(store: StudyStore) -> None:
    """However long the table, less than a pipe takes at once: a process that dies while starting hangs nobody."""
    n = 20_000
    series = pd.DataFrame(
        {"series_id": ["s"], "n_slices": [n], "slice_spacing_mm": [5.0], "pixel_spacing_mm": [0.5], "scale": [1.0],
         "content_hash": ["-"], "file_hash": ["-"]}
    )  # fmt: skip
    slices = pd.DataFrame(
        {"image_id": [f"ID_{number:09d}" for number in range(n)], "series_id": "s", "window_level": np.nan,
         "window_width": np.nan, "slice_position_mm": np.arange(n) * 5.0, **dict.fromkeys(LABELS, 0)}
    )  # fmt: skip
    long = StudyStore(store.root, store.marker, slices, series)

    assert len(ForkingPickler.dumps(SlabReader(long, SLAB, Painter(long, 0.5, 1, decoys=0.1)))) < PIPE_BYTES / 8


def test_a_reader_travels_whole(store: StudyStore) -> None:
    """Its store, its slab, what it paints."""
    reader = SlabReader(store, SLAB, Painter(store, 0.7, 3, decoys=0.5))
    rows = np.arange(0, 30, 3)

    copy = pickle.loads(pickle.dumps(reader))

    here, there = reader.read(rows, epoch=1), copy.read(rows, epoch=1)
    assert here.painted.any()
    assert torch.equal(here.hu, there.hu)
    assert torch.equal(here.target, there.target)


def test_nothing_is_painted_unless_a_pass_asks_for_it(store: StudyStore) -> None:
    """Validation reads with the reader that training reads with."""
    reader = SlabReader(store, SLAB, Painter(store, 1.0, 3))

    assert reader.read(np.arange(8), epoch=0).painted.any()
    assert not reader.read(np.arange(8)).painted.any()
