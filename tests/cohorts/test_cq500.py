"""CQ500: qER's own numbers come out of its own file, and arguments that don't fit are refused."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ich25d.cohorts.cq500 import evaluate_cq500
from ich25d.errors import UsageError
from ich25d.labels import LABELS

QER = {
    "any": 0.9419, "intraparenchymal": 0.9544, "intraventricular": 0.9310, "subdural": 0.9521, "epidural": 0.9731,
    "subarachnoid": 0.9574,
}  # fmt: skip
"""AUCs of prediction_probabilities.csv against two of three readers."""


@pytest.mark.real
def test_qers_areas_come_out(shared_data: Path, tmp_path: Path) -> None:
    """N, positives, six areas to four digits, each inside its intervals; no operating points without thresholds."""
    folder = shared_data / "cq500"
    found = evaluate_cq500(
        folder / "reads.csv",
        tmp_path,
        predictions=folder / "prediction_probabilities.csv",
        replicates=200,
        figures=False,
    )
    rows = {row["label"]: row for row in found.rows()}

    assert (found.n_read, found.n_judged, found.exit_code) == (491, 491, 0)
    assert {label: round(row["auc"], 4) for label, row in rows.items()} == QER
    assert {label: row["n_positive"] for label, row in rows.items()} == {
        "any": 205, "intraparenchymal": 134, "intraventricular": 28, "subdural": 53, "epidural": 13, "subarachnoid": 60,
    }  # fmt: skip
    for row in rows.values():
        assert row["auc_low"] < row["auc"] < row["auc_high"]
        assert row["delong_low"] < row["auc"] < row["delong_high"]
    assert not found.results.levels[0].points
    text = (tmp_path / "index.html").read_text()
    assert "N = 491 of 491 studies read; 205 with" in text
    assert ".9419 [" in text
    assert json.loads((tmp_path / "evaluation.json").read_text())["n_judged"] == 491
    assert (tmp_path / "tables" / "cq500.csv").is_file()


def _tables(folder: Path, n: int = 24) -> tuple[Path, Path]:
    """Write reads and probabilities of n studies: every second one bleeds, and the model mostly knows."""
    from test_reads import ALL, NONE, write_reads

    reads = write_reads(folder / "reads.csv", {f"CQ500-CT-{k}": [ALL if k % 2 else NONE] * 3 for k in range(n)})
    values = [[0.1, *[0.9 - 0.03 * (k % 9) if k % 2 else 0.2 + 0.03 * (k % 20)] * 5] for k in range(n)]
    table = pd.DataFrame(values, columns=list(LABELS), index=pd.Index([f"CQ500-CT-{k}" for k in range(n)], name="name"))
    table.to_csv(folder / "probabilities.csv")
    return reads, folder / "probabilities.csv"


def test_thresholds_comparison_and_missing_studies(tmp_path: Path) -> None:
    """The model's series thresholds decide; studies without a prediction are counted, not guessed."""
    reads, probabilities = _tables(tmp_path)
    some = tmp_path / "some.csv"
    pd.read_csv(probabilities).iloc[:20].to_csv(some, index=False)
    model = tmp_path / "model.json"
    model.write_text(json.dumps({"thresholds": {"slice": {}, "series": {"sensitivity_95": {"any": 0.55}}}}))
    found = evaluate_cq500(
        reads, tmp_path / "out", predictions=some, model=model, against=probabilities, replicates=30, figures=False
    )
    row = found.rows()[0]

    assert (found.n_read, found.n_judged, found.exit_code) == (24, 20, 1)
    assert (row["label"], row["n"], row["n_positive"]) == ("any", 20, 10)
    assert row["sensitivity_at_sensitivity_95"] == 1
    assert row["specificity_at_sensitivity_95"] == pytest.approx(0.6)  # .20 to .74 in steps of .06: six below .55
    assert "specificity_at_specificity_90" not in row
    assert ("studies read and not predicted", 4) in found.results.flow.steps
    assert {one.delong.value for one in found.results.comparison} == {0.0}
    assert "N = 20 of 24" in found.lines()[0]


def test_arguments_that_do_not_fit(tmp_path: Path) -> None:
    """Sources, or predictions that stand alone; without --model the one in the box predicts."""
    reads, probabilities = _tables(tmp_path)
    for wrong in (
        {},
        {"model": tmp_path},
        {"sources": (tmp_path,), "model": tmp_path, "predictions": probabilities},
    ):
        with pytest.raises(UsageError, match="cq500 takes SOURCE"):
            evaluate_cq500(reads, tmp_path / "out", **wrong)
    other = tmp_path / "other.csv"
    other.write_text("name,ICH,IPH,IVH,SDH,EDH,SAH\nCQ500-CT-400,1,0,0,0,0,0\n")
    with pytest.raises(UsageError, match="must share studies"):
        evaluate_cq500(reads, tmp_path / "out", predictions=other)
