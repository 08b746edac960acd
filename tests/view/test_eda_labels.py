"""Labels counted by hand: levels, pairs, positions, runs, oddities; and the page of a label table alone."""

import csv
from pathlib import Path

import numpy as np
import pytest

from ich25d.errors import UsageError
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.studies.labelfile import read_labels
from ich25d.view.eda.counts import (
    along_scan,
    co_occurrence,
    count_levels,
    examples_of,
    examples_without,
    find_runs,
    positive_series,
    relative_position,
    subtypes_a_slice,
)
from ich25d.view.eda.rows import LabelRows, rows_of_table
from ich25d.view.eda.run import explore

EPIDURAL, SUBDURAL = LABELS.index("epidural"), LABELS.index("subdural")


def _rows() -> LabelRows:
    """Return two patients: one with two series of 4 and 3 slices, one with a single slice and one unlabelled series."""
    target = np.zeros((10, 6), dtype=np.int8)
    target[[1, 2], SUBDURAL] = 1  # series 0: a run of two
    target[1, EPIDURAL] = 1
    target[[4, 6], SUBDURAL] = 1  # series 1: two runs of one
    target[:, ANY_INDEX] = target[:, :ANY_INDEX].max(axis=1)
    target[8:] = -1  # series 3 has no labels
    return LabelRows(
        image_id=np.array([f"i{n}" for n in range(10)], dtype=object),
        target=target,
        series=np.array([0, 0, 0, 0, 1, 1, 1, 2, 3, 3], dtype=np.int32),
        series_id=np.array(["a", "b", "c", "d"], dtype=object),
        patient=np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1], dtype=np.int32),
        position_mm=np.array([0, 5, 10, 20, np.nan, 1, 2, 7, 0, 5], dtype=np.float64),
    )


def test_counts_at_three_levels() -> None:
    """A series or patient is positive where a slice is, and counts where a slice is labelled."""
    slices, series, patients = count_levels(_rows())

    assert slices.n.tolist() == [8] * 6
    assert slices.n_positive[[EPIDURAL, SUBDURAL, ANY_INDEX]].tolist() == [1, 4, 4]
    assert series.n.tolist() == [3] * 6
    assert series.n_positive[[EPIDURAL, SUBDURAL]].tolist() == [1, 2]
    assert patients.n.tolist() == [2] * 6
    assert patients.n_positive[[EPIDURAL, SUBDURAL]].tolist() == [1, 1]
    assert series.rate[SUBDURAL] == pytest.approx(2 / 3)
    assert series.interval[0][SUBDURAL] == pytest.approx(0.2077, abs=1e-4)  # Wilson's for 2 of 3
    assert positive_series(_rows())["any"].tolist()[:3] == [1, 1, 0]
    assert np.isnan(positive_series(_rows())["any"]["d"])


def test_counts_pairs_and_subtypes() -> None:
    """The diagonal holds a label's own count; unlabelled slices don't count as none."""
    pairs = co_occurrence(_rows())

    assert pairs[EPIDURAL, SUBDURAL] == pairs[SUBDURAL, EPIDURAL] == 1
    assert pairs[SUBDURAL, SUBDURAL] == pairs[SUBDURAL, ANY_INDEX] == 4
    assert subtypes_a_slice(_rows()).tolist() == [4, 3, 1, 0, 0, 0]


def test_position_is_in_mm_where_all_are_known() -> None:
    """A series with an unknown position is measured in slices, one of a single slice not at all."""
    place = relative_position(_rows())

    assert place[:4].tolist() == [0, 0.25, 0.5, 1]
    assert place[4:7].tolist() == [0, 0.5, 1]
    assert np.isnan(place[7])
    labelled, positive = (counts.reshape(4, -1, 6).sum(axis=1) for counts in along_scan(_rows()))  # quarters
    assert labelled[:, SUBDURAL].tolist() == [2, 1, 2, 2]
    assert positive[:, SUBDURAL].tolist() == [1, 1, 1, 1]


def test_runs_end_at_the_series_end() -> None:
    """Runs of neighbouring series don't join, and a negative slice parts them."""
    runs = find_runs(_rows(), SUBDURAL)

    assert runs.length.tolist() == [2, 1, 1]
    assert runs.start.tolist() == [1, 4, 6]
    assert runs.a_series().tolist() == [1, 2]


def test_examples_are_of_different_patients_and_not_shown_twice() -> None:
    """One slice a patient, the longest run first; what is taken comes last."""
    rows = _rows()

    assert examples_of(rows, SUBDURAL, 4) == [2]
    assert examples_of(rows, SUBDURAL, 4, frozenset({2})) == [4]
    assert examples_without(rows, 4) == [7]


def _write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _kaggle(image_id: str, *positive: str) -> list[str]:
    names = {*positive, *(["any"] if positive else [])}
    return [f"{image_id}_{label},{int(label in names)}" for label in LABELS]


def test_a_label_table_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every oddity is named with its ids, nothing hostile gets through, and refusals give exit code 1."""
    monkeypatch.setattr("ich25d.view.eda.output.can_plot", lambda: False)
    hostile = "=1+1<script>alert(1)</script>"
    lines = ["ID,Label", *_kaggle("ID_1", "subdural"), *_kaggle("ID_2"), *_kaggle("ID_2")]
    lines += [*_kaggle("ID_3", "epidural"), "ID_3_epidural,0", "ID_4_any,1", *_kaggle(hostile, "any")]
    lines += [line.replace("any,1", "any,0") for line in _kaggle("ID_5", "epidural")]
    out = tmp_path / "eda"

    summary = explore(None, out, labels=_write(tmp_path / "labels.csv", lines))

    assert (summary.exit_code, summary.n_images, summary.n_figures) == (1, 3, 0)
    assert summary.positives["subdural"] == 1
    with (out / "tables" / "label_oddities.csv").open() as file:
        found = {(row["code"], row["image_id"]) for row in csv.DictReader(file)}
    assert found == {
        ("L_DUP", "ID_2"), ("L_CONFLICT", "ID_3"), ("L_MISSING", "ID_4"), ("L_ANY", "ID_5"),
        ("L_ANY_ALONE", "'" + hostile),
    }  # fmt: skip
    page = (out / "index.html").read_text()
    assert "<script>alert" not in page
    assert "matplotlib" in page
    assert not (out / "figures").exists()


def test_a_wide_table_may_name_series_and_positions(tmp_path: Path) -> None:
    """Then series, patients and the scan order are known, whatever the order of the lines."""
    lines = ["SOPInstanceUID,SeriesInstanceUID,PatientID,ImagePositionPatient_2," + ",".join(LABELS)]
    lines += ["c,s1,p1,10,0,0,0,0,0,0", "a,s1,p1,-5,0,0,0,0,1,1", "b,s1,p1,2,0,0,0,0,1,1", "d,s2,p1,0,0,0,0,0,0,0"]
    path = _write(tmp_path / "wide.csv", lines)

    rows = rows_of_table(path, read_labels(path)[0])

    assert rows.image_id.tolist() == ["a", "b", "c", "d"]
    assert rows.is_ordered
    assert find_runs(rows, SUBDURAL).length.tolist() == [2]
    assert [level.n_positive[SUBDURAL] for level in count_levels(rows)] == [2, 1, 1]


def test_figures_are_drawn(tmp_path: Path) -> None:
    """With matplotlib every figure of the page is a PNG too."""
    pytest.importorskip("matplotlib")
    lines = ["image_id,series," + ",".join(LABELS), "a,s,0,0,0,0,1,1", "b,s,0,0,0,0,0,0"]

    summary = explore(None, tmp_path / "eda", labels=_write(tmp_path / "wide.csv", lines))

    drawn = sorted(path.name for path in (tmp_path / "eda" / "figures").iterdir())
    assert drawn == ["co_occurrence.png", "co_occurrence_share.png", "label_rates.png", "subtypes_a_slice.png"]
    assert summary.n_figures == len(drawn)
    assert all((tmp_path / "eda" / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in drawn)


def test_wrong_use_is_refused(tmp_path: Path) -> None:
    """Nothing to look at, a source without a store, an --out that is a store: each with its sentence."""
    table = _write(tmp_path / "labels.csv", ["ID,Label", *_kaggle("ID_1")])
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text("{}")

    with pytest.raises(UsageError, match="got neither"):
        explore(None, tmp_path / "eda")
    with pytest.raises(UsageError, match="belongs to a study store"):
        explore(None, tmp_path / "eda", labels=table, sources=[tmp_path])
    with pytest.raises(UsageError, match="folder of its own"):
        explore(None, tmp_path / "store", labels=table)
    with pytest.raises(UsageError, match="must exist"):
        explore(None, tmp_path / "eda", labels=tmp_path / "none.csv")
