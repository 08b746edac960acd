"""Labels of whole series: what a table says, and what it may not say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich25d.errors import LabelError
from ich25d.labels import LABELS
from ich25d.studies.series_labels import read_series_labels

SERIES = pd.DataFrame({"series_id": ["1.2.1", "1.2.2", "1.2.3"], "study_id": ["1.2", "1.2", "1.9"]})
NAN = np.nan


def _read(tmp_path: Path, text: str) -> dict[str, list[float]]:
    path = tmp_path / "reports.csv"
    path.write_text(text)
    table = read_series_labels(path, SERIES)
    assert list(table.columns) == ["series_id", *LABELS]
    return {row.series_id: [float(getattr(row, label)) for label in LABELS] for row in table.itertuples()}


def test_any_alone_is_enough(tmp_path: Path) -> None:
    """Without a bleed no subtype is there either; with one, nobody knows which; spaces and case don't matter."""
    found = _read(tmp_path, "Series ID;ANY\n1.2.1; 0\n1.2.3;1.0\n1.2.2;\n")

    assert found.keys() == {"1.2.1", "1.2.3"}
    assert found["1.2.1"] == [0] * 6
    np.testing.assert_array_equal(found["1.2.3"], [NAN] * 5 + [1])


def test_what_follows_is_filled_in(tmp_path: Path) -> None:
    """A subtype makes any; five subtypes of 0 deny it; short names of subtypes are known."""
    found = _read(tmp_path, "SeriesInstanceUID,edh,iph,ivh,sah,sdh,any\n1.2.1,,1,,,0,\n1.2.2,0,0,0,0,0,\n")

    np.testing.assert_array_equal(found["1.2.1"], [NAN, 1, NAN, NAN, 0, 1])
    assert found["1.2.2"] == [0] * 6


def test_a_study_speaks_for_its_series_and_a_series_for_itself(tmp_path: Path) -> None:
    """Both series of the study get its labels; where a row names a series as well, that alone is meant."""
    assert {name: row[-1] for name, row in _read(tmp_path, "study_id,any\n1.2,1\n").items()} == {"1.2.1": 1, "1.2.2": 1}
    found = _read(tmp_path, "study_id,series_id,any\n1.2,1.2.2,1\n1.9,,0\n")
    assert {name: row[-1] for name, row in found.items()} == {"1.2.2": 1, "1.2.3": 0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("series_id,any\n1.2.1,maybe\n", r"0, 1 or empty \(got 'maybe' for 1\.2\.1, 1 such cells in any\)"),
        ("series_id,any\n1.2.1,0.5\n", r"got '0\.5'"),
        ("series_id,any\nX,1\nY,0\n", r"must name series or studies of the store \(got ids as 'X'.*'1\.2\.1'.*'1\.2'"),
        ("series_id,any\n1.2.1,\n", "must name series or studies of the store"),
        ("image_id,any\nA,1\n", "must have a column series_id or study_id"),
        ("series_id,bleed\n1.2.1,1\n", r"must have a column series_id or study_id, and any or more of"),
        ("series_id,any,subdural\n1.2.1,0,1\n", r"any must be 1 where a subtype is \(got 1 such rows: 1\.2\.1\)"),
        ("series_id,any\n1.2.1,0\n1.2.1,1\n", "must not be both 0 and 1"),
        ("series_id,study_id,any\n1.2.1,,0\n,1.2,1\n", "must not be both 0 and 1"),
        ("series_id,any\n1.2.1,0,7\n1.2.2,1\n", "as many cells"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """With the rule, what was found, and the file."""
    with pytest.raises(LabelError, match=message) as error:
        _read(tmp_path, text)
    assert "reports.csv" in str(error.value)


def test_rows_of_other_series_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hospital's table holds more than one store does."""
    assert _read(tmp_path, "series_id,any\n1.2.1,1\nelsewhere,0\n").keys() == {"1.2.1"}
    assert "1 of 2 rows of reports.csv are of no series of the store" in capsys.readouterr().err
