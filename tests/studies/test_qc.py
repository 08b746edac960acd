"""qc.csv: one line a row, sorted, safe to open in a spreadsheet."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich25d.errors import UsageError
from ich25d.studies.qc import HEADER, QcRow, read_qc, reasons_of, safe_cell, write_qc


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain.dcm", "plain.dcm"),
        ("Schädel 頭.dcm", "Schädel 頭.dcm"),
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\x09=1"),
        ("two\nlines", "two\\x0alines"),
        (b"odd\xff.dcm".decode("utf-8", "surrogateescape"), "odd\\xff.dcm"),
        ("\u2028", "\\u2028"),
        ("", ""),
    ],
)
def test_cells_are_shown_and_never_run(text: str, expected: str) -> None:
    """Formulas get an apostrophe, control characters and odd bytes are spelt out, the rest stays."""
    assert safe_cell(text) == expected


@given(st.text(st.characters(), max_size=30))
def test_any_text_makes_one_line_of_utf8(text: str) -> None:
    """Whatever a file is called, its cell is one line that a spreadsheet takes for text."""
    cell = safe_cell(text)

    assert len(cell.encode("utf-8").splitlines()) <= 1
    assert not cell.startswith(("=", "+", "-", "@"))
    assert "\r" not in cell
    assert "\n" not in cell


def test_the_file_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    """Rows are sorted, and read back as they were."""
    rows = [
        QcRow("b.dcm", "", "", "file", "EMPTY", "the file holds no bytes"),
        QcRow("a, with comma.dcm", "1.2", "1", "slice", "WRAP12", 'a "quoted" word'),
        QcRow("", "", "1", "series", "TILT", "12 degrees"),
    ]
    write_qc(tmp_path / "one.csv", rows)
    write_qc(tmp_path / "two.csv", rows[::-1])

    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    with (tmp_path / "one.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.reader(file))
    assert tuple(read[0]) == HEADER == ("source", "image_id", "series_id", "level", "code", "detail")
    assert read[2] == ["a, with comma.dcm", "1.2", "1", "slice", "WRAP12", 'a "quoted" word']
    assert len(read) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"source,image_id,series_id,level,code,detail\n\xff\xfe\xff\n", "must be a readable CSV"),
        (b"source,code\na,EMPTY\n", "must have the columns source,image_id,series_id,level,code,detail"),
        (b"source,image_id,series_id,level,code,detail\na,b\n", "must have the columns"),
        (
            b"source,image_id,series_id,level,code,detail\na,b,c,file,NEVER_HEARD,d\n",
            "known ones .got .'NEVER_HEARD'",
        ),
        (b"", "must have the columns"),
    ],
)
def test_another_table_is_refused_in_a_sentence(content: bytes, message: str, tmp_path: Path) -> None:
    """What isn't a table of refusals isn't read as one."""
    (tmp_path / "qc.csv").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_qc(tmp_path / "qc.csv")


def test_an_absent_table_is_refused_by_name(tmp_path: Path) -> None:
    """The path stands in the sentence."""
    with pytest.raises(UsageError, match="No such file"):
        read_qc(tmp_path / "absent.csv")


def test_reasons_are_counted_by_code_refusals_first(tmp_path: Path) -> None:
    """Two tables, one of which isn't there; a table of something else is refused."""
    rows = [QcRow("", "", str(i), "series", "TILT", "12 degrees") for i in range(3)]
    write_qc(tmp_path / "qc.csv", [*rows, QcRow("b.dcm", "", "", "file", "EMPTY", "no bytes")])
    found = reasons_of([("ours", tmp_path / "qc.csv"), ("theirs", tmp_path / "absent.csv")])
    assert [(one.where, one.code, one.is_refused, one.n) for one in found] == [
        ("ours", "EMPTY", True, 1), ("ours", "TILT", False, 3),
    ]  # fmt: skip
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="must have the columns code and level"):
        reasons_of([("ours", tmp_path / "other.csv")])
