"""The model card of a CNN."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from ich25d.config import Recipe
from ich25d.encoder.card_parts import (
    add_data,
    add_encoder,
    add_files,
    add_partitions,
    add_preprocessing,
    add_time,
    settings_of,
    threshold_tables,
    training_text,
)
from ich25d.encoder.model_directory import Run
from ich25d.labels import LABELS
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.calibration import Calibration
from ich25d.training.card import Cell, begin_card, end_card, table, with_interval
from ich25d.training.intervals import bootstrap_interval, replicates_for
from ich25d.training.metrics import auc, average_precision, brier, calibration_error, mean_log_loss

_MEASURES = (
    ("AUC", auc), ("average precision", average_precision), ("log loss", mean_log_loss), ("Brier score", brier),
    ("calibration error", calibration_error),
)  # fmt: skip

Floats = npt.NDArray[np.float64]


def write_cnn_card(
    out: Path, run: Run, store: StudyStore, recipe: Recipe, logit: Floats, target: Floats, patient: Sequence[str]
) -> None:
    """Write the card of a CNN's model directory.

    Args:
        out: The model directory.
        run: What its `model.json` says.
        store: What it was trained on.
        recipe: How.
        logit: Out-of-fold logits of all finished folds, shape (N, 6).
        target: Their labels, shape (N, 6), NaN where unknown.
        patient: Whose they are, length N.
    """
    folds = sorted(run.folds)
    card = begin_card(
        "Model card: slice encoder (2.5D CNN)",
        f"`{recipe.encoder.name}` on slabs of {len(recipe.slab.neighbours)} slices and {len(recipe.slab.windows)} "
        "windows, "
        f"{len(folds)} network(s), one a fold; six logits a slice. Made by ich25d {run.content['versions']['ich25d']}, "
        "`train-cnn`. `train-rnn` refines it over the scan.",
    )
    add_data(card, store)
    add_partitions(card, store, run.folds, keep=recipe.train.keep)
    add_preprocessing(card, run)
    add_encoder(card, recipe)
    settings = settings_of(recipe, ("train", "augment"))
    card.section("Training", training_text(recipe), table(("setting", "value"), settings))
    card.section(
        "Calibration and thresholds",
        "For this CNN alone, temperature and bias of each label are fitted on out-of-fold logits, pulled towards the "
        f"recipe's shares of positive slices with the weight of {recipe.calibration.prevalence_weight:g} slices; the "
        "correction for painted and balanced slices is folded into the last layer. `train-rnn` starts from the logits "
        "and calibrates anew.",
        _calibration_table(run, recipe),
        *threshold_tables(run.content.get("thresholds")),
    )
    card.section("Performance", *_performance(logit, target, patient))
    add_time(card, [out / f"fold{fold}" / "metrics.jsonl" for fold in folds], run.folds)
    add_files(card, out, run.content, recipe, store)
    end_card(card)
    card.write(out)


def _calibration_table(run: Run, recipe: Recipe) -> str:
    found = Calibration.from_dict(run.content.get("calibration"))
    rows: list[list[Cell]] = [
        [label, recipe.calibration.prevalence.get(label), temperature, bias]
        for label, temperature, bias in zip(LABELS, found.temperature, found.bias, strict=True)
    ]
    return table(("label", "share at the place of use", "temperature", "bias"), rows)


def _performance(logit: Floats, target: Floats, patient: Sequence[str]) -> list[str]:
    """Measure out-of-fold slices with intervals over patients."""
    probability = expit(logit)
    replicates = replicates_for(len(target))
    rows: list[list[Cell]] = []
    whose = np.asarray(patient).astype(str)
    for column, label in enumerate(LABELS):
        known = ~np.isnan(target[:, column])
        truth, value, who = target[known, column], probability[known, column], whose[known]
        cells: list[Cell] = []
        for _, measure in _MEASURES:
            if not 0 < truth.sum() < len(truth):
                cells.append(None)
                continue
            ends = bootstrap_interval(partial(measure, truth, value), who, replicates=replicates)
            cells.append(with_interval(float(measure(truth, value)), *ends))
        rows.append([label, int(truth.sum()), len(truth), *cells])
    return [
        f"Out-of-fold slices: each is judged by the one network that never saw its patient, before the calibration, "
        f"which is fitted on these very slices. 95 % intervals from {replicates} resamplings of patients.",
        table(("label", "positive", "known", *(name for name, _ in _MEASURES)), rows),
    ]
