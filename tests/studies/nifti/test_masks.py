"""Masks beside NIfTI scans: labels of their slices, or a reason why there are none."""

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from nifti_file import SIDE, marked_hu, nifti_image, usual_affine, write_nifti

from ich25d.errors import UsageError
from ich25d.labels import LABELS
from ich25d.studies.build import build_studies
from ich25d.studies.nifti.masks import find_masks
from ich25d.studies.plan import make_plan

N = 4
HU = marked_hu(N)
ALL_FIVE = "1:EDH,2:IPH,3:IVH,4:SAH,5:SDH"
NEGATIVE = (0, 0, 0, 0, 0, 0)
UNKNOWN = (None, None, None, None, None, 1)
"""A bleed of a kind that isn't told."""


def mask_of(*values: tuple[int, ...]) -> np.ndarray:
    """Return a mask with a spot of each of a slice's values."""
    mask = np.zeros((N, SIDE, SIDE), dtype=np.uint8)
    for index, of_slice in enumerate(values):
        for place, value in enumerate(of_slice):
            mask[index, 40 + 10 * place : 45 + 10 * place, 50:60] = value
    return mask


def labels_of(source: Path, *masks: str) -> tuple:
    """Return the labels of the only series, and the codes of what was remarked."""
    plan = make_plan((source,), masks=masks)
    (series,) = plan.series
    return series.labels, [row.code for row in plan.qc]


def test_ct_ich_has_one_value_for_any_bleeding(tmp_path: Path) -> None:
    """Masks of 0 and 255 in a folder beside the scans: negative slices are so in all six labels."""
    write_nifti(tmp_path / "ct_scans" / "049.nii", HU, "RAS")
    write_nifti(tmp_path / "masks" / "049.nii", mask_of((), (255,), (255,), ()), "RAS", dtype=np.uint8)

    for names in ("any", "255:any"):
        expected = (NEGATIVE, UNKNOWN, UNKNOWN, NEGATIVE)
        assert labels_of(tmp_path, f"{tmp_path}/masks={names}") == (expected, [])


def test_bhsd_has_a_value_for_each_subtype(tmp_path: Path) -> None:
    """The five subtypes by their usual letters; `any` is told from them."""
    write_nifti(tmp_path / "images" / "ID_1_ID_2.nii.gz", HU, "LPI")
    mask = mask_of((1, 5), (), (2,), (3, 4))
    write_nifti(tmp_path / "ground truths" / "ID_1_ID_2.nii.gz", mask, "LPI", dtype=np.float32)
    labels, codes = labels_of(tmp_path / "images", f"{tmp_path}/ground truths={ALL_FIVE}")

    assert labels == ((1, 0, 0, 0, 1, 1), NEGATIVE, (0, 1, 0, 0, 0, 1), (0, 0, 1, 1, 0, 1))
    assert codes == []


def test_a_mask_may_lie_beside_its_scan_and_a_scan_may_have_several(tmp_path: Path) -> None:
    """A glob takes masks out of a folder of both; the masks of a scan add up."""
    write_nifti(tmp_path / "sub-01_ct.nii.gz", HU)
    write_nifti(tmp_path / "sub-01_edh_seg.nii.gz", mask_of((1,), (), (), ()), dtype=np.uint8)
    write_nifti(tmp_path / "sub-01_sdh_seg.nii.gz", mask_of((1,), (1,), (), ()), dtype=np.uint8)
    labels, codes = labels_of(tmp_path, f"{tmp_path}/*_edh_seg.nii.gz=edh", f"{tmp_path}/*_sdh_seg.nii.gz=1:subdural")

    assert labels == ((1, 0, 0, 0, 1, 1), (0, 0, 0, 0, 1, 1), NEGATIVE, NEGATIVE)
    assert codes == []


def test_of_scans_of_one_name_the_nearest_in_the_tree_is_the_mask_s(tmp_path: Path) -> None:
    """Two sites number their scans alike."""
    for number, site in enumerate("ab"):
        write_nifti(tmp_path / site / "data" / "001.nii", HU)
        spots = [() for _ in range(N)]
        spots[number] = (1,)
        write_nifti(tmp_path / site / "label" / "001.nii", mask_of(*spots), dtype=np.uint8)
    plan = make_plan((tmp_path,), masks=(f"{tmp_path}/*/label=any",))

    assert [series.series_id for series in plan.series] == ["a.data.001", "b.data.001"]
    assert [series.labels.index(UNKNOWN) for series in plan.series] == [0, 1]


@pytest.mark.parametrize(
    ("mask", "options", "code"),
    [
        (mask_of((1,))[:, :100], {}, "L_MASK_DIFFERS"),
        (mask_of((1,)), {"affine": usual_affine((5.0, 0.82, 0.8))}, "L_MASK_DIFFERS"),
        (mask_of((1,)), {"affine": usual_affine(tilt_deg=3)}, "L_MASK_DIFFERS"),
        (mask_of((1, 7)), {}, "L_MASK_VALUE"),
        (mask_of((1,)) * 0.5, {"dtype": np.float32}, "L_MASK_VALUE"),
    ],
    ids=["shape", "size", "place", "a value without a name", "half a value"],
)
def test_a_mask_that_does_not_fit_gives_no_labels(tmp_path: Path, mask: np.ndarray, options: dict, code: str) -> None:
    """Shape and affine are the scan's, and every value has a name, or the slices stay without labels."""
    write_nifti(tmp_path / "scan.nii", HU)
    write_nifti(tmp_path / "masks" / "scan.nii", mask, **{"dtype": np.uint8, **options})

    assert labels_of(tmp_path, f"{tmp_path}/masks={ALL_FIVE}") == ((), [code])


@pytest.mark.parametrize("names", ["any", "1:any"])
def test_a_mask_saved_as_scaled_integers_marks_what_it_did(tmp_path: Path, names: str) -> None:
    """Nibabel writes zeros and ones of floats as int16 from -32768 to 32767: no stored value is 0."""
    write_nifti(tmp_path / "scan.nii", HU)
    image = nifti_image(mask_of((), (1,), (), ()), dtype=np.float64)
    image.header.set_slope_inter(None, None)
    image.set_data_dtype(np.int16)
    (tmp_path / "masks").mkdir()
    nibabel.save(image, tmp_path / "masks" / "scan.nii")

    assert labels_of(tmp_path, f"{tmp_path}/masks={names}") == ((NEGATIVE, UNKNOWN, NEGATIVE, NEGATIVE), [])


@pytest.mark.parametrize("value", [-1.0, np.inf])
def test_only_values_above_0_are_marks(tmp_path: Path, value: float) -> None:
    """Some masks have -1 where nobody looked: that is no bleeding, and no absence of it."""
    write_nifti(tmp_path / "scan.nii", HU)
    write_nifti(tmp_path / "masks" / "scan.nii", np.where(mask_of((1,)), value, 0), dtype=np.float32)

    for names in ("any", "1:any"):
        assert labels_of(tmp_path, f"{tmp_path}/masks={names}") == ((), ["L_MASK_VALUE"])


def test_the_mask_of_a_refused_scan_is_no_other_scan_s(tmp_path: Path) -> None:
    """The second session's scan isn't in HU; its mask begins with the name of the first session's too."""
    write_nifti(tmp_path / "sub-01_ct.nii", HU)
    write_nifti(tmp_path / "sub-01_ses-2_ct.nii", np.clip(HU, 0, 200))
    write_nifti(tmp_path / "masks" / "sub-01_seg.nii", mask_of((1,)), dtype=np.uint8)
    write_nifti(tmp_path / "masks" / "sub-01_ses-2_seg.nii", mask_of((), (1,)), dtype=np.uint8)

    expected = ((UNKNOWN, NEGATIVE, NEGATIVE, NEGATIVE), ["GREY_VALUES", "L_MASK_ALONE"])
    assert labels_of(tmp_path, f"{tmp_path}/masks=any") == expected


def test_a_mask_without_its_scan_is_remarked(tmp_path: Path) -> None:
    """`050_2` is a scan that isn't here, `050_seg` is a mask of scan 050."""
    write_nifti(tmp_path / "050.nii", HU)
    for name in ("050_2", "05", "050_seg"):
        write_nifti(tmp_path / "masks" / f"{name}.nii", mask_of((1,)), dtype=np.uint8)

    expected = ((UNKNOWN, NEGATIVE, NEGATIVE, NEGATIVE), ["L_MASK_ALONE"] * 2)
    assert labels_of(tmp_path, f"{tmp_path}/masks=any") == expected


def test_masks_of_other_scans_are_a_slip(tmp_path: Path) -> None:
    """Where no mask has its scan, a store without labels isn't what was wanted."""
    write_nifti(tmp_path / "049.nii", HU)
    write_nifti(tmp_path / "masks" / "050.nii", mask_of((1,)), dtype=np.uint8)

    with pytest.raises(UsageError, match=r"1 masks, none.*masks are called 050 \.\.\.; scans 049"):
        make_plan((tmp_path,), masks=(f"{tmp_path}/masks=any",))


@pytest.mark.parametrize(
    "text",
    ["masks", "masks=", "masks=blood", "masks=1:blood", "masks=0:any", "masks=any,1:sdh", "=any", "masks=-1:any"],
)
def test_masks_are_named_in_one_form(text: str) -> None:
    """The sentence has the form, an example and the labels."""
    with pytest.raises(UsageError, match=r"PATH=VALUE:LABEL.*epidural.*got '"):
        find_masks((text,))


def test_a_path_without_masks_is_no_path_of_masks(tmp_path: Path) -> None:
    """A slip in the path isn't passed over: all slices would be without labels."""
    with pytest.raises(UsageError, match="got none at"):
        find_masks((f"{tmp_path}/*.nii=any",))


def test_a_store_follows_its_masks(tmp_path: Path) -> None:
    """Labels are in the store; a mask that changes changes them, and no pixel is read again."""
    scan, mask = tmp_path / "in" / "scan.nii.gz", tmp_path / "masks" / "scan.nii.gz"
    write_nifti(scan, HU)
    found = []
    for spots in (((1,), (), (), ()), ((), (5,), (2,), ())):
        write_nifti(mask, mask_of(*spots), dtype=np.uint8)
        summary = build_studies((tmp_path / "in",), tmp_path / "store", masks=(f"{mask.parent}={ALL_FIVE}",), workers=1)
        found.append((summary.n_series_read, summary.n_labelled, summary.exit_code))
        slices = pd.read_parquet(tmp_path / "store" / "slices.parquet")

    assert found == [(1, N, 0), (0, N, 0)]
    assert slices[list(LABELS)].to_numpy().tolist() == [
        list(NEGATIVE), [0, 0, 0, 0, 1, 1], [0, 1, 0, 0, 0, 1], list(NEGATIVE),
    ]  # fmt: skip


def dicom_affine() -> np.ndarray:
    """Where `write_scan` puts its slices."""
    affine = usual_affine((5.0, 240 / SIDE, 240 / SIDE))
    affine[:3, 3] = (120, 120, 10)
    return affine


@pytest.mark.parametrize("codes", ["LPS", "LAS", "RAI", "SPL", "ASR"])
def test_a_mask_on_the_grid_of_a_dicom_series_labels_its_slices(tmp_path: Path, write_scan, codes: str) -> None:
    """However a viewer saved it, and whatever it is called; a scan that lies elsewhere stays without labels."""
    write_scan(tmp_path / "in", 1, hu=HU)
    write_scan(tmp_path / "in", 2, n=3)
    mask = mask_of((), (1, 5), (), (2,))
    write_nifti(tmp_path / "drawn.nii.gz", mask, codes, affine=dicom_affine(), dtype=np.uint8)
    plan = make_plan((tmp_path / "in",), masks=(f"{tmp_path}/drawn.nii.gz={ALL_FIVE}",))

    labelled, other = sorted(plan.series, key=lambda series: -len(series))
    assert labelled.labels == (NEGATIVE, (1, 0, 0, 0, 1, 1), NEGATIVE, (0, 1, 0, 0, 0, 1))
    assert other.labels == ()
    assert plan.qc == []


def test_a_mask_of_a_turned_dicom_series_labels_its_slices(tmp_path: Path, write_scan) -> None:
    """Feet first and prone: the slices are turned for the network, the mask is as the files are."""
    write_scan(tmp_path / "in", hu=HU, directions=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    affine = dicom_affine() @ np.diag([-1, -1, 1, 1])
    write_nifti(tmp_path / "in" / "mask.nii", mask_of((1,)), affine=affine, dtype=np.uint8)

    assert labels_of(tmp_path / "in", f"{tmp_path}/in/mask.nii=sdh")[0] == ((0, 0, 0, 0, 1, 1), *[NEGATIVE] * 3)


@pytest.mark.parametrize("change", ["shifted", "larger", "cropped", "fewer slices", "no place"])
def test_a_mask_beside_a_dicom_series_is_refused_where_it_does_not_fit(tmp_path: Path, write_scan, change: str) -> None:
    """Alone it is a slip; beside one that fits, a row, and the sentence is the same."""
    write_scan(tmp_path / "in", hu=HU)
    mask, affine = mask_of((1,)), dicom_affine()
    write_nifti(tmp_path / "good.nii", mask, affine=affine, dtype=np.uint8)
    affine[0, 3] += change == "shifted"
    affine[:, :2] *= 1.01 if change == "larger" else 1
    mask = mask[:, 2:] if change == "cropped" else mask[1:] if change == "fewer slices" else mask
    image = nifti_image(mask, affine=affine, dtype=np.uint8)
    if change == "no place":
        image.set_sform(None, 0)
        image.set_qform(None, 0)
    nibabel.save(image, tmp_path / "bad.nii")
    with pytest.raises(UsageError, match=r"got 1 masks, none .* 1 DICOM series .* keep the grid"):
        make_plan((tmp_path / "in",), masks=(f"{tmp_path}/bad.nii=any",))
    labels, codes = labels_of(tmp_path / "in", f"{tmp_path}/*.nii=any")

    assert (labels[0], codes) == (UNKNOWN, ["L_MASK_DIFFERS"])


def test_a_mask_that_lies_on_two_dicom_series_is_neither_s(tmp_path: Path, write_scan) -> None:
    """Two patients on one table: a geometry alone doesn't say whose bleeding it is."""
    for number in (1, 2):
        write_scan(tmp_path / "in", number, hu=HU)
    write_nifti(tmp_path / "mask.nii", mask_of((1,)), affine=dicom_affine(), dtype=np.uint8)
    with pytest.raises(UsageError, match="2 series lie where this mask does"):
        make_plan((tmp_path / "in",), masks=(f"{tmp_path}/mask.nii=any",))


def test_a_value_without_a_name_leaves_a_dicom_series_without_labels(tmp_path: Path, write_scan) -> None:
    """As it does a NIfTI scan."""
    write_scan(tmp_path / "in", hu=HU)
    write_nifti(tmp_path / "mask.nii", mask_of((7,)), affine=dicom_affine(), dtype=np.uint8)

    assert labels_of(tmp_path / "in", f"{tmp_path}/mask.nii={ALL_FIVE}") == ((), ["L_MASK_VALUE"])
