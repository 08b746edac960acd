"""Operating points: hand-worked shares, Bayes' rule, and no point where no threshold was chosen before."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich25d.evaluate.decisions import decide, predictive_values
from ich25d.evaluate.level import Cases, Level, make_level
from ich25d.training.intervals import wilson_interval
from ich25d.training.operating_point import Thresholds


def _level(thresholds: Thresholds) -> Level:
    target = np.full((20, 6), np.nan)
    target[:, 5] = [1] * 8 + [0] * 12
    probability = np.full((20, 6), 0.1)
    probability[:, 5] = [0.9] * 6 + [0.3] * 2 + [0.6] * 3 + [0.05] * 9
    ids = np.array([f"S{k}" for k in range(20)], dtype=object)
    return make_level(Cases("series", ids, target, probability, ids), thresholds=thresholds, replicates=50)


def test_a_point_by_hand() -> None:
    """At .5, 6 of 8 positives are called and 9 of 12 negatives aren't; PPV at .4 is .3 / (.3 + .15)."""
    point, *rest = decide(_level({"sensitivity_95": {"any": 0.5}}), (0.4,))

    assert rest == []
    assert (point.point, point.label, point.threshold) == ("sensitivity_95", "any", 0.5)
    assert (point.sensitivity.n_hit, point.sensitivity.n) == (6, 8)
    assert (point.specificity.n_hit, point.specificity.n) == (9, 12)
    assert point.sensitivity.value == 0.75
    assert point.sensitivity.wilson == pytest.approx(wilson_interval(6, 8))
    assert point.sensitivity.resampled[0] <= 0.75 <= point.sensitivity.resampled[1]
    assert point.positive_predictive[0.4].value == pytest.approx(0.3 / 0.45)
    assert point.negative_predictive[0.4].value == pytest.approx(0.45 / 0.55)


def test_without_thresholds_nothing_is_decided() -> None:
    """No threshold is chosen on the cases that are judged."""
    assert decide(_level({})) == []
    assert decide(_level({"f1": {"any": 0.5}})) == []


def test_wilson_by_hand() -> None:
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20 and 1 of 29."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert np.isnan(wilson_interval(0, 0)).all()


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share_and_mirrors(n: int, data: st.DataObject) -> None:
    """The share is inside, the interval within 0 and 1; misses have the mirrored one."""
    hit = data.draw(st.integers(0, n))
    low, high = wilson_interval(hit, n)

    assert 0 <= low <= hit / n + 1e-12
    assert hit / n - 1e-12 <= high <= 1
    assert wilson_interval(n - hit, n) == pytest.approx((1 - high, 1 - low))


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_predictive_values_are_bayes(sensitivity: float, specificity: float, share: float) -> None:
    """Counted in 1 case: true calls over all calls."""
    call = sensitivity * share + (1 - specificity) * (1 - share)
    (ppv,), (npv,) = predictive_values(np.array([sensitivity]), np.array([specificity]), share)

    assert ppv * call == pytest.approx(sensitivity * share)
    assert npv * (1 - call) == pytest.approx(specificity * (1 - share))
