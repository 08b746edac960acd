"""Thresholds come from the spread of both classes, stay where few cases are, and are the cases' own where many are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import t as student

from ich25d.labels import LABELS
from ich25d.training.metrics import best_threshold
from ich25d.training.operating_point import FLAGGED, RULES, holding_threshold, read_thresholds
from ich25d.training.threshold_choice import choose_points, choose_thresholds, steady_best, steady_threshold

LOGITS = st.lists(st.floats(-8, 8), min_size=5, max_size=40)


def both(positive, negative):
    """Return truth and probability of two lists of logits."""
    truth = np.array([True] * len(positive) + [False] * len(negative))
    return truth, expit(np.array([*positive, *negative], dtype=np.float64))


def test_hand_worked():
    """Positives at 1, 2, 3, 4, 5: median 3, spread sqrt(2) on both sides, Student's quantile with 4 degrees."""
    truth, probability = both([1, 2, 3, 4, 5], [-5, -4, -3, -2, -1])
    reach = student.ppf(0.95, 4) * np.sqrt(1.2) * np.sqrt((2.5 * 5 / 3 + 10 * 2) / 12.5)
    exact = holding_threshold(truth * 1.0, probability, "sensitivity", 0.95)

    found = logit(steady_threshold(truth, probability, "sensitivity", 0.95, 5))

    assert found == pytest.approx(0.995 * (3 - reach) + 0.005 * logit(exact), abs=1e-4)
    assert -logit(steady_threshold(truth, probability, "specificity", 0.95, 5)) == pytest.approx(found, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(LOGITS, LOGITS, st.integers(0, 100))
def test_laws_of_held_measures(positive, negative, seed):
    """Monotone in the held value, whatever the order of cases, on the right side of the class's median."""
    truth, probability = both(positive, negative)
    order = np.random.default_rng(seed).permutation(len(truth))
    for held, own in (("sensitivity", positive), ("specificity", negative)):
        found = [steady_threshold(truth, probability, held, least, len(own)) for least in (0.6, 0.8, 0.9, 0.95, 0.99)]
        mixed = steady_threshold(truth[order], probability[order], held, 0.9, len(own))

        assert mixed == pytest.approx(found[2], abs=1e-9)
        assert all(0 <= value <= 1 for value in found)
        middle = expit(np.median(own))
        if held == "sensitivity":
            assert np.all(np.diff(found) <= 1e-9)
            assert max(found) <= middle + 1e-3
        else:
            assert np.all(np.diff(found) >= -1e-9)
            assert min(found) >= middle - 1e-3


@settings(max_examples=40, deadline=None)
@given(LOGITS, LOGITS, st.integers(0, 100))
def test_laws_of_best_f(positive, negative, seed):
    """A higher weight of recall calls no less; the order of cases doesn't matter; it lies among the cases."""
    truth, probability = both(positive, negative)
    order = np.random.default_rng(seed).permutation(len(truth))
    f1, f2 = (steady_best(truth, probability, beta, len(positive), len(negative)) for beta in (1.0, 2.0))
    mixed = steady_best(truth[order], probability[order], 1.0, len(positive), len(negative))

    assert mixed == pytest.approx(f1, abs=1e-9)
    assert logit(probability.min()) - 1.01 <= logit(f1) <= logit(probability.max()) + 1.01
    assert logit(f2) <= logit(f1) + 0.05


@pytest.mark.parametrize("n", [1000, 20_000])
def test_with_many_cases_the_cases_decide(n):
    """Whatever the form of their distribution."""
    rng = np.random.default_rng(3)
    truth, probability = both(rng.standard_t(2, n) + 1, rng.gumbel(-3, 1, n))

    for held, least in (("sensitivity", 0.95), ("specificity", 0.9)):
        exact = holding_threshold(truth * 1.0, probability, held, least)
        assert steady_threshold(truth, probability, held, least, n) == pytest.approx(exact)
    assert steady_best(truth, probability, 1.0, n, n) == pytest.approx(best_threshold(truth * 1.0, probability))


def test_one_hard_case_moves_it_little():
    """The lowest of 36 positives is missed by miles: the empirical threshold follows it half of the way."""
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(2, 1.5, 36), rng.normal(-2, 1.5, 46)
    hard = np.sort(positive)
    hard[:2] = -6

    def moved(choose):
        return logit(choose(*both(hard, negative))) - logit(choose(*both(positive, negative)))

    assert moved(lambda truth, value: holding_threshold(truth * 1.0, value, "sensitivity", 0.95)) < -3
    assert -1.2 < moved(lambda truth, value: steady_threshold(truth, value, "sensitivity", 0.95, 36)) < 0


def test_thresholds_of_few_spread_less_than_the_cases_own():
    """From sample to sample of 20 heavy-tailed positives; new cases are found as often as is said, nearly."""
    rng = np.random.default_rng(1)
    new = 2 + 1.5 * rng.standard_t(3, 50_000)
    steady, exact = [], []
    for _ in range(100):
        sample = both(2 + 1.5 * rng.standard_t(3, 20), -2 + 1.2 * rng.standard_t(3, 30))
        steady.append(logit(steady_threshold(*sample, "sensitivity", 0.95, 20)))
        exact.append(logit(holding_threshold(sample[0] * 1.0, sample[1], "sensitivity", 0.95)))

    assert np.std(steady) < 0.9 * np.std(exact)
    found, before = (np.mean([(new >= value).mean() for value in values]) for values in (steady, exact))
    assert before < 0.925 < found < 0.96


def test_a_label_with_few_series_gets_no_threshold():
    """Four positive or negative series are too few, however many slices they have; unknown slices don't count."""
    rng = np.random.default_rng(0)
    whose = np.repeat(np.arange(20), 10)
    target, probability = np.zeros((200, 6)), rng.random((200, 6)) * 0.5
    target[:40, 0] = target[:50, 1] = target[:50, 2] = target[:150, 3] = 1
    target[40:50, 2] = np.nan
    target[:, 5] = np.nan
    probability[target == 1] += 0.4

    found = choose_thresholds(target, probability, whose)

    for by_label in found.values():
        assert set(by_label) == {LABELS[1], LABELS[3]}
    assert read_thresholds(found) == found
    target[150:160, 3] = 1
    assert set(choose_thresholds(target, probability, whose)["f1"]) == {LABELS[1]}


def test_what_is_reached_is_kept_beside_the_thresholds():
    """Of slices and series by label, and of a series with any label over its threshold."""
    rng = np.random.default_rng(0)
    series = np.zeros((30, 6))
    series[:12, [1, 5]] = 1
    probability = np.clip(0.3 * series + 0.6 * rng.random((30, 6)), 0.01, 0.99)
    whose = np.repeat(np.arange(30), 2)

    content = choose_points(series[whose], probability[whose], whose, series, probability)

    for rule in RULES:
        threshold = content["thresholds"]["series"][rule]
        found = content["operating_points"]["series"][rule]
        assert set(threshold) == {LABELS[1], "any"}
        one = probability[:, 1] >= threshold[LABELS[1]]
        assert found[LABELS[1]] == {
            "sensitivity": round(one[:12].mean(), 4), "n_positive": 12,
            "specificity": round(1 - one[12:].mean(), 4), "n_negative": 18,
        }  # fmt: skip
        flagged = one | (probability[:, 5] >= threshold["any"])
        assert found[FLAGGED]["specificity"] == round(1 - flagged[12:].mean(), 4)
        assert content["operating_points"]["slice"][rule]["any"]["n_negative"] == 36
