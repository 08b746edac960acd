"""Pictures back to HU, and the tables that name them."""

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.errors import DicomError, UsageError
from ich25d.labels import LABELS
from ich25d.studies.headers.packed import Privacy
from ich25d.studies.pictures.columns import named_windows
from ich25d.studies.pictures.picture_hu import Picture, picture_shape, read_image_hu
from ich25d.studies.pictures.series import plan_images
from ich25d.studies.pictures.table import read_image_rows

BRAIN, SUBDURAL, BONE = (40.0, 80.0), (80.0, 200.0), (600.0, 2800.0)
PRIVACY = Privacy(b"0123456789abcdef", 0.0)
WHOLE_CHROMA = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
HALF_CHROMA = [cv2.IMWRITE_JPEG_QUALITY, 90, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]

Hu = npt.NDArray[np.float64]


def shown(hu: Hu, level: float, width: float) -> npt.NDArray[np.uint8]:
    """Show HU in a window, as those who make such pictures do."""
    return np.round(np.clip((hu - level) / width + 0.5, 0, 1) * 255).astype(np.uint8)


def head(side: int = 128, seed: int = 0) -> Hu:
    """Make a slice: brain with noise, skull, air inside and around, a bright clot."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    radius = np.hypot(x / 0.36, y / 0.44)
    hu = np.where(radius < 0.9, 32.0, np.where(radius < 1, 1200.0, -1000.0))
    hu[np.hypot(x - 0.1, y) < 0.06] = 68
    hu[np.hypot(x + 0.15, y + 0.1) < 0.03] = -950
    noise = np.random.default_rng(seed).normal(0, 4, hu.shape)
    return cv2.GaussianBlur(hu + noise, (0, 0), 0.8)


def shown_16(hu: Hu, level: float, width: float) -> npt.NDArray[np.uint16]:
    """Show HU in a window with 65,536 greys."""
    return np.round(np.clip((hu - level) / width + 0.5, 0, 1) * 65535).astype(np.uint16)


def write(path: Path, *channels: npt.NDArray[np.unsignedinteger], params: list[int] | None = None) -> Picture:
    """Write a picture of one channel, or of three in the order red, green, blue."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = channels[0] if len(channels) == 1 else np.dstack(channels[::-1])
    assert cv2.imwrite(str(path), pixels, params or [])
    return Picture(path.name, ())


def read(folder: Path, name: str, *windows: tuple[float, float]) -> npt.NDArray[np.int16]:
    """Read one picture back."""
    return read_image_hu(folder, [Picture(name, windows)]).hu


def test_hand_worked_greys(tmp_path: Path) -> None:
    """Brain 0 to 80 HU, subdural -20 to 180, bone -800 to 2000: each pixel from the narrowest that isn't saturated."""
    brain = np.array([[51, 102, 255, 255, 0, 0, 0]], np.uint8)
    subdural = np.array([[0, 0, 153, 255, 13, 0, 0]], np.uint8)
    bone = np.array([[74, 75, 82, 128, 71, 60, 0]], np.uint8)
    write(tmp_path / "a.png", brain, subdural, bone)

    assert read(tmp_path, "a.png", BRAIN, SUBDURAL, BONE).tolist() == [
        [16, 32, 100, round(-800 + 128 * 2800 / 255), round(-20 + 13 * 200 / 255), round(-800 + 60 * 2800 / 255), -1024]
    ]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(-1024, 3071), min_size=4, max_size=4),
    st.permutations([BRAIN, SUBDURAL, BONE]),
)
def test_png_is_right_within_half_a_grey_step(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], windows: list[tuple[float, float]]
) -> None:
    """Whatever the order of the windows; saturated values lie where the saturation says."""
    folder = tmp_path_factory.mktemp("png")
    hu = np.array(values, dtype=np.float64).reshape(2, 2)
    write(folder / "a.png", *(shown(hu, *window) for window in windows))

    found = read(folder, "a.png", *windows)

    for truth, got in zip(hu.ravel(), found.ravel(), strict=True):
        if 0.2 < truth < 79.8:
            assert abs(got - truth) <= 80 / 510 + 0.5
        elif -19.6 < truth < 179.6:
            assert abs(got - truth) <= 200 / 510 + 0.5
        elif -794 < truth < 1994:
            assert abs(got - truth) <= 2800 / 510 + 0.5
        else:
            assert got == -1024 if truth < 0 else got == 2000


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-1020, 2990), min_size=4, max_size=4),
    st.sampled_from([(1000.0, 4050.0), (1024.0, 4096.0), (500.0, 8000.0)]),
)
def test_16_bits_are_right_within_1_hu_in_a_wide_window(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], window: tuple[float, float]
) -> None:
    """Alone, beside a narrow window of 8 or 16 bits, and as a channel; air around a head is told apart elsewhere."""
    folder = tmp_path_factory.mktemp("deep")
    hu = np.array(values).reshape(2, 2)
    wide = shown_16(hu, *window)
    write(folder / "wide.png", wide)
    write(folder / "brain.png", shown(hu, *BRAIN))
    write(folder / "brain16.png", shown_16(hu, *BRAIN))
    write(folder / "rgb.png", wide, shown_16(hu, *BONE), shown_16(hu, *BRAIN))
    whole, brain, deep = (
        Picture("wide.png", (window,)), Picture("brain.png", (BRAIN,)), Picture("brain16.png", (BRAIN,))
    )  # fmt: skip
    rgb = Picture("rgb.png", (window, BONE, BRAIN))

    for pictures in ([whole], [whole, brain], [deep, whole], [rgb]):
        assert np.abs(read_image_hu(folder, pictures).hu - hu).max() <= 1


def test_saturation_of_16_bits_is_that_of_16_bits(tmp_path: Path) -> None:
    """65,534 of 65,535 isn't white yet: it is 80 HU, though a wider window says more; enlarged, white stays white."""
    brain = np.array([[65534, 65535, 1, 0]], np.uint16)
    bone = shown_16(np.array([[300.0, 300.0, -300.0, -300.0]]), *BONE)
    write(tmp_path / "brain.png", brain)
    write(tmp_path / "bone.png", bone)
    write(tmp_path / "large.png", np.repeat(np.repeat(bone, 3, axis=0), 3, axis=1))

    small = read_image_hu(tmp_path, [Picture("brain.png", (BRAIN,)), Picture("bone.png", (BONE,))])
    large = read_image_hu(tmp_path, [Picture("brain.png", (BRAIN,)), Picture("large.png", (BONE,))])

    assert small.hu.tolist() == [[80, 300, 0, -300]]
    assert large.hu[1, [4, 10]].tolist() == [300, -300]


def test_a_16_bit_picture_beside_a_jpeg_keeps_its_resolution(tmp_path: Path) -> None:
    """Outside the JPEG's window the PNG alone tells the HU."""
    hu = np.full((16, 16), 812.0)
    write(tmp_path / "brain.jpg", shown(hu, *BRAIN), params=WHOLE_CHROMA)
    write(tmp_path / "wide.png", shown_16(hu, 1000, 4000))

    found = read_image_hu(tmp_path, [Picture("brain.jpg", (BRAIN,)), Picture("wide.png", ((1000.0, 4000.0),))])

    assert np.abs(found.hu - hu).max() <= 1


@pytest.mark.parametrize(("params", "in_brain", "in_subdural"), [(WHOLE_CHROMA, 2, 4), (HALF_CHROMA, 2, 9)])
def test_windows_as_channels_of_a_jpeg(tmp_path: Path, params: list[int], in_brain: float, in_subdural: float) -> None:
    """Brain within a few HU, also where colours have half the resolution; no tissue in air, no holes in bone."""
    hu = head()
    write(tmp_path / "a.jpg", *(shown(hu, *window) for window in (BRAIN, SUBDURAL, BONE)), params=params)

    found = read(tmp_path, "a.jpg", BRAIN, SUBDURAL, BONE)

    error = np.abs(found - hu)
    assert error[(hu > 0) & (hu < 80)].mean() < in_brain
    assert error[(hu > -20) & (hu < 180)].mean() < in_subdural
    assert (found[hu < -700] < -200).mean() > 0.995
    assert (found[hu > 700] > 200).mean() > 0.98
    assert np.median(found[hu < -900]) == -1024


def test_files_of_two_sizes_and_a_missing_one(tmp_path: Path) -> None:
    """A smaller bone picture is enlarged; without it, air around the head is still air, and the row says so."""
    hu = head(128)
    write(tmp_path / "brain.jpg", shown(hu, 40, 120), params=[1, 92])
    small = cv2.resize(hu, (96, 96), interpolation=cv2.INTER_AREA)
    write(tmp_path / "bone.jpg", shown(small, 700, 3200), params=[1, 92])
    brain, bone = Picture("brain.jpg", ((40.0, 120.0),)), Picture("bone.jpg", ((700.0, 3200.0),))

    both = read_image_hu(tmp_path, [brain, bone])
    alone = read_image_hu(tmp_path, [brain, Picture("gone.jpg", ((700.0, 3200.0),))])

    inside = (hu > -10) & (hu < 90)
    for one in (both, alone):
        assert one.hu.shape == (128, 128)
        assert np.abs(one.hu - hu)[inside].mean() < 3
        assert one.hu[0, 0] == -1024
    assert both.remarks == ()
    assert (both.hu[hu > 1100] > 700).all()
    assert [remark.code for remark in alone.remarks] == ["NO_IMAGE_PARTNER"]
    assert (alone.hu[hu > 1100] > 200).all()  # white that goes round the head
    assert alone.hu[51, 45] >= -20  # air inside the head is only known to be dark


def test_grey_pictures_kept_as_colour_and_16_bits(tmp_path: Path) -> None:
    """One window is one channel, however it was written."""
    hu = head(64)
    grey = shown(hu, 40, 80)
    write(tmp_path / "grey.png", grey)
    write(tmp_path / "colour.png", grey, grey, grey)
    write(tmp_path / "deep.png", (grey.astype(np.uint16) * 257))
    opaque = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    assert cv2.imwrite(str(tmp_path / "opaque.png"), opaque)

    expected = read(tmp_path, "grey.png", BRAIN)
    for name in ("colour.png", "deep.png", "opaque.png"):
        assert np.array_equal(read(tmp_path, name, BRAIN), expected)


@pytest.mark.parametrize(
    ("content", "windows", "code"),
    [
        (b"", (BRAIN,), "EMPTY"),
        (b"GIF89a" + bytes(50), (BRAIN,), "BAD_STREAM"),
        (b"\xff\xd8\xff\xe0" + bytes(50), (BRAIN,), "BAD_STREAM"),
        (b"\x89PNG\r\n\x1a\n" + bytes(4) + b"IHDR" + b"\0\1\0\0\0\1\0\0" + bytes(30), (BRAIN,), "SHAPE"),
        ("cut", (BRAIN,), "BAD_STREAM"),
        ("colour", (BRAIN,), "BAD_TABLE"),
        ("grey", (BRAIN, BONE), "BAD_TABLE"),
        (None, (BRAIN,), "NO_ACCESS"),
    ],
)  # fmt: skip
def test_refuses_by_code(tmp_path: Path, content: bytes | str | None, windows: tuple, code: str) -> None:
    """Damaged, huge, absent, or not of the windows that the table names."""
    grey = shown(head(64), 40, 80)
    write(tmp_path / "grey.png", grey)
    write(tmp_path / "colour.png", grey, 255 - grey, grey)
    if content == "cut":
        content = (tmp_path / "grey.png").read_bytes()[:60]
    name = f"{content}.png" if isinstance(content, str) else "a.png"
    if isinstance(content, bytes):
        (tmp_path / "a.png").write_bytes(content)

    with pytest.raises(DicomError, match=code):
        read(tmp_path, name, *windows)


def test_knows_the_shape_from_the_header(tmp_path: Path) -> None:
    """Of either form, without decoding."""
    grey = np.zeros((40, 70), np.uint8)
    for name, params in (("a.png", []), ("a.jpg", []), ("b.jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])):
        write(tmp_path / name, grey, params=params)
        assert picture_shape((tmp_path / name).read_bytes()) == (40, 70)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("brain", (BRAIN,)),
        ("brain,subdural,bone", (BRAIN, SUBDURAL, BONE)),
        ("40/80; 80/200", (BRAIN, SUBDURAL)),
        ("[[40, 80], [600, 2800]]", (BRAIN, BONE)),
        ([[40, 80], "bone"], (BRAIN, BONE)),
        ("[40, 80]", (BRAIN,)),
        ("(40,80)", (BRAIN,)),
        ([40.0, 80.0], (BRAIN,)),
        ("['brain']", (BRAIN,)),
    ],
)
def test_windows_in_one_cell(cell: object, expected: tuple) -> None:
    """By name or by number."""
    assert named_windows(cell) == expected


@pytest.mark.parametrize(
    "cell",
    [
        "", "liver", "40/0", "40", None, "[1, 2", "40/nan", "[None]", "['brain', 40]", "{'a': 1}", "[[40, 80, 1]]",
        40.0, [40.0], [40, 80, 600], [None, 80], [[None, 80]], [[[40], 80]], "[40, 0]", f"[[{10**400}, 1]]", "40,80",
    ],
)  # fmt: skip
def test_windows_that_are_none(cell: object) -> None:
    """Unknown names, widths that aren't, and numbers that nothing pairs."""
    with pytest.raises(ValueError, match="window"):
        named_windows(cell)


def table(folder: Path, rows: list[dict[str, object]], name: str = "metadata.csv") -> Path:
    """Write a table of images."""
    frame, path = pd.DataFrame(rows), folder / name
    if name.endswith("parquet"):
        frame.to_parquet(path)
    elif name.endswith(("feather", "fth")):
        frame.to_feather(path)
    else:
        frame.to_csv(path, index=False)
    return path


def rsna_rows(folder: Path, n: int = 5) -> list[dict[str, object]]:
    """Write an RSNA distribution: one JPEG a slice, windows as channels, DICOM's names for the columns."""
    rows = []
    for index in range(n):
        hu = head(64, seed=index)
        image_id = f"ID_{(index * 7) % 11:03d}"
        write(folder / "jpg" / f"{image_id}.jpg", *(shown(hu, *window) for window in (BRAIN, SUBDURAL, BONE)))
        row: dict[str, object] = {
            "SOPInstanceUID": image_id, "PatientID": "ID_0123abcd", "StudyInstanceUID": "ID_st", "StudyID": None,
            "SeriesInstanceUID": "ID_se", "ImagePositionPatient_0": -125.0, "ImagePositionPatient_1": -100.0 - index,
            "ImagePositionPatient_2": 5.0 * index, "Modality": "CT",
        }  # fmt: skip
        for channel, (level, width) in enumerate((BRAIN, SUBDURAL, BONE)):
            row |= {f"WindowCenter_{channel}": level, f"WindowWidth_{channel}": width}
        rows.append(row)
    return [rows[index] for index in np.random.default_rng(0).permutation(n)]


@pytest.mark.parametrize("name", ["df.fth", "df.parquet", "df.csv", "df.feather"])
def test_an_rsna_distribution(tmp_path: Path, name: str) -> None:
    """The picture is found by the image's name, the order is that of the positions, and HU come back."""
    planned = plan_images(table(tmp_path, rsna_rows(tmp_path), name), PRIVACY)

    (series,) = planned.series
    assert (series.series_id, series.study_id, series.patient_id) == ("ID_se", "ID_st", "ID_0123abcd")
    assert series.image_ids == tuple(f"ID_{(index * 7) % 11:03d}" for index in range(5))
    assert series.slice_position_mm == (0, 5, 10, 15, 20)
    assert series.slice_spacing_mm == 5
    assert series.order_key == "position"
    assert series.labels == ()
    assert series.windows == (BRAIN,) * 5
    assert planned.qc == []
    assert (planned.n_seen, planned.n_refused) == (5, 0)
    assert series.images.source(0) == "jpg/ID_000.jpg"
    assert series.images.shape() == (64, 64)
    hu, remarks = series.images.read(2)
    assert remarks == ()
    assert np.abs(hu - head(64, seed=2))[head(64, seed=2) < -900].mean() < 80
    assert np.median(hu[28:36, 20:28]) == pytest.approx(32, abs=3)


def test_tilt_is_seen_where_the_table_has_the_orientation(tmp_path: Path) -> None:
    """Positions run along the normal, as in DICOM."""
    angle = np.radians(20)
    rows = rsna_rows(tmp_path)
    for row in rows:
        directions = [1, 0, 0, 0, np.cos(angle), np.sin(angle)]
        row |= {f"ImageOrientationPatient_{index}": value for index, value in enumerate(directions)}
        row["ImagePositionPatient_1"] = -100.0

    (series,) = plan_images(table(tmp_path, rows), PRIVACY).series

    assert np.diff(series.slice_position_mm) == pytest.approx(5 * np.cos(angle))
    assert series.tilt_deg == pytest.approx(20)


def test_pictures_of_a_turned_patient_are_turned_back(tmp_path: Path) -> None:
    """A table that says how slices lay is believed as DICOM is."""
    (usual,) = plan_images(table(tmp_path, rsna_rows(tmp_path)), PRIVACY).series
    expected, _ = usual.images.read(1)
    rows = rsna_rows(tmp_path)
    for row in rows:
        row |= {f"ImageOrientationPatient_{index}": value for index, value in enumerate([-1, 0, 0, 0, -1, 0])}

    planned = plan_images(table(tmp_path, rows), PRIVACY)

    (series,) = planned.series
    assert "TURNED" in [row.code for row in planned.qc]
    assert (series.orientation, series.source_orientation) == ("LP", "RA")
    np.testing.assert_array_equal(series.images.read(1)[0], expected[::-1, ::-1])


def test_a_table_of_two_files_a_slice_with_labels(tmp_path: Path) -> None:
    """The form of CT-ICH: paths and windows by prefix, index for order, labels beside; the patient is hidden."""
    rows = []
    for index in range(3):
        hu = head(64, seed=index)
        write(tmp_path / f"brain/{index}.jpg", shown(hu, 40, 120))
        write(tmp_path / f"bone/{index}.jpg", shown(hu, 700, 3200))
        rows.append(
            {
                "image_id": f"x_{index}", "path": f"brain/{index}.jpg",
                "bone_path": f"bone/{index}.jpg" if index else None,
                "patient": "Jane Doe", "series": "x_1", "index": 2 - index,
                **dict.fromkeys(LABELS, 0),
                "window_center": 40, "window_width": 120, "bone_window_center": 700, "bone_window_width": 3200,
            }
        )  # fmt: skip
    rows[1] |= {"subdural": 1, "any": 1}

    planned = plan_images(table(tmp_path, rows), PRIVACY)

    (series,) = planned.series
    assert series.image_ids == ("x_2", "x_1", "x_0")
    assert series.order_key == "instance"
    assert series.labels == ((0,) * 6, (0, 0, 0, 0, 1, 1), (0,) * 6)
    assert "Jane" not in str(series)
    assert series.patient_id.startswith("P")
    assert Counter(row.code for row in planned.qc) == {"ORDER_BY_INSTANCE": 1}
    assert [remark.code for remark in series.images.read(2)[1]] == ["NO_IMAGE_PARTNER"]
    assert series.images.read(0)[0].max() > 900
    before = series.images.stamps()
    write(tmp_path / "bone/1.jpg", shown(head(64), 40, 80))
    assert [one != other for one, other in zip(before, series.images.stamps(), strict=True)].count(True) == 1


def test_rows_that_cannot_be_used_have_their_row(tmp_path: Path) -> None:
    """Without picture, window or series, twice, or twice and different."""
    rows = rsna_rows(tmp_path, 5)
    rows[0]["WindowWidth_1"] = 0
    rows[1]["SOPInstanceUID"] = "ID_unknown"
    rows.append(dict(rows[2]))
    rows.append(rows[3] | {"ImagePositionPatient_2": 77.0})

    planned = plan_images(table(tmp_path, rows), PRIVACY)

    refusals = Counter(row.code for row in planned.qc if row.level == "slice")
    assert refusals == {"BAD_TABLE": 2, "DUP_UID_SAME": 1, "DUP_UID_DIFF": 2}
    assert sum(len(series) for series in planned.series) == 2
    assert (planned.n_seen, planned.n_refused) == (7, 5)


@pytest.mark.parametrize(
    ("row", "match"),
    [
        ({"image_id": "a", "series": "s", "path": "a.png"}, "must say with which windows they were made"),
        ({"series": "s", "window_center": 40, "window_width": 80}, "must have a column path or image_id"),
    ],
)
def test_what_is_no_table_of_images_is_told(tmp_path: Path, row: dict[str, object], match: str) -> None:
    """With the columns found."""
    with pytest.raises(UsageError, match=match):
        read_image_rows(table(tmp_path, [row]))
    with pytest.raises(UsageError, match="must be readable CSV"):
        read_image_rows(tmp_path / "absent.csv")


def test_the_pictures_own_window_goes_before_dicoms(tmp_path: Path) -> None:
    """A frame of DICOM attributes with a column of what the pictures were made with."""
    write(tmp_path / "a.png", shown(head(64), 40, 80))
    row = {"SOPInstanceUID": "a", "SeriesInstanceUID": "s", "WindowCenter": 30, "WindowWidth": 100}
    row |= {"window_center": 40, "window_width": 80}

    (one,) = read_image_rows(table(tmp_path, [row])).rows

    assert one.pictures == (Picture("a.png", (BRAIN,)),)


def test_lists_of_windows_in_cells(tmp_path: Path) -> None:
    """As frames and their texts have them."""
    write(tmp_path / "a.png", *(shown(head(64), *window) for window in (BRAIN, SUBDURAL, BONE)))
    row: dict[str, object] = {"image_id": "a", "series": "s"}
    lists = {"window_center": [40, 80, 600], "window_width": [80, 200, 2800]}

    for name, cells in (
        ("a.parquet", lists),
        ("a.csv", {key: json.dumps(value) for key, value in lists.items()}),
        ("b.csv", {"windows": "brain,subdural,bone"}),
    ):
        (one,) = read_image_rows(table(tmp_path, [row | cells], name)).rows
        assert one.pictures == (Picture("a.png", (BRAIN, SUBDURAL, BONE)),)


@pytest.mark.real
def test_reads_ct_ich(shared_data: Path) -> None:
    """82 scans, 2,501 slices, one bone picture missing; brain where brain is."""
    planned = plan_images(shared_data / "ct_ich" / "metadata.csv", PRIVACY)

    assert len(planned.series) == 82
    assert sum(len(series) for series in planned.series) == 2501
    assert sum(six[-1] for series in planned.series for six in series.labels if six) == 318
    assert planned.qc == []
    for series in planned.series[::16]:
        middle = len(series) // 2
        hu, remarks = series.images.read(middle)
        assert remarks == ()
        assert hu[0, 128] == -1024
        assert 20 <= np.median(hu[112:144, 112:144]) <= 45
        assert (hu > 300).mean() > 0.02


def one_window_head(side: int = 256) -> Hu:
    """Make a slice with all that is white in a brain window: skull, clots in and at it, a petrous bone, a plaster."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    radius = np.hypot(x / 0.36, y / 0.44)
    hu = np.where(radius < 0.9, 32.0, np.where(radius < 1, 1200.0, np.where(radius < 1.06, 45.0, -1000.0)))
    hu[np.hypot(x - 0.1, y) < 0.06] = 110  # a dense clot
    hu[(np.abs(x) < 0.12) & (np.abs(y - 0.2) < 0.02)] = 900  # a bone of the base, 58 mm long
    return hu


@pytest.mark.parametrize("deep", [False, True], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("window", [BRAIN, (40.0, 120.0)])
def test_white_of_a_brain_window_is_bone_where_it_lies_like_skull(
    tmp_path: Path, window: tuple[float, float], deep: bool
) -> None:
    """The ring and the base are bone; a clot stays at the window's top, and all else as it was."""
    hu = one_window_head()
    top = window[0] + window[1] / 2
    write(tmp_path / "a.png", (shown_16 if deep else shown)(hu, *window))

    found = read(tmp_path, "a.png", window)

    is_bone = hu > 150
    assert np.array_equal(found > top + 1, is_bone)
    assert np.median(found[is_bone]) > 700
    assert (found[(hu == 110)] == top).all()
    assert np.abs(found[hu == 32] - 32).max() <= 1
    assert (found[hu == -1000] == -1024).all()


@pytest.mark.parametrize("quality", [75, 90])
def test_ringing_of_jpeg_makes_no_holes_in_bone(tmp_path: Path, quality: int) -> None:
    """Nor does it move the inner table by more than a pixel."""
    hu = cv2.GaussianBlur(one_window_head() + np.random.default_rng(0).normal(0, 4, (256, 256)), (0, 0), 0.7)
    write(tmp_path / "a.jpg", shown(hu, *BRAIN), params=[cv2.IMWRITE_JPEG_QUALITY, quality])

    bone = read(tmp_path, "a.jpg", BRAIN) > 150

    three = np.ones((3, 3), np.uint8)
    truth = (hu > 150).astype(np.uint8)
    assert bone[cv2.erode(truth, three) > 0].all()
    assert not bone[cv2.dilate(truth, three) == 0].any()


@pytest.mark.parametrize("window", [(40.0, 40.0), (80.0, 200.0), (40.0, 380.0), BONE])
def test_other_windows_keep_their_white(tmp_path: Path, window: tuple[float, float]) -> None:
    """Where blood is white too, and where bone is told by its own values."""
    top = window[0] + window[1] / 2
    write(tmp_path / "a.png", shown(one_window_head(), *window))

    assert read(tmp_path, "a.png", window).max() <= top


def test_two_windows_that_both_end_below_bone(tmp_path: Path) -> None:
    """The widest one's white is what may be bone."""
    hu = one_window_head()
    write(tmp_path / "brain.png", shown(hu, *BRAIN))
    write(tmp_path / "stroke.jpg", shown(hu, 40, 40), params=[cv2.IMWRITE_JPEG_QUALITY, 95])
    pictures = [Picture("stroke.jpg", ((40.0, 40.0),)), Picture("brain.png", (BRAIN,))]

    found = read_image_hu(tmp_path, pictures).hu

    inner = cv2.erode((hu > 150).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert (found[inner] > 150).all()
    assert found[hu == 110].max() <= 80
