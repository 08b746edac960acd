"""From evidence to the heat of a series."""

import numpy as np
import pytest
import torch

from ich25d.explain.heat import own_cells, scaled, sharpened, slice_weight
from ich25d.explain.layer_cam import combine, without_background
from ich25d.labels import ANY_INDEX


def test_weight_is_a_half_at_the_operating_point() -> None:
    """Odds against odds: 1 to 1, then 9 to 1 against 1 to 1 is .9; a hundredth stays a hundredth."""
    probability = np.array([[0.2, 0.9, 0.01]])
    weight = slice_weight(probability, np.array([0.2, 0.5, 0.5]))

    assert weight[0].tolist() == pytest.approx([0.5, 0.9, 0.01])


def test_weight_follows_what_the_sequence_step_made_of_a_slice() -> None:
    """A higher final probability is more heat, whatever the encoder said."""
    final = np.linspace(0.01, 0.99, 20)[:, None]

    assert (np.diff(slice_weight(final, np.array([0.3])), axis=0) > 0).all()


def test_stages_are_multiplied() -> None:
    """The geometric mean: 4 and 9 give 6; what one stage doesn't see stays cold."""
    fine = torch.tensor([[[[4.0, 4.0], [0.0, 4.0]]]])
    coarse = torch.full((1, 1, 1, 1), 9.0)

    assert combine([fine, coarse])[0, 0].flatten().tolist() == pytest.approx([6, 6, 0, 6], abs=1e-4)


def test_scaling_by_hand() -> None:
    """Peak at the weight, background at 0; a faint slice stays faint; a slice without weight is cold."""
    one = np.full((2, 4), 2.0)
    one[0, 0] = 10.0
    planes = np.stack([one, one / 10, one]).astype(np.float32)
    heat = scaled(without_background(planes[:, None])[:, 0], np.array([0.8, 0.8, 0.0]))

    assert heat[0, 0, 0] == pytest.approx(0.8)
    assert heat[0, 1].tolist() == [0, 0, 0, 0]
    assert heat[1, 0, 0] == pytest.approx(0.8 * 1.0 / (0.3 * 10.0))
    assert not heat[2].any()


def test_no_evidence_is_no_heat() -> None:
    """Planes of zeros, and even planes, which have no peak above their background: no division by 0."""
    assert not scaled(np.zeros((2, 3, 3), np.float32), np.array([1.0, 1.0])).any()
    assert not without_background(np.full((1, 1, 3, 3), 5, np.float32)).any()


def test_a_cell_belongs_to_the_subtype_that_it_shows_most() -> None:
    """Half of the highest map still counts; `any` keeps all; a label alone has no rival."""
    planes = np.array([0.8, 0.4, 0.3, 0.9], np.float32)[None, :, None, None]

    assert own_cells(planes, [0, 1, 4, ANY_INDEX]).flatten().tolist() == pytest.approx([0.8, 0.4, 0, 0.9])
    assert own_cells(planes[:, 2:], [4, ANY_INDEX]).flatten().tolist() == pytest.approx([0.3, 0.9])


def test_heat_is_sharpened_where_something_is_dense() -> None:
    """The hottest px moves to the dense one, and is as hot; heat over nothing dense stays as it is."""
    heat = np.zeros((2, 2, 3, 3), np.float16)
    heat[:, :, 1], heat[:, 1, 0] = 0.8, 0.4
    dense = np.zeros((2, 3, 3), np.float32)
    dense[0, 1, 2] = 0.5
    sharp = sharpened(heat, dense)

    assert sharp[0, 0, 1].tolist() == pytest.approx([0, 0, 0.8], abs=1e-3)
    assert not sharp[1].any()
    assert (sharpened(heat, np.zeros_like(dense)) == heat).all()
