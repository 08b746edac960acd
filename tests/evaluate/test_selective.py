"""What states of confidence are worth: groups, and risk over coverage."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich25d.evaluate.run import evaluate
from ich25d.evaluate.selective import COVERAGES, risk_over_coverage
from ich25d.labels import LABELS
from ich25d.training.intervals import wilson_interval


def test_risk_of_three_right_and_one_wrong() -> None:
    """The last of four is wrong: no risk up to three quarters, then it grows to a quarter."""
    (risk,) = risk_over_coverage(np.array([False, False, False, True]), np.ones((1, 4)))
    assert risk[COVERAGES <= 0.75] == pytest.approx(0)
    assert risk[-1] == pytest.approx(0.25)
    at = int(np.argmin(np.abs(COVERAGES - 0.875)))
    assert risk[at] == pytest.approx((4 * COVERAGES[at] - 3) / (4 * COVERAGES[at]))


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_all_answered_is_the_share_of_wrong_ones(wrong: list[bool]) -> None:
    """Whatever the order, and however often each is drawn: drawn twice, all count twice."""
    flags = np.array(wrong)
    (risk,) = risk_over_coverage(flags, np.ones((1, len(flags))))
    (twice,) = risk_over_coverage(flags, np.full((1, len(flags)), 2.0))
    assert risk[-1] == pytest.approx(flags.mean())
    assert twice == pytest.approx(risk)
    assert ((risk >= -1e-12) & (risk <= 1 + 1e-12)).all()


def _files(folder: Path, *, states: bool = True) -> tuple[Path, Path, Path]:
    """Ten series of one slice: the sure ones are right, one unsure one is missed, one of no model is a false alarm."""
    truth = np.array([1, 1, 1, 0, 0, 0, 1, 0, 0, 1])
    value = np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.3, 0.4, 0.6, 0.1, 0.9])
    table = pd.DataFrame({"image_id": [f"ID_{n}" for n in range(10)], "series_id": [f"S{n}" for n in range(10)]})
    table["study_id"], table["patient_id"] = table["series_id"], table["series_id"]
    for label in LABELS:
        table[label] = value if label == "any" else 0.01
    if states:
        table["confidence"] = ["sure"] * 6 + ["unsure"] * 2 + ["not_for_this_model"] * 2
        table["clearness"] = np.linspace(2, 0, 10)
    predictions, labels, model = folder / "predictions.parquet", folder / "labels.csv", folder / "model.json"
    table.to_parquet(predictions, index=False)
    rows = [f"ID_{n}_{label},{int(label in ('any', 'subdural') and truth[n])}" for n in range(10) for label in LABELS]
    labels.write_text("ID,Label\n" + "\n".join(rows) + "\n")
    model.write_text(json.dumps({"thresholds": {"series": {"f1": {"any": 0.5}}}}))
    return predictions, labels, model


def test_groups_and_curve_by_hand(tmp_path: Path) -> None:
    """Sensitivity 4 of 5 in all, 3 of 3 of the sure; the risk grows from 0 to .2 over the last four of ten."""
    predictions, labels, model = _files(tmp_path)
    found = evaluate(predictions, labels, tmp_path / "eval", model=model, replicates=50, figures=False)
    selective = found.results.selective
    assert selective is not None
    groups = {one.name: one for one in selective.groups}
    everything, sure, others = groups["all"], groups["sure"], groups["all but sure"]

    assert [groups[name].n for name in ("all", "sure", "unsure", "not_for_this_model")] == [10, 6, 2, 2]
    assert (everything.sensitivity.value, everything.specificity.value, everything.risk.value) == (0.8, 0.8, 0.2)
    assert (sure.sensitivity.value, sure.specificity.value, sure.risk.value, sure.auc.value) == (1, 1, 0, 1)
    assert (sure.share.value, sure.share.low, sure.share.high) == (0.6, *wilson_interval(6, 10))
    assert others.risk.value == 0.5
    assert selective.risk[0][COVERAGES <= 0.6] == pytest.approx(0)
    assert selective.risk[0][-1] == pytest.approx(0.2)
    assert selective.area.low <= selective.area.value <= selective.area.high

    content = json.loads((tmp_path / "eval" / "evaluation.json").read_text())["confidence"]
    assert content["groups"]["sure"]["n"] == 6
    page = (tmp_path / "eval" / "index.html").read_text()
    assert "Risk over coverage: series" in page
    tables = tmp_path / "eval" / "tables"
    assert pd.read_csv(tables / "confidence.csv").set_index("group").at["sure", "share"] == 0.6
    assert len(pd.read_csv(tables / "risk_coverage.csv")) == len(COVERAGES)
    assert any("series by confidence" in line for line in found.lines())


def test_predictions_without_states_have_no_section(tmp_path: Path) -> None:
    """As those of older versions, or of a model without states."""
    predictions, labels, model = _files(tmp_path, states=False)
    found = evaluate(predictions, labels, tmp_path / "eval", model=model, replicates=20, figures=False)
    assert found.results.selective is None
    assert "confidence" not in json.loads((tmp_path / "eval" / "evaluation.json").read_text())
