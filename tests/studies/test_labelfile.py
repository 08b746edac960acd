"""Label tables: both forms say the same, and nothing incomplete or contradictory gets through."""

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich25d.errors import LabelError
from ich25d.labels import LABELS, row_ids
from ich25d.studies.labelfile import read_labels

NONE = (0, 0, 0, 0, 0, 0)
SUBDURAL = (0, 0, 0, 0, 1, 1)


def long_text(labels: dict[str, tuple[object, ...]], *, header: str = "ID,Label\n") -> str:
    """Write labels in Kaggle's form."""
    rows = (
        f"{image_id}_{label},{value}"
        for image_id, six in labels.items()
        for label, value in zip(LABELS, six, strict=True)
    )
    return header + "\n".join(rows) + "\n"


def read(tmp_path: Path, text: str | bytes, name: str = "labels.csv") -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """Read a table; return the labels of each image, and `CODE image` for each row."""
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    frame, rows = read_labels(path)
    assert list(frame.columns) == list(LABELS)
    assert frame.index.name == "image_id"
    assert {str(dtype) for dtype in frame.dtypes} == {"Int8"}
    assert {row.level for row in rows} <= {"label"}
    return (
        {str(key): tuple(int(value) for value in six) for key, six in zip(frame.index, frame.to_numpy(), strict=True)},
        [f"{row.code} {row.image_id}".strip() for row in rows],
    )


@settings(max_examples=15, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[0-9A-Za-z][0-9A-Za-z_.]{0,12}", fullmatch=True).filter(lambda one: not one.endswith(".dcm")),
        st.tuples(*[st.integers(0, 1)] * 5),
        min_size=1,
        max_size=6,
    ),
    st.randoms(use_true_random=False),
)
def test_both_forms_say_the_same_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, subtypes: dict[str, tuple[int, ...]], shuffle: random.Random
) -> None:
    """Image ids may hold underscores and dots; rows and columns may come in any order."""
    tmp_path = tmp_path_factory.mktemp("labels")
    expected = {image_id: (*five, max(five)) for image_id, five in subtypes.items()}
    lines = long_text(expected).splitlines()
    rest = lines[1:]
    shuffle.shuffle(rest)
    columns = list(LABELS)
    shuffle.shuffle(columns)
    wide = "image_id," + ",".join(columns) + "\n"
    for image_id, six in expected.items():
        wide += image_id + "".join(f",{six[LABELS.index(column)]}" for column in columns) + "\n"

    assert read(tmp_path, "\n".join([lines[0], *rest])) == (dict(sorted(expected.items())), [])
    assert read(tmp_path, wide) == (dict(sorted(expected.items())), [])


@pytest.mark.parametrize(
    "text",
    [
        long_text({"ID_a": SUBDURAL}).replace("\n", "\r\n"),
        "\ufeff" + long_text({"ID_a": SUBDURAL}),
        long_text({"ID_a": SUBDURAL}).replace(",", ";"),
        long_text({"ID_a": SUBDURAL}).replace(",", "\t"),
        "".join(f'"{line.replace(",", chr(34) + "," + chr(34))}"\n' for line in long_text({"ID_a": SUBDURAL}).split()),
        long_text({" ID_a": ("0 ", " 0", "0.0", "0", "1.0", "1")}, header="id , LABEL\n"),
        long_text({"ID_a": SUBDURAL}, header=""),
        long_text({"ID_a": SUBDURAL}, header="\n\nID,Label\n"),
        long_text({"ID_a.dcm": SUBDURAL}),
        long_text({"ID_a": SUBDURAL}).replace("_any", "_ANY"),
        "image_id,any,epidural,intraparenchymal,intraventricular,subarachnoid,subdural\nID_a,1,0,0,0,0,1\n",
        "SOPInstanceUID;Epidural;Intraparenchymal;Intraventricular;Subarachnoid;Subdural\nID_a.dcm;0;0;0;0;1\n",
        "id,EDH,IPH,IVH,SAH,SDH,any,note\nID_a,0,0,0,0,1,1,\"a, b\"\n",
    ],
)  # fmt: skip
def test_dialects(tmp_path: Path, text: str) -> None:
    """Marks, quotes, line ends, spaces, case and .dcm don't matter; `any` may be left out of the wide form."""
    assert read(tmp_path, text) == ({"ID_a": SUBDURAL}, [])


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (("0", "0", "0", "0", "1", "0"), "L_ANY"),
        (("0", "0", "", "0", "1", "1"), "L_MISSING"),
        (("0", "0", "nan", "0", "1", "1"), "L_MISSING"),
        (("", "", "", "", "", ""), "L_MISSING"),
        (("0", "0", "0.3", "0", "1", "1"), "L_VALUE"),
        (("0", "0", "2", "0", "1", "1"), "L_VALUE"),
        (("0", "0", "True", "0", "1", "1"), "L_VALUE"),
        (("0", "0", "-1", "0", "1", "1"), "L_VALUE"),
    ],
)
def test_refuses_images_whose_labels_do_not_hold(tmp_path: Path, bad: tuple[str, ...], code: str) -> None:
    """Missing isn't 0, and nothing is rounded."""
    both = {"ID_bad": bad, "ID_good": NONE}

    assert read(tmp_path, long_text(both)) == ({"ID_good": NONE}, [f"{code} ID_bad"])
    wide = "image_id," + ",".join(LABELS) + "\n" + "".join(f"{key},{','.join(map(str, both[key]))}\n" for key in both)
    assert read(tmp_path, wide) == ({"ID_good": NONE}, [f"{code} ID_bad"])


def test_each_image_is_told_its_own_bad_value(tmp_path: Path) -> None:
    """The first by label, in either form, whatever else the table holds."""
    both = {"a": (0, 0, "0.5", 0, 0, 1), "b": (0, 0, 0, 2, 0, 1), "c": NONE, "d": (0, 0, 0, 0, 0, "yes")}
    wide = "image_id," + ",".join(LABELS) + "\n" + "".join(f"{key},{','.join(map(str, both[key]))}\n" for key in both)
    path = tmp_path / "labels.csv"
    for text in (long_text(both), wide, wide.replace(",any", ",other").replace("yes", "0")):
        path.write_text(text)
        found = {row.image_id: row.detail for row in read_labels(path)[1]}
        expected = {"a": "0.5", "b": "2", "d": "yes"} if "yes" in text else {"a": "0.5", "b": "2"}
        assert found == {key: f"labels must be 0 or 1 (got {value!r})" for key, value in expected.items()}


@pytest.mark.parametrize(
    "text",
    [
        "SOPInstanceUID,image_id,epidural,intraparenchymal,intraventricular,subarachnoid,subdural\n,ID_a,0,0,0,0,1\n",
        "SOPInstanceUID,uid,image_id,EDH,IPH,IVH,SAH,SDH\n nan,,ID_a,0,0,0,0,1\n",
        "id,row_id,label\n" + long_text({"ID_a": SUBDURAL}, header="").replace("ID_a", ",ID_a"),
    ],
)
def test_an_empty_column_of_ids_is_passed_over(tmp_path: Path, text: str) -> None:
    """However good its name."""
    assert read(tmp_path, text) == ({"ID_a": SUBDURAL}, [])


def test_duplicates_and_conflicts(tmp_path: Path) -> None:
    """Said twice is a remark; said in two ways is no label, least of all their mean."""
    text = long_text({"ID_same": SUBDURAL, "ID_other": NONE, "ID_good": NONE})
    text += long_text({"ID_same": SUBDURAL, "ID_other": SUBDURAL}, header="")

    labels, rows = read(tmp_path, text)

    assert labels == {"ID_good": NONE, "ID_same": SUBDURAL}
    assert rows == ["L_CONFLICT ID_other", "L_DUP ID_same"]


def test_any_alone_is_a_remark(tmp_path: Path) -> None:
    """A bleed of no named kind is possible."""
    assert read(tmp_path, long_text({"a": (0, 0, 0, 0, 0, 1)})) == ({"a": (0, 0, 0, 0, 0, 1)}, ["L_ANY_ALONE a"])


def test_an_absent_row_is_missing(tmp_path: Path) -> None:
    """Five of six rows are no label."""
    text = long_text({"a": NONE, "b": NONE}).replace("a_subdural,0\n", "")

    assert read(tmp_path, text) == ({"b": NONE}, ["L_MISSING a"])


def test_foreign_lines_have_their_rows(tmp_path: Path) -> None:
    """Lines that are no label are told one by one; the others hold."""
    text = long_text({"a": NONE}) + "a_fracture,1\nb_any,1,extra\n\n"

    assert read(tmp_path, text) == ({"a": NONE}, ["L_FORM", "L_FORM"])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "must hold a line of column names"),
        ("ID,Label\n", "must hold an image that can be used"),
        ("a,b\n1,2\n", "must have the columns ID and Label, or image_id and epidural"),
        (
            "epidural,intraparenchymal,intraventricular,subarachnoid,subdural\n0,0,0,0,0\n",
            "must have a column image_id",
        ),
        ("image_id,EDH,IPH,IVH,SAH,SDH\n,0,0,0,0,0\n", "must have a column image_id with ids"),
        ("ID,Label\nID_a,1\nID_b,0\n", r"must end in one of epidural.*got \['ID_a', 'ID_b'\]"),
        (long_text({"a": (0.5,) * 6}), r"got none.*labels must be 0 or 1 \(got '0.5'\)"),
        ("ID,Label\n".encode("utf-16"), "must be UTF-8"),
        (b"ID,Label\n\xff_any,1\n", "must be readable CSV"),
    ],
)
def test_what_is_no_label_table_is_told(tmp_path: Path, text: str | bytes, match: str) -> None:
    """The message says what was found instead."""
    with pytest.raises(LabelError, match=match):
        read(tmp_path, text)


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_frames_of_other_programs(tmp_path: Path, suffix: str) -> None:
    """Truth values, floats and categories, as data frames have them."""
    frame = pd.DataFrame({"image_id": pd.Categorical(["a", "b", "c"])})
    for index, label in enumerate(LABELS[:-1]):
        frame[label] = np.array([index == 4, False, index == 0])
    frame["any"] = [1.0, 0.0, np.nan]
    path = tmp_path / f"labels{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_feather(path)

    labels, rows = read_labels(path)

    assert labels.to_numpy().tolist() == [list(SUBDURAL), list(NONE)]
    assert [(row.code, row.image_id) for row in rows] == [("L_MISSING", "c")]


@pytest.mark.real
def test_reads_the_real_tables(shared_data: Path) -> None:
    """Counts that the data's own description states."""
    rsna, rows = read_labels(shared_data / "rsna" / "stage_2_train.csv")
    assert rows == []
    assert rsna.sum().to_dict() == {
        "epidural": 0, "intraparenchymal": 32, "intraventricular": 4, "subarachnoid": 22, "subdural": 21, "any": 48,
    }  # fmt: skip
    ct_ich, rows = read_labels(shared_data / "ct_ich" / "metadata.csv")
    assert rows == []
    assert len(ct_ich) == 2501
    assert int(ct_ich["any"].sum()) == 318


def test_a_bad_line_that_is_no_utf8_is_a_sentence(tmp_path, capfd):
    """Arrow would print a traceback and go on."""
    path = tmp_path / "labels.csv"
    path.write_bytes(b"ID,Label\n" + b"".join(f"{row},0\n".encode() for row in row_ids(["ID_1"])) + b"ID_\xee,1,2,3\n")
    with pytest.raises(LabelError, match="bytes that are no UTF-8"):
        read_labels(path)
    assert capfd.readouterr().err == ""
