"""What the cells of a table of images say: whose slice it is, where it lies, and what can't be read."""

import itertools
import math
import random
from collections import Counter
from decimal import Decimal
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich25d.errors import UsageError
from ich25d.labels import LABELS
from ich25d.studies.build import build_studies
from ich25d.studies.headers.packed import Privacy
from ich25d.studies.pictures.columns import number_of, numbers_of, spacing_of, text_of, windows_of
from ich25d.studies.pictures.series import PlannedImages, plan_images
from ich25d.studies.pictures.table import read_image_rows
from ich25d.studies.volumes.volume import read_series

PRIVACY = Privacy(b"0123456789abcdef", 0.0)
N = 4

Row = dict[str, object]


def rows_of(name: str, n: int = N, **cells: object) -> list[Row]:
    """Return rows of one scan; no picture is opened for a plan."""
    return [
        {"image_id": f"{name}_{index}", "path": f"{name}_{index}.png", "position": 5.0 * index, "windows": "brain"}
        | cells
        for index in range(n)
    ]


def plan(folder: Path, rows: list[Row], privacy: Privacy = PRIVACY) -> PlannedImages:
    """Plan the series of a CSV of these rows."""
    path = folder / "images.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return plan_images(path, privacy)


def names(planned: PlannedImages) -> dict[str, tuple[str, str]]:
    """Return series and study of the first image of each series."""
    return {series.image_ids[0]: (series.series_id, series.study_id) for series in planned.series}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ({"patient": "A", "series": 1}, {"patient": "B", "series": 1}, (("1", "1"), ("1@2", "1@2"))),
        (
            {"patient": "A", "series": 1, "study": "stA"}, {"patient": "B", "series": 1, "study": "stB"},
            (("1", "stA"), ("1@2", "stB")),
        ),
        (
            {"patient": "A", "series": 1, "study": "stA"}, {"patient": "A", "series": 1, "study": "stB"},
            (("1", "stA"), ("1@2", "stB")),
        ),
        (
            {"patient": "A", "series": 1, "study": 1}, {"patient": "B", "series": 2, "study": 1},
            (("1", "1"), ("2", "1@2")),
        ),
        ({"patient": "A", "study": 1}, {"patient": "B", "study": 1}, (("1", "1"), ("1@2", "1@2"))),
    ],
    ids=["patient", "patient and study", "study", "study of two patients", "no series"],
)  # fmt: skip
def test_scans_of_one_name_are_told_apart(
    tmp_path: Path, one: Row, other: Row, expected: tuple[tuple[str, str], tuple[str, str]]
) -> None:
    """Each is a series of its own with all its slices, by the same name whatever the order of the rows."""
    rows = rows_of("a", **one) + rows_of("b", **other)
    for seed in range(3):
        random.Random(seed).shuffle(rows)

        planned = plan(tmp_path, rows, Privacy(bytes([seed]) * 16, 0.0))

        assert names(planned) == {"a_0": expected[0], "b_0": expected[1]}
        assert [series.image_ids for series in sorted(planned.series, key=lambda one: one.image_ids)] == [
            tuple(f"{name}_{index}" for index in range(N)) for name in "ab"
        ]
        assert planned.n_refused == 0
        shared = {series_id for series_id, _ in expected} if "@" in expected[1][0] else set()
        assert {row.series_id for row in planned.qc if row.code == "DUP_SERIES_UID"} == shared


def test_patients_of_one_series_id_keep_their_slices_in_a_store(tmp_path: Path) -> None:
    """Two volumes, two patients, nobody's slices stored twice."""
    rows = rows_of("a", patient="A", series="1") + rows_of("b", patient="B", series="1")
    for number, row in enumerate(rows):
        grey = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32) + np.uint8(number)
        assert cv2.imwrite(str(tmp_path / str(row["path"])), grey)
    plan(tmp_path, rows)

    built = build_studies((), tmp_path / "store", images=(tmp_path / "images.csv",), size=32, crop="none", workers=1)
    slices = pd.read_parquet(tmp_path / "store" / "slices.parquet")

    assert (built.n_series, built.n_patients, built.n_used) == (2, 2, 2 * N)
    assert slices.groupby("series_id")["image_id"].apply(list).to_dict() == {
        "1": [f"a_{index}" for index in range(N)], "1@2": [f"b_{index}" for index in range(N)],
    }  # fmt: skip


def test_a_store_follows_the_labels_of_its_table(tmp_path: Path) -> None:
    """Labels that change in the table of images change in the store; no picture is read again."""
    found = []
    for positive in (0, 1):
        subtypes = dict.fromkeys(LABELS[:-1], 0) | {"epidural": positive}
        rows = rows_of("a", patient="A", series="1", **subtypes)
        for row in rows:
            picture = tmp_path / str(row["path"])
            grey = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)
            assert picture.exists() or cv2.imwrite(str(picture), grey)
        plan(tmp_path, rows)
        built = build_studies(
            (), tmp_path / "store", images=(tmp_path / "images.csv",), size=32, crop="none", workers=1
        )
        found.append((built.n_series_read, pd.read_parquet(tmp_path / "store" / "slices.parquet")["epidural"].tolist()))

    assert found == [(1, [0] * N), (0, [1] * N)]


def test_a_name_that_is_given_already_is_no_new_name(tmp_path: Path) -> None:
    """Neither for a second scan nor for a second pass."""
    rows = rows_of("a", patient="A", series="1") + rows_of("b", patient="B", series="1")
    rows += rows_of("c", patient="C", series="1@2") + rows_of("e", patient="E", series="x#2")
    rows += [row | {"index": index} for index, row in enumerate(rows_of("d", patient="D", series="x"))]
    rows += [row | {"index": N + index} for index, row in enumerate(rows_of("f", patient="D", series="x"))]

    found = [series.series_id for series in plan(tmp_path, rows).series]

    assert Counter(found) == dict.fromkeys(["1", "1@3", "1@2", "x", "x#2@2", "x#2"], 1)


@pytest.mark.parametrize("what", ["patient", "study"])
def test_an_empty_cell_is_the_only_one_that_its_series_names(tmp_path: Path, what: str) -> None:
    """Where a few rows lack it, the scan isn't torn apart."""
    rows = rows_of("a", patient="A", study="st", series="1")
    rows[0][what] = rows[2][what] = None

    (series,) = plan(tmp_path, rows).series

    assert len(series) == N
    assert (series.series_id, series.study_id) == ("1", "st")
    assert series.patient_id


def test_a_patient_names_no_series(tmp_path: Path) -> None:
    """Who is all that a table tells stays hidden, but for RSNA's ids, which hide already."""
    rows = rows_of("a", patient="Jane Doe") + rows_of("b", patient="ID_0123abcd") + rows_of("c", patient="John Doe")

    planned = plan(tmp_path, rows)

    assert names(planned) == {"a_0": ("a_0",) * 2, "b_0": ("ID_0123abcd",) * 2, "c_0": ("c_0",) * 2}
    assert "Doe" not in f"{planned.series}{planned.qc}"


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2.5", 2.5), ("2,5", 2.5), (" -0,488 ", -0.488), (",5", 0.5), ("2,5 mm", 2.5), ("5 mm", 5), ("1e2", 100),
        ("+3", 3), ("\u22127.5", -7.5), ("slice_012", 12), ("IM-0012", 12), ("[7.5]", 7.5), (7, 7),
        (Decimal("2.5"), 2.5), ("", None), ("n/a", None), (None, None), (math.nan, None), (math.inf, None),
        ([2.5], 2.5),
    ],
)  # fmt: skip
def test_one_number_of_a_cell(cell: object, expected: float | None) -> None:
    """With a point or a decimal comma, with a unit or a word."""
    assert number_of(cell) == expected


@pytest.mark.parametrize(
    "cell", ["1,234.5", "1.234,5", "2,5,3", "2 5", "12/40", "[2, 5]", "IM-0001-0012", "1.2.3", "1e999", [2, 5]]
)
def test_several_numbers_are_not_cut_to_one(cell: object) -> None:
    """Nor is a number that may be another."""
    with pytest.raises(ValueError, match="must hold one number"):
        number_of(cell)


@given(st.decimals(-3000, 3000, places=3))
def test_a_decimal_comma_is_a_point(number: Decimal) -> None:
    """In every number."""
    assert number_of(str(number).replace(".", ",")) == number_of(str(number)) == float(number)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("[-125.0, -120.5, 30]", (-125, -120.5, 30)), ("(-125,-120,30)", (-125, -120, 30)),
        ("['-125', '-120.5', '30']", (-125, -120.5, 30)), ("[-125.  -120.5   30. ]", (-125, -120.5, 30)),
        ("-125,0; -120,5; 30", (-125, -120.5, 30)), ("-125.0\\-120.5\\30", (-125, -120.5, 30)),
        ([1, "2", None, [3.5]], (1, 2, 3.5)), ("[]", ()), (None, ()), ("40", (40,)),
    ],
)  # fmt: skip
def test_lists_of_numbers(cell: object, expected: tuple[float, ...]) -> None:
    """As frames, their texts, DICOM and spreadsheets write them."""
    assert numbers_of(cell) == expected


def test_pixels_of_one_size() -> None:
    """One number, or the same twice."""
    assert [spacing_of(cell) for cell in ("0,488", "[0.488, 0.488]", [0.488, 0.488], "0.488\\0.488", "")] == [
        0.488, 0.488, 0.488, 0.488, None,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="must hold one number"):
        spacing_of("[0.488, 0.5]")


def test_levels_and_widths() -> None:
    """Lists of the same length, or one number each; what may be either is refused."""
    assert windows_of("[40, 600]", "[80, 2800]") == windows_of("40,600,80"[:6], "[80, 2800]") == ((40, 80), (600, 2800))
    assert windows_of("40,0", "80,0") == windows_of(40, "80") == ((40, 80),)
    assert windows_of("37,5", "80") == ((37.5, 80),)
    assert windows_of("", None) == ()
    for levels, widths in (("40,5", "80,5"), ("40", "0"), ("40", ""), ("[40, 80]", "80"), ("1.2.3", "80")):
        with pytest.raises(ValueError, match="must make pairs in one way"):
            windows_of(levels, widths)


def test_decimal_commas_of_a_table(tmp_path: Path) -> None:
    """As spreadsheets of half of Europe save it."""
    path = tmp_path / "images.csv"
    lines = ["image_id;path;series;position;pixel_spacing_mm;window_center;window_width"]
    lines += [f"a{index};a.png;s;{2.5 * index:.1f};0.488;40.0;80.0".replace(".0", ",0") for index in range(N)]
    path.write_text("\n".join(lines).replace("2.5", "2,5").replace("7.5", "7,5").replace("0.488", "0,488") + "\n")

    (series,) = plan_images(path, PRIVACY).series

    assert series.slice_position_mm == (0, 2.5, 5, 7.5)
    assert series.pixel_spacing_mm == (0.488, 0.488)
    assert series.windows == ((40, 80),) * N


@pytest.mark.parametrize(
    ("cells", "detail"),
    [
        ({"position": "1,234.5"}, "position must be one number"),
        ({"index": "1/40"}, "index must be one number"),
        ({"pixel_spacing_mm": "[0.4, 0.5]"}, "pixel_spacing_mm must be one number"),
        ({"ImagePositionPatient": "[1, 2]"}, "ImagePositionPatient must be 3 numbers"),
        ({"ImageOrientationPatient": "1.0.0"}, "ImageOrientationPatient must be 6 numbers"),
        ({"ImagePositionPatient_1": "2,5,3"}, "ImagePositionPatient_1 must be one number"),
        ({"windows": "[None]"}, "windows must be names or level/width pairs"),
    ],
)
def test_a_row_that_cannot_be_read_says_which_column(tmp_path: Path, cells: Row, detail: str) -> None:
    """A damaged row is named with its column, and the others are read."""
    rows = rows_of("a", series="s")
    rows[1] |= cells

    planned = plan(tmp_path, rows)

    (row,) = [row for row in planned.qc if row.level == "slice"]
    assert (row.source, row.code) == ("images.csv:2", "BAD_TABLE")
    assert row.detail.startswith(detail)
    assert sum(len(series) for series in planned.series) == N - 1


@pytest.mark.parametrize("windows", [[40.0, 80.0], 40.0, [None, 80.0]])
def test_windows_of_a_parquet(tmp_path: Path, windows: object) -> None:
    """A list of two numbers is a pair; a number alone is a row refused, not a traceback."""
    path = tmp_path / "images.parquet"
    pd.DataFrame(rows_of("a", n=1, series="s", windows=windows)).to_parquet(path)

    found = read_image_rows(path)

    assert [row.pictures[0].windows for row in found.rows] == ([((40, 80),)] if windows == [40.0, 80.0] else [])
    assert [row.code for row in found.qc] == ["BAD_TABLE"] * (1 - len(found.rows))


@pytest.mark.parametrize("what", ["image_id", "patient", "study", "series"])
def test_an_infinite_id_is_none(tmp_path: Path, what: str) -> None:
    """Its row is refused."""
    rows = rows_of("a", n=2, patient=1.0, study=1.0, series=1.0)
    for index, row in enumerate(rows):
        row[what] = math.inf if index else 7.0
    path = tmp_path / "images.parquet"
    pd.DataFrame(rows).to_parquet(path)

    found = read_image_rows(path)

    assert [(row.code, row.source) for row in found.qc] == [("BAD_UID", "images.parquet:2")]
    assert len(found.rows) == 1
    assert [text_of(cell) for cell in (7.0, 7.5, math.nan, None, " a ")] == ["7", "7.5", "", "", "a"]


@pytest.mark.parametrize("image_id", ["a,b", 'a"b', "a\nb", "=1+1", "a b", "../a", "x" * 81, "\u00e4"])
def test_ids_that_no_submission_can_hold(tmp_path: Path, image_id: str) -> None:
    """Are refused with the table, before a picture is read; where all are so, nothing is left."""
    rows = rows_of("a", series="s")
    rows[1]["image_id"] = image_id

    planned = plan(tmp_path, rows)

    assert [(row.source, row.image_id, row.code) for row in planned.qc if row.level == "slice"] == [
        ("images.csv:2", "", "BAD_UID")
    ]
    plan(tmp_path, [row | {"image_id": image_id} for row in rows])
    with pytest.raises(UsageError, match=f"got {N} files or images: {N} BAD_UID"):
        build_studies((), tmp_path / "store", images=(tmp_path / "images.csv",), workers=1)


def test_an_image_called_by_its_path_is_held_to_the_same(tmp_path: Path) -> None:
    """An empty id is the picture's name, but for what no id may hold."""
    rows = rows_of("a", n=2, series="s")
    rows[0] |= {"image_id": None, "path": "in/b.png"}
    rows[1] |= {"image_id": None, "path": "in/slice 1.png"}

    planned = plan(tmp_path, rows)

    assert list(itertools.chain.from_iterable(series.image_ids for series in planned.series)) == ["b", "slice_1"]


def test_ids_that_end_as_files_do_keep_their_labels(tmp_path: Path) -> None:
    """Label tables drop `.dcm` from ids; a table of images called them otherwise, and lost its own labels."""
    rows = [row | {"image_id": f"{row['image_id']}.dcm"} | dict.fromkeys(LABELS, 0) for row in rows_of("a", series="s")]

    planned = plan(tmp_path, rows)

    assert all(label is not None for series in planned.series for label in series.labels)
    assert not any(name.endswith(".dcm") for series in planned.series for name in series.image_ids)


@pytest.mark.parametrize("spelled", ["{}", "[np.float64({})]"], ids=["plain", "as NumPy prints it"])
def test_a_position_over_several_columns_of_fastai(tmp_path: Path, spelled: str) -> None:
    """Its first number stands under the attribute's own name, the others under that and 1, 2."""
    rows = rows_of("a", series="s")
    for index, row in enumerate(rows):
        del row["position"]
        row |= {"ImagePositionPatient": spelled.format(-125.0), "ImagePositionPatient1": -120.5}
        row |= {"ImagePositionPatient2": 30 - 5.0 * index, "ImageOrientationPatient": spelled.format(1)}
        row |= {f"ImageOrientationPatient{place}": value for place, value in enumerate((0, 0, 0, 1, 0), 1)}

    (series,) = plan(tmp_path, rows).series

    assert series.image_ids == ("a_3", "a_2", "a_1", "a_0")
    assert series.slice_position_mm == (15, 20, 25, 30)
    assert series.order_key == "position"


def test_a_size_that_was_rounded_twice_is_one() -> None:
    """Rows and columns as they were written; two sizes aren't one."""
    assert spacing_of("[0.488281, 0.48828]") == 0.488281
    with pytest.raises(ValueError, match="must hold one number"):
        spacing_of("[0.4, 0.5]")


def test_a_column_that_begins_late_is_read(tmp_path: Path) -> None:
    """Two thousand rows without a study, then one with: it is known there. A column that is empty throughout isn't."""
    late = rows_of("a", n=2000, patient="A", study=None, series="1") + rows_of("b", patient="B", study="st", series="2")
    planned = plan(tmp_path, [row | {"StudyInstanceUID": None, "image_path": " "} for row in late])

    assert names(planned)["b_0"] == ("2", "st")
    assert "b_0.png" in {series.images.source(0) for series in planned.series}


@pytest.mark.parametrize("picture", ["a_{}.png", "a_{}.dcm.png"])
def test_pictures_are_found_by_the_name_of_a_dicom_file(tmp_path: Path, picture: str) -> None:
    """Competition tables name `ID_1.dcm`, beside pictures of the same name."""
    (tmp_path / "png").mkdir()
    for index in range(N):
        (tmp_path / "png" / picture.format(index)).write_bytes(b"")
    rows = [row | {"image_id": f"a_{index}.dcm", "path": None} for index, row in enumerate(rows_of("a", series="1"))]

    (series,) = plan(tmp_path, rows).series

    assert series.image_ids == tuple(f"a_{index}" for index in range(N))
    assert series.images.source(0) == f"png/{picture.format(0)}"


def test_the_order_is_said_by_the_tables_own_column(tmp_path: Path) -> None:
    """A table has no InstanceNumber."""
    rows = [row | {"position": None, "slice_no": index} for index, row in enumerate(rows_of("a", series="1"))]

    (remark,) = [row for row in plan(tmp_path, rows).qc if row.code != "SATURATED"]

    assert remark.code == "ORDER_BY_INSTANCE"
    assert remark.detail.endswith("ordered by column slice_no")


@pytest.mark.parametrize(("window", "is_remarked"), [("brain", False), ("subdural", False), ("bone", True)])
def test_a_window_below_bone_does_not_say_that_there_is_no_head(tmp_path: Path, window: str, is_remarked: bool) -> None:
    """A brain is known by its ring of bone, which only a window that reaches bone can show."""
    rows = rows_of("a", series="1", windows=window)
    for row in rows:
        assert cv2.imwrite(str(tmp_path / str(row["path"])), np.full((64, 64), 90, dtype=np.uint8))
    (series,) = plan(tmp_path, rows).series

    assert ("NOT_HEAD?" in {row.code for row in read_series(series, size=32).qc}) is is_remarked


@pytest.mark.parametrize(("window", "top"), [("40/80", "80"), ("40/120", "100"), ("80/200", ""), ("40/40", "")])
def test_a_window_that_ends_below_bone_is_remarked(tmp_path: Path, window: str, top: str) -> None:
    """Once a series, where white of the widest window may have become bone."""
    found = [
        row.detail for row in plan(tmp_path, rows_of("a", series="1", windows=window)).qc if row.code == "SATURATED"
    ]

    assert len(found) == bool(top)
    assert all(f"nothing over {top} HU" in detail for detail in found)


def test_a_plane_that_is_not_axial_is_used_where_it_is_accepted(tmp_path: Path) -> None:
    """Tables with orientations are held to DICOM's rules, and to what excuses from them."""
    rows = [
        {name: cell for name, cell in row.items() if name != "position"}
        | {"ImagePositionPatient": f"[0, {5.0 * index}, 0]", "ImageOrientationPatient": "[1, 0, 0, 0, 0, -1]"}
        for index, row in enumerate(rows_of("a", series="s"))
    ]
    refused = plan(tmp_path, rows)
    assert (refused.series, {row.code for row in refused.qc}) == ([], {"NOT_AXIAL"})
    used = plan_images(tmp_path / "images.csv", PRIVACY, ("NOT_AXIAL",))
    assert [len(series) for series in used.series] == [N]
    assert [row.code for row in used.qc].count("ACCEPTED") == 1
