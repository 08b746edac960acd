"""A head holds what a head holds, is the same from the same seed, and bleeds where its labels say."""

from dataclasses import replace

import numpy as np
import pytest

from ich25d.bleeds.anatomy import find_anatomy
from ich25d.labels import ANY_INDEX, LABELS, SUBTYPES
from ich25d.phantom.head import make_head
from ich25d.phantom.scanner import draw_scan
from ich25d.phantom.traits import draw_traits

SIZE = 128


@pytest.fixture(scope="module")
def head():
    """One small head with two bleeds."""
    return make_head(np.random.default_rng(3), labels=("subdural", "intraparenchymal"), size=SIZE)


def test_shapes_agree(head):
    """Slices, positions, labels and masks belong together."""
    n = len(head.hu)
    assert head.hu.shape == (n, SIZE, SIZE)
    assert head.hu.dtype == np.int16
    assert head.labels.shape == (n, len(LABELS))
    assert head.masks.shape == (len(SUBTYPES), n, SIZE, SIZE)
    assert np.all(np.diff(head.slice_position_mm) > 0)
    assert 26 <= n <= 62


def test_the_same_seed_makes_the_same_head(head):
    """Nothing but the seed decides."""
    again = make_head(np.random.default_rng(3), labels=("subdural", "intraparenchymal"), size=SIZE)
    assert np.array_equal(again.hu, head.hu)
    assert np.array_equal(again.labels, head.labels)


def test_labels_are_where_the_masks_are(head):
    """A slice is positive for a subtype exactly where its mask isn't empty; `any` is their maximum."""
    assert np.array_equal(head.masks.any(axis=(2, 3)).T, head.labels[:, :ANY_INDEX] > 0)
    assert np.array_equal(head.labels[:, ANY_INDEX], head.labels[:, :ANY_INDEX].max(axis=1))
    assert head.labels[:, LABELS.index("subdural")].any()
    assert head.labels[:, LABELS.index("intraparenchymal")].any()


def test_tissues_have_their_hu(head):
    """Air, CSF, brain and bone are all there, within what a scanner gives."""
    middle = head.hu[np.argmin(np.abs(head.slice_position_mm - np.median(head.slice_position_mm)))].astype(int)
    assert np.median(middle[:4]) < -950
    brain = middle[(middle > 0) & (middle < 100)]
    assert 24 < np.median(brain) < 42
    assert middle.max() > 700
    assert head.hu.min() >= -1024
    assert head.hu.max() <= 3071


def test_the_anatomy_of_a_phantom_is_found():
    """The finder made for real heads takes a phantom for one: brain volume and ventricles in human range."""
    head = make_head(np.random.default_rng(5), size=SIZE)
    assert not head.labels.any()
    gap = float(np.median(np.diff(head.slice_position_mm)))
    spacing = (gap, head.pixel_spacing_mm, head.pixel_spacing_mm)
    anatomy = find_anatomy(head.hu, spacing, slice_position_mm=head.slice_position_mm)
    assert anatomy.usable
    litres = float((anatomy.area_mm2 * np.gradient(head.slice_position_mm)).sum()) / 1e6
    assert 1.0 < litres < 1.9
    assert (anatomy.ventricle > 128).sum() > 50


def test_origins_project_to_the_slice_positions():
    """Along row x column the origins lie as far apart as the slices, whatever the tilt."""
    for seed in range(12):
        scan = draw_scan(np.random.default_rng(seed), 118.0)
        row, column = np.array(scan.directions).reshape(2, 3)
        projected = scan.origins_mm() @ np.cross(row, column)
        assert np.diff(projected) == pytest.approx(np.diff(scan.slice_position_mm), abs=1e-6)
        assert np.abs(np.linalg.norm([row, column], axis=1) - 1).max() < 1e-12
        assert np.all(np.diff(projected) > 2.2)


def test_what_only_looks_like_blood_gives_no_label():
    """Thick blood in sinuses and tentorium, a bright inner table and an old infarct are seen and not labelled."""
    plain = replace(
        draw_traits(np.random.default_rng(3)), infarct_radius_mm=0.0, dura_hu=50.0, tentorium_hu=44.0, hardening=1.0
    )
    usual = make_head(np.random.default_rng(4), traits=plain, size=SIZE)
    middle = (45.0, 10.0, 55.0)

    def change(**traits):
        head = make_head(np.random.default_rng(4), traits=replace(plain, **traits), size=SIZE)
        assert not head.labels.any()
        brain = (usual.hu > -20) & (usual.hu < 90)
        return (head.hu.astype(int) - usual.hu)[brain]

    assert change(infarct_radius_mm=16.0, infarct_mm=middle).min() < -15
    assert change(dura_hu=68.0).max() > 10
    assert change(tentorium_hu=60.0).max() > 5
    glow = change(hardening=3.5)
    assert np.percentile(glow, 2) >= 0
    assert np.percentile(glow, 98) > 4
