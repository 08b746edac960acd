"""The model card of a sequence model: the CNN's parts, and what the walk along the scan adds."""

from pathlib import Path
from typing import Any

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
from ich25d.encoder.model_directory import read_run
from ich25d.labels import LABELS
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.card import Cell, begin_card, bullets, duration, end_card, table, with_interval


def write_rnn_card(
    out: Path,
    content: dict[str, Any],
    scopes: dict[str, dict[str, Any]],
    recipe: Recipe,
    *,
    studies: Path | None,
    cnn: Path | None,
    seconds: float,
) -> None:
    """Write the card of a sequence model's directory.

    Args:
        out: The model directory.
        content: What `model.json` says.
        scopes: What `compare` gave, by the series it was measured on.
        recipe: How it was trained.
        studies: The study store; None where features alone were given.
        cnn: The CNN's run, likewise.
        seconds: Run time of this call.
    """
    data = content["data"]
    card = begin_card(
        "Model card: slice encoder and sequence model",
        f"A 2.5D CNN a fold, refined over the scan by a residual bidirectional GRU ({content['n_seeds']} a fold), "
        "blended, "
        f"smoothed and calibrated out of fold; six probabilities a slice and a series. Trained and judged on "
        f"{data['n_slices']:,} slices of {data['n_series']:,} series of {data['n_patients']:,} patients"
        + (f", with {data['n_train_only']:,} painted copies for training alone" if data["n_train_only"] else "")
        + f". Made by ich25d {content['versions']['ich25d']}, `train-rnn`.",
    )
    store = None if studies is None else StudyStore.open(studies)
    run = None if cnn is None else read_run(cnn)
    if store is not None and run is not None:
        add_data(card, store)
        add_partitions(card, store, run.folds, keep=recipe.train.keep)
        add_preprocessing(card, run)
        add_encoder(card, recipe)
    else:
        card.section("Data", "Embeddings of another encoder, from a feature store; its images aren't known here.")
    sequence = recipe.sequence
    card.section(
        "Sequence model",
        bullets((
            f"Embeddings ({content['dim']} numbers a slice, views {', '.join(content['views'])}"
            f"{', with differences to the neighbours' if sequence.deltas else ''}) -> {sequence.project} -> "
            f"{sequence.layers} "
            f"bidirectional GRU layers of {sequence.hidden} -> six logits, added to the encoder's own.",
            "Trained on out-of-fold embeddings: no sequence model sees an embedding of a slice that its encoder was "
            "trained on.",
            "After it: a blend a label of encoder, neighbours (Gaussian along the scan, mm) and GRU, with slope and "
            "bias; "
            "`any` is at least its largest subtype.",
        )),
    )  # fmt: skip
    learning = [training_text(recipe)] if run is not None else []
    rows = settings_of(recipe, ("train", "augment") if run is not None else ()) + settings_of(
        recipe, ("features", "sequence", "calibration")
    )
    card.section("Training", *learning, table(("setting", "value"), rows))
    prevalence: list[list[Cell]] = [[label, recipe.calibration.prevalence.get(label)] for label in LABELS]
    card.section(
        "Calibration and thresholds",
        "Slope and bias of each label's blend are fitted on out-of-fold logits, pulled towards these shares of "
        "positive "
        f"slices with the weight of {recipe.calibration.prevalence_weight:g} slices (a dash: that of the training "
        "data):",
        table(("label", "share"), prevalence),
        *threshold_tables(content.get("thresholds")),
    )
    card.section("Performance", *(block for name, found in scopes.items() for block in _scope(name, found)))
    if run is not None and cnn is not None:
        add_time(card, [cnn / f"fold{fold}" / "metrics.jsonl" for fold in sorted(run.folds)], run.folds)
    card.section(
        "Run time of the sequence model",
        f"{duration(seconds)} in the call that finished it (embedding, training, fitting).",
    )
    add_files(card, out, content, recipe, store)
    end_card(card, limits=(
        "Blend, calibration and thresholds in use are fitted on all held-out series; the figures above come from "
        "fits that "
        "left each series' fold out.",
    ))  # fmt: skip
    card.write(out)


def _scope(name: str, found: dict[str, Any]) -> list[str]:
    """Return the measures of one scope: systems compared, then the labels of the last system."""
    rows: list[list[Cell]] = []
    for system, measured in found["systems"].items():
        values = [measured["log_loss"], measured["of_prior"]]
        values += [measured[name]["any"] for name in ("auc", "average_precision", "series_auc")]
        rows.append([system, *(with_interval(one.value, one.low, one.high) for one in values)])
    last = list(found["systems"].values())[-1]
    labels: list[list[Cell]] = [
        [
            label, found["n_positive"][label], _of(last["auc"][label]), _of(last["average_precision"][label]),
            found["n_positive_series"][label], _of(last["series_auc"][label]),
        ]
        for label in LABELS
    ]  # fmt: skip
    return [
        f"**{name}**: {found['n_slices']:,} slices of {found['n_series']:,} series of {found['n_patients']:,} "
        "patients, each "
        f"judged by models that never saw the patient. 95 % intervals from {found['replicates']} resamplings of "
        "patients.",
        table(("system", "log loss", "of the prior's", "AUC any", "AP any", "series AUC any"), rows),
        "By label, of the last system (the one that `predict` uses):",
        table(("label", "positive slices", "AUC", "average precision", "positive series", "AUC of series"), labels),
    ]


def _of(measured: Any) -> str:  # noqa: ANN401  # sequence.comparison.Measured
    return with_interval(measured.value, measured.low, measured.high)
