"""`predict --prevalence`: stated or by EM, in tables and pages; flags stay."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from toy_walk import Walk
from typer.testing import CliRunner

from ich25d import load_model
from ich25d.cli.app import app
from ich25d.labels import LABELS
from ich25d.predict import site
from ich25d.predict.run import predict
from ich25d.view.report.writer import ReportWriter


@pytest.fixture(params=["cnn", "rnn"])
def model(walk: Walk, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A toy run that knows its shares and a threshold of `any`."""
    folder = tmp_path / "model"
    shutil.copytree(getattr(walk, request.param), folder)
    content = json.loads((folder / "model.json").read_text())
    content["prevalence"] = {
        "n_positive": dict.fromkeys(LABELS, 5), "n": dict.fromkeys(LABELS, 10), "slope": 1.0, "bias": 0.0,
        "of_slices": dict(zip(LABELS, load_model(folder, device="cpu").prior.tolist(), strict=True)),
    }  # fmt: skip
    any_threshold = {"f1": {"any": 0.3}}
    content["thresholds"] = {"slice": any_threshold, "series": any_threshold}
    measured = {"sensitivity": 0.8, "n_positive": 5, "specificity": 0.9, "n_negative": 5}
    content["operating_points"] = {"slice": {}, "series": {"f1": {"flagged": measured}}}
    (folder / "model.json").write_text(json.dumps(content))
    return folder


def test_a_stated_share_moves_tables_and_pages(model: Path, walk: Walk, tmp_path: Path) -> None:
    """From a share of .5 to .1 odds of series go down by 9; the same are flagged, and pages say PPV and NPV."""
    plain = predict((walk.test,), model, tmp_path / "a" / "s.csv", device="cpu")
    report = ReportWriter(tmp_path / "report", model, heat=False)
    here = predict(
        (walk.test,), model, tmp_path / "b" / "s.csv", device="cpu", prevalence=("any=0.1",), watchers=(report,)
    )
    before, after = (pd.read_csv(tmp_path / name / "studies.csv").set_index("series_id")["any"] for name in ("a", "b"))
    odds = before / (1 - before)

    assert (after / (1 - after)).to_numpy() == pytest.approx((odds / 9).to_numpy(), rel=1e-3)
    assert here.n_flagged == plain.n_flagged
    assert any("prevalence stated: any 0.1 of series" in text for text in here.remarks)
    listed = pd.read_csv(tmp_path / "report" / "worklist.csv").set_index("series_id")
    assert listed["any"].reindex(after.index).to_numpy() == pytest.approx(after.to_numpy(), rel=1e-3)
    for page in (tmp_path / "report" / "index.html", next((tmp_path / "report" / "studies").glob("*.html"))):
        assert "where .10 of series bleed: PPV .47, NPV .98, 1.1 false alarms per hit" in page.read_text()
    assert "prevalence stated" in (tmp_path / "report" / "index.html").read_text()


def test_em_needs_series_and_says_what_it_found(
    model: Path, walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three series are too few: a remark, and the model's own probabilities; with fewer asked for, an interval."""
    plain = predict((walk.test,), model, tmp_path / "a" / "s.csv", device="cpu")
    few = predict((walk.test,), model, tmp_path / "b" / "s.csv", device="cpu", prevalence=("em",))
    assert any("prevalence not estimated: that takes 20 series" in text for text in few.remarks)
    assert (tmp_path / "a" / "s.csv").read_bytes() == (tmp_path / "b" / "s.csv").read_bytes()

    monkeypatch.setattr(site, "LEAST_SERIES", 3)
    found = predict((walk.test,), model, tmp_path / "c" / "s.csv", device="cpu", prevalence=("em",))
    assert any("estimated by EM: any" in text and "of 3 series" in text for text in found.remarks)
    assert found.n_flagged == plain.n_flagged


def test_a_model_without_shares_is_refused_before_anything_is_read(walk: Walk, tmp_path: Path) -> None:
    """One sentence, exit code 2, nothing written; a word that is none likewise."""
    for words, told in ((["any=0.1"], "held-out series"), (["em"], "held-out series"), (["any"], "must be em alone")):
        options = [part for word in words for part in ("--prevalence", word)]
        result = CliRunner().invoke(
            app, ["predict", str(walk.test), "--model", str(walk.cnn), "--out", str(tmp_path / "p" / "s.csv"),
                  "--device", "cpu", *options],
        )  # fmt: skip
        assert result.exit_code != 0
        assert told in str(result.output) + str(result.exception)
        assert not (tmp_path / "p").exists()
