"""Laws of bleeds that readers and networks miss: in sulci near the vertex, in the cortex, at an end, with a level."""

from dataclasses import replace

import numpy as np
import pytest

from ich25d.bleeds.anatomy import find_anatomy
from ich25d.bleeds.intraparenchymal import Clot, plan_intraparenchymal
from ich25d.bleeds.paint import paint
from ich25d.bleeds.shape import AT_AN_END, draw_shift
from ich25d.bleeds.subarachnoid import CisternBlood, plan_subarachnoid
from ich25d.labels import ANY_INDEX
from ich25d.phantom.head import make_head


@pytest.fixture(scope="module")
def head():
    """An old head of 192 px without a bleed."""
    return make_head(np.random.default_rng(12), size=192)


@pytest.fixture(scope="module")
def anatomy(head):
    """What is found in it."""
    gap = float(np.median(np.diff(head.slice_position_mm)))
    spacing = (gap, head.pixel_spacing_mm, head.pixel_spacing_mm)
    return find_anatomy(head.hu, spacing, slice_position_mm=head.slice_position_mm)


def test_blood_of_the_convexity_reaches_the_sulci_below_the_vertex(head, anatomy):
    """Near the inner table alone, and seen on slices of the uppermost 40 mm."""
    high = np.flatnonzero((anatomy.level_mm > 8) & (anatomy.level_mm < 40) & (anatomy.area_mm2 > 1500))
    n_seen, n_drawn = 0, 0
    for seed in range(40):
        near = int(high[seed % len(high)])
        bleed = plan_subarachnoid(anatomy, np.random.default_rng(seed), near)
        if bleed is None or not isinstance(bleed.shape, CisternBlood) or bleed.shape.deepest_mm > 100:
            continue
        n_drawn += 1
        layer = bleed.layer(near)
        if layer is not None:
            assert not layer.alpha[anatomy.depth_in(near, layer.box) > bleed.shape.deepest_mm].any()
        n_seen += int(paint(head.hu[[near]], [near], [bleed])[1][0, ANY_INDEX])
    assert n_drawn >= 8
    assert n_seen >= n_drawn / 3


def test_small_clots_lie_in_the_cortex(head, anatomy):
    """Up to 9 mm across, near the inner table; those that are labelled are brighter than brain by 8 HU somewhere."""
    n_small = n_labelled = 0
    for seed in range(200):
        bleed = plan_intraparenchymal(anatomy, np.random.default_rng(seed), anatomy.n_slices // 2)
        if bleed is None or not isinstance(bleed.shape, Clot) or bleed.shape.need > 0.8:
            continue
        n_small += 1
        near = anatomy.n_slices // 2
        assert bleed.shape.parts[0].radii_mm.max() < 9 * anatomy.scale
        painted, labels, _ = paint(head.hu[[near]], [near], [bleed])
        change = painted[0].astype(int) - head.hu[near]
        if labels[0, ANY_INDEX]:
            n_labelled += 1
            assert (change > 8).sum() * anatomy.spacing_mm[1] ** 2 > 8
    assert n_small >= 10
    assert 0.3 < n_labelled / n_small < 1


def test_a_level_is_denser_behind(head, anatomy):
    """The cells have settled: patient on the back."""
    for seed in range(300):
        bleed = plan_intraparenchymal(anatomy, np.random.default_rng(seed), anatomy.n_slices // 2)
        if bleed is None or not isinstance(bleed.shape, Clot) or not bleed.shape.layered_hu:
            continue
        layer = bleed.layer(anatomy.n_slices // 2)
        flat = replace(bleed.shape, texture_hu=0.0).layer(anatomy, anatomy.n_slices // 2)
        assert layer is not None
        assert flat is not None
        rows = flat.blood_hu.mean(axis=1)
        assert (np.diff(rows) >= -1e-3).all()
        assert rows[-1] - rows[0] == pytest.approx(bleed.shape.layered_hu, rel=0.3)
        return
    pytest.fail("no clot with a level in 300")


def test_ends_come_up_as_often_as_they_should():
    """And never beyond what was asked for."""
    rng = np.random.default_rng(0)
    shifts = np.abs([draw_shift(rng, 0.7, 1.0) for _ in range(4000)])
    assert shifts.max() <= 1.0
    assert (shifts > 0.7).mean() == pytest.approx(AT_AN_END, abs=0.03)
