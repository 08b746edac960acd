"""Side, reach and volume of a drawn bleed."""

import numpy as np
import pytest
from toy_model import GAP_MM, N_SLICES, PIXEL_MM, SIZE, head_hu, positions

from ich25d.bleeds.anatomy import Anatomy, find_anatomy
from ich25d.explain.finding import (
    LAYER_CAM,
    PIXEL_HEAD,
    Drawing,
    Lesion,
    box_of,
    density,
    describe,
    extent_of,
    find_lesion,
    main_parts,
    side_of,
    slice_thickness_mm,
    without_spots,
)

MIDDLE = SIZE // 2


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    """Of the toy head without its clot."""
    return find_anatomy(head_hu(clot=False), (GAP_MM, PIXEL_MM, PIXEL_MM), slice_position_mm=positions())


def block(columns: slice, slices: slice = slice(3, 6), rows: slice = slice(40, 50)) -> np.ndarray:
    """Return a mask that is true in a box."""
    mask = np.zeros((N_SLICES, SIZE, SIZE), bool)
    mask[slices, rows, columns] = True
    return mask


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [([5, 5, 5], [5, 5, 5, 5]), ([2.5, 5], [2.5, 3.75, 5]), ([5, 0, 5], [5, 2.5, 2.5, 5]),
     ([5, 30, 5, 5], [5, 7.5, 7.5, 5, 5]), ([], [5])],
    ids=["even", "mixed", "a double", "a hole", "one slice"],
)  # fmt: skip
def test_thickness_by_hand(gaps: list[float], expected: list[float]) -> None:
    """Half the way to either neighbour; a hole isn't filled."""
    position = np.concatenate(([0.0], np.cumsum(gaps)))

    assert slice_thickness_mm(position).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("mask", "side"),
    [
        (block(slice(60, 70)), "left"),
        (block(slice(25, 35)), "right"),
        (block(slice(60, 70)) | block(slice(25, 32)), "both"),
        (block(slice(60, 70)) | block(slice(31, 33)), "left"),
        (block(slice(MIDDLE - 3, MIDDLE + 3)), "midline"),
    ],
    ids=["left", "right", "both", "hardly both", "midline"],
)
def test_side_is_the_patients(anatomy: Anatomy, mask: np.ndarray, side: str) -> None:
    """The image's right is the patient's left, and the other way round where rows run to the right."""
    other = {"left": "right", "right": "left"}

    assert anatomy.usable
    assert side_of(mask, anatomy, left_is_right=True) == side
    assert side_of(mask, anatomy, left_is_right=False) == other.get(side, side)
    assert side_of(mask[:, :, ::-1], anatomy, left_is_right=True) == other.get(side, side)


def test_box_and_extent_by_hand(anatomy: Anatomy) -> None:
    """Ten columns, ten rows of 2 mm, three slices of 5 mm."""
    mask = block(slice(60, 70))

    assert box_of(mask[4]) == (40, 60, 50, 70)
    assert box_of(mask[0]) == (0, 0, 0, 0)
    assert extent_of(mask, anatomy, slice_thickness_mm(positions())) == pytest.approx((20, 20, 15), abs=1.5)


def test_volume_by_hand(anatomy: Anatomy) -> None:
    """300 voxels of 20 mm3 are 6 ml; what isn't sure may be nothing; an assumed px widens the interval."""
    mask = block(slice(60, 70))
    lesion = Lesion(generous=block(slice(58, 72)), mask=mask, strict=block(slice(62, 68)))
    sure = describe("subdural", 0.9, lesion, anatomy, left_is_right=True)
    unsure = describe("subdural", 0.1, lesion, anatomy, left_is_right=True, is_sure=False, assumed=("pixel size",))

    assert sure.volume_ml == pytest.approx(6 * LAYER_CAM.volume_factor)
    assert (sure.volume_low_ml, sure.volume_high_ml) == pytest.approx(
        (3.6 * LAYER_CAM.spread[0], 8.4 * LAYER_CAM.spread[1])
    )
    assert (sure.first_mm, sure.last_mm, sure.first_slice, sure.last_slice) == (115, 125, 3, 5)
    assert (sure.side, sure.box, sure.is_estimate) == ("left", (40, 60, 50, 70), True)
    assert unsure.volume_low_ml == 0
    assert unsure.volume_high_ml > sure.volume_high_ml


def test_heat_and_density_together_draw(anatomy: Anatomy) -> None:
    """Heat over one of two clots draws that one, about as large as it is; drawings lie in each other."""
    hu = head_hu()
    hu[3:7] = np.maximum(hu[3:7], np.where(block(slice(25, 35), slice(0, 4), rows=slice(50, 60))[:4], 68, -1024))
    y, x = np.mgrid[:SIZE, :SIZE]
    heat = np.zeros(hu.shape, np.float16)
    heat[3:7] = 0.9 * np.exp(-((x - 62.5) ** 2 + (y - 52.5) ** 2) / (2 * 9.0**2))
    lesion = find_lesion(heat, density(hu, anatomy), anatomy)
    clot = np.zeros(hu.shape, bool)
    clot[3:7] = (hu[3:7] > 55) & (hu[3:7] < 90) & (x > MIDDLE)

    assert not (lesion.mask & ~lesion.generous).any()
    assert not (lesion.strict & ~lesion.mask).any()
    assert not lesion.mask[:, :, :MIDDLE].any()
    assert 2 * (lesion.mask & clot).sum() / (lesion.mask.sum() + clot.sum()) > 0.8


def test_heat_alone_draws_where_nothing_is_dense(anatomy: Anatomy) -> None:
    """An old bleed is no denser than brain: the hot part of the head is drawn, no voxel outside of it."""
    heat = np.zeros((N_SLICES, SIZE, SIZE), np.float16)
    heat[4, 30:60, 55:96] = 0.8
    lesion = find_lesion(heat, np.zeros(heat.shape, np.float32), anatomy)

    assert lesion.mask.any()
    assert not (lesion.mask & (anatomy.depth <= 0)).any()
    assert not find_lesion(heat * 0, np.zeros(heat.shape, np.float32), anatomy).generous.any()


def test_small_things_are_left_out() -> None:
    """Spots under the least area, and parts that weigh little, unless there is nothing else."""
    mask = block(slice(60, 70))
    speck = block(slice(20, 21), rows=slice(20, 21))

    assert (without_spots(mask | speck, 5) == mask).all()
    assert (without_spots(speck, 5) == speck).all()
    assert (main_parts(mask | speck, np.ones(mask.shape, np.float32)) == mask).all()


@pytest.mark.parametrize("drawing", [LAYER_CAM, PIXEL_HEAD])
def test_each_drawing_lies_in_the_next(anatomy: Anatomy, drawing: Drawing) -> None:
    """Whatever the kind of heat: strict in reported in generous, and the clot is what is drawn."""
    hu = head_hu()
    heat = np.zeros(hu.shape, np.float32)
    heat[2:8, 30:66, 40:84] = 0.9
    lesion = find_lesion(heat, density(hu, anatomy), anatomy, drawing)
    clot = np.abs(hu.astype(float) - 68) < 12

    assert (lesion.mask | ~lesion.strict).all()
    assert (lesion.generous | ~lesion.mask).all()
    assert (lesion.mask & clot).sum() > 0.7 * (clot & (heat > 0)).sum()
