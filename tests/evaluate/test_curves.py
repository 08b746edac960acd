"""Curves by hand, against brute force, and as laws: more patients drawn alike change nothing."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from ich25d.evaluate.curves import FALSE_ALARMS, RECALLS, THRESHOLDS, net_benefit, reliability, roc_and_precision
from ich25d.evaluate.level import LabelCases
from ich25d.summary import as_json
from ich25d.training.metrics import auc


def _cases(positive: npt.ArrayLike, probability: npt.ArrayLike, code: npt.ArrayLike | None = None) -> LabelCases:
    truth = np.asarray(positive, dtype=bool)
    who = np.arange(len(truth)) if code is None else np.asarray(code)
    return LabelCases(truth, np.asarray(probability, dtype=np.float64), who.astype(np.int64), 40, 0)


def test_counts_by_patient() -> None:
    """Two patients, three thresholds: what is at a threshold is called."""
    cases = _cases([1, 0, 1, 0], [0.2, 0.5, 0.5, 0.9], [0, 0, 1, 1])
    positive, negative = cases.called_at(np.array([0.1, 0.5, 0.6]))

    assert positive.tolist() == [[1, 0, 0], [1, 1, 0]]
    assert negative.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert [part.tolist() for part in cases.totals()] == [[1, 1], [1, 1]]


def test_a_roc_by_hand() -> None:
    """Positives .9, .4; negatives .6, .1: sensitivity .5 up to half of the false alarms, then 1."""
    roc, precision = roc_and_precision(_cases([1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1]))

    assert roc.y[FALSE_ALARMS < 0.5] == pytest.approx(np.full((FALSE_ALARMS < 0.5).sum(), 0.5))
    assert roc.y[FALSE_ALARMS >= 0.5] == pytest.approx(1)
    assert precision.y[RECALLS <= 0.5] == pytest.approx(1)
    assert precision.y[RECALLS > 0.505] == pytest.approx(2 / 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(12, 80))
def test_curves_are_those_of_the_whole_sort(seed: int, n: int) -> None:
    """The area under the ROC curve is the AUC, the curve rises, and net benefit is its formula."""
    rng = np.random.default_rng(seed)
    probability = np.round(rng.random(n), 2)
    positive = rng.random(n) < 0.2 + 0.6 * probability
    positive[:2] = [True, False]
    cases = _cases(positive, probability, rng.integers(0, 5, n))
    cases = _cases(positive, probability, np.unique(cases.code, return_inverse=True)[1])
    roc, precision = roc_and_precision(cases)
    benefit, everything = net_benefit(cases)

    false, true, _ = reference.roc_curve(positive, probability, drop_intermediate=False)
    inner = ~np.isin(FALSE_ALARMS, false)  # at a step itself the upper end holds
    assert roc.y[inner] == pytest.approx(np.interp(FALSE_ALARMS[inner], false, true))
    assert (np.diff(roc.y) >= -1e-12).all()
    area = np.trapezoid(roc.y, FALSE_ALARMS)  # each jump lies between two places of the grid, at most .01 apart
    assert area == pytest.approx(auc(positive.astype(float), probability), abs=6e-3)
    called = probability >= THRESHOLDS[7]
    odds = THRESHOLDS[7] / (1 - THRESHOLDS[7])
    assert benefit.y[7] == pytest.approx(((called & positive).sum() - odds * (called & ~positive).sum()) / n)
    assert everything.y == pytest.approx(positive.mean() - THRESHOLDS / (1 - THRESHOLDS) * (1 - positive.mean()))
    assert precision.y[-1] == pytest.approx((positive[probability >= probability[positive].min()]).mean())


def test_reliability_finds_the_recalibration() -> None:
    """Logits twice as large as they should be have slope one half; right ones have slope 1 and intercept 0."""
    rng = np.random.default_rng(1)
    logit = rng.normal(-1, 1.5, 20_000)
    positive = rng.random(20_000) < 1 / (1 + np.exp(-logit))
    code = np.arange(20_000) // 2
    right = reliability(_cases(positive, 1 / (1 + np.exp(-logit)), code))
    bold = reliability(_cases(positive, 1 / (1 + np.exp(-2 * logit - 1)), code))

    assert right.slope.value == pytest.approx(1, abs=0.06)
    assert right.intercept.value == pytest.approx(0, abs=0.06)
    assert right.slope.low < 1 < right.slope.high
    assert bold.slope.value == pytest.approx(right.slope.value / 2)
    assert bold.intercept.value == pytest.approx(right.intercept.value - right.slope.value / 2)
    assert right.n.tolist() == [2000] * 10
    assert right.curve.y == pytest.approx(right.curve.x, abs=0.05)
    assert (right.curve.low <= right.curve.y).all()


def test_classes_told_apart_have_no_slope() -> None:
    """The likelihood grows with the slope without bound: no number is made up."""
    found = reliability(_cases([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]))

    assert np.isnan(found.slope.value)
    assert found.observed == 0.5


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 300), st.floats(-3, 3), st.floats(0.02, 30), st.floats(-12, 12))
def test_the_recalibration_is_the_regression_without_penalty(
    seed: int, n: int, intercept: float, slope: float, centre: float
) -> None:
    """However few the cases, however steep: scikit-learn's numbers wherever there is a finite best fit, else none."""
    rng = np.random.default_rng(seed)
    logit = np.clip(centre + rng.normal(0, 1 / slope, n), -13, 13)  # often far from 0, and narrow
    positive = rng.random(n) < expit(intercept + 2 * slope * (logit - logit.mean()))
    found = reliability(_cases(positive, expit(logit)))
    yes, no = logit[positive], logit[~positive]
    if not len(yes) or not len(no) or yes.min() >= no.max() or no.min() >= yes.max():
        assert np.isnan([found.slope.value, found.slope.low, found.intercept.value, found.intercept.high]).all()
        return
    scaled = (logit - logit.mean()) / logit.std()
    model = LogisticRegression(C=np.inf, tol=1e-12, max_iter=100_000).fit(scaled[:, None], positive)
    expected = model.coef_[0, 0] / logit.std()

    assert found.slope.value == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert found.intercept.value == pytest.approx(model.intercept_[0] - expected * logit.mean(), rel=1e-4, abs=1e-3)
    assert found.slope.low <= found.slope.value <= found.slope.high < 1e5


@pytest.mark.parametrize(
    ("positive", "probability"),
    [
        ([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]),
        ([0, 0, 0, 1, 1, 1], [0.9, 0.8, 0.7, 0.3, 0.2, 0.1]),
        ([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.5, 0.5, 0.8, 0.9]),
        ([0, 1, 0, 1, 0, 1], [0.5] * 6),
        ([0, 0, 0, 0], [0.1, 0.2, 0.3, 0.4]),
        ([0, 1], [1e-9, 1 - 1e-9]),
    ],
    ids=["separated", "the wrong way round", "but for ties", "one probability", "one class", "at the clip"],
)
def test_what_has_no_finite_fit_has_no_slope(positive: list[int], probability: list[float]) -> None:
    """Separation, be it with ties, a single logit and a single class: neither number nor interval, and no warning."""
    found = reliability(_cases(positive, probability))

    for measure in (found.slope, found.intercept):
        assert as_json(measure) == {"value": None, "low": None, "high": None}


def test_a_single_mistake_makes_the_slope_finite() -> None:
    """One negative among a hundred positives, far from the others: Newton's full steps would diverge."""
    probability = np.concatenate([np.linspace(1e-6, 1e-5, 400), np.linspace(0.6, 0.9, 100), [0.61]])
    positive = np.concatenate([np.zeros(400), np.ones(100), [0]])
    found = reliability(_cases(positive, probability))
    logit = np.log(probability / (1 - probability))
    residual = positive - expit(found.intercept.value + found.slope.value * logit)

    assert residual.sum() == pytest.approx(0, abs=1e-6)
    assert (residual * logit).sum() == pytest.approx(0, abs=1e-5)
    assert found.slope.low < found.slope.value < found.slope.high < 50


def test_two_patients_say_nothing_of_how_much_patients_differ() -> None:
    """Their scores cancel out at the best fit: a value, but no interval (it would have width 0)."""
    cases = _cases([0, 1, 0, 1, 0, 1], [0.2, 0.4, 0.5, 0.6, 0.7, 0.3], [0, 0, 0, 1, 1, 1])
    found = reliability(cases)

    assert np.isfinite(found.slope.value)
    assert np.isnan([found.slope.low, found.slope.high, found.intercept.low]).all()
