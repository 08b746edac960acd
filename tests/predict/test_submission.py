"""A sound CSV passes, every mistake is named with its count and place, and only a sound one replaces another."""

import time

import numpy as np
import pytest

from ich25d.errors import SubmissionError
from ich25d.files import replacing
from ich25d.labels import LABELS, row_ids
from ich25d.predict.submission import check_submission, fill_submission, read_sample, write_submission


def _write(path, rows, header="ID,Label"):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def _sound(ids=("ID_a", "ID_b")):
    return [f"{row},0.25" for row in row_ids(ids)]


def test_a_sound_file_passes(tmp_path):
    """A file that is its own sample has no problem, and exit code 0."""
    file = _write(tmp_path / "s.csv", _sound())
    report = check_submission(file, file)

    assert report.exit_code == 0
    assert (report.n_images, report.n_rows) == (2, 12)
    assert "sound" in report.lines()[0]
    assert report.to_dict()["problems"] == []


@pytest.mark.parametrize(
    ("rows", "problem", "count"),
    [
        (_sound()[1:], "six rows", 1),
        ([*_sound(), "ID_a_any,0.5"], "come once", 1),
        ([*_sound()[:-1], "ID_b_any,nan"], "not NaN", 1),
        ([*_sound()[:-1], "ID_b_any,inf"], "0 to 1", 1),
        ([*_sound()[:-2], "ID_b_subdural,-0.1", "ID_b_any,1.01"], "0 to 1", 2),
        ([*_sound()[:-1], "ID_b_any,high"], "must be a number", 1),
        ([*_sound()[:-1], "ID_b_any,"], "must be a number", 1),
        ([*_sound()[:-1], "ID_b_any,0_1"], "must be a number", 1),
        ([*_sound(), "ID_c_blood,0.5"], "one of the six labels", 1),
        ([*_sound(), "ID_c"], "an id and a probability", 1),
        ([], "rows under the first line", 1),
    ],
)
def test_each_mistake_is_named(tmp_path, rows, problem, count):
    """Each kind of mistake is counted under its own sentence."""
    report = check_submission(_write(tmp_path / "s.csv", rows))

    assert report.exit_code == 2
    assert [n for text, n in report.counts.items() if problem in text] == [count]


def test_all_mistakes_are_named_at_once(tmp_path):
    """A user mends a file once, not once a mistake."""
    rows = [*_sound(), "ID_a_any,2", "ID_c_any,0.5"]
    report = check_submission(_write(tmp_path / "s.csv", rows, header="id;label"))

    assert len(report.counts) == 4
    assert any("line 14" in line for line in report.lines())


def test_a_header_with_a_byte_order_mark_and_crlf_is_read(tmp_path):
    """What Excel writes is accepted."""
    path = tmp_path / "s.csv"
    path.write_bytes("\ufeffID,Label\r\n".encode() + "".join(f"{row}\r\n" for row in _sound()).encode())

    assert check_submission(path).exit_code == 0


def test_ids_are_those_of_the_sample(tmp_path):
    """Missing and surplus images are counted; their order is free."""
    sample = _write(tmp_path / "sample.csv", _sound(("ID_a", "ID_b", "ID_c", "ID_d")))
    report = check_submission(_write(tmp_path / "s.csv", _sound(("ID_b", "ID_a", "ID_x"))), sample)

    assert dict(report.counts) == {
        "every image of the sample must be there": 2,
        "no image may be there that the sample doesn't have": 1,
    }


def test_what_cannot_be_read_is_refused(tmp_path):
    """No file, no UTF-8 and a broken sample are errors of their own."""
    with pytest.raises(SubmissionError, match="readable file"):
        check_submission(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"ID,Label\n\xff\xfe,1\n")
    with pytest.raises(SubmissionError, match="UTF-8"):
        check_submission(tmp_path / "b.csv")
    with pytest.raises(SubmissionError, match="its six rows: 'ID_a'"):
        read_sample(_write(tmp_path / "c.csv", _sound()[1:]))
    with pytest.raises(SubmissionError, match="come once"):
        read_sample(_write(tmp_path / "d.csv", [*_sound(), "ID_a_any,0.5"]))
    with pytest.raises(SubmissionError, match="first line must be ID,Label"):
        read_sample(_write(tmp_path / "e.csv", _sound(), header="image,p"))


def test_a_written_file_is_clipped_in_order_and_six_digits(tmp_path):
    """Probabilities stay within 1e-6 and 1 - 1e-6: a certain mistake would cost without bound."""
    path = tmp_path / "s.csv"
    probability = np.array([[0.0, 1.0, 0.123456789, 1e-5, 0.5, 1 / 3]])

    write_submission(path, ["ID_a"], probability)
    assert path.read_text().splitlines() == [
        "ID,Label", "ID_a_epidural,1e-06", "ID_a_intraparenchymal,0.999999", "ID_a_intraventricular,0.123457",
        "ID_a_subarachnoid,1e-05", "ID_a_subdural,0.5", "ID_a_any,0.333333",
    ]  # fmt: skip


def test_an_old_file_stays_when_the_new_one_is_unsound(tmp_path):
    """A file is checked before it replaces the one that stands there."""
    path, sample = tmp_path / "s.csv", _write(tmp_path / "sample.csv", _sound())
    path.write_text("old")

    with pytest.raises(SubmissionError, match="nothing was replaced"), replacing(path) as part:
        fill_submission(part, ["ID_a"], np.full((1, 6), 0.5), sample, path)
    with pytest.raises(SubmissionError, match="must be numbers"):
        write_submission(path, ["ID_a"], np.full((1, 6), np.nan))
    assert path.read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["s.csv", "sample.csv"]


def test_a_large_set_is_checked_in_no_time(tmp_path):
    """A sixth of stage 2; the whole of it, 727,392 rows, is checked in about 3 seconds."""
    ids = [f"ID_{number:09x}" for number in range(20_000)]
    path = tmp_path / "s.csv"
    write_submission(path, ids, np.full((len(ids), len(LABELS)), 0.1))
    start = time.process_time()
    report = check_submission(path, path)

    assert report.n_rows == 120_000
    assert time.process_time() - start < 3
