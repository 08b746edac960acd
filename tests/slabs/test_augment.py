"""Augmentation depends on seed, pass and image alone, and does what its name says."""

from functools import partial

import numpy as np
import pytest
import torch

from ich25d.config import AugmentConfig
from ich25d.slabs.augment import augment, augment_masks, draw

NOTHING = AugmentConfig(
    flip=0, rotate_deg=0, scale=0, aspect=0, shift=0, level_jitter_hu=0, width_jitter=0, noise_hu=0, erase=0, swap=0
)
EVERYTHING = AugmentConfig(sharpness=0.5, erase=0.5)
change = partial(augment, neighbours=(-1, 0, 1))


def slabs(n: int = 4) -> torch.Tensor:
    """Return slabs of random HU."""
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 100


def test_nothing_changes_nothing() -> None:
    """With every extent at 0 the slab comes back."""
    hu = slabs()
    changed = change(hu, torch.arange(4), NOTHING, seed=0, epoch=0)

    assert torch.equal(changed.hu, hu)
    assert changed.level_shift.tolist() == [0, 0, 0, 0]
    assert changed.width_factor.tolist() == [1, 1, 1, 1]


def test_does_not_depend_on_the_batch() -> None:
    """A slab alone and the same slab among others are changed alike."""
    hu, key = slabs(), torch.tensor([11, 22, 33, 44])
    together = change(hu, key, EVERYTHING, seed=3, epoch=2)
    alone = change(hu[2:3], key[2:3], EVERYTHING, seed=3, epoch=2)

    assert torch.allclose(alone.hu, together.hu[2:3], atol=1e-3)
    assert torch.equal(alone.level_shift, together.level_shift[2:3])


@pytest.mark.parametrize(("seed", "epoch"), [(1, 0), (0, 1)])
def test_seed_and_pass_change_it(seed: int, epoch: int) -> None:
    """Each epoch augments a slab otherwise, and the same epoch the same way."""
    hu, key = slabs(), torch.arange(4)

    first = change(hu, key, EVERYTHING, seed=0, epoch=0).hu
    assert not torch.equal(first, change(hu, key, EVERYTHING, seed=seed, epoch=epoch).hu)
    assert torch.equal(first, change(hu, key, EVERYTHING, seed=0, epoch=0).hu)


def test_flips_left_and_right() -> None:
    """A flip of all slabs is a mirror image, with and without a shift in the same step."""
    hu = slabs()
    mirrored = change(hu, torch.arange(4), _with(flip=1.0), seed=0, epoch=0).hu
    moved = change(hu, torch.arange(4), _with(flip=1.0, scale=1e-9), seed=0, epoch=0).hu

    assert torch.equal(mirrored, hu.flip(3))
    assert torch.allclose(moved, hu.flip(3), atol=1e-2)


def test_clips_as_pictures_of_one_window_end() -> None:
    """Brain keeps its values, CSF and blood get the ends, air and bone stay; and where it doesn't hit, nothing does."""
    hu = (
        torch.tensor([-1000.0, -150.0, -30.0, 5.0, 30.0, 74.0, 120.0, 299.0, 900.0])
        .reshape(1, 1, 3, 3)
        .repeat(64, 3, 1, 1)
    )
    clipped = change(hu, torch.arange(64), _with(clip=1.0), seed=0, epoch=0).hu

    flat, ends = clipped.reshape(64, 3, 9), clipped.reshape(64, 3, 9)[:, 0]
    assert torch.equal(flat, flat[:, :1].expand(-1, 3, -1))
    assert torch.equal(flat[:, 0, [0, 4, 5, 8]], hu.reshape(64, 3, 9)[:, 0, [0, 4, 5, 8]])
    assert torch.equal(ends[:, 1], ends[:, 2])
    assert torch.equal(ends[:, 6], ends[:, 7])
    assert -20 <= ends[:, 2].min() < ends[:, 2].max() <= 10
    assert 75 <= ends[:, 6].min() < ends[:, 6].max() <= 105
    assert 0 < (change(hu, torch.arange(64), _with(clip=0.5), seed=0, epoch=0).hu != hu).any(dim=(1, 2, 3)).sum() < 64


def test_swaps_the_neighbours() -> None:
    """The slice itself stays in the middle."""
    hu = slabs()

    assert torch.equal(change(hu, torch.arange(4), _with(swap=1.0), seed=0, epoch=0).hu, hu.flip(1))


@pytest.mark.parametrize(
    ("neighbours", "expected"),
    [
        ((0,), [0]),
        ((0, 1, 2), [0, 1, 2]),
        ((-2, -1, 0), [0, 1, 2]),
        ((-1, 0, 1, 2, 3), [2, 1, 0, 3, 4]),
        ((-4, -1, 0, 1, 2), [0, 3, 2, 1, 4]),
        ((-2, -1, 0, 1, 2), [4, 3, 2, 1, 0]),
    ],
    ids=str,
)
def test_only_pairs_change_places(neighbours: tuple[int, ...], expected: list[int]) -> None:
    """The labelled slice is never moved, nor is a neighbour that has no partner on the other side."""
    hu = torch.arange(float(len(neighbours)))[None, :, None, None].expand(4, -1, 8, 8)
    swapped = augment(hu, torch.arange(4), _with(swap=1.0), neighbours=neighbours, seed=0, epoch=0).hu

    assert swapped[:, :, 0, 0].tolist() == [expected] * 4
    centre = neighbours.index(0)
    assert torch.equal(swapped[:, centre], hu[:, centre])


def test_scaling_keeps_water_water_and_brings_in_air() -> None:
    """What comes in at the border is air, not water."""
    hu = torch.zeros(64, 1, 32, 32)
    changed = change(hu, torch.arange(64), _with(shift=0.4), seed=0, epoch=0).hu

    assert changed.max() <= 1e-3
    assert changed.min() == pytest.approx(-1024)


def test_noise_has_the_strength_asked_for() -> None:
    """The standard deviation is uniform from 0 to `noise_hu`: 2.5 on average for 5."""
    changed = change(torch.zeros(200, 1, 48, 48), torch.arange(200), _with(noise_hu=5.0), seed=0, epoch=0).hu

    assert changed.std(dim=(1, 2, 3)).mean().item() == pytest.approx(2.5, abs=0.4)
    assert changed.mean().item() == pytest.approx(0, abs=0.2)


def test_erases_one_rectangle_of_water() -> None:
    """2 to 15 % of the area, the same in all slices of a slab."""
    changed = change(torch.full((50, 3, 64, 64), 30.0), torch.arange(50), _with(erase=1.0), seed=0, epoch=0).hu
    hole = changed == 0

    share = hole.float().mean(dim=(1, 2, 3))
    assert share.min() > 0.01
    assert share.max() < 0.2
    assert torch.equal(hole[:, 0], hole[:, 2])


def test_draws_are_uniform_and_independent() -> None:
    """Means and correlations of hashed draws over 20,000 neighbouring keys."""
    keys = np.arange(20_000, dtype=np.uint64)
    first, second = draw(keys, 0, 0, "a"), draw(keys, 0, 0, "b")

    assert np.histogram(first, 10, (0, 1))[0] == pytest.approx([2000] * 10, rel=0.1)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0, abs=0.03)
    assert np.corrcoef(first[:-1], first[1:])[0, 1] == pytest.approx(0, abs=0.03)


def _with(**changes: float) -> AugmentConfig:
    """Return the augmentation that does one thing alone."""
    settings = {name: getattr(NOTHING, name) for name in NOTHING.__slots__}
    return AugmentConfig(**{**settings, **changes})


def test_masks_move_as_their_slabs_do() -> None:
    """A bright disc and its mask, of half the resolution, come out at one place, whatever is drawn."""
    config = _with(flip=0.5, rotate_deg=30, scale=0.2, aspect=0.1, shift=0.1)
    y, x = np.mgrid[:64, :64]
    disc = torch.from_numpy((np.hypot(y - 20, x - 38) < 9).astype(np.float32)).expand(8, 1, 64, 64)
    key = torch.arange(8)
    moved = augment(disc * 60, key, config, neighbours=(0,), seed=5, epoch=1).hu[:, 0] > 30
    masks = augment_masks(torch.nn.functional.avg_pool2d(disc, 2), key, config, seed=5, epoch=1)
    large = torch.nn.functional.interpolate(masks, size=(64, 64), mode="bilinear")[:, 0] > 0.5

    shared = (moved & large).sum(dim=(1, 2)) / (moved | large).sum(dim=(1, 2))
    assert shared.min() > 0.85


def test_what_is_erased_is_gone_from_the_mask() -> None:
    """A mask of ones is 0 just where the slab has water."""
    config, key = _with(erase=1.0), torch.arange(4)
    hu = change(torch.full((4, 3, 32, 32), 50.0), key, config, seed=0, epoch=0).hu[:, :1]
    mask = augment_masks(torch.ones(4, 1, 32, 32), key, config, seed=0, epoch=0)

    assert torch.equal(mask == 0, hu == 0)
    assert 0 < (mask == 0).float().mean() < 0.2
