"""A chart of the evaluation is one function: the page, the figures and the tables follow."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich25d.evaluate import charts
from ich25d.evaluate.charts import LabelChart
from ich25d.evaluate.curves import LabelCurves
from ich25d.evaluate.run import evaluate
from ich25d.labels import LABELS, row_ids
from ich25d.pages.chart import Line, LineChart

pytest.importorskip("matplotlib")


def lift(one: LabelCurves) -> LabelChart:
    """Precision over the share of positives, over sensitivity."""
    value = one.precision.y / one.prevalence
    line = Line(one.precision.x, value, "lift")
    rows = [{"sensitivity": x, "lift": y} for x, y in zip(one.precision.x.tolist(), value.tolist(), strict=True)]
    return LabelChart(LineChart([line], title=f"Lift: {one.name}", x_label="sensitivity", y_label="lift"), rows)


def test_a_chart_is_one_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named in `LABEL_CHARTS`, it stands on the page for each label with both classes, as figure, and as table."""
    monkeypatch.setattr(charts, "LABEL_CHARTS", (*charts.LABEL_CHARTS, lift))
    rng = np.random.default_rng(0)
    rows = row_ids([f"ID_{number}" for number in range(40)])
    truth = rng.integers(0, 2, len(rows))
    truth[:: len(LABELS)] = 0  # no epidural bleed: no chart of it
    for name, values in (("predictions.csv", rng.random(len(rows))), ("labels.csv", truth)):
        pd.DataFrame({"ID": rows, "Label": values}).to_csv(tmp_path / name, index=False)
    evaluate(tmp_path / "predictions.csv", tmp_path / "labels.csv", tmp_path / "out", replicates=20)
    page = (tmp_path / "out" / "index.html").read_text()
    table = pd.read_csv(tmp_path / "out" / "tables" / "lift.csv")

    assert [f"<figcaption>Lift: {label}, slices" in page for label in LABELS] == [False, *[True] * 5]
    assert {path.suffix for path in (tmp_path / "out" / "figures").glob("slices_lift.*")} == {".png", ".pdf"}
    assert list(table.columns) == ["level", "label", "sensitivity", "lift"]
    assert table["label"].unique().tolist() == list(LABELS[1:])
