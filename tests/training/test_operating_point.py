"""Thresholds are chosen label by label, and read back only when sound."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich25d.errors import ModelError, UsageError
from ich25d.labels import LABELS
from ich25d.training.metrics import confusion
from ich25d.training.operating_point import (
    HOLDING_RULES,
    RULES,
    choose_point,
    choose_thresholds,
    find_thresholds,
    holding_threshold,
    known_points,
    read_points,
    read_thresholds,
)


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

    assert holding_threshold(target, probability, "sensitivity", 0.95) == pytest.approx(0.515)
    assert holding_threshold(target, probability, "specificity", 0.9) == pytest.approx((0.08 + 0.51) / 2)
    assert holding_threshold(target, probability, "specificity", 1.0) == pytest.approx(0.655)
    assert np.isnan(holding_threshold(np.ones(4), np.ones(4), "sensitivity", 0.95))


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60).filter(
        lambda pairs: 0 < sum(truth for truth, _ in pairs) < len(pairs)
    )
)
def test_operating_points_hold_and_are_the_last_that_do(pairs):
    """On the data chosen on, the measure is held; the next score up (or down) would break it."""
    target = np.array([float(truth) for truth, _ in pairs])
    probability = np.array([score / 20 for _, score in pairs])
    for measure, least in HOLDING_RULES.values():
        threshold = holding_threshold(target, probability, measure, least)
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


def test_the_default_is_the_most_sensitive_point_that_the_model_has():
    """Another is taken by its rule; without thresholds nothing counts as found."""
    thresholds = {"slice": {"f1": {"any": 0.5}}, "series": {"f1": {"any": 0.6}, "sensitivity_95": {"any": 0.1}}}
    points = known_points(thresholds)
    (empty,) = known_points({})

    assert [point.rule for point in points] == ["sensitivity_95", "f1"]
    assert (points[0].of_slice, points[0].of_series, points[0].name) == ({}, {"any": 0.1}, "sensitivity at least .95")
    assert choose_point(points, None) is points[0]
    assert choose_point(points, "f1") is points[1]
    assert empty.over(np.ones(6)) == ()
    assert not empty.slices_over(np.ones((2, 6))).any()
    with pytest.raises(UsageError, match=r"sensitivity_95, f1 \(got 'f2'\)"):
        choose_point(points, "f2")
    with pytest.raises(UsageError, match="knows: none"):
        choose_point(known_points({}), "none")


def test_labels_are_over_from_their_threshold_on():
    """`any` first, the others by probability; a label without a threshold never is."""
    (point,) = known_points({"series": {"f2": {"any": 0.4, "subdural": 0.4, "epidural": 0.4}}})
    probability = np.array([0.4, 0.9, 0.9, 0.9, 0.7, 0.39])

    assert point.over(probability) == ("subdural", "epidural")
    assert point.over(np.maximum(probability, 0.4)) == ("any", "subdural", "epidural")


def test_thresholds_are_read_from_a_model_directory_or_a_file(tmp_path):
    """`model.json` holds two levels; a file of one level is taken for slices; no thresholds are no error."""
    path = tmp_path / "model.json"
    path.write_text(json.dumps({"thresholds": {"slice": {"f1": {"any": 0.3}}, "series": {"f2": {"any": 0.7}}}}))
    empty = {rule: {} for rule in RULES}

    assert find_thresholds(tmp_path) == {
        "slice": {**empty, "f1": {"any": 0.3}},
        "series": {**empty, "f2": {"any": 0.7}},
    }
    assert [point.rule for point in read_points(tmp_path)] == ["f2", "f1"]
    path.write_text(json.dumps({"f1": {"any": 0.3}}))
    assert find_thresholds(path) == {"slice": {**empty, "f1": {"any": 0.3}}, "series": empty}
    path.write_text("{}")
    assert find_thresholds(path) == find_thresholds(None) == {}
    path.write_text("{")
    with pytest.raises(ModelError, match="JSON"):
        find_thresholds(tmp_path)
    with pytest.raises(ModelError, match="readable file"):
        find_thresholds(tmp_path / "none.json")


@pytest.mark.parametrize("text", ["[1, 2]", '{"thresholds": [1]}', "[" * 100_000], ids=["list", "inner", "nested"])
def test_thresholds_of_another_form_are_refused(tmp_path, text):
    """In a sentence: `evaluate --model labels.json` ended in a traceback."""
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ModelError, match="thresholds must be"):
        find_thresholds(tmp_path)
