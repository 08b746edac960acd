"""NIfTI files are series: the same HU, order and places however the file's axes run."""

import contextlib
import gzip
import itertools
import re
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nifti_file import SIDE, marked_hu, nifti_image, usual_affine, write_nifti

from ich25d.dicom.codes import CODES
from ich25d.errors import DicomError, UsageError
from ich25d.studies.build import build_studies
from ich25d.studies.nifti import images as nifti_images
from ich25d.studies.nifti.series import own_names
from ich25d.studies.plan import make_plan
from ich25d.studies.series.series_plan import SeriesPlan
from ich25d.studies.store_dir.store import StudyStore

N = 5
HU = marked_hu(N)


def one_series(path: Path) -> SeriesPlan:
    """Return the only series of a source, of which nothing may be refused."""
    plan = make_plan((path,))
    assert [row for row in plan.qc if CODES[row.code].is_refused] == []
    (series,) = plan.series
    return series


def hu_of(series: SeriesPlan) -> np.ndarray:
    """Read all slices."""
    return np.stack([series.images.read(index)[0].copy() for index in range(len(series))])


def refusal(path: Path) -> tuple[str, str]:
    """Return code and detail of the only refusal of a source without a series."""
    plan = make_plan((path,))
    assert plan.series == []
    assert plan.n_seen == plan.n_refused == 1
    (row,) = plan.qc
    assert row.level == "file"
    return row.code, row.detail


ORIENTATIONS = [
    "".join(letters) for axes in itertools.permutations(("LR", "AP", "IS")) for letters in itertools.product(*axes)
]


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_a_volume_comes_out_the_same_in_all_48_orientations(tmp_path: Path, codes: str) -> None:
    """HU, order, positions and sizes are those of the patient; the number of an image is the slice's in its file."""
    series = one_series(write_nifti(tmp_path / "scan.nii", HU, codes))

    assert (hu_of(series) == HU).all()
    assert np.allclose(series.slice_position_mm, -50 + 5.0 * np.arange(N), atol=1e-4)
    assert (series.slice_spacing_mm, series.pixel_spacing_mm) == (pytest.approx(5.0), (0.81, 0.8))
    assert series.orientation == "LP"
    assert series.shape == (SIDE, SIDE)
    numbers = range(N, 0, -1) if "I" in codes else range(1, N + 1)
    assert series.image_ids == tuple(f"scan#{number}" for number in numbers)
    assert series.images.source(0) == f"scan.nii#{numbers[0]}"


def test_rows_and_columns_keep_their_own_sizes(tmp_path: Path) -> None:
    """A volume that isn't square comes out rows by columns, transposed in its file or not."""
    wide = HU[:, 10:110]
    for codes in ("RAS", "ARS"):
        series = one_series(write_nifti(tmp_path / f"{codes}.nii", wide, codes))
        assert series.shape == (100, SIDE)
        assert series.pixel_spacing_mm == (0.81, 0.8)
        assert (hu_of(series) == wide).all()


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept"),
    [("<i2", 1, 0), (">i2", 1, 0), ("<u2", 1, -1024), ("<i4", 1, 0), ("<f4", 1, 0), ("<f8", 1, 0), (">i2", 0.5, -200)],
)
def test_stored_values_become_hu_by_the_file_s_own_rescale(tmp_path: Path, dtype: str, slope: float, intercept: int):
    """HU = slope * stored + intercept in every type and byte order, packed or not."""
    stored = np.rint((HU - intercept) / slope)
    for name in ("scan.nii", "scan.nii.gz"):
        image = nifti_image(stored, "RAS", dtype=dtype)
        image.header.set_data_dtype(dtype)
        image.header.set_slope_inter(slope, intercept)
        raw = nibabel.Nifti1Image(
            image.dataobj, image.affine, nibabel.Nifti1Header(image.header.binaryblock, dtype[0])
        ).to_bytes()
        header = nibabel.Nifti1Header(raw[:348], check=False)
        header["scl_slope"], header["scl_inter"] = slope, intercept
        raw = header.binaryblock + raw[348:]
        (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)

        assert (hu_of(one_series(tmp_path / name)) == HU).all()


def test_floats_are_rounded_and_what_is_no_number_is_air(tmp_path: Path) -> None:
    """0.4 HU off is no HU off; NaN and values below air are air, above 3071 metal."""
    values = HU.astype(np.float32) + 0.4
    values[2, 0, :4] = np.nan, -3024, 5000, np.inf
    read = hu_of(one_series(write_nifti(tmp_path / "scan.nii.gz", values, dtype=np.float32)))

    assert read[2, 0, :4].tolist() == [-1024, -1024, 3071, 3071]
    read[2, 0, :4] = HU[2, 0, :4]
    assert (read == HU).all()


def test_a_lost_intercept_is_told_from_the_values(tmp_path: Path) -> None:
    """Air at 0 and brain at 1059 are HU with 1024 added, as some converters write them."""
    plan = make_plan((write_nifti(tmp_path / "scan.nii", np.maximum(HU + 1024, 0), dtype=np.uint16),))

    assert [row.code for row in plan.qc] == ["RESCALE_GUESS"]
    assert (hu_of(plan.series[0]) == np.maximum(HU, -1024)).all()


def test_oblique_slices_are_turned_by_flips_alone(tmp_path: Path) -> None:
    """A head turned by 20 degrees about two axes keeps its pixels; positions go along the slices' normal."""
    turn = np.radians(20)
    about_x = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = usual_affine()
    affine[:3, :3] = about_x @ about_z @ affine[:3, :3]
    for codes in ("LPS", "RAS", "SAL"):
        series = one_series(write_nifti(tmp_path / f"{codes}.nii", HU, codes, affine=affine))

        assert (hu_of(series) == HU).all()
        assert np.allclose(np.diff(series.slice_position_mm), 5.0, atol=1e-4)
        assert series.tilt_deg == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("codes", ["LPS", "RAI", "SRA"])
def test_a_gantry_tilt_in_the_affine_is_remarked_and_nothing_resampled(tmp_path: Path, codes: str) -> None:
    """Sheared by 15 degrees, slices 5 mm apart along their normal are still that."""
    plan = make_plan((write_nifti(tmp_path / "scan.nii", HU, codes, affine=usual_affine(tilt_deg=15)),))

    assert [(row.code, row.level) for row in plan.qc] == [("TILT", "series")]
    (series,) = plan.series
    assert series.tilt_deg == pytest.approx(15, abs=0.01)
    assert np.allclose(np.diff(series.slice_position_mm), 5.0, atol=1e-4)
    assert (hu_of(series) == HU).all()


def test_voxel_sizes_are_pixdim_s_where_the_affine_has_others(tmp_path: Path) -> None:
    """dcm2niix writes rows too long into the affine of a tilted scan; pixdim holds what the DICOM said."""
    image = nifti_image(HU)
    affine = image.affine.copy()
    affine[1, 1] *= 1.06
    image.set_sform(affine, code=1)
    image.header["qform_code"] = 0
    nibabel.save(image, tmp_path / "scan.nii")
    plan = make_plan((tmp_path / "scan.nii",))

    assert [row.code for row in plan.qc] == ["BAD_GEOMETRY"]
    assert plan.series[0].pixel_spacing_mm == (0.81, 0.8)


def test_a_file_that_says_no_place_has_the_usual_one_and_a_remark(tmp_path: Path) -> None:
    """Without sform and qform the axes are ANALYZE's: to the left, the front, the head."""
    image = nifti_image(HU, "LAS")
    image.header["sform_code"] = image.header["qform_code"] = 0
    (tmp_path / "scan.nii").write_bytes(image.header.binaryblock + b"\0" * 4 + image.dataobj.tobytes(order="F"))
    plan = make_plan((tmp_path / "scan.nii",))

    assert [row.code for row in plan.qc] == ["NO_AFFINE"]
    (series,) = plan.series
    assert (hu_of(series) == HU).all()
    assert (series.order_key, series.slice_spacing_mm, series.pixel_spacing_mm) == ("instance", 5.0, (0.81, 0.8))


def test_slices_without_a_step_keep_the_file_s_order(tmp_path: Path) -> None:
    """dcm2niix gives the third axis no length where the first two slices share a position."""
    image = nifti_image(HU)
    affine = image.affine.copy()
    affine[:3, 2] = 0
    header = nibabel.Nifti1Header(image.header.binaryblock, check=False)
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        header[name] = affine[row]
    header["qform_code"] = 0
    header["sform_code"] = 1
    (tmp_path / "scan.nii").write_bytes(header.binaryblock + b"\0" * 4 + image.dataobj.tobytes(order="F"))
    plan = make_plan((tmp_path / "scan.nii",))

    assert [row.code for row in plan.qc] == ["ORDER_BY_INSTANCE"]
    assert (hu_of(plan.series[0]) == HU).all()
    assert plan.series[0].slice_spacing_mm is None


MASK = (HU > 500).astype(np.uint8)


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda: nifti_image(np.clip(HU * 2, 0, 255), dtype=np.uint8), "GREY_VALUES", "grey values, not HU"),
        (lambda: nifti_image(np.clip(HU, 0, 80) / 80, dtype=np.float32), "GREY_VALUES", "grey values, not HU"),
        (lambda: nifti_image(MASK, dtype=np.uint8), "MASK", r"\(0, 1\)"),
        (lambda: nifti_image(MASK * 255, dtype=np.float64), "MASK", r"\(0, 255\)"),
        (lambda: nifti_image(MASK * 0, dtype=np.int16), "MASK", "--masks"),
        (lambda: nibabel.Nifti1Image(np.stack([HU.T, HU.T], axis=-1), usual_affine()), "NIFTI_4D", "one volume"),
        (lambda: nibabel.Nifti1Image(HU.T.astype("c8"), usual_affine()), "BITS", "complex"),
        (lambda: nibabel.Nifti1Image(np.zeros((64, 64, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")]), usual_affine()),
         "NOT_GRAY", "colours"),
        (lambda: nifti_image(HU, affine=usual_affine((0.9, 5.0, 0.8))), "NOT_AXIAL", "another plane"),
        (lambda: nifti_image(HU[:, :4]), "NOT_AXIAL", "another plane"),
        (lambda: nibabel.Nifti2Image(MASK.T, usual_affine()), "MASK", "few values"),
    ],
    ids=["8 bit", "float", "mask", "mask 255", "empty", "4D", "complex", "colour", "coronal", "thin", "second form"],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_what_holds_no_ct_is_refused_by_name(tmp_path: Path, make, code: str, words: str, suffix: str) -> None:
    """One row a file, with its code and what to do."""
    nibabel.save(make(), tmp_path / f"scan.{suffix}")

    found, detail = refusal(tmp_path)

    assert found == code
    assert re.search(words, detail)


def test_a_volume_empty_in_the_middle_is_judged_by_a_slice(tmp_path: Path) -> None:
    """A mask of 2 GB would take 14 as numbers of 64 bits, in each of the processes."""
    mask = np.zeros((400, SIDE, SIDE), dtype=np.int16)
    mask[390, 50:60, 50:60] = 1
    write_nifti(tmp_path / "mask.nii", mask)
    tracemalloc.start()
    try:
        code, _ = refusal(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert code == "MASK"
    assert peak < 2 * mask.nbytes


def test_a_fourth_axis_of_one_is_no_fourth_axis(tmp_path: Path) -> None:
    """Some converters write (x, y, z, 1)."""
    nibabel.save(nibabel.Nifti1Image(HU.T[..., None], usual_affine()), tmp_path / "scan.nii")

    assert (hu_of(one_series(tmp_path)) == HU).all()


def test_one_slice_is_a_series(tmp_path: Path) -> None:
    """A file of two axes, or of one slice."""
    image = nibabel.Nifti1Image(HU[2].T, usual_affine())
    nibabel.save(image, tmp_path / "flat.nii")
    plan = make_plan((tmp_path,))

    assert "ONE_SLICE" in [row.code for row in plan.qc]
    assert (hu_of(plan.series[0]) == HU[2:3]).all()


def damaged_files(whole: bytes) -> list[tuple[str, bytes, str]]:
    """Return names, contents and codes of files that are damaged, or no NIfTI."""
    packed = gzip.compress(whole, 1)
    return [
        ("cut.nii", whole[:-1], "TRUNCATED"),
        ("cut_header.nii", whole[:300], "BAD_NIFTI"),
        ("text.nii", b"no NIfTI at all" * 40, "BAD_NIFTI"),
        ("no_sides.nii", b"\x5c\1" + b"\0" * 342 + b"n+1\0" + b"\0" * 400, "BAD_NIFTI"),
        ("no_type.nii", whole[:70] + b"\xff\x7f" + whole[72:], "BAD_NIFTI"),
        ("cut.nii.gz", packed[:-100], "GZIP_DAMAGED"),
        ("half.nii.gz", packed[: len(packed) // 3], "GZIP_DAMAGED"),
        ("short.nii.gz", gzip.compress(whole[:-1]), "TRUNCATED"),
        ("bomb.nii.gz", gzip.compress(whole + b"\0" * 2**24), "GZIP_BIG"),
        ("swells.nii.gz", gzip.compress(whole[:40] + struct.pack("<4h", 3, 1024, 1024, 300) + whole[48:]), "GZIP_BIG"),
        ("pair.hdr", whole[:344] + b"ni1\0", "NIFTI_PAIR"),
        ("analyze.hdr", whole[:344] + b"\0" * 4, "NIFTI_PAIR"),
    ]


def test_damaged_files_are_refused_by_code(tmp_path: Path) -> None:
    """Each file ends in one row; what only the checksum tells, in a row a slice when they are read."""
    expected = {}
    for name, content, code in damaged_files(nifti_image(HU).to_bytes()):
        (tmp_path / name).write_bytes(content)
        expected[name] = code
    plan = make_plan((tmp_path,))

    assert {row.source: row.code for row in plan.qc} == expected
    assert len(plan.qc) == plan.n_refused == plan.n_seen == len(expected)
    whole = nifti_image(HU).to_bytes()
    packed = bytearray(gzip.compress(whole, 1))
    packed[-6] ^= 1
    (tmp_path / "checksum.nii.gz").write_bytes(packed)
    (series,) = make_plan((tmp_path / "checksum.nii.gz",)).series
    with pytest.raises(DicomError, match="GZIP_DAMAGED"):
        series.images.read(0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_changed_header_ends_in_slices_or_in_a_reason(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """Whatever a header says, each slice is read or refused, and nothing fails unforeseen."""
    content = bytearray(nifti_image(HU[:2]).to_bytes())
    for at, value in changes:
        content[at] = value
    (tmp_path / "scan.nii").write_bytes(content)
    plan = make_plan((tmp_path / "scan.nii",))

    assert plan.n_seen == plan.n_refused + sum(map(len, plan.series)) > 0
    assert "READ_FAILED" not in {row.code for row in plan.qc}
    for series in plan.series:
        for index in range(len(series)):
            with contextlib.suppress(DicomError):  # a constant slice
                assert series.images.read(index)[0].shape == series.shape


def test_an_analyze_pair_is_two_rows_of_one_sentence_and_other_img_files_are_left_alone(tmp_path: Path) -> None:
    """`.img` without a `.hdr` of ANALYZE may be DICOM."""
    nibabel.save(nibabel.Nifti1Pair(HU.T, usual_affine()), tmp_path / "scan.hdr")
    (tmp_path / "other.img").write_bytes(b"x" * 500)
    plan = make_plan((tmp_path,))

    assert sorted((row.source, row.code) for row in plan.qc) == [
        ("other.img", "NOT_DICOM"), ("scan.hdr", "NIFTI_PAIR"), ("scan.img", "NIFTI_PAIR"),
    ]  # fmt: skip


def test_without_nibabel_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional, and DICOM is read without it."""
    write_nifti(tmp_path / "scan.nii.gz", HU)
    monkeypatch.setitem(sys.modules, "nibabel", None)

    with pytest.raises(UsageError, match=r"NO_NIBABEL, as scan.*isn't installed; pip install 'ich25d\[nifti\]'$"):
        build_studies((tmp_path,), tmp_path.parent / "store")


def test_the_content_says_whether_a_file_is_packed(tmp_path: Path) -> None:
    """Browsers unpack a download and leave its name."""
    whole = nifti_image(HU).to_bytes()
    for name, content in (("plain.nii.gz", whole), ("packed.nii", gzip.compress(whole))):
        (tmp_path / name).write_bytes(content)
        assert (hu_of(one_series(tmp_path / name)) == HU).all()


def test_archives_are_read_in_place_and_gzip_may_have_several_members(tmp_path: Path) -> None:
    """A `.nii.gz` in a zip, and one that was written in two parts."""
    whole = nifti_image(HU).to_bytes()
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        archive.writestr("case1/ct.nii.gz", gzip.compress(whole[:5000]) + gzip.compress(whole[5000:]) + b"\0" * 99)
        archive.writestr("case2/ct.nii", whole)
    plan = make_plan((tmp_path / "scans.zip",))

    assert [series.series_id for series in plan.series] == ["case1.ct", "case2.ct"]
    assert all((hu_of(series) == HU).all() for series in plan.series)


def test_a_packed_file_is_inflated_once_for_all_its_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes slice by slice; the volume stays inflated meanwhile, and is let go after the last."""
    counted = []
    gunzip = nifti_images.gunzip
    monkeypatch.setattr(nifti_images, "gunzip", lambda *arguments: counted.append(1) or gunzip(*arguments))
    series = one_series(write_nifti(tmp_path / "scan.nii.gz", HU))
    hu_of(series)

    assert len(counted) == 1
    assert nifti_images._content.cache_info().currsize == 0


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/049"], ["049"]),
        (["x/a/049", "x/b/049", "x/b/050"], ["a.049", "b.049", "050"]),
        (["a/ct/scan", "b/ct/scan"], ["a.ct.scan", "b.ct.scan"]),
        (["a/Jörg 1"], ["J_rg_1"]),
        (["a/049", "a/049"], ["049-a8c8a8dd", "049-c1f8a4c0"]),
        (["a/p 1", "b/p_1"], ["p_1-0fd0ab4d", "p_1-6a8c1dd7"]),
        (["a/" + "x" * 71], ["x" * 61 + "-8b0b1e8c"]),
    ],
    ids=["plain", "two folders", "deeper", "letters", "packed and not", "alike after cleaning", "long"],
)
def test_names_are_as_short_as_tells_them_apart(paths: list[str], names: list[str]) -> None:
    """The file's name, with folders in front where others have the same; never two alike, and all fit an image id."""
    found = own_names([path.split("/") for path in paths])

    assert [name.rpartition("-")[0] or name for name in found] == [name.rpartition("-")[0] or name for name in names]
    assert len(set(found)) == len(paths)
    assert all(len(name) <= 70 for name in found)


def test_patients_are_files_and_bids_subjects(tmp_path: Path) -> None:
    """Two sessions of one subject are two studies of one patient; pseudonyms hide the names."""
    for name in ("sub-01_ses-1_ct", "sub-01_ses-2_ct", "sub-02_ct", "049"):
        write_nifti(tmp_path / f"{name}.nii", HU)
    plan = make_plan((tmp_path,))

    assert [series.study_id for series in plan.series] == ["049", "sub-01_ses-1", "sub-01_ses-2", "sub-02"]
    patients = [series.patient_id for series in plan.series]
    assert len(set(patients)) == 3
    assert patients[1] == patients[2]
    assert all(re.fullmatch(r"P[0-9a-f]{16}", patient) for patient in patients)


def test_a_store_of_nifti_takes_labels_by_image_id(tmp_path: Path) -> None:
    """`scan#3` is the third slice of the file, whichever way it runs; nothing is read twice."""
    write_nifti(tmp_path / "in" / "scan.nii.gz", HU, "RAI")
    labels = tmp_path / "labels.csv"
    lines = [f"scan#{number},{int(number == 2)},0,0,0,0" for number in range(1, N + 1)]
    labels.write_text("\n".join(["image_id,epidural,intraparenchymal,intraventricular,subarachnoid,subdural", *lines]))

    summary = build_studies((tmp_path / "in",), tmp_path / "store", labels=labels, workers=1)
    again = build_studies((tmp_path / "in",), tmp_path / "store", labels=labels, workers=1)

    assert (summary.exit_code, summary.n_used, summary.n_labelled, again.n_series_read) == (0, N, N, 0)
    store = StudyStore.open(tmp_path / "store")
    assert store.slices["image_id"].tolist() == [f"scan#{number}" for number in range(N, 0, -1)]
    assert store.slices["epidural"].tolist() == [0, 0, 0, 1, 0]


def test_the_same_scan_as_dicom_gives_the_same_volume(tmp_path: Path, write_scan) -> None:
    """Volumes and places in the store are equal."""
    write_scan(tmp_path / "dicom", hu=HU)
    affine = usual_affine((5.0, 240 / SIDE, 240 / SIDE))
    affine[:3, 3] = (120, 120, 10)
    write_nifti(tmp_path / "nifti" / "scan.nii.gz", HU, "RAS", affine=affine)
    volumes = []
    for name in ("dicom", "nifti"):
        build_studies((tmp_path / name,), tmp_path / f"{name}_store", size=64, workers=1)
        store = StudyStore.open(tmp_path / f"{name}_store")
        volumes.append(store.hu(store.series["series_id"][0]))
        assert store.slices["slice_position_mm"].tolist() == [10, 15, 20, 25, 30]
    assert (volumes[0] == volumes[1]).all()


@pytest.mark.parametrize("codes", ["LPS", "LPI", "SLP", "LSP", "LIP"])
@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
def test_another_plane_is_taken_as_it_was_acquired_where_it_is_accepted(
    tmp_path: Path, write_scan, codes: str, plane: str
) -> None:
    """Slices as those of the same scan as DICOM, whatever axis of the file counts them; one remark says so."""
    mm = 240 / SIDE
    row, step = ((0.0, 1.0, 0.0), (5.0, 0, 0)) if plane == "sagittal" else ((1.0, 0.0, 0.0), (0, 5.0, 0))
    for index in range(N):
        write_scan(
            tmp_path / "dicom" / str(index), n=1, hu=HU[index : index + 1],
            image_id=f"ID_{index}", origin_mm=tuple(index * step[axis] for axis in range(3)),
            directions=(*row, 0.0, 0.0, -1.0),
        )  # fmt: skip
    lps = np.array([np.array(row) * mm, (0, 0, -mm), step, (0, 0, 0)]).T
    affine = np.vstack((np.diag([-1, -1, 1]) @ lps, (0, 0, 0, 1)))
    write_nifti(tmp_path / "nifti" / "scan.nii.gz", HU, codes, affine=affine)
    assert refusal(tmp_path / "nifti")[0] == "NOT_AXIAL"
    volumes = []
    for name in ("dicom", "nifti"):
        found = make_plan((tmp_path / name,), accept=("NOT_AXIAL",))
        (series,) = found.series
        assert [row.code for row in found.qc].count("ACCEPTED") == 1
        assert found.n_refused == 0
        volumes.append((hu_of(series), series.slice_spacing_mm, *series.pixel_spacing_mm, series.orientation))
    assert np.array_equal(volumes[0][0], volumes[1][0])
    assert volumes[0][1:4] == pytest.approx(volumes[1][1:4])
    assert volumes[0][4] == volumes[1][4]


def test_a_second_site_of_the_same_names_adds_to_a_store(tmp_path: Path) -> None:
    """Beside `b/001.nii`, series `001` is called `a.001`: a new name, and no loss."""
    for number, site in enumerate("ab"):
        for scan in range(3):
            write_nifti(tmp_path / site / f"{scan:03}.nii", HU + 3 * number + scan)
    build_studies((tmp_path / "a",), tmp_path / "store", size=64, workers=1)

    assert build_studies((tmp_path / "a", tmp_path / "b"), tmp_path / "store", size=64, workers=1).n_series == 6
    assert len(list((tmp_path / "store/hu").rglob("*.b2nd"))) == 6
    with pytest.raises(UsageError, match="would drop 4 of its 6 series"):
        build_studies((tmp_path / "a" / "000.nii", tmp_path / "b" / "001.nii"), tmp_path / "store", size=64, workers=1)
