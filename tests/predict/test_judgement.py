"""States of confidence, from a training to every output: chosen on held-out series, named in tables, pages, Python."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from toy_walk import SIZE, Walk, write_series

from ich25d import load_model
from ich25d.errors import UsageError
from ich25d.predict import confidence_fit
from ich25d.predict.confidence_fit import fit_model_confidence
from ich25d.predict.network import load_network
from ich25d.predict.run import predict
from ich25d.studies.build import build_studies
from ich25d.training import confidence
from ich25d.training.confidence import STATES
from ich25d.view.report.run import report

CPU = torch.device("cpu")


@pytest.fixture
def judging(walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A copy of a toy run with states; ten series do here."""
    for module in (confidence, confidence_fit):
        monkeypatch.setattr(module, "LEAST_SCANS", 10)
    model = tmp_path / "model"
    shutil.copytree(getattr(walk, request.param), model)
    assert fit_model_confidence(model, walk.store, CPU) is not None
    return model


@pytest.mark.parametrize("judging", ["cnn", "rnn"], indirect=True)
def test_states_stand_in_every_output(judging: Path, walk: Walk, tmp_path: Path) -> None:
    """`studies.csv`, `predictions.parquet`, the worklist and its filter, the page and Python say the same."""
    summary = predict((walk.test,), judging, tmp_path / "s.csv", device="cpu")
    table = pd.read_csv(tmp_path / "studies.csv", keep_default_na=False).set_index("series_id")
    slices = pd.read_parquet(tmp_path / "predictions.parquet")
    report((walk.test,), judging, tmp_path / "report", device="cpu", heat=False)
    listed = pd.read_csv(tmp_path / "report" / "worklist.csv", keep_default_na=False).set_index("series_id")
    found = load_model(judging, device="cpu").predict(walk.test)
    index = (tmp_path / "report" / "index.html").read_text()

    assert set(table["confidence"]) <= set(STATES)
    assert sum(summary.confidence.values()) == len(table) == 3
    assert any(line.startswith("confidence: sure ") for line in summary.lines())
    for one in found:
        state = table.at[one.series_id, "confidence"]
        assert one.confidence == state == listed.at[one.series_id, "confidence"]
        assert set(slices.loc[slices["series_id"] == one.series_id, "confidence"]) == {state}
        assert (state == "sure") == (not one.why) == (table.at[one.series_id, "why"] == "")
        page = (tmp_path / "report" / listed.at[one.series_id, "page"]).read_text()
        assert "Confidence: <b>" in page
        assert f'data-k="{state}"' in index
    assert '<select id="confidence">' in index


@pytest.mark.parametrize("judging", ["cnn"], indirect=True)
def test_a_stored_series_is_judged_by_its_remarks_too(judging: Path, walk: Walk, tmp_path: Path) -> None:
    """One slice: a store says so in its own qc.csv, and the state is that of the files."""
    write_series(tmp_path / "one", 31, n=1)
    build_studies((tmp_path / "one",), tmp_path / "store", size=SIZE, workers=1)
    model = load_model(judging, device="cpu")
    of_files, of_store = model.predict(tmp_path / "one")[0], model.predict(tmp_path / "store")[0]
    assert of_files.confidence == of_store.confidence != "sure"
    assert of_files.why == of_store.why
    assert "ONE_SLICE" in "; ".join(of_files.why)


def test_a_held_out_network_is_the_one_of_the_fold(walk: Walk) -> None:
    """Of two folds each network judges alone; both together give the mean of the encoders' logits."""
    pixels = np.zeros((3, SIZE, SIZE), np.int16)
    position = np.arange(3.0) * 5
    for model in (walk.cnn, walk.rnn):
        alone = [load_network(model, "cpu", fold=fold).predict(pixels, position, None)[0] for fold in (0, 1)]
        both = load_network(model, "cpu").predict(pixels, position, None)[0]
        mean = np.mean([np.log(one.encoder_probability / (1 - one.encoder_probability)) for one in alone], axis=0)
        assert np.log(both.encoder_probability / (1 - both.encoder_probability)) == pytest.approx(mean, abs=1e-4)
        assert [len(one.member_logit) for one in (*alone, both)] == [2, 2, 4]


def test_another_store_and_few_series_choose_nothing(walk: Walk, tmp_path: Path) -> None:
    """A store of other labels is refused; with ten series a remark says why there are no states."""
    model = tmp_path / "model"
    shutil.copytree(walk.cnn, model)
    before = (model / "model.json").read_bytes()
    assert fit_model_confidence(model, walk.store, CPU) is None
    build_studies((walk.test,), tmp_path / "other", size=SIZE, workers=1)
    with pytest.raises(UsageError, match="the store that it was trained on"):
        fit_model_confidence(model, tmp_path / "other", CPU)
    assert (model / "model.json").read_bytes() == before
    assert "confidence" not in json.loads(before)
    assert load_model(model, device="cpu").predict(walk.test)[0].confidence == ""
