"""Every measure against scikit-learn or a loop written out, with ties, unknown labels and weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from ich25d.labels import LABEL_WEIGHTS
from ich25d.training.intervals import bootstrap, bootstrap_interval, patient_weights, percentiles
from ich25d.training.metrics import (
    auc,
    average_precision,
    best_threshold,
    brier,
    calibration_error,
    case_losses,
    confusion,
    mean_log_loss,
)  # fmt: skip


def _draw(seed, n=200, ties=True):
    rng = np.random.default_rng(seed)
    target = (rng.random(n) < 0.3).astype(float)
    target[:2] = 0, 1
    score = np.clip(0.3 * target + rng.random(n) * 0.7, 0, 1)
    return target, score.round(1) if ties else score, rng.integers(0, 4, n).astype(float)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [True, False])
def test_ranking_measures_are_those_of_scikit_learn(seed, ties):
    """With ties or without, weighted or not, to twelve digits."""
    target, score, weight = _draw(seed, ties=ties)

    assert auc(target, score) == pytest.approx(reference.roc_auc_score(target, score), abs=1e-12)
    assert average_precision(target, score) == pytest.approx(
        reference.average_precision_score(target, score), abs=1e-12
    )
    assert auc(target, score, weight) == pytest.approx(
        reference.roc_auc_score(target, score, sample_weight=weight), abs=1e-12
    )
    assert average_precision(target, score, weight) == pytest.approx(
        reference.average_precision_score(target, score, sample_weight=weight), abs=1e-12
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, np.nan]), st.integers(0, 5)), min_size=1, max_size=12))
def test_auc_counts_pairs_that_are_in_order(rows):
    """AUC is the share of pairs ranked right, a tie counting half; unknown labels are left out."""
    target, score = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    pairs = [(p > n) + 0.5 * (p == n) for p in score[target == 1] for n in score[target == 0]]

    if pairs:
        assert auc(target, score) == pytest.approx(np.mean(pairs))
    else:
        assert np.isnan(auc(target, score))


def test_many_weights_at_once_are_each_alone():
    """A row of weights a resampling gives what each row gives by itself."""
    target, score, _ = _draw(3)
    target[5] = np.nan
    weight = np.random.default_rng(0).integers(0, 3, (7, len(target))).astype(float)

    for measure in (auc, average_precision, brier, mean_log_loss, calibration_error):
        together = measure(target, score, weight)
        assert together.shape == (7,)
        assert together == pytest.approx([measure(target, score, row) for row in weight])


def test_a_weight_is_so_many_copies():
    """A case of weight 3 counts as three equal cases, one of weight 0 not at all."""
    target, score, weight = _draw(4)
    copies = weight.astype(int)

    for measure in (auc, average_precision, brier, mean_log_loss, calibration_error):
        repeated = measure(np.repeat(target, copies), np.repeat(score, copies))
        assert measure(target, score, weight) == pytest.approx(repeated)


def score_of(target, probability):
    """Return the competition's score from what each case brings to it."""
    loss, weight = case_losses(target, probability)
    return loss.sum() / weight.sum()


def test_the_score_is_two_parts_any_and_five_parts_subtypes():
    """The competition's score is the weighted mean of six log losses, `any` twice."""
    rng = np.random.default_rng(0)
    target, probability = (rng.random((50, 6)) < 0.2).astype(float), rng.random((50, 6))
    each = [reference.log_loss(target[:, k], probability[:, k], labels=[0, 1]) for k in range(6)]

    assert score_of(target, probability) == pytest.approx((sum(each[:5]) + 2 * each[5]) / 7)
    assert sum(LABEL_WEIGHTS) == 7


def test_a_certain_mistake_costs_what_kaggle_takes():
    """Probabilities are clipped at 1e-15, as on Kaggle."""
    assert score_of(np.ones((1, 6)), np.zeros((1, 6))) == pytest.approx(15 * np.log(10))


def test_unknown_labels_weigh_nothing():
    """Unknown labels bring neither loss nor weight."""
    rng = np.random.default_rng(1)
    target, probability = (rng.random((30, 6)) < 0.5).astype(float), rng.random((30, 6))
    expected = score_of(target[:20], probability[:20])
    target[20:] = np.nan

    assert score_of(target, probability) == pytest.approx(expected)
    loss, weight = case_losses(target, probability)
    assert loss[20:].tolist() == weight[20:].tolist() == [0] * 10
    target[0, 5] = np.nan
    assert case_losses(target, probability)[1][:2].tolist() == [5, 7]


def test_decisions_are_those_of_scikit_learn():
    """Sensitivity, specificity, precision, accuracy and F, weighted or not."""
    target, score, weight = _draw(6)
    called = score >= 0.5

    for w in (None, weight):
        found = confusion(target, score, 0.5, w)
        assert found.sensitivity == pytest.approx(reference.recall_score(target, called, sample_weight=w))
        assert found.specificity == pytest.approx(reference.recall_score(1 - target, ~called, sample_weight=w))
        assert found.precision == pytest.approx(reference.precision_score(target, called, sample_weight=w))
        assert found.accuracy == pytest.approx(reference.accuracy_score(target, called, sample_weight=w))
        for beta in (1.0, 2.0):
            expected = reference.fbeta_score(target, called, beta=beta, sample_weight=w)
            assert found.f_beta(beta) == pytest.approx(expected)


def test_measures_without_a_class_are_not_numbers():
    """Without a positive there is no sensitivity: NaN, never 0 or 1."""
    nothing = confusion(np.zeros(3), np.array([0.1, 0.2, 0.3]), 0.5)

    assert np.isnan(nothing.sensitivity)
    assert np.isnan(nothing.f_beta())
    assert nothing.specificity == 1.0
    assert np.isnan(average_precision(np.zeros(3), np.arange(3.0)))
    assert np.isnan(auc(np.full(2, np.nan), np.zeros(2)))


def test_brier_and_log_loss_of_one_label():
    """Both equal scikit-learn's."""
    target, score, weight = _draw(7)

    assert brier(target, score, weight) == pytest.approx(
        reference.brier_score_loss(target, score, sample_weight=weight)
    )
    assert mean_log_loss(target, score) == pytest.approx(reference.log_loss(target, score))


def test_calibration_error_is_the_mean_gap_over_bins():
    """Fifteen bins of equal width, each weighed by its share of cases; 1.0 belongs to the last."""
    target, score, _ = _draw(8, ties=False)
    expected = 0.0
    for number in range(15):
        inside = (score >= number / 15) & ((score < (number + 1) / 15) | (number == 14))
        if inside.any():
            expected += inside.mean() * abs(score[inside].mean() - target[inside].mean())

    assert calibration_error(target, score) == pytest.approx(expected)
    assert calibration_error(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0.0


@pytest.mark.parametrize("beta", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_best_threshold_has_the_greatest_f_beta(beta, seed):
    """No probability that occurs is a better threshold."""
    target, score, _ = _draw(seed, n=60)
    tried = [confusion(target, score, t).f_beta(beta) for t in np.unique(score)]
    found = best_threshold(target, score, beta=beta)

    assert confusion(target, score, found).f_beta(beta) == pytest.approx(max(tried))


def test_a_label_without_positives_has_no_threshold():
    """Without a positive F is undefined at every threshold."""
    assert np.isnan(best_threshold(np.zeros(4), np.arange(4.0)))


def test_two_classes_apart_are_cut_half_way():
    """Between .2 and .6 every threshold is as good; the middle is the safest on new data."""
    assert best_threshold(np.array([0, 0, 1, 1.0]), np.array([0.1, 0.2, 0.6, 0.9])) == pytest.approx(0.4)


def test_slices_are_drawn_with_their_patient():
    """All rows of a patient are drawn equally often, and as many patients as there are."""
    patient = np.array(["a", "b", "a", "c", "b"])
    weights = np.concatenate(list(patient_weights(patient, replicates=50, elements=20)))

    assert weights.shape == (50, 5)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 3] == 3).all()


def test_an_interval_is_that_of_resampling_patients_by_hand():
    """Weights give the interval that copying the rows of drawn patients gives."""
    target, score, _ = _draw(9, n=120)
    patient = np.arange(120) // 6
    low, high = bootstrap_interval(lambda weight: auc(target, score, weight), patient, replicates=1000)
    rng = np.random.default_rng(5)
    by_hand = []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(patient == p) for p in rng.integers(0, 20, 20)])
        by_hand.append(auc(target[rows], score[rows]))

    assert [low, high] == pytest.approx(np.quantile(by_hand, [0.025, 0.975]), abs=0.025)
    assert low < auc(target, score) < high


def test_resamplings_without_a_positive_are_left_out():
    """An AUC that isn't defined in a resampling doesn't make the interval NaN."""
    values = bootstrap(lambda weight: auc(np.array([1.0, 0.0]), np.array([0.9, 0.1]), weight), ["a", "b"])

    assert np.isnan(values).any()
    assert percentiles(values).tolist() == [1.0, 1.0]
    assert np.isnan(percentiles(np.full((5, 2), np.nan))).all()


def test_wrong_shapes_and_scores_are_refused():
    """A swapped axis or a NaN score ends in an error, not in a number."""
    with pytest.raises(ValueError, match=r"shape \(N, 6\)"):
        case_losses(np.zeros((3, 5)), np.zeros((3, 5)))
    with pytest.raises(ValueError, match=r"shape \(N,\)"):
        auc(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="got NaN"):
        auc(np.zeros(3), np.full(3, np.nan))
