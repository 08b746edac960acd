"""Slabs out of a store: the right slices, labels and windows, in the order asked for."""

import dataclasses

import numpy as np
import pytest
import torch

from ich25d.bleeds.anatomy import Anatomy
from ich25d.config import SlabConfig
from ich25d.labels import LABELS
from ich25d.slabs.dataset import SlabReader, image_key, series_batches
from ich25d.slabs.loading import SlabLoader
from ich25d.slabs.network_input import network_input
from ich25d.slabs.painting import Painter
from ich25d.slabs.slab import sized
from ich25d.slabs.spacing import store_spacing_mm
from ich25d.studies.store_dir.store import StudyStore

SLAB = SlabConfig(windows=("brain", "subdural"), neighbour_mm=5.0, size=48)


def test_reads_neighbours_labels_and_windows(store: StudyStore) -> None:
    """The middle slice is the row's own; its labels are the table's."""
    reader = SlabReader(store, SLAB)
    rows = np.array([40, 3, 17])
    batch = reader.read(rows)
    table = store.slices.iloc[rows]

    assert batch.hu.shape == (3, 3, 96, 96)
    for number, slice_row in enumerate(table.itertuples()):
        own = store.hu(slice_row.series_id, [slice_row.slice_index])[0]
        assert (batch.hu[number, 1].numpy() == own).all()
    assert (batch.target.numpy() == table[list(LABELS)].to_numpy(dtype=float)).all()
    assert batch.row.tolist() == [40, 3, 17]
    assert batch.key.tolist() == [image_key(name) for name in table["image_id"]]


def test_batches_come_in_the_order_asked_for(store: StudyStore) -> None:
    """Reading ahead changes nothing, and the last batch holds what is left."""
    reader = SlabReader(store, SLAB)
    rows = np.random.default_rng(0).permutation(reader.rows_of(list(store.series["series_id"])))
    read = [batch.row for batch in SlabLoader(reader).batches(rows, 16)]

    assert np.concatenate(read).tolist() == rows.tolist()
    assert len(read[-1]) == (len(rows) - 1) % 16 + 1


def test_an_open_series_gives_the_same_slabs(store: StudyStore) -> None:
    """Prediction from an array sees what training sees."""
    reader = SlabReader(store, SLAB)
    series_id = store.series["series_id"].iloc[1]
    rows = reader.rows_of([series_id])
    position = store.slices["slice_position_mm"].to_numpy(dtype=float)[rows]
    window = store.slices[["window_level", "window_width"]].to_numpy(dtype=np.float32)[rows]
    of_array = next(iter(series_batches(store.hu(series_id), position, window, SLAB, len(rows))))
    of_store = reader.read(rows)

    assert (of_array.hu == sized(of_store.hu, SLAB.size)).all()
    assert np.array_equal(of_array.window.numpy(), of_store.window.numpy(), equal_nan=True)
    assert (network_input(of_array, SLAB, "cpu") == network_input(of_store, SLAB, "cpu")).all()


def test_the_flipped_view_is_the_mirror_image(store: StudyStore) -> None:
    """Left and right change places, after windows and size."""
    batch = SlabReader(store, SLAB).read(np.array([10]))
    plain, flipped = network_input(batch, SLAB, "cpu"), network_input(batch, SLAB, "cpu", flip=True)

    assert plain.shape == (1, 6, 48, 48)
    assert plain.min() >= 0
    assert plain.max() <= 1
    assert (flipped == plain.flip(3)).all()


def test_paints_known_negatives_alone(store: StudyStore) -> None:
    """Positives stay as they are; what is painted is brighter somewhere, and its labels say so."""
    painter = Painter(store, 1.0, seed=0)
    plain, painted = SlabReader(store, SLAB), SlabReader(store, SLAB, painter)
    rows = plain.rows_of(list(store.series["series_id"]))
    before, after = plain.read(rows), painted.read(rows, epoch=1)
    bleeds = before.target.sum(dim=1) > 0

    assert bleeds.any()
    assert not after.painted[bleeds].any()
    assert (after.hu[bleeds] == before.hu[bleeds]).all()
    changed = (after.hu != before.hu).flatten(1).any(dim=1)
    assert (changed <= after.painted).all()
    labelled = after.target[after.painted].sum(dim=1) > 0
    assert labelled.float().mean() > 0.5
    again = SlabReader(store, SLAB, Painter(store, 1.0, seed=0)).read(rows, epoch=1)
    assert (again.hu == after.hu).all()
    assert not (painted.read(rows, epoch=2).hu == after.hu).all()


def test_decoys_change_no_label(store: StudyStore) -> None:
    """Negatives with something that is no bleed stay negative; what bleeds are painted doesn't depend on it."""
    plain = SlabReader(store, SLAB)
    rows = plain.rows_of(list(store.series["series_id"]))[:12]
    before = plain.read(rows)
    decoyed = SlabReader(store, SLAB, Painter(store, 0.0, seed=0, decoys=1.0)).read(rows, epoch=1)

    assert decoyed.painted.any()
    assert (decoyed.target == before.target).all()
    assert not (decoyed.hu == before.hu).all()
    assert (decoyed.hu[~decoyed.painted] == before.hu[~decoyed.painted]).all()


def test_anatomies_are_found_once(store: StudyStore) -> None:
    """The second look is the same object."""
    painter = Painter(store, 1.0, seed=0)
    series_id = store.series["series_id"].iloc[0]
    first = painter.anatomy(series_id)

    assert isinstance(first, Anatomy)
    assert painter.anatomy(series_id) is first


def test_spacing_falls_back_to_the_width_of_a_head() -> None:
    """75 px of head are 150 mm: 2 mm a px; an unknown gap is 5 mm."""
    hu = np.full((3, 128, 128), -1024, np.int16)
    hu[:, 20:110, 20:95] = 40

    assert store_spacing_mm(hu, 4.0, 0.5, 1.5) == (4.0, 0.75, 0.75)
    gap, row, column = store_spacing_mm(hu, float("nan"), float("nan"), 1.0)
    assert gap == 5.0
    assert row == column == pytest.approx(2.0, rel=0.05)


def test_brings_brain_to_one_value(store: StudyStore) -> None:
    """A scanner that is 10 HU off gives the same slabs; where no brain is known nothing is shifted."""
    series_id = store.series["series_id"].iloc[1]
    hu = np.clip(store.hu(series_id), -900, 2900)
    position = np.arange(len(hu)) * 5.0
    slab = dataclasses.replace(SLAB, brain_hu=32.0)

    def shown(offset: int, brain_hu: float) -> torch.Tensor:
        shifted = (hu + offset).astype(np.int16)
        return network_input(next(series_batches(shifted, position, None, slab, 9, brain_hu=brain_hu)), slab, "cpu")

    torch.testing.assert_close(shown(0, 30.0), shown(10, 40.0))
    assert (shown(0, 30.0) - shown(0, 40.0)).abs().max() > 0.05
    assert torch.equal(shown(0, float("nan")), shown(0, 32.0))
