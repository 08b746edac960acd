"""A model loaded once answers for files and arrays alike, with typed results."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_walk import N_SLICES, SIDE, SIZE, Walk, toy_hu, write_series

from ich25d import load_model
from ich25d.api import Model
from ich25d.errors import ModelError, UsageError
from ich25d.labels import LABELS
from ich25d.predict.run import predict
from ich25d.predict.submission import check_submission
from ich25d.studies.build import build_studies


@pytest.fixture(scope="module")
def model(walk: Walk) -> Model:
    """A sequence model, loaded."""
    return load_model(walk.rnn, device="cpu")


def test_results_are_typed_and_those_of_the_command(walk: Walk, model: Model, tmp_path: Path) -> None:
    """Shapes, order, and the CSV of `predict`."""
    prediction = model.predict(walk.test)
    prediction.to_csv(tmp_path / "api.csv")
    predict((walk.test,), walk.rnn, tmp_path / "run.csv", device="cpu")

    assert len(prediction) == 3
    assert prediction[0].image_ids == tuple(walk.ids[21])
    for series in prediction:
        assert series.probability.shape == series.encoder_probability.shape == (N_SLICES, 6)
        assert series.series_probability.shape == (6,)
        assert len(series) == len(series.flags) == len(series.slice_position_mm) == N_SLICES
        assert series.labels == LABELS
        assert (series.probability > 0).all()
        assert (series.probability[:, -1] >= series.probability[:, :-1].max(axis=1)).all()  # any
    assert (tmp_path / "api.csv").read_bytes() == (tmp_path / "run.csv").read_bytes()


def test_an_array_is_predicted_as_its_files_are(model: Model, walk: Walk) -> None:
    """HU in any order of slices, with positions: the same probabilities as from DICOM, in scan order."""
    hu, position = toy_hu(21), 10.0 + 5.0 * np.arange(N_SLICES)
    shuffled = np.array([3, 0, 4, 1, 2])
    found = model.predict(
        hu[shuffled],
        slice_position_mm=position[shuffled],
        image_ids=[walk.ids[21][index] for index in shuffled],
        pixel_spacing_mm=(240 / SIDE, 240 / SIDE),
    )[0]
    files = model.predict(walk.test)[0]

    assert found.image_ids == files.image_ids
    assert found.probability == pytest.approx(files.probability, abs=1e-6)
    assert found.series_probability == pytest.approx(files.series_probability, abs=1e-6)


def test_one_series_is_written_alone(model: Model, walk: Walk, tmp_path: Path) -> None:
    """A series' own CSV holds its slices."""
    model.predict(str(walk.test))[1].to_csv(tmp_path / "one.csv")

    assert check_submission(tmp_path / "one.csv").n_images == N_SLICES


def test_the_prior_is_handed_out_as_a_copy(model: Model) -> None:
    """Nobody changes the model through it."""
    model.prior[:] = 0

    assert (model.prior > 0).all()


def test_wrong_calls_are_refused(model: Model, walk: Walk, tmp_path: Path) -> None:
    """Each with the rule and what was given."""
    hu = toy_hu(1)
    for arguments, options, message in [
        ((hu,), {}, "needs slice_position_mm"),
        ((hu,), {"slice_position_mm": [1.0, 2.0]}, "n positions"),
        ((hu.astype(float),), {"slice_position_mm": np.arange(5.0)}, "whole numbers"),
        ((hu,), {"slice_position_mm": np.arange(5.0), "image_ids": ["a"] * 5}, "each once"),
        ((walk.test,), {"image_ids": ["a"]}, "are for arrays"),
        ((hu,), {"slice_position_mm": list("abcde")}, "must be numbers"),
        ((hu,), {"slice_position_mm": np.arange(5.0), "pixel_spacing_mm": (0, 0)}, r"above 0 mm \(got \(0, 0\)"),
        ((hu,), {"slice_position_mm": np.arange(5.0), "pixel_spacing_mm": 0.5}, "distances of rows and of columns"),
        ((None,), {}, r"a path, paths or an array of HU \(got NoneType\)"),
        ((tmp_path,), {}, "must be a head CT series"),
    ]:
        with pytest.raises(UsageError, match=message):
            model.predict(*arguments, **options)
    with pytest.raises(ModelError, match=r"model\.json"):
        load_model(tmp_path)


def test_a_series_says_what_its_headers_gave_rise_to(
    model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its remarks are those of the tables, also from a store; images in two sources count once."""
    ids = write_series(tmp_path / "in", 21, 9)
    cut = tmp_path / "in" / f"{ids[4]}.dcm"
    cut.write_bytes(cut.read_bytes()[:-3000])
    build_studies((tmp_path / "in",), tmp_path / "store", size=SIZE, folds=2)
    (found,), (stored,) = model.predict(tmp_path / "in"), model.predict(tmp_path / "store")
    twice = model.predict([tmp_path / "in", tmp_path / "store"])

    assert {row.code for row in found.remarks} == {row.code for row in stored.remarks} >= {"GAP_HOLE", "GAP_MIXED"}
    assert len(twice) == 1
    assert "DUP_UID_SAME" in {row.code for row in twice.refused}
    assert len(list(model.explain(tmp_path / "in", labels=["any"]))) == 1
    assert f"{ids[4]}.dcm isn't explained: TRUNCATED" in capsys.readouterr().err
    with pytest.raises(UsageError, match="must exist"):
        model.explain(tmp_path / "none")  # at once, not when the first is asked for
