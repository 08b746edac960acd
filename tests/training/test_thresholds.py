"""Thresholds are chosen label by label, and read back only when sound."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich25d.errors import ModelError
from ich25d.labels import LABELS
from ich25d.training.metrics import confusion
from ich25d.training.thresholds import POINTS, choose_thresholds, point_threshold, read_thresholds


def test_recall_weighs_more_under_f2():
    """One positive hides among negatives: F2 goes down to it, F1 doesn't; a label without positives has none."""
    target, probability = np.zeros((12, 6)), np.zeros((12, 6))
    probability[:, 0] = [0.9, 0.8, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.0]
    target[[0, 5], 0] = 1
    found = choose_thresholds(target, probability)

    assert found["f1"] == {"epidural": pytest.approx(0.85)}
    assert found["f2"] == {"epidural": pytest.approx(0.45)}
    assert read_thresholds(json.loads(json.dumps(found))) == found


@pytest.mark.parametrize(
    "content", [[], {"f1": 3}, {"f1": {"blood": 0.5}}, {"f1": {LABELS[0]: 1.5}}, {"f2": {LABELS[0]: True}}]
)
def test_damaged_thresholds_are_refused(content):
    """What isn't a probability by label is no threshold."""
    with pytest.raises(ModelError, match="threshold"):
        read_thresholds(content)


def test_operating_points_by_hand():
    """20 positives from .51 to .70, nine negatives below them and one among them: 19 are called, one may be wrong."""
    probability = np.concatenate([0.5 + np.arange(1, 21) / 100, np.arange(9) / 100, [0.65]])
    target = np.array([1.0] * 20 + [0.0] * 10)

    assert point_threshold(target, probability, "sensitivity", 0.95) == pytest.approx(0.515)
    assert point_threshold(target, probability, "specificity", 0.9) == pytest.approx((0.08 + 0.51) / 2)
    assert point_threshold(target, probability, "specificity", 1.0) == pytest.approx(0.655)
    assert np.isnan(point_threshold(np.ones(4), np.ones(4), "sensitivity", 0.95))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60).filter(
        lambda pairs: 0 < sum(truth for truth, _ in pairs) < len(pairs)
    )
)
def test_operating_points_hold_and_are_the_last_that_do(pairs):
    """On the data chosen on, the measure is held; the next score up (or down) would break it."""
    target = np.array([float(truth) for truth, _ in pairs])
    probability = np.array([score / 20 for _, score in pairs])
    for measure, least in POINTS.values():
        threshold = point_threshold(target, probability, measure, least)
        found = confusion(target, probability, threshold)

        assert 0 <= threshold <= 1
        assert getattr(found, measure) >= least - 1e-9 or (measure == "specificity" and probability.max() == 1)
        if measure == "sensitivity":
            called = probability[probability >= threshold]
            tighter = confusion(target, probability, called.min() + 1e-6)
            assert tighter.sensitivity < least
        else:
            spared = probability[probability < threshold]
            if len(spared):
                assert confusion(target, probability, spared.max()).specificity < least
