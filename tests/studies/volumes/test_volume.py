"""A series becomes a volume: the right part, the right size, the right pixels."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.studies.plan import make_plan
from ich25d.studies.qc import is_refused
from ich25d.studies.volumes.area import resize_area
from ich25d.studies.volumes.headbox import Box, full_field
from ich25d.studies.volumes.volume import fit_box, fit_slice, read_series


def shrink(hu: np.ndarray, size: int, spacing=None, box: Box | None = None) -> np.ndarray:
    """Fit a slice into a square."""
    out = np.full((size, size), 7, dtype=np.int16)
    fit_slice(hu, fit_box(box or full_field(hu.shape), size, spacing), out)
    return out


def test_half_the_size_is_the_rounded_mean_of_two_by_two():
    """Worked by NumPy."""
    hu = np.random.default_rng(0).integers(-1024, 3072, (64, 64)).astype(np.int16)
    mean = hu.reshape(32, 2, 32, 2).astype(np.int32).sum(axis=(1, 3)) / 4
    assert np.abs(shrink(hu, 32) - mean).max() <= 0.5


@settings(max_examples=40, deadline=None)
@given(height=st.integers(20, 90), width=st.integers(20, 90), size=st.integers(8, 64), value=st.integers(-1024, 3071))
def test_a_constant_stays_and_air_pads_the_square(height, width, size, value):
    """Resizing and padding don't mix."""
    out = shrink(np.full((height, width), value, dtype=np.int16), size)
    fit = fit_box(full_field((height, width)), size, None)
    assert max(fit.height, fit.width) == size
    assert (out == value).sum() >= fit.height * fit.width
    assert set(np.unique(out)) <= {value, -1024}


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(30, 600), width=st.integers(30, 600), size=st.integers(32, 512),
    row_mm=st.floats(0.2, 2), column_mm=st.floats(0.2, 2),
)  # fmt: skip
def test_aspect_is_that_in_millimetres(height, width, size, row_mm, column_mm):
    """Px may be tall or wide."""
    fit = fit_box(Box(0, 0, height, width), size, (row_mm, column_mm))
    height_mm, width_mm = height * row_mm, width * column_mm
    px_mm = max(height_mm, width_mm) / size
    assert fit.height == pytest.approx(height_mm / px_mm, abs=0.51)
    assert fit.width == pytest.approx(width_mm / px_mm, abs=0.51)
    assert max(fit.height, fit.width) == size


def test_a_circle_of_tall_pixels_comes_out_round():
    """The network sees shapes as they are."""
    y, x = np.mgrid[:60, :120]
    hu = np.where(np.hypot((y - 30) * 2, x - 60) < 40, 500, -1000).astype(np.int16)
    out = shrink(hu, 64, spacing=(2.0, 1.0))
    on = out > 0
    assert np.ptp(np.flatnonzero(on.any(axis=0))) == pytest.approx(np.ptp(np.flatnonzero(on.any(axis=1))), abs=2)


def test_area_resize_keeps_the_mean():
    """Each px counts by the area that it covers."""
    hu = np.random.default_rng(1).integers(0, 1000, (90, 90)).astype(np.int16)
    assert shrink(hu, 61).mean() == pytest.approx(hu.mean(), abs=0.5)


def plan_of(folder):
    """Plan the one series of a folder."""
    (series,) = make_plan([folder]).series
    return series


def test_head_crop_shows_the_head_larger_than_the_full_field(tmp_path, write_scan):
    """And both say in their rows what they show."""
    write_scan(tmp_path / "scan", n=4)
    plan = plan_of(tmp_path / "scan")
    head, full = read_series(plan, crop="head", size=48), read_series(plan, crop="none", size=48)
    assert head.hu.shape == full.hu.shape == (4, 48, 48)
    assert (head.hu > -200).mean() > 1.2 * (full.hu > -200).mean()
    box = [head.series[f"box_{side}"] for side in ("top", "left", "bottom", "right")]
    assert box[2] < 117, "the table at row 118 is outside"
    assert head.series["scale"] == pytest.approx(max(box[2] - box[0], box[3] - box[1]) / 48, rel=0.02)
    assert [full.series[f"box_{side}"] for side in ("top", "left", "bottom", "right")] == [0, 0, 128, 128]
    assert head.qc == full.qc == []


def test_without_a_head_the_full_field_is_kept_and_said_so(tmp_path, write_scan):
    """Noise of air has no component of a head's size."""
    air = np.random.default_rng(0).integers(-1010, -990, (3, 64, 64)).astype(np.int16)
    write_scan(tmp_path / "scan", hu=air)
    read = read_series(plan_of(tmp_path / "scan"), size=32)
    assert "NO_HEAD_BOX" in {row.code for row in read.qc}
    assert (read.series["box_bottom"], read.series["box_right"]) == (64, 64)


def test_rows_say_where_and_which(tmp_path, write_scan):
    """Ids, order, place, file and window of each slice."""
    paths = write_scan(tmp_path / "scan", n=3, window=(36, 90))
    read = read_series(plan_of(tmp_path / "scan"), size=32)
    assert read.slices["slice_index"] == [0, 1, 2]
    assert read.slices["source"] == [path.name for path in paths]
    assert read.slices["image_id"] == [path.stem for path in paths]
    assert read.slices["slice_position_mm"] == [10.0, 15.0, 20.0]
    assert (set(read.slices["window_level"]), set(read.slices["window_width"])) == ({36.0}, {90.0})
    assert read.series["n_slices"] == 3
    assert read.series["slice_spacing_mm"] == 5.0
    assert read.series["pixel_family"] == "12u-1024"


def test_a_slice_that_became_unreadable_is_refused_by_name(tmp_path, write_scan):
    """The others stay, renumbered; the spacing isn't regular then."""
    paths = write_scan(tmp_path / "scan", n=4)
    plan = plan_of(tmp_path / "scan")
    paths[1].unlink()
    read = read_series(plan, size=32)
    assert read.slices["image_id"] == [paths[index].stem for index in (0, 2, 3)]
    assert read.slices["slice_index"] == [0, 1, 2]
    assert [(row.image_id, row.source) for row in read.qc] == [(paths[1].stem, paths[1].name)]
    assert read.series["spacing_is_regular"] is False


def test_a_refusal_names_the_series_as_it_is_planned(tmp_path, write_scan):
    """Not as the file does: of two studies that share a SeriesInstanceUID, the first was charged with the second's."""
    for number in (1, 2):
        hu = np.random.default_rng(number).integers(-1010, 90, (4, 64, 64)).astype(np.int16)
        hu[1] = 40  # a constant image is refused when its pixels are read
        write_scan(tmp_path / str(number), number, hu=hu, series_id="ID_1")
    plans = make_plan([tmp_path]).series
    assert [plan.series_id for plan in plans] == ["ID_1", "ID_1@2"]
    for plan in plans:
        (row,) = filter(is_refused, read_series(plan, size=32).qc)
        assert (row.level, row.image_id, row.series_id) == ("slice", plan.image_ids[1], plan.series_id)


def test_nothing_readable_is_no_series(tmp_path, write_scan):
    """Every slice has its row all the same."""
    paths = write_scan(tmp_path / "scan", n=2)
    plan = plan_of(tmp_path / "scan")
    for path in paths:
        path.unlink()
    read = read_series(plan, size=32)
    assert read.series == {}
    assert read.slices["image_id"] == []
    assert read.hu.shape == (0, 32, 32)
    assert len(read.qc) >= 2


def test_a_slice_of_another_matrix_shows_the_same_part(tmp_path, write_scan):
    """The box is scaled to its matrix."""
    scan = np.stack([cv2.resize(np.full((8, 8), 40, np.int16), (64, 64))] * 2)
    scan[:, :8] = scan[:, -8:] = scan[:, :, :8] = scan[:, :, -8:] = -1000
    write_scan(tmp_path / "scan", hu=scan)
    large = cv2.resize(scan[0], (128, 128), interpolation=cv2.INTER_NEAREST)[None]
    write_scan(
        tmp_path / "more", 9, hu=large, series_id="ID_0000000001", study_id="ID_0000005001",
        patient_id="ID_00000001", origin_mm=(-120.0, -120.0, 20.0),
    )  # fmt: skip
    (series,) = make_plan([tmp_path / "scan", tmp_path / "more"]).series
    read = read_series(series, size=32)
    assert read.hu.shape == (3, 32, 32)
    assert np.abs(read.hu[2].astype(int) - read.hu[0]).mean() < 1


def test_large_series_are_read_twice_with_the_same_result(tmp_path, write_scan, monkeypatch):
    """They don't fit into memory; nothing is remarked twice."""
    write_scan(tmp_path / "scan", n=4)
    plan = plan_of(tmp_path / "scan")
    held = read_series(plan, size=32)
    monkeypatch.setattr("ich25d.studies.volumes.volume.HELD_BYTES", 0)
    twice = read_series(plan, size=32)
    np.testing.assert_array_equal(held.hu, twice.hu)
    assert (held.series, held.slices, held.qc) == (twice.series, twice.slices, twice.qc)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(8, 200), columns=st.integers(8, 200), height=st.integers(1, 100), width=st.integers(1, 100),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_area_resize_is_opencvs(rows, columns, height, width, seed):
    """Area resize is OpenCV's, to the last rounding, and stays in its window; what grows is linear."""
    hu = np.random.default_rng(seed).integers(-1024, 3072, (rows, columns)).astype(np.int16)
    shrinks = rows >= height and columns >= width
    expected = cv2.resize(hu, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    field = np.full((height + 3, width + 5), 7, dtype=np.int16)
    resize_area(hu, field[1 : height + 1, 2 : width + 2])
    assert np.abs(field[1 : height + 1, 2 : width + 2].astype(int) - expected).max() <= 1
    field[1 : height + 1, 2 : width + 2] = 7
    assert (field == 7).all()
