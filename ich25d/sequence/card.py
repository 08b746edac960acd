"""The model card of a sequence model: the CNN's facts, and what refining along the scan adds."""

from pathlib import Path
from typing import Any

from ich25d.config import Recipe
from ich25d.encoder.card import data_facts, model_facts, parent_rows, run_time, write_card
from ich25d.encoder.change import Change, change_table
from ich25d.encoder.model_directory import Run, read_run
from ich25d.encoder.parent import terms_of
from ich25d.labels import LABELS
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.card import Cell, duration, table, with_interval


def write_rnn_card(
    out: Path,
    content: dict[str, Any],
    scopes: dict[str, dict[str, Any]],
    recipe: Recipe,
    *,
    studies: Path | None,
    cnn: Path | None,
    seconds: float,
    command: str = "train-rnn",
    changes: dict[str, Change],
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
        command: `train-rnn`, or `train-joint`.
        changes: What changed against the run that the sequence models went on from.
    """
    data = content["data"]
    copies = f", with {data['n_train_only']:,} painted copies for training alone" if data["n_train_only"] else ""
    summary = (
        f"A 2.5D CNN a fold, refined over the scan by a residual bidirectional GRU ({content['n_seeds']} a fold), "
        "blended, smoothed and calibrated out of fold; six probabilities a slice and a series. Trained and judged on "
        f"{data['n_slices']:,} slices of {data['n_series']:,} series of {data['n_patients']:,} patients{copies}."
    )
    run = None if studies is None or cnn is None else read_run(cnn)
    prevalence: list[list[Cell]] = [[label, recipe.calibration.prevalence.get(label)] for label in LABELS]
    sections = ("features", "sequence", *(("joint",) if command == "train-joint" else ()), "calibration")
    write_card(out, {
        "title": "Model card: slice encoder and sequence model",
        "command": command,
        "summary": summary,
        "data": None if studies is None or run is None else _data(StudyStore.open(studies), run, content),
        "sequence": {"dim": content["dim"], "views": content["views"], "run_time": duration(seconds),
                     "series_labels": data.get("series_labels"),
                     "is_joint": command == "train-joint", "parents": parent_rows(content.get("parent")),
                     "changes": change_table(changes)},
        "calibration": table(("label", "share"), prevalence),
        "performance": [block for name, found in scopes.items() for block in _scope(name, found)],
        "run_time": None if run is None or cnn is None else run_time(cnn, run),
        **model_facts(out, content, recipe, sections if run is None else ("train", "augment", "pixels", *sections)),
    })  # fmt: skip


def _data(store: StudyStore, run: Run, content: dict[str, Any]) -> dict[str, Any]:
    """Return what a CNN was trained on, with the terms that the sequence models inherit too."""
    facts, inherited = data_facts(store, run), terms_of({}, content.get("parent"))
    own = facts["terms"]
    attributions = list(dict.fromkeys([*own["attributions"], *inherited["attributions"]]))
    terms = {**own, "n_rsna": max(own["n_rsna"], inherited["n_rsna"]), "attributions": attributions}
    return {**facts, "terms": terms}


def _scope(name: str, found: dict[str, Any]) -> list[str]:
    """Return the measures of one scope: systems compared, then the labels of the last system."""
    rows: list[list[Cell]] = []
    for system, measured in found["systems"].items():
        values = [measured["log_loss"], measured["of_prior"]]
        values += [measured[name]["any"] for name in ("auc", "average_precision", "series_auc")]
        rows.append([system, *map(_of, values)])
    last = list(found["systems"].values())[-1]
    labels: list[list[Cell]] = [
        [
            label, found["n_positive"][label], _of(last["auc"][label]), _of(last["average_precision"][label]),
            found["n_positive_series"][label], _of(last["series_auc"][label]),
        ]
        for label in LABELS
    ]  # fmt: skip
    return [
        f"**{name}**: {found['n_slices']:,} slices of {found['n_series']:,} series, {found['n_patients']:,} patients, "
        "each is judged by models that never saw the patient. "
        f"95 % intervals from {found['replicates']} resamplings of patients.",
        table(("system", "log loss", "of the prior's", "AUC any", "AP any", "series AUC any"), rows),
        "By label, of the last system (the one that `predict` uses):",
        table(("label", "positive slices", "AUC", "average precision", "positive series", "AUC of series"), labels),
    ]


def _of(measured: Any) -> str:  # noqa: ANN401  # Measure
    return with_interval(measured.value, measured.low, measured.high)
