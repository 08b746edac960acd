"""Thresholds are chosen label by label, and read back only when sound."""

import json

import numpy as np
import pytest

from ich25d.errors import ModelError
from ich25d.labels import LABELS
from ich25d.training.thresholds import choose_thresholds, read_thresholds


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
