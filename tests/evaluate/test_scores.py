"""Scores of a level: a resampling is an evaluation of the cases drawn, and many cases need fewer of them."""

import numpy as np
import pytest

from ich25d.evaluate.scores import DECIDED, OVERALL, RANKED, score_level
from ich25d.labels import LABELS
from ich25d.summary import as_json
from ich25d.training.intervals import FEW_REPLICATES, MANY_CASES, patient_weights, percentiles
from ich25d.training.operating_point import F_RULES


def some_cases(n: int, n_patients: int, *, share: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth (N, 6), probabilities that know something of it, with ties, and whose a case is."""
    rng = np.random.default_rng(1)
    target = (rng.random((n, 6)) < share).astype(float)
    probability = np.clip(0.3 * target + 0.7 * rng.random((n, 6)), 0, 1).round(2)
    return target, probability, np.array([f"P{k}" for k in rng.integers(0, n_patients, n)], dtype=object)


def everything(target: np.ndarray, probability: np.ndarray, patient: np.ndarray, replicates: int = 1) -> np.ndarray:
    """Return value, low and high of every measure, shape (K, 3)."""
    found = score_level(target, probability, patient, {}, replicates=replicates, seed=4)
    measures = [found.overall[name] for name in OVERALL]
    measures += [found.label[label][name] for label in LABELS for name in RANKED]
    measures += [found.at[rule][label][name] for rule in F_RULES for label in LABELS for name in DECIDED]
    return np.array([(one.value, one.low, one.high) for one in measures])


def test_a_resampling_is_an_evaluation_of_the_cases_drawn() -> None:
    """Each patient's rows as often as the patient is drawn; but for `of_constant`, whose constant answer stays."""
    target, probability, patient = some_cases(300, 25)
    target[np.random.default_rng(2).random(target.shape) < 0.1] = np.nan
    found = everything(target, probability, patient, replicates=6)
    drawn = []
    for weight in np.concatenate(list(patient_weights(patient, replicates=6, seed=4))):
        copies = np.repeat(np.arange(len(patient)), weight.astype(int))
        drawn.append(everything(target[copies], probability[copies], patient[copies])[:, 0])
    expected = np.stack(percentiles(np.array(drawn)), axis=1)

    rest = np.arange(len(found)) != OVERALL.index("of_constant")
    assert found[rest, 1:] == pytest.approx(expected[rest], abs=1e-12, nan_ok=True)


def test_many_cases_draw_fewer_resamplings_and_say_so() -> None:
    """With 1,000 each, an evaluation at the competition's size would take twenty minutes."""
    target, probability, patient = some_cases(MANY_CASES + 1, 2000, share=0.01)
    found = score_level(target, probability, patient, {})

    assert (found.replicates, found.to_dict()["replicates"]) == (FEW_REPLICATES, FEW_REPLICATES)
    assert score_level(target[:99], probability[:99], patient[:99], {}, replicates=30).replicates == 30


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_is_a_share_of_a_constant_that_never_errs(value: float) -> None:
    """Where every label has one class alone, the best constant answer's loss is nought; JSON gets null, not 1e13."""
    _, probability, patient = some_cases(60, 9)
    found = score_level(np.full((60, 6), value), probability, patient, {}, replicates=20)

    assert as_json(found)["of_constant"] == {"value": None, "low": None, "high": None}
    assert found.overall["score"].value > 0


def test_draws_without_a_share_are_left_out() -> None:
    """Patients whose labels are all negative, and one with a bleed: draws of the former alone that know one class."""
    target, probability = np.zeros((40, 6)), np.full((40, 6), 0.1)
    target[:, :5] = np.nan
    target[30:] = [0, 0, 0, 0, 0, np.nan]  # of these patients other labels are known, without a bleed among them
    target[0, 5] = 1
    patient = np.array(["A"] * 30 + ["B"] * 10, dtype=object)
    found = score_level(target, probability, patient, {}, replicates=200).overall["of_constant"]

    assert 0 < found.low <= found.value <= found.high < 100
