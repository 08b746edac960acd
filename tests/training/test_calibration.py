"""Calibration recovers what was distorted, stays put without evidence, and keeps `any` above its subtypes."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit

from ich25d.errors import ModelError
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.training.calibration import CORRELATED, Calibration, enforce_any, prevalence_shift
from ich25d.training.metrics import case_losses

UNSMOOTHED = np.zeros(0)
"""Positions that nothing is smoothed over: these calibrations have no width."""


def _drawn(n, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(-1.5, 1.5, (n, 6))
    return true, (rng.random((n, 6)) < expit(true)).astype(float)


def test_fit_undoes_a_temperature_and_a_bias():
    """With 40,000 slices the numbers that spoilt the logits come back."""
    true, target = _drawn(40_000)
    found = Calibration.fit(2.0 * (true - 0.7), target)

    assert found.temperature == pytest.approx([2.0] * 6, rel=0.06)
    assert found.bias == pytest.approx([0.7] * 6, abs=0.08)


def test_fit_lowers_the_score_of_overconfident_logits():
    """Logits three times too large lose less after the fit."""
    true, target = _drawn(500)
    fitted = Calibration.fit(3 * true, target)

    before, after = (
        case_losses(target, expit(logits))[0].sum() for logits in (3 * true, fitted.apply(3 * true, UNSMOOTHED))
    )
    assert after < before


def test_fit_is_the_minimum_of_its_loss():
    """Nudging either parameter must not lower the penalised log loss."""
    true, target = _drawn(300, seed=3)
    found = Calibration.fit(true, target)

    def loss(temperature, bias):
        p = expit(true[:, 0] / temperature + bias)
        nll = -(target[:, 0] * np.log(p) + (1 - target[:, 0]) * np.log(1 - p)).sum()
        return nll / CORRELATED + 0.5 * (np.log(temperature) / 0.5) ** 2 + 0.5 * bias**2

    t, b = found.temperature[0], found.bias[0]
    assert all(loss(t, b) <= loss(t * f, b + d) + 1e-9 for f in (0.98, 1, 1.02) for d in (-0.02, 0, 0.02))


def test_a_label_without_evidence_stays_as_it_is():
    """Nothing known of a label: temperature 1, bias 0."""
    true, target = _drawn(100)
    target[:, 2] = np.nan
    found = Calibration.fit(true, target)

    assert (found.temperature[2], found.bias[2]) == (1.0, 0.0)


def test_little_evidence_moves_little():
    """Thirty slices without a positive don't drive a label's probability to nothing."""
    found = Calibration.fit(np.full((30, 6), -2.0), np.zeros((30, 6)))

    assert all(-0.8 < bias < 0 for bias in found.bias)
    assert all(0.5 < temperature <= 1.05 for temperature in found.temperature)


def test_a_prevalence_shifts_the_bias_alone():
    """A share that counts for 50,000 slices outweighs 1,000 slices of data; the temperature is the images', not its."""
    true, target = _drawn(1000)
    plain = Calibration.fit(true, target)
    rarer = Calibration.fit(true, target, prevalence=[0.05] * 5 + [np.nan], prevalence_weight=50_000)

    assert rarer.temperature == plain.temperature
    assert rarer.bias[5] == plain.bias[5]
    # Where one in twenty is positive, positives and negatives as they are here: the mean probability is that share.
    share = target.mean(axis=0)
    there = target * 0.05 / share + (1 - target) * 0.95 / (1 - share)
    mean = (there * expit(rarer.apply(true, UNSMOOTHED))).mean(axis=0)[:5]
    assert mean == pytest.approx([0.05] * 5, abs=0.01)
    assert expit(plain.apply(true, UNSMOOTHED)).mean() > 0.2


def test_a_prevalence_is_averaged_with_the_share_of_the_fit_by_numbers_of_slices():
    """100 slices at one half and a weight of 300 at one tenth make one fifth; no weight or no slices decide alone."""
    logit = np.zeros(100)

    assert expit(prevalence_shift(logit, 0.1, 300)) == pytest.approx(0.2)
    assert prevalence_shift(logit, 0.1, 0) == 0
    assert prevalence_shift(np.zeros(0), 0.1, 300) == 0


def test_extreme_logits_are_survived():
    """Logits of 10,000 on the wrong side give finite numbers."""
    logits = np.array([[1e4] * 6, [-1e4] * 6])

    assert np.isfinite(Calibration.fit(logits, np.array([[0.0] * 6, [1.0] * 6])).apply(logits, UNSMOOTHED)).all()


def test_smooths_along_the_scan_before_it_calibrates():
    """By mm, so that slices 5 and 10 mm away count by the Gaussian; several views at once as one by one."""
    logits = np.zeros((2, 3, 6))
    logits[0, 0], logits[1, 2] = 1.0, -4.0
    position = np.array([-20.0, -15.0, -5.0])
    calibration = Calibration((2.0,) * 6, (0.5,) * 6, sigma_mm=10.0)

    found = calibration.apply(logits, position)

    near, far, both = np.exp(-0.5 * np.array([0.5, 1.5, 1.0]) ** 2)
    expected = 0.5 + 0.5 * np.array([1 / (1 + near + far), near / (1 + near + both), far / (1 + far + both)])
    np.testing.assert_allclose(found[0], np.repeat(expected[:, None], 6, axis=1))
    np.testing.assert_allclose(found[1], calibration.apply(logits[1], position))


def test_json_keeps_it():
    """A calibration read from JSON equals the one written; null is none."""
    calibration = Calibration((1.5, 1, 1, 1, 1, 0.9), (0.1, 0, 0, 0, 0, -2), 7.5)

    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration
    assert Calibration.from_dict(None) == Calibration()


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"temperature": {}, "bias": {}},
        {"temperature": dict.fromkeys(LABELS, 0.0), "bias": dict.fromkeys(LABELS, 0.0)},
        {"temperature": dict.fromkeys(LABELS, 1.0), "bias": dict.fromkeys(LABELS, float("nan"))},
        {"temperature": dict.fromkeys(LABELS, "x"), "bias": dict.fromkeys(LABELS, 0.0)},
        {"temperature": dict.fromkeys(LABELS, 1.0), "bias": dict.fromkeys(LABELS, 0.0), "sigma_mm": -1},
        [1.0],
    ],
)
def test_a_damaged_calibration_is_refused(content):
    """Missing labels, a temperature of 0, NaN, text and a list end in one error."""
    with pytest.raises(ModelError, match="calibration must"):
        Calibration.from_dict(content)


@given(arrays(np.float64, (3, 6), elements=st.floats(0, 1)))
def test_any_is_at_least_every_subtype(probability):
    """Nothing but `any` is raised, and the input stays as it was."""
    before = probability.copy()
    fixed = enforce_any(probability)

    assert (fixed[:, ANY_INDEX, None] >= fixed).all()
    assert (fixed[:, :ANY_INDEX] == probability[:, :ANY_INDEX]).all()
    assert (fixed[:, ANY_INDEX] >= before[:, ANY_INDEX]).all()
    assert (probability == before).all()
