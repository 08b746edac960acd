"""How common bleeds are where a model is used: logits, thresholds, EM and what a flag says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich25d.errors import ModelError, UsageError
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.training.operating_point import Measured, OperatingPoint
from ich25d.training.prevalence import (
    EM,
    PREVALENCE,
    Shares,
    estimate_share,
    fit_shares,
    read_shares,
    read_words,
    site_of,
    usable_share,
)

HALF = np.full(6, 0.5)
SHARES = Shares(HALF, HALF, np.full(6, 0.2), 1.0, 0.0)
unit = st.floats(0.001, 0.999)


def test_words_are_read_or_refused() -> None:
    """`em` alone, or labels with shares, each once."""
    assert read_words(["em"]) == EM
    assert read_words(["any=0.05", "subdural=.02"]) == {"any": 0.05, "subdural": 0.02}
    for words in (["any"], ["any=0"], ["any=1.5"], ["any=x"], ["sdh=0.1"], ["any=.1", "any=.2"], ["em", "any=.1"]):
        with pytest.raises(UsageError, match="--prevalence must be em alone, or a label and its share"):
            read_words(words)


def test_a_stated_share_moves_odds_by_hand() -> None:
    """From even odds to 1 : 9 divides series' odds by 9; slices go from a share of .2 to .04, from 1/4 to 1/24."""
    site = site_of({"any": 0.1}, SHARES, "stated")
    odds = lambda p: p / (1 - p)  # noqa: E731
    series, slices = site.series(np.full(6, 0.5)), site.slices(np.full(6, 0.5))
    assert odds(series) == pytest.approx(1 / 9)
    assert odds(slices) == pytest.approx(4 / 24)


@given(st.lists(unit, min_size=6, max_size=6), unit, st.lists(unit, min_size=6, max_size=6))
def test_no_share_of_any_changes_a_flag(values: list[float], share: float, thresholds: list[float]) -> None:
    """A site with no bleeds, or with nothing else: what is over its threshold stays so, slices and series."""
    probability = np.array(values)
    probability[ANY_INDEX] = probability.max()
    limits = dict(zip(LABELS, thresholds, strict=True))
    point = OperatingPoint("f1", limits, limits)
    near = [abs(value - limit) < 1e-9 for value, limit in zip(probability, thresholds, strict=True)]
    if any(near):
        return
    site = site_of({"any": share}, SHARES, "stated")
    here = site.point(point)
    assert set(here.over(site.series(probability))) == set(point.over(probability))
    assert (here.slices_over(site.slices(probability[None])) == point.slices_over(probability[None])).all()
    assert site.series(probability)[ANY_INDEX] == site.series(probability).max()


@given(st.lists(unit, min_size=6, max_size=6), unit, unit)
def test_subtypes_stay_below_any(values: list[float], first: float, second: float) -> None:
    """Whatever is stated: `any` isn't pulled up by a subtype, the subtype is held down by it."""
    probability = np.array(values)
    probability[ANY_INDEX] = probability.max()
    alone = site_of({"any": first}, SHARES, "").series(probability)
    both = site_of({"any": first, "subdural": second}, SHARES, "").series(probability)
    assert both[ANY_INDEX] == pytest.approx(alone[ANY_INDEX])
    assert both[ANY_INDEX] == both.max()


def test_a_label_of_which_nothing_is_known_is_refused() -> None:
    """One class alone among the held-out series gives no share to start from; a model of before says nothing."""
    counts = {"n_positive": dict.fromkeys(LABELS, 5), "n": dict.fromkeys(LABELS, 10), "slope": 1.0, "bias": 0.0,
              "of_slices": dict.fromkeys(LABELS, 0.24)}  # fmt: skip
    counts["n_positive"] = counts["n_positive"] | {"epidural": 0}
    shares = read_shares({PREVALENCE: counts}, np.full(6, 0.2))
    assert shares.of_series[ANY_INDEX] == pytest.approx(0.6)
    with pytest.raises(UsageError, match="both classes of a stated label"):
        site_of({"epidural": 0.1}, shares, "")
    with pytest.raises(UsageError, match="train it with this version"):
        read_shares({}, HALF)
    with pytest.raises(ModelError, match="must hold counts"):
        read_shares({PREVALENCE: {"n": 3}}, HALF)
    with pytest.raises(ModelError, match="slope above 0"):
        read_shares({PREVALENCE: counts | {"slope": -1.0}}, HALF)


def _calibrated(rng: np.random.Generator, n: int, share: float) -> np.ndarray:
    """Return probabilities that are right where half are positive, of cases with another share."""
    truth = rng.random(n) < share
    logit = rng.normal(np.where(truth, 1.5, -1.5), math.sqrt(3))  # equal variances: log odds of x are 2 * 1.5 / 3 * x
    return 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_em_finds_the_share(share: float) -> None:
    """Calibrated at .5: the estimate is near the truth, and the interval holds it nearly always."""
    rng = np.random.default_rng(0)
    found = [estimate_share(_calibrated(rng, 200, share), 0.5) for _ in range(100)]
    assert np.mean([one.value for one in found]) == pytest.approx(share, abs=0.02)
    assert np.mean([one.low <= share <= one.high for one in found]) >= 0.9


def test_em_of_a_site_without_bleeds_reaches_none() -> None:
    """The interval begins at 0; what logits move to is half a series away from none."""
    found = estimate_share(_calibrated(np.random.default_rng(1), 300, 0.0), 0.5)
    assert found.value < 0.03
    assert found.low == 0
    assert usable_share(found) >= 0.5 / 301
    flat = estimate_share(np.full(50, 0.5), 0.5)  # probabilities that say nothing: any share is as good
    assert (flat.low, flat.high) == (0, 1)


def test_shares_are_fitted_on_held_out_series() -> None:
    """Probabilities that are too extreme by a factor of two in logits get a slope of about a half."""
    rng = np.random.default_rng(2)
    probability = _calibrated(rng, 4000, 0.5)
    truth = (rng.random(4000) < probability).astype(float)
    extreme = 1 / (1 + ((1 - probability) / probability) ** 2)
    target = np.full((4000, 6), np.nan)
    target[:, ANY_INDEX] = truth
    found = fit_shares(extreme, target, HALF)
    assert found["slope"] == pytest.approx(0.5, abs=0.06)
    assert found["n_positive"]["any"] == truth.sum()
    assert found["n"]["subdural"] == 0


def test_what_a_flag_says_by_hand() -> None:
    """Sensitivity .8, specificity .9, one in ten bleeds: .08 hits, .09 false alarms, .81 spared, .02 missed."""
    point = OperatingPoint("f1", {}, {"any": 0.5}, Measured(0.8, 50, 0.9, 50), share=0.1)
    assert point.predictive == "where .10 of series bleed: PPV .47, NPV .98, 1.1 false alarms per hit"
    assert point.predictive in point.described
    assert OperatingPoint("f1", {}, {"any": 0.5}, Measured(0.8, 50, 0.9, 50)).predictive == ""
