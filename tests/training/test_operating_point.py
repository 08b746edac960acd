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
    Measured,
    choose_point,
    find_thresholds,
    holding_threshold,
    known_points,
    read_points,
    read_thresholds,
)


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


SERIES = {rule: {"any": 0.1 * number} for number, rule in enumerate(RULES, start=1)}


@pytest.mark.parametrize(
    ("specificities", "default"),
    [
        ((0.6, 0.7, 0.8, 0.9), "sensitivity_95"),
        ((0.59, 0.7, 0.8, 0.9), "f2"),
        ((0.1, 0.3, 0.45, 0.9), "specificity_90"),
        ((0.1, 0.3, 0.45, 0.2), "f1"),
        ((0.0, 0.0, 0.0, 0.0), "sensitivity_95"),
    ],
)
def test_the_default_spares_three_fifths_of_the_clean_series_where_a_rule_does(specificities, default):
    """Else it is the one that spares most; the others keep their order."""
    found = {rule: Measured(0.9, 20, value, 40) for rule, value in zip(RULES, specificities, strict=True)}
    points = known_points({"series": SERIES}, found)

    assert points[0].rule == default
    assert [point.rule for point in points[1:]] == [rule for rule in RULES if rule != default]
    assert known_points({"series": SERIES})[0].rule == "sensitivity_95"


def test_a_point_that_flags_nearly_everything_says_so():
    """By what it reached on validation, and by what it flags here; a model that measured nothing stays silent."""
    measured = Measured(0.974, 36, 0.065, 46)
    (point,) = known_points({"series": {"f1": {"any": 0.2}}}, {"f1": measured})
    (sparing,) = known_points({"series": {"f1": {"any": 0.2}}}, {"f1": measured._replace(specificity=0.2)})
    (old,) = known_points({"series": {"f1": {"any": 0.2}}})

    assert point.described == "best F1 (found .97 of 36 positive, spared .07 of 46)"
    assert "43 of 46 series without a bleed" in point.caution
    assert (sparing.caution, old.caution, old.described) == ("", "", "best F1")
    assert old.doubt(10, 11).startswith("10 of 11 series are flagged")
    assert old.doubt(5, 5)
    assert old.doubt(4, 4) == old.doubt(9, 10) == old.doubt(0, 0) == ""


def test_what_points_reached_is_read_from_a_model_directory(tmp_path):
    """And refused in a sentence where it is damaged."""
    reached = {"sensitivity": 1.0, "n_positive": 5, "specificity": 0.25, "n_negative": 8}
    content = {
        "thresholds": {"series": {"f2": {"any": 0.3}}},
        "operating_points": {"slice": {}, "series": {"f2": {"any": {}, "flagged": reached}}},
    }
    path = tmp_path / "model.json"
    path.write_text(json.dumps(content))

    assert read_points(tmp_path)[0].measured == Measured(1.0, 5, 0.25, 8)
    for damaged in ([1], {"series": 3}, {"series": {"f2": {"flagged": {**reached, "specificity": 3}}}}, {"slice": {}}):
        path.write_text(json.dumps({**content, "operating_points": damaged}))
        with pytest.raises(ModelError, match="what operating points reached"):
            read_points(tmp_path)
