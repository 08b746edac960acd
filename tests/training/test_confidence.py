"""States of confidence: what is usual, how far is unusual, and how clear an answer must be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich25d.bleeds.scan_measures import MEASURES
from ich25d.dicom.codes import CODES
from ich25d.errors import ModelError
from ich25d.labels import LABELS
from ich25d.training.confidence import (
    NO_HEAD,
    NOT_FOR,
    SURE,
    TO_LOOK_AT,
    UNSURE,
    Confidence,
    Usual,
    clearness_of,
    fit_confidence,
)
from ich25d.training.operating_point import OperatingPoint

NAMES = list(MEASURES)
USUAL = {name: Usual(1.0, 2.0, 4.0) for name in NAMES}
RULE = Confidence(USUAL, limit=2.0, clear=0.5, common=("THIN", "SATURATED"))
POINT = OperatingPoint("f1", {}, {"any": 0.5, "subdural": 0.2})


def _measured(**changes: float) -> np.ndarray:
    return np.array([changes.get(name, 2.0) for name in NAMES])


def test_every_code_that_is_looked_for_exists() -> None:
    """A code that was renamed would never be met again."""
    assert set(NO_HEAD) | set(TO_LOOK_AT) <= set(CODES)


@pytest.mark.parametrize(
    ("measured", "codes", "clearness", "state", "why"),
    [
        (_measured(), (), 0.5, SURE, ""),
        (_measured(), ("THIN", "SATURATED", "TILT"), 0.5, SURE, ""),
        (_measured(), (), 0.49, UNSURE, "close to a threshold"),
        (_measured(), ("ONE_SLICE",), 9.0, UNSURE, "ONE_SLICE"),
        (_measured(), ("NOT_HEAD?",), 9.0, NOT_FOR, "NOT_HEAD?"),
        (_measured(air=6.0), (), 9.0, UNSURE, "is air: 6, usually 1 to 4"),  # (6 - 2) / (4 - 2) is 2 units
        (_measured(air=5.9), (), 9.0, SURE, ""),
        (_measured(air=-2.0), (), 9.0, NOT_FOR, "is air: -2"),  # (2 - -2) / (2 - 1) is 4 units, twice the limit
        (_measured(open_skull=-9.0, bright=-9.0, highest_hu=90.0), (), 9.0, SURE, ""),  # sides that tell nothing
        (_measured(grain_hu=math.nan), (), 9.0, NOT_FOR, "can't be measured"),
        (_measured(reach_mm=math.nan), (), 9.0, SURE, ""),
        (_measured(reach_mm=0.0), (), 9.0, UNSURE, "0, usually"),  # one slice of a head may well be a head
        (_measured(grain_hu=8.01), (), 9.0, UNSURE, "noise of the brain, HU: 8.01"),  # log 8/2 over log 4/2 is 2
        (_measured(grain_hu=7.9), (), 9.0, SURE, ""),
    ],
)  # fmt: skip
def test_a_state_and_its_reasons(
    measured: np.ndarray, codes: tuple[str, ...], clearness: float, state: str, why: str
) -> None:
    """Hand-worked: 1 unit is an end of the usual, the limit 2, what is not for the model 4."""
    found = RULE.judge(measured, codes, clearness)
    assert found.state == state
    assert why in "; ".join(found.reasons)
    assert bool(found.reasons) == (state != SURE)


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_clearness_is_the_distance_to_the_nearest_turn_less_its_error() -> None:
    """`any` .1 and subdural .1 are both below: subdural, nearer by its own threshold, would flag first."""
    probability = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.1])  # labels without a threshold can't flag
    subdural = _logit(0.1) - _logit(0.2)
    same = np.tile(np.log(probability / (1 - probability)), (4, 1))
    assert clearness_of(POINT, probability, same) == pytest.approx(-subdural)

    apart = same.copy()
    apart[:, LABELS.index("subdural")] += [0.1, -0.1, 0.1, -0.1]
    # Deviations of .1 around the mean: variance .04 / 3, and of the mean of four a quarter of that.
    assert clearness_of(POINT, probability, apart) == pytest.approx(-subdural - math.sqrt(0.04 / 3 / 4))
    assert clearness_of(OperatingPoint(), probability, apart) == math.inf


@given(st.integers(20, 60), st.integers(0, 9))
def test_few_held_out_scans_are_unusual(n: int, seed: int) -> None:
    """Scans of one kind: at most one in forty is beyond the limit, a fifth isn't clear, and a foreign one is far."""
    rng = np.random.default_rng(seed)
    measured = rng.uniform(1.0, 2.0, (n, len(NAMES)))
    fold, clearness = np.arange(n) % 3, rng.uniform(0, 5, n)
    found = fit_confidence(measured, fold, clearness, (clearness < 1).astype(float), ["THIN"])
    assert found is not None
    assert found.reached is not None
    assert found.reached["unusual"] <= 1 / 40 + 1 / n
    assert abs(found.reached["not_clear"] - 0.2) <= 1 / n
    assert found.reached["wrong_of_sure"] <= found.reached["wrong"]
    assert found.judge(np.full(len(NAMES), 50.0), (), 9.0).state == NOT_FOR
    assert Confidence.from_dict(found.to_dict()) == found


def test_too_few_scans_give_no_rule() -> None:
    """A quantile of 19 scans would be that of one."""
    few = np.ones(19)
    assert fit_confidence(np.ones((19, len(NAMES))), few.astype(int), few, few, []) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": float("nan")}, "finite numbers"),
        ({"limit": -1.0}, "limit above 0"),
        ({"clear": "x"}, "must be whole"),
        ({"usual": {"air": {"low": 0}}}, "must be whole"),
        ({"usual": []}, "must be whole"),
    ],
)
def test_a_damaged_entry_is_one_sentence(change: dict[str, object], message: str) -> None:
    """Nothing of a foreign `model.json` is trusted."""
    with pytest.raises(ModelError, match=message):
        Confidence.from_dict(RULE.to_dict() | change)
    assert Confidence.from_dict(None) is None
