"""Paired measures agree with those of an evaluation, and the draws with each other."""

import numpy as np
import pytest

from ich25d.evaluate.paired import MEASURES, SENSITIVITY, Predicted, measures_of, resampled
from ich25d.evaluate.scores import score_level
from ich25d.labels import ANY_INDEX, LABEL_WEIGHTS, LABELS, SHORT, SUBTYPES
from ich25d.training.intervals import REPLICATES
from ich25d.training.metrics import confusion, log_loss_each
from ich25d.training.operating_point import holding_threshold
from ich25d.training.series_target import series_target

UNKNOWN = np.full(len(LABELS), np.nan)


def some_series(n: int = 40, *, seed: int = 0) -> list[Predicted]:
    """Return series of 25 patients, a bleed in half of them; probabilities know something of it, with ties."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        target = (rng.random((int(rng.integers(5, 12)), 6)) < (0.3 if number % 2 else 0)).astype(float)
        target[:, ANY_INDEX] = target.max(axis=1)
        slices = np.clip(0.15 * target + 0.8 * rng.random(target.shape), 0.01, 0.99).round(2)
        found.append(Predicted(f"P{number % 25}", target, slices, slices.max(axis=0)))
    return found


def joined(series: list[Predicted]) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and probabilities of all slices."""
    return np.concatenate([one.target for one in series]), np.concatenate([one.slices for one in series])


def test_measures_are_those_of_an_evaluation() -> None:
    """AUC, average precision and log loss, with their intervals: the same definitions and the same draws."""
    series = some_series()
    patient = np.repeat([one.patient for one in series], [len(one.target) for one in series])
    expected = score_level(*joined(series), patient, {})
    whole = score_level(
        np.stack([series_target(one.target) for one in series]), np.stack([one.whole for one in series]),
        np.array([one.patient for one in series]), {},
    )  # fmt: skip
    found = measures_of(resampled(series, UNKNOWN))

    wanted = {"AUC any": expected.label["any"]["auc"], "AP any": expected.label["any"]["average_precision"],
              "log loss": expected.overall["of_constant"], "series AUC any": whole.label["any"]["auc"],
              **{f"AUC {SHORT[label]}": expected.label[label]["auc"] for label in SUBTYPES}}  # fmt: skip
    for name, one in wanted.items():
        assert (found[name].value, found[name].low, found[name].high) == pytest.approx((one.value, one.low, one.high))
    assert np.isnan(found["log loss at prevalence"].value)


def test_log_loss_is_weighed_to_a_prevalence() -> None:
    """At the set's own shares it is the log loss; elsewhere negatives that count twice do the same as their copies."""
    series = some_series()
    target, probability = joined(series)
    own = measures_of(resampled(series, target.mean(axis=0)))
    positive = target.sum(axis=0)
    share = positive / (positive + 2 * (1 - target).sum(axis=0))
    doubled = (log_loss_each(target, probability) * np.where(target == 1, 1, 2)).sum(axis=0)
    doubled /= np.where(target == 1, 1, 2).sum(axis=0)
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))

    assert own["log loss at prevalence"].value == pytest.approx(own["log loss"].value)
    assert measures_of(resampled(series, share))["log loss at prevalence"].value == pytest.approx(
        (LABEL_WEIGHTS @ doubled) / (LABEL_WEIGHTS @ entropy)
    )


def test_specificity_is_that_at_the_threshold_that_holds_sensitivity() -> None:
    """As `holding_threshold` and `confusion` have it; not defined without a positive series."""
    series = some_series(60)
    truth = np.array([series_target(one.target)[ANY_INDEX] for one in series])
    value = np.array([one.whole[ANY_INDEX] for one in series])
    decided = confusion(truth, value, holding_threshold(truth, value, "sensitivity", SENSITIVITY))
    healthy = [one for one, bleeds in zip(series, truth, strict=True) if not bleeds]

    assert measures_of(resampled(series, UNKNOWN))["series specificity"].value == pytest.approx(decided.specificity)
    assert 0 < decided.specificity < 1
    assert np.isnan(measures_of(resampled(healthy, UNKNOWN))["series specificity"].value)


def test_draws_are_the_same_for_the_same_patients() -> None:
    """In whatever order the series come, so that differences of two networks are paired."""
    series = some_series()
    draws = resampled(series, UNKNOWN)

    assert draws.shape == (1 + REPLICATES, len(MEASURES))
    np.testing.assert_allclose(resampled(series[::-1], UNKNOWN), draws, atol=1e-12)
