"""Laws of the painters, on a small head made of ellipsoids."""

import pickle
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ich25d.bleeds.anatomy import Anatomy, find_anatomy
from ich25d.bleeds.paint import paint, truth_masks
from ich25d.bleeds.plan import PLANNERS, plan_bleeds
from ich25d.bleeds.shape import box_where, inner
from ich25d.bleeds.skull import HEAD_WIDTH_MM, distance_to_table, estimate_pixel_mm, intracranial
from ich25d.bleeds.subdural import Crescent, over_floor
from ich25d.labels import ANY_INDEX, SUBTYPES

SIDE, PIXEL, N, DZ = 128, 1.5, 26, 5.5


def ellipsoid(centre, radii):
    """Return value <= 1 inside; x, y, z in mm from the middle of the volume."""
    z, y, x = np.meshgrid(
        (np.arange(N) - (N - 1) / 2) * DZ,
        (np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL,
        (np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL,
        indexing="ij",
    )
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 + ((z - centre[2]) / radii[2]) ** 2


@pytest.fixture(scope="module")
def hu():
    """A head of 26 slices: skull, brain with noise, thin sulci and two ventricles."""
    rng = np.random.default_rng(7)
    head = np.full((N, SIDE, SIDE), -1000.0)
    head[ellipsoid((0, 0, 0), (80, 94, 74)) <= 1] = 20
    head[ellipsoid((0, 0, 0), (75, 89, 69)) <= 1] = 900
    space = ellipsoid((0, 0, 0), (68, 82, 62))
    head[space <= 1] = 34
    # Sulci: thin shells of CSF; ventricles: two horns beside the midline.
    wavy = np.sin(np.arange(SIDE) / 3.0)[None, :, None] * np.sin(np.arange(SIDE) / 3.5)[None, None, :]
    head[(space <= 1) & (space > 0.7) & (wavy > 0.55)] = 8
    for side in (-1, 1):
        head[ellipsoid((side * 13, 0, 5), (7, 34, 14)) <= 1] = 8
    head[space <= 1] += rng.normal(0, 2.5, int((space <= 1).sum()))
    return np.rint(head).astype(np.int16)


@pytest.fixture(scope="module")
def anatomy(hu):
    """What is found in that head."""
    return find_anatomy(hu, (DZ, PIXEL, PIXEL))


def whole(hu, bleeds):
    """Paint all slices."""
    return paint(hu, range(len(hu)), bleeds)[:2]


def drawn(anatomy, label, seed):
    """Plan bleeds of one kind."""
    return plan_bleeds(anatomy, np.random.default_rng(seed), labels=[label])


def test_finds_the_space_inside_the_skull(hu, anatomy):
    """Nearly all of it, nothing of the scalp, and the plane of symmetry."""
    truth = ellipsoid((0, 0, 0), (68, 82, 62)) <= 1
    inside = anatomy.depth > 0
    assert anatomy.usable
    assert (inside & truth).sum() / truth.sum() > 0.95
    assert not (inside & (ellipsoid((0, 0, 0), (75, 89, 69)) > 1)).any()
    assert np.abs(anatomy.midline.lateral_mm).max() < 2.5
    assert abs(anatomy.midline.angle) < np.deg2rad(3)


def test_distance_grows_to_the_middle_of_the_brain(anatomy):
    """In 3-D: the nearest bone of the middle is the vertex."""
    assert anatomy.depth[N // 2, SIDE // 2, SIDE // 2] == pytest.approx(62, abs=8)


def test_finds_ventricles_and_sulci_apart(hu, anatomy):
    """CSF deep inside is ventricle, CSF near the bone never."""
    horns = sum((ellipsoid((side * 13, 0, 5), (6, 30, 11)) <= 1) for side in (-1, 1)) > 0
    wet = anatomy.ventricle > 120
    assert wet[horns].mean() > 0.6
    assert not wet[anatomy.depth.astype(float) < 9].any()


def test_anatomy_is_small_and_travels(hu, anatomy):
    """It is cached and sent to loader processes."""
    packed = pickle.dumps(anatomy)
    assert len(packed) < 6 * hu.size
    assert np.array_equal(pickle.loads(packed).fluid, anatomy.fluid)


@pytest.mark.parametrize("value", [-1000, 40, 1000])
def test_no_head_means_not_usable_and_no_bleed(value):
    """Air, flat tissue and metal are no heads."""
    anatomy = find_anatomy(np.full((4, 64, 64), value, np.int16), (5.0, 2.0, 2.0))
    assert not anatomy.usable
    assert plan_bleeds(anatomy, np.random.default_rng(0)) == []


@pytest.mark.parametrize("label", SUBTYPES)
def test_each_kind_finds_a_place_and_its_label(hu, anatomy, label):
    """With this label on some slice, and no other."""
    found = 0
    for seed in range(8):
        bleeds = drawn(anatomy, label, seed)
        assert {bleed.label for bleed in bleeds} <= {label}
        if bleeds:
            found += whole(hu, bleeds)[1][:, SUBTYPES.index(label)].any()
    assert found >= 5


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), around=st.integers(4, N - 5))
@example(seed=25279036, around=11)  # a clot beside the skull: a cubic curve swung to -80 HU
def test_laws_of_painting(hu, anatomy, seed, around):
    """Whatever is drawn: bone, air and labels obey."""
    bleeds = plan_bleeds(anatomy, np.random.default_rng(seed), around_slice=around)
    painted, labels = whole(hu, bleeds)
    changed = painted != hu
    # Nothing on bone, nothing outside the skull, nothing that is no tissue or blood.
    assert not changed[hu >= 230].any()
    assert not changed[ellipsoid((0, 0, 0), (73, 87, 67)) > 1].any()
    assert painted.dtype == np.int16
    assert painted[changed].min(initial=0) > -60
    assert painted[changed & (hu < 100)].max(initial=0) < 150
    # Labels are the masks'.
    if bleeds:
        masks = truth_masks(bleeds)
        assert np.array_equal(labels[:, :ANY_INDEX], masks.any(axis=(2, 3)).T)
        assert np.array_equal(labels[:, ANY_INDEX], labels[:, :ANY_INDEX].max(axis=1))
        assert not masks[:, anatomy.area_mm2 == 0].any()
        moved = any(getattr(bleed.shape, "push", 0) or getattr(bleed.shape, "push_mm", 0) for bleed in bleeds)
        assert moved or masks.any(axis=0)[~changed].mean() < 0.05


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_slice_is_the_same_whichever_slices_are_asked_for(hu, anatomy, seed):
    """A loader asks for three slices of thirty."""
    bleeds = plan_bleeds(anatomy, np.random.default_rng(seed))
    painted, labels = whole(hu, bleeds)
    wanted = [12, 3, 12, 20]
    some, some_labels, _ = paint(hu[wanted], wanted, bleeds)
    assert np.array_equal(some, painted[wanted])
    assert np.array_equal(some_labels, labels[wanted])


def test_same_seed_same_bleed(hu, anatomy):
    """A run can be repeated."""
    for seed in range(4):
        one, two = (whole(hu, plan_bleeds(anatomy, np.random.default_rng(seed)))[0] for _ in range(2))
        assert np.array_equal(one, two)


def test_other_seeds_other_bleeds(hu, anatomy):
    """Variety is the point."""
    different = {whole(hu, plan_bleeds(anatomy, np.random.default_rng(seed)))[0].tobytes() for seed in range(6)}
    assert len(different) == 6


def test_input_is_left_alone_and_no_bleed_changes_nothing(hu, anatomy):
    """The store hands out shared memory."""
    before = hu.copy()
    whole(hu, drawn(anatomy, "subdural", 3))
    painted, labels = whole(hu, [])
    assert np.array_equal(hu, before)
    assert np.array_equal(painted, hu)
    assert not labels.any()


@pytest.mark.parametrize("label", ["epidural", "intraparenchymal", "subdural"])
def test_blood_keeps_the_noise_and_its_density(hu, anatomy, label):
    """The noise of this head is 2.5 HU; blood must not be smoother or rougher."""
    spreads, means = [], []
    for seed in range(10):
        bleeds = drawn(anatomy, label, seed)
        if not bleeds:
            continue
        painted, _ = whole(hu, bleeds)
        mask = truth_masks(bleeds).any(axis=0)
        for index in np.flatnonzero(mask.sum(axis=(1, 2)) > 120):
            core = mask[index] & (anatomy.depth[index] > 2.5)
            if core.sum() > 60:
                rows, columns = np.nonzero(core[:, :-1] & core[:, 1:])
                step = painted[index].astype(float)
                spreads.append(np.std(step[rows, columns + 1] - step[rows, columns]) / np.sqrt(2))
                means.append(step[core].mean())
    assert 1.2 < np.median(spreads) < 4.5
    assert 20 < np.median(means) < 80


def test_a_lens_lies_on_the_bone(hu, anatomy):
    """No gap between the lens and the skull."""
    touching = []
    for seed in range(8):
        bleeds = drawn(anatomy, "epidural", seed)
        if bleeds:
            mask = truth_masks(bleeds)[SUBTYPES.index("epidural")]
            touching += [float(anatomy.depth[i][mask[i]].min()) for i in np.flatnonzero(mask.any(axis=(1, 2)))]
    assert np.median(touching) < 2.0


def test_a_convexity_subdural_stays_on_its_side(hu, anatomy):
    """The falx stops it: of six crescents that are seen, none reaches a millimetre over the midline."""
    n_seen = 0
    for seed in range(40):
        bleeds = drawn(anatomy, "subdural", seed)
        if not bleeds or not isinstance(bleeds[0].shape, Crescent):
            continue
        mask = truth_masks(bleeds).any(axis=0)
        for index in np.flatnonzero(mask.any(axis=(1, 2))):
            lateral, _ = anatomy.coordinates(int(index), (0, 0, SIDE, SIDE))
            assert (lateral[mask[index]] * bleeds[0].shape.side > -1).all()
        n_seen += bool(mask.any())
        if n_seen == 6:
            return
    pytest.fail(f"only {n_seen} crescents were seen")


def test_labels_are_looked_up_where_asked_for_alone(hu, anatomy):
    """The slices are painted the same, whichever of them get labels."""
    for seed in range(6):
        bleeds = plan_bleeds(anatomy, np.random.default_rng(seed), around_slice=14)
        wanted = [13, 14, 15]
        painted, labels, _ = paint(hu[wanted], wanted, bleeds)
        again, of_one, _ = paint(hu[wanted], wanted, bleeds, labelled=(14,))
        assert np.array_equal(again, painted)
        assert np.array_equal(of_one[1], labels[1])
        assert not of_one[[0, 2]].any()


@given(
    rows=st.lists(st.integers(0, 19), min_size=1, max_size=4),
    columns=st.lists(st.integers(0, 29), min_size=1, max_size=4),
    margin=st.integers(0, 40),
)
def test_a_box_holds_what_is_wanted_and_stays_in_its_own(rows, columns, margin):
    """A part of a box indexes the same pixels through either."""
    box = (5, 7, 25, 37)
    picture = np.arange(40 * 50).reshape(40, 50)
    wanted = np.zeros((20, 30), bool)
    wanted[np.ix_(rows, columns)] = True

    part = box_where(box, wanted, margin)

    assert part is not None
    top, left, bottom, right = part
    assert (top, bottom) == (max(5, 5 + min(rows) - margin), min(25, 6 + max(rows) + margin))
    assert (left, right) == (max(7, 7 + min(columns) - margin), min(37, 8 + max(columns) + margin))
    assert np.array_equal(picture[5:25, 7:37][inner(box, part)], picture[top:bottom, left:right])
    assert box_where(box, np.zeros((20, 30), bool), margin) is None


def test_depths_are_kept_to_a_256th_of_a_mm(hu, anatomy):
    """What lies inside the skull stays above 0, and the distances are those of the head's mask."""
    inside = intracranial(hu, PIXEL)
    exact = distance_to_table(inside, anatomy.slice_position_mm, PIXEL)
    assert np.array_equal(anatomy.depth > 0, exact > 0)
    assert np.abs(anatomy.depth - exact).max() <= 1 / 256
    assert np.array_equal(anatomy.depth_in(9, (10, 20, 90, 100)), anatomy.depth[9, 10:90, 20:100])


def test_a_layer_knows_a_floor_from_a_wall_and_a_roof():
    """Over bone that lies below no layer is drawn, beside a wall and under a roof it is."""
    z = np.arange(9) * 5.0
    depth = np.zeros((9, 20, 60), np.float32)
    depth[2:7, :, :20] = (z[2:7] - z[1])[:, None, None]  # a floor under slice 2
    depth[2:7, :, 20:40] = 3.0  # a wall beside all slices
    depth[2:7, :, 40:] = (z[7] - z[2:7])[:, None, None]  # a roof over slice 6
    skull = cast(
        Anatomy,
        SimpleNamespace(
            depth_in=lambda index, box: depth[index, box[0] : box[2], box[1] : box[3]],
            slice_position_mm=z,
            n_slices=9,
            spacing_mm=(5.0, 1.0, 1.0),
        ),
    )

    over = over_floor(skull, 3, (0, 0, 20, 60))

    assert over[:, :14].min() > 0.95
    assert over[:, 28:].max() < 0.05
    assert over_floor(skull, 3, (4, 30, 12, 60)).max() < 0.05


def test_two_passes_at_one_place_have_no_floor(hu):
    """Without a gap nothing is known of what lies below; it was a division by nothing once."""
    twice = np.repeat(hu, 2, axis=0)
    doubled = find_anatomy(twice, (DZ, PIXEL, PIXEL), slice_position_mm=np.repeat(np.arange(N) * DZ, 2))
    assert not over_floor(doubled, 0, (0, 0, SIDE, SIDE)).any()
    assert np.isfinite(over_floor(doubled, 20, (0, 0, SIDE, SIDE))).all()


@pytest.mark.parametrize("name", ["subarachnoid", "subdural"])
def test_a_smaller_box_draws_the_same(hu, anatomy, monkeypatch, name):
    """What a layer leaves out of its box to be quick changes nothing."""
    n_drawn = 0
    for seed in range(8):
        bleeds = drawn(anatomy, name, seed)
        if not bleeds or (name == "subdural" and not isinstance(bleeds[0].shape, Crescent)):
            continue
        bleeds = [replace(bleed, ready={}) for bleed in bleeds]
        quick, labels = whole(hu, bleeds)
        with monkeypatch.context() as patched:
            patched.setattr(f"ich25d.bleeds.{name}.box_where", lambda box, *_: box)
            slow, slow_labels = whole(hu, bleeds)
        n_drawn += int((quick != hu).any())
        assert np.array_equal(labels, slow_labels)
        assert np.abs(quick.astype(int) - slow).max() <= (0 if name == "subarachnoid" else 12)
        assert (quick != slow).mean() < 1e-3
    assert n_drawn >= 3


def test_subarachnoid_blood_is_where_csf_was(hu, anatomy):
    """What rises was dark before."""
    for seed in range(5):
        bleeds = drawn(anatomy, "subarachnoid", seed)
        if bleeds:
            painted, _ = whole(hu, bleeds)
            risen = painted.astype(int) - hu > 15
            assert hu[risen].mean() < 25


def test_around_slice_reaches_that_slice_most_often(hu, anatomy):
    """Some end just beside it, as hard negatives."""
    hits = 0
    for seed in range(30):
        bleeds = plan_bleeds(anatomy, np.random.default_rng(seed), around_slice=13)
        hits += int(paint(hu[[13]], [13], bleeds)[1][0, ANY_INDEX])
    assert hits >= 18


def test_every_subtype_has_a_painter():
    """And no painter is without a label."""
    assert tuple(sorted(PLANNERS)) == tuple(sorted(SUBTYPES))


def test_pixel_size_from_the_width_of_the_head(hu):
    """For scans without a known spacing."""
    assert estimate_pixel_mm(hu) == pytest.approx(PIXEL * HEAD_WIDTH_MM / 160, rel=0.05)
    assert estimate_pixel_mm(np.full((2, 32, 32), -1000, np.int16)) == 0.8


def test_uneven_gaps_and_repeated_positions(hu):
    """A scan with two passes at one place and a jump is painted like any other."""
    position = np.cumsum([0.0, *([0.0, 3.0, 8.0, 5.5] * 7)])[:N]
    anatomy = find_anatomy(hu, (DZ, PIXEL, PIXEL), slice_position_mm=position)
    assert isinstance(anatomy, Anatomy)
    for seed in range(6):
        painted, labels = whole(hu, plan_bleeds(anatomy, np.random.default_rng(seed)))
        assert painted.shape == hu.shape
        assert labels.shape == (N, 6)
