"""Laws of what looks like a bleed and is none, on a phantom's head."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.bleeds import decoys
from ich25d.bleeds.anatomy import find_anatomy
from ich25d.bleeds.decoys import KINDS, plan_decoys
from ich25d.bleeds.paint import paint, truth_masks
from ich25d.phantom.head import make_head

N_DRAWN = 10


@pytest.fixture(scope="module")
def head():
    """An old head of 128 px without a bleed."""
    return make_head(np.random.default_rng(12), size=128)


@pytest.fixture(scope="module")
def hu(head):
    """Its slices."""
    return head.hu


@pytest.fixture(scope="module")
def anatomy(head):
    """What is found in it."""
    gap = float(np.median(np.diff(head.slice_position_mm)))
    spacing = (gap, head.pixel_spacing_mm, head.pixel_spacing_mm)
    return find_anatomy(head.hu, spacing, slice_position_mm=head.slice_position_mm)


def of_kind(monkeypatch, anatomy, kind):
    """Yield (slice, planned) of one kind alone, on slices drawn over the whole head."""
    monkeypatch.setattr(decoys, "KINDS", {kind: 1.0})
    found, rng = 0, np.random.default_rng(1)
    for seed in range(400):
        near = int(rng.integers(anatomy.n_slices))
        planned = plan_decoys(anatomy, np.random.default_rng(seed), near)
        if planned:
            yield near, planned
            found += 1
            if found == N_DRAWN:
                return
    pytest.fail(f"{kind} found room {found} times in 400")


def rise(hu, index, planned):
    """Return by how much a slice changes, int (H, W); it has no label."""
    painted, labels, _ = paint(hu[[index]], [index], planned)
    assert not labels.any()
    return painted[0].astype(int) - hu[index]


def places(anatomy, index, change, least):
    """Return lateral, along / half length, depth in mm of the pixels that change by at least so much."""
    box = (0, 0, *anatomy.plane_shape)
    lateral, along = anatomy.coordinates(index, box)
    where = np.abs(change) >= least
    return lateral[where], (along / anatomy.midline.half_length_mm)[where], anatomy.depth_in(index, box)[where]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_decoy_has_no_label_and_leaves_bone_and_air_alone(hu, anatomy, seed):
    """It is nothing that a target knows of, and it lies within the skull."""
    planned = plan_decoys(anatomy, np.random.default_rng(seed))
    painted, labels, _ = paint(hu, range(len(hu)), planned)
    changed = painted != hu
    assert not labels.any()
    assert not planned or not truth_masks(planned).any()
    assert not (changed & (hu >= 230)).any()
    assert not (changed & (hu < -200)).any()
    assert painted[changed].min(initial=0) > -150
    outside = np.stack([anatomy.inside_in(index, (0, 0, *anatomy.plane_shape)) == 0 for index in range(len(hu))])
    assert not (changed & outside).any()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), near=st.integers(0, 40))
def test_a_slice_is_the_same_whichever_slices_are_asked_for(hu, anatomy, seed, near):
    """And whenever: the generator's state decides alone."""
    near = min(near, len(hu) - 1)
    one, two = (plan_decoys(anatomy, np.random.default_rng(seed), near) for _ in range(2))
    painted, _, _ = paint(hu, range(len(hu)), one)
    wanted = [near, max(near - 1, 0), near]
    assert np.array_equal(paint(hu[wanted], wanted, two)[0], painted[wanted])


def test_one_to_three_kinds_in_one_head(anatomy):
    """An old head has several."""
    shares = [
        len({type(bleed.shape) for bleed in plan_decoys(anatomy, np.random.default_rng(seed), 18)})
        for seed in range(60)
    ]
    assert set(shares) >= {1, 2}
    assert sum(KINDS.values()) == pytest.approx(1)


@pytest.mark.parametrize("value", [-1000, 40, 1000])
def test_no_head_has_no_decoy(value):
    """Air, flat tissue and metal have no room."""
    empty = find_anatomy(np.full((4, 64, 64), value, np.int16), (5.0, 2.0, 2.0))
    assert plan_decoys(empty, np.random.default_rng(0)) == []


def test_a_slice_outside_the_brain_has_no_decoy(anatomy):
    """Nothing is planned around it."""
    bare = np.flatnonzero(anatomy.area_mm2 <= 0)
    for index in bare:
        assert plan_decoys(anatomy, np.random.default_rng(0), int(index)) == []


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_is_seen_on_its_slice_or_beside(hu, anatomy, monkeypatch, kind):
    """Most of what is planned around a slice changes it."""
    changed = [
        (paint(hu[[near]], [near], planned)[0][0] != hu[near]).any()
        for near, planned in of_kind(monkeypatch, anatomy, kind)
    ]
    assert np.mean(changed) >= 0.5


def test_plexus_lies_beside_the_ventricle(hu, anatomy, monkeypatch):
    """Within 6 mm of it, behind, and denser than any blood now and then."""
    peaks = []
    for near, planned in of_kind(monkeypatch, anatomy, "plexus"):
        change = rise(hu, near, planned)
        rows, columns = np.nonzero(change > 15)
        if len(rows) == 0:
            continue
        horns = np.argwhere(anatomy.ventricle[near] > 100) * anatomy.spacing_mm[1]
        spots = np.stack([rows, columns], axis=1) * anatomy.spacing_mm[1]
        away = np.sqrt(((spots[:, None] - horns[None]) ** 2).sum(axis=2)).min(axis=1)
        assert away.max() < 6
        assert (places(anatomy, near, change, 15)[1] > 0).all()
        peaks.append((hu[near] + change)[rows, columns].max())
    assert max(peaks) > 100


def test_pineal_gland_lies_in_the_middle(hu, anatomy, monkeypatch):
    """Within 8 mm of the midline, a little behind the middle, 2 to 8 mm large."""
    for near, planned in of_kind(monkeypatch, anatomy, "pineal"):
        lateral, back, _ = places(anatomy, near, rise(hu, near, planned), 15)
        assert (np.abs(lateral) < 8).all()
        assert ((back > -0.05) & (back < 0.4)).all()


def test_basal_ganglia_are_much_alike_on_both_sides(hu, anatomy, monkeypatch):
    """Where they are, 10 to 32 mm from the midline; most often on both sides."""
    both = 0
    for near, planned in of_kind(monkeypatch, anatomy, "ganglia"):
        lateral, _, _ = places(anatomy, near, rise(hu, near, planned), 10)
        assert ((np.abs(lateral) > 6) & (np.abs(lateral) < 36)).all()
        both += bool((lateral > 0).any() and (lateral < 0).any())
    assert both >= 3


def test_a_calcification_is_denser_than_brain(hu, anatomy, monkeypatch):
    """Denser than blood, where it isn't a speck."""
    peaks = [rise(hu, near, planned).max() for near, planned in of_kind(monkeypatch, anatomy, "calcification")]
    assert max(peaks) > 60


def test_plates_lie_in_the_falx(hu, anatomy, monkeypatch):
    """In the midline."""
    for near, planned in of_kind(monkeypatch, anatomy, "plate"):
        lateral, _, _ = places(anatomy, near, rise(hu, near, planned), 15)
        assert (np.abs(lateral) < 7).all()


def test_glow_fades_from_the_inner_table(hu, anatomy, monkeypatch):
    """Bright beside bone, nothing in the middle, never darker."""
    for near, planned in of_kind(monkeypatch, anatomy, "glow"):
        change = rise(hu, near, planned)
        depth = anatomy.depth_in(near, (0, 0, *anatomy.plane_shape))
        assert change.min() >= 0
        assert change.max() <= 32
        assert np.abs(change[depth > 45]).max(initial=0) <= 1


def test_streaks_are_below_the_hemispheres(hu, anatomy, monkeypatch):
    """Bright ones and dark ones, in the lower part of the head."""
    seen = []
    for near, planned in of_kind(monkeypatch, anatomy, "streaks"):
        assert anatomy.level_mm[near] > 80
        seen += [rise(hu, near, planned).max(), rise(hu, near, planned).min()]
    assert max(seen) > 4
    assert min(seen) < -4


def test_dense_dura_lies_at_the_bone_or_in_the_middle(hu, anatomy, monkeypatch):
    """Above the tentorium: falx and the sagittal sinus, within 12 mm of the midline."""
    for near, planned in of_kind(monkeypatch, anatomy, "dura"):
        change = rise(hu, near, planned)
        assert change.min() >= 0
        if anatomy.level_mm[near] < 60:
            assert (np.abs(places(anatomy, near, change, 6)[0]) < 12).all()


def test_contrast_leaves_the_ventricles_dark(hu, anatomy, monkeypatch):
    """Arteries run outside them."""
    inside = 0
    for near, planned in of_kind(monkeypatch, anatomy, "enhancement"):
        change = rise(hu, near, planned)
        core = anatomy.ventricle[near] > 230
        inside += core.sum()
        assert change.min() >= 0
        assert np.percentile(change[core], 95) < 8 if core.any() else True
    assert inside > 50


def test_a_ghost_is_seen_on_a_few_slices(hu, anatomy, monkeypatch):
    """Bright on the side that the head moved from, and nothing far away along the scan."""
    peaks = []
    for near, planned in of_kind(monkeypatch, anatomy, "ghost"):
        peaks.append(rise(hu, near, planned).max())
        far = 0 if near > len(hu) // 2 else len(hu) - 1
        assert not rise(hu, far, planned).any()
    assert max(peaks) > 5


def test_atrophy_darkens_beside_csf_and_bone(hu, anatomy, monkeypatch):
    """It never brightens, and never falls below CSF by much."""
    for near, planned in of_kind(monkeypatch, anatomy, "atrophy"):
        change = rise(hu, near, planned)
        assert change.max() <= 0
        assert np.percentile((hu[near] + change)[change < -8], 20) > -12 if (change < -8).any() else True


def test_old_infarcts_are_dark_and_on_one_side(hu, anatomy, monkeypatch):
    """From the cortex inwards."""
    for near, planned in of_kind(monkeypatch, anatomy, "old_infarct"):
        change = rise(hu, near, planned)
        lateral, _, _ = places(anatomy, near, change, 2)
        assert change.max() <= 0
        assert (lateral > 0).all() or (lateral < 0).all()


def test_a_tumour_has_a_rim_brighter_than_its_core(hu, anatomy, monkeypatch):
    """In most of those that aren't solid or small."""
    n_rims = 0
    for near, planned in of_kind(monkeypatch, anatomy, "tumour"):
        layer = planned[0].layer(near)
        if layer is None:
            continue
        inside = layer.alpha > 0.9
        n_rims += bool(inside.sum() > 12 and np.ptp(layer.blood_hu[inside]) > 6)
        assert layer.rim_hu is None or layer.rim_hu.max() <= 0
    assert n_rims >= 2


def test_decoys_painted_as_bleeds_are_dark_dense_or_like_brain(hu, anatomy, monkeypatch):
    """Each kind has the density of what it is named after, where it fills a pixel."""

    def core(kind):
        found = []
        for near, planned in of_kind(monkeypatch, anatomy, kind):
            layer = planned[0].layer(near)
            if layer is None:
                continue
            # Bone brightens what lies beside it.
            full = (layer.alpha > 0.85) & (anatomy.depth_in(near, layer.box) > 3)
            if full.sum() < 4:
                continue
            top, left, bottom, right = layer.box
            painted, _, _ = paint(hu[[near]], [near], planned)
            found.append(float(np.median(painted[0, top:bottom, left:right][full])))
        assert found, kind
        return np.array(found)

    brain = anatomy.brain_hu
    assert np.median(core("cyst")) < brain - 3
    assert np.median(core("collection")) < brain - 3
    assert np.median(np.abs(core("mass") - brain)) < 8
