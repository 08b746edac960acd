"""Measures of several networks on the same patients, resampled together, so that differences have paired intervals."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ich25d.config import Recipe
from ich25d.encoder.held_out import calibration_of, read_held_out
from ich25d.encoder.model_directory import read_run
from ich25d.evaluate.scores import NO_LOSS, RESAMPLED_AT_ONCE
from ich25d.features.store import FeatureStore
from ich25d.features.table import targets
from ich25d.labels import ANY_INDEX, LABEL_WEIGHTS, N_LABELS, SHORT, SUBTYPES
from ich25d.recipes import read_recipe
from ich25d.sequence.comparison import FULL, cross_fitted
from ich25d.sequence.dataset import SequenceReader
from ich25d.sequence.division import divide
from ich25d.sequence.fold_training import read_held_out_series
from ich25d.sequence.model_directory import FEATURES_FOLDER, STATISTICS_FILE
from ich25d.sequence.standardisation import Standardisation
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.calibration import Calibration
from ich25d.training.intervals import REPLICATES, Measure, patient_weights, percentiles, replicates_for
from ich25d.training.metrics import case_losses, log_loss_each
from ich25d.training.model_file import CONFIG_FILE, SEQUENCE, read_kind
from ich25d.training.ranking import Ranking, order, ratio
from ich25d.training.series_target import series_target

Floats = npt.NDArray[np.float64]

SENSITIVITY = 0.95
"""Least share of the positive series that is found where their specificity is measured."""

MEASURES = (
    "AUC any", "AP any", *(f"AUC {SHORT[label]}" for label in SUBTYPES), "log loss", "log loss at prevalence",
    "series AUC any", "series specificity",
)  # fmt: skip
"""AUC and average precision of slices; the competition's log loss as a share of the best constant answer's, also with
positives and negatives weighed to given shares; AUC of whole series, and their specificity at the highest threshold
with `SENSITIVITY` on the very series that are measured."""


class Predicted(NamedTuple):
    """A series of n slices: what is true of them, and what a network says."""

    patient: str
    target: Floats
    """Shape (n, 6), NaN where unknown."""
    slices: Floats
    """Probabilities, shape (n, 6)."""
    whole: Floats
    """Probabilities of the series, shape (6,)."""


def with_truth(
    store: StudyStore, image_ids: Sequence[Sequence[str]], slices: Sequence[Floats], whole: Sequence[Floats]
) -> list[Predicted]:
    """Join the predictions of whole series with patients and labels of their study store.

    Args:
        store: It holds the images.
        image_ids: Of each series' n slices.
        slices: Probabilities of each series' slices, shape (n, 6).
        whole: Probabilities of each series, shape (6,).
    """
    table = store.slices.set_index("image_id")
    series = []
    for ids, of_slices, of_series in zip(image_ids, slices, whole, strict=True):
        rows = table.loc[list(ids)]
        target = targets(rows).astype(np.float64)
        series.append(Predicted(str(rows["split_unit"].iloc[0]), target, of_slices, of_series))
    return series


def held_out(run: Path, store: StudyStore) -> list[Predicted]:
    """Return the series that a run's folds held out, blend and calibration of each fold fitted on the other ones.

    A CNN of one fold alone stays uncalibrated; a series of a CNN has the largest of its slices before smoothing.

    Args:
        run: A model directory of `train-cnn`, or of `train-rnn` with the features that it was trained on.
        store: The study store that it was trained on.

    Raises:
        ModelError: The run is damaged or unfinished.
    """
    recipe = read_recipe(run / CONFIG_FILE)
    if read_kind(run)[0] == SEQUENCE:
        return _held_out_sequence(run, recipe)
    rows = read_held_out(run, read_run(run), store)
    probability, peaked = np.empty_like(rows.logit), np.empty_like(rows.logit)
    names, units = np.array(rows.series_id), np.array(rows.split_unit)
    for fold in np.unique(rows.fold):
        own = rows.fold == fold
        calibration = Calibration() if own.all() else calibration_of(rows.take(~own), recipe.calibration)
        probability[own] = rows.take(own).probability(calibration)
        peaked[own] = rows.take(own).probability(calibration.of_series)
    of_series = [np.flatnonzero(names == name) for name in np.unique(names)]
    return [
        Predicted(units[own[0]], rows.target[own].astype(np.float64), probability[own], peaked[own].max(0))
        for own in of_series
    ]


def _held_out_sequence(run: Path, recipe: Recipe) -> list[Predicted]:
    features = FeatureStore.open(run / FEATURES_FOLDER)
    statistics = Standardisation.load(run / STATISTICS_FILE, features.dim)
    reader, division = SequenceReader(features, statistics, np.zeros(N_LABELS)), divide(features, recipe.sequence.seed)
    series = [
        one
        for fold in division.folds
        for one in read_held_out_series(reader, division.held_out(fold), run / f"fold{fold}", fold)
    ]
    found = cross_fitted(series, recipe.calibration)[FULL]
    return [Predicted(one.patient_id, one.target.astype(np.float64), *found[one.series_id]) for one in series]


def resampled(series: Sequence[Predicted], prevalence: Floats) -> Floats:
    """Measure on all patients, and on resampled ones: the same draws for all that know the same patients.

    Args:
        series: The series of a judging set.
        prevalence: Share of positive slices a label to which log loss is weighed, shape (6,), NaN where not given.

    Returns:
        Shape (1 + R, measures), in the order of `MEASURES`; NaN where not defined.
    """
    names, whose_whole = np.unique([one.patient for one in series], return_inverse=True)
    whose = np.repeat(whose_whole, [len(one.target) for one in series])
    target, slices = (np.concatenate([getattr(one, name) for one in series]) for name in ("target", "slices"))
    whole_target = np.stack([series_target(one.target) for one in series])[:, ANY_INDEX]
    of_series = order(whole_target, np.array([one.whole[ANY_INDEX] for one in series]), whose_whole)
    of_slices = [order(target[:, column], slices[:, column], whose) for column in range(N_LABELS)]

    def by_patient(values: Floats) -> Floats:
        summed = np.zeros((len(names), *values.shape[1:]))
        np.add.at(summed, whose, values)
        return summed

    share = np.nansum(target, axis=0) / np.maximum(1, (~np.isnan(target)).sum(axis=0))
    constant = np.broadcast_to(share, target.shape)
    losses = by_patient(np.stack([case_losses(target, answer)[0] for answer in (slices, constant)], axis=1))
    each = np.nan_to_num(log_loss_each(target, slices))
    classes = [by_patient(part * (target == truth)) for truth in (1, 0) for part in (each, np.ones_like(each))]
    elements = RESAMPLED_AT_ONCE * len(names) // len(target)
    replicates = replicates_for(len(target), REPLICATES)
    rows = []
    for weight in (np.ones((1, len(names))),
                   *patient_weights(np.arange(len(names)), replicates=replicates, elements=elements)):  # fmt: skip
        rankings, whole = [one.weighed(weight) for one in of_slices], of_series.weighed(weight)
        loss, best = np.moveaxis(weight @ losses, -1, 0)
        best = np.where(best > NO_LOSS * len(target), best, 0)  # 0: the ratio isn't defined
        columns = [rankings[ANY_INDEX].auc, rankings[ANY_INDEX].average_precision]
        columns += [rankings[column].auc for column in range(len(SUBTYPES))]
        columns += [ratio(loss, best), _at_prevalence([weight @ part for part in classes], prevalence)]
        rows.append(np.stack([*columns, whole.auc, _specificity(whole)], axis=1))
    return np.concatenate(rows)


def _at_prevalence(classes: list[Floats], prevalence: Floats) -> Floats:
    """Weigh the log loss to given shares of positives, over that of the answer that gives these shares, shape (R,)."""
    positive, negative = ratio(*classes[:2]), ratio(*classes[2:])  # mean loss of either class, (R, 6)
    loss = prevalence * positive + (1 - prevalence) * negative
    entropy = -(prevalence * np.log(prevalence) + (1 - prevalence) * np.log1p(-prevalence))
    weight = np.where(np.isnan(loss), 0, LABEL_WEIGHTS)
    return ratio(np.nansum(weight * loss, axis=1), np.nansum(weight * entropy, axis=1))


def _specificity(ranking: Ranking) -> Floats:
    """Return the specificity at the highest threshold that finds enough of the positives, shape (R,)."""
    if not len(ranking.score):
        return np.full(len(ranking.positives), np.nan)
    found = ranking.positives[:, None] - ranking.positive_below  # at every distinct score of a positive, rising
    last = (found >= SENSITIVITY * ranking.positives[:, None] - 1e-9).sum(axis=1) - 1
    spared = (ranking.all_below - ranking.positive_below)[np.arange(len(last)), last]
    return np.where(ranking.positives > 0, ratio(spared, ranking.everything - ranking.positives), np.nan)


def measures_of(draws: Floats) -> dict[str, Measure]:
    """Return the measures of draws of shape (1 + R, measures), the first of which is of all patients."""
    rows = zip(MEASURES, draws[0], *percentiles(draws[1:]), strict=True)
    return {name: Measure(*map(float, ends)) for name, *ends in rows}
