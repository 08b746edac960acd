"""Canvases beside a store: one row number for both, painted ones beside their originals."""

import dataclasses
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import torch

from ich25d.config import SlabConfig
from ich25d.slabs.canvas import CanvasReader
from ich25d.slabs.dataset import SlabReader
from ich25d.slabs.painting import Painter
from ich25d.studies.store_dir.store import StudyStore

SLAB = SlabConfig(windows=("brain",), neighbours=(0,), size=96)


def _reader(store: StudyStore, folder: Path) -> CanvasReader:
    zeros = folder / "zeros.npy"
    np.save(zeros, np.zeros((len(store.slices), 6), np.float32))
    always = Painter(store, 1.0, seed=0)
    return CanvasReader(
        SlabReader(store, SLAB), SlabReader(store, SLAB, None, zeros), SlabReader(store, SLAB, always, zeros)
    )


def test_rows_are_read_from_where_they_are(store: StudyStore, tmp_path: Path) -> None:
    """Bands in any order: own labels, negatives of 0, painted with their labels alone, originals with none."""
    reader, n = _reader(store, tmp_path), len(store.slices)
    own = SlabReader(store, SLAB).read(np.arange(n))
    rows = np.array([3 * n + 5, 7, 2 * n + 5, n + 9, 0])
    batch = reader.read(rows, epoch=0)

    assert batch.row.tolist() == rows.tolist()
    assert [torch.equal(batch.hu[place], own.hu[index]) for place, index in ((0, 5), (1, 7), (3, 9), (4, 0))] == [
        True
    ] * 4
    assert torch.equal(batch.target[1], own.target[7])
    assert batch.target[3].tolist() == [0.0] * 6
    assert batch.target[0].isnan().all()
    assert batch.key[0] == batch.key[2] == own.key[5]
    assert batch.mask.shape[-1] == 96 // 4


def test_painted_canvases_say_what_was_painted_and_no_more(store: StudyStore, tmp_path: Path) -> None:
    """No 0 anywhere: what the scan holds of itself isn't known, though a reader has given it labels."""
    reader, n = _reader(store, tmp_path), len(store.slices)
    painted = reader.read(2 * n + np.arange(n), epoch=0)
    plain = reader.read(3 * n + np.arange(n), epoch=0)
    has = painted.target == 1

    assert has.any(dim=1).float().mean() > 0.3
    assert (painted.target.isnan() | has).all()
    assert torch.equal(has[:, 5], has[:, :5].any(dim=1))
    changed = (painted.hu != plain.hu).flatten(1).any(dim=1)
    assert (has.any(dim=1) <= changed).all()
    assert (painted.mask.flatten(2).amax(2) > 0)[has[:, :5]].float().mean() > 0.9
    assert not painted.mask.flatten(2).amax(2)[~has[:, :5]].any()
    again = ForkingPickler.loads(ForkingPickler.dumps(reader)).read(2 * n + np.arange(n), epoch=0)
    assert all(
        torch.equal(getattr(again, field.name).nan_to_num(), getattr(painted, field.name).nan_to_num())
        for field in dataclasses.fields(painted)
    )
