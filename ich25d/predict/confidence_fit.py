"""Chooses what a model judges scans by, on series that its networks held out, and enters it in `model.json`.

Every held-out series is predicted by the networks that never saw its patient, in every view, through the very functions
that `predict` calls.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from ich25d.encoder.fold_rows import data_digest
from ich25d.encoder.model_directory import Run, read_run
from ich25d.errors import UsageError
from ich25d.files import read_parquet, write_json
from ich25d.labels import ANY_INDEX, LABELS
from ich25d.predict.network import load_network
from ich25d.predict.one_series import predict_pixels
from ich25d.predict.series import StoredSeries, list_series, read_pixels
from ich25d.progress import bar, remark
from ich25d.recipes import read_recipe
from ich25d.studies.store_dir.store import StudyStore
from ich25d.training.confidence import COMMON, CONFIDENCE, LEAST_SCANS, Confidence, clearness_of, fit_confidence
from ich25d.training.model_file import CONFIG_FILE, ENCODER_FOLDER, MODEL_FILE, SEQUENCE, read_kind
from ich25d.training.prevalence import PREVALENCE, fit_shares
from ich25d.training.series_target import series_target

MOST_SERIES = 400
"""Series looked at, drawn at random: quantiles need no more, and each is predicted once."""


class _Judged(NamedTuple):
    """One held-out series."""

    measured: npt.NDArray[np.float64]
    fold: int
    clearness: float
    wrong: float
    probability: float
    """Of any bleed in the series."""
    target: npt.NDArray[np.float64]
    """Its labels, shape (6,)."""


def fit_model_confidence(model: Path, store: Path, device: torch.device, *, seed: int = 0) -> Confidence | None:
    """Choose ranges and limits on held-out series, and enter them in `model.json`.

    Args:
        model: A model directory of `train-cnn` or `train-rnn`, trained on this store.
        store: The study store.
        device: Where the networks compute.
        seed: Seed of the draw, where there are more than `MOST_SERIES` series.

    Returns:
        What was entered; None where too few series are held out.

    Raises:
        UsageError: The store isn't the one that the model was trained on.
        ModelError: The model directory is damaged.
    """
    kind, content = read_kind(model)
    studies = StudyStore.open(store)
    encoder = read_run(model / ENCODER_FOLDER if kind == SEQUENCE else model)
    if encoder.content["data"]["digest"] != data_digest(studies):
        raise UsageError(
            f"a model's confidence must be chosen on the store that it was trained on (got another than {model}'s) in "
            f"{store}"
        )
    held_out = _held_out(model, [int(fold) for fold in content["folds"]], studies)
    names = sorted(held_out)
    if len(names) > MOST_SERIES:
        names = sorted(np.random.default_rng(seed).choice(names, MOST_SERIES, replace=False).tolist())
    if len(names) < LEAST_SCANS:
        remark(f"no states of confidence: they need {LEAST_SCANS} held-out series (got {len(names)})")
        return None
    judged = _judge_all(model, store, studies, {name: held_out[name] for name in names}, device)
    found = fit_confidence(
        np.stack([one.measured for one in judged]), np.array([one.fold for one in judged]),
        np.array([one.clearness for one in judged]), np.array([one.wrong for one in judged]), _common(studies),
    )  # fmt: skip
    shares = fit_shares(
        np.array([one.probability for one in judged]), np.stack([one.target for one in judged]),
        _slice_shares(model, encoder),
    )  # fmt: skip
    known = {CONFIDENCE: None if found is None else found.to_dict(), PREVALENCE: shares}
    write_json(model / MODEL_FILE, {**read_kind(model)[1], **known})
    return found


def _held_out(model: Path, folds: list[int], studies: StudyStore) -> dict[str, int]:
    """Return the fold of each labelled series that a finished fold held out, of patients unknown to its parent."""
    labelled = set(studies.slices.loc[studies.slices["any"].notna(), "series_id"].astype(str))
    found = {}
    for fold in folds:
        names = set(studies.series.loc[studies.series["fold"] == fold, "series_id"].astype(str)) & labelled
        table = model / f"fold{fold}" / "oof.parquet"
        if table.is_file():  # a packed model has none
            held = read_parquet(table)
            known = held["seen"].astype(bool) if "seen" in held else pd.Series(False, index=held.index)
            names &= set(held.loc[~known, "series_id"].astype(str))
        found.update(dict.fromkeys(names, fold))
    return found


def _judge_all(
    model: Path, store: Path, studies: StudyStore, fold_of: dict[str, int], device: torch.device
) -> list[_Judged]:
    encoder_size, crop = studies.size, str(studies.marker["crop"])
    listed = {one.series_id: one for one in list_series([store], size=encoder_size, crop=crop).series}
    labels = studies.slices.set_index("series_id")[list(LABELS)]
    judged = []
    with bar("confidence", sum(len(listed[name]) for name in fold_of), "slices") as advance:
        for fold in sorted(set(fold_of.values())):
            network = load_network(model, str(device), fold=fold)
            for name in (name for name, own in fold_of.items() if own == fold):
                series = listed[name]
                assert isinstance(series, StoredSeries)
                finished = predict_pixels(network, read_pixels(series, crop=crop, size=encoder_size))
                target = series_target(labels.loc[[name]].to_numpy(dtype=np.float32, na_value=np.nan))
                bleeds = target[ANY_INDEX]
                flagged = bool(network.point.over(finished.series_probability))
                judged.append(
                    _Judged(
                        finished.measured, fold,
                        clearness_of(network.point, finished.series_probability, finished.member_logit),
                        float("nan") if np.isnan(bleeds) else float(flagged != (bleeds == 1)),
                        float(finished.series_probability[ANY_INDEX]), target,
                    )
                )  # fmt: skip
                advance(len(series), note=f"fold {fold}")
    return judged


def _slice_shares(model: Path, run: Run) -> npt.NDArray[np.float64]:
    """Return the shares of positive slices for which the calibration stands: the training's, moved by the recipe's."""
    calibration = read_recipe(model / CONFIG_FILE).calibration
    n, weight = float(run.content["data"]["n_labelled"]), calibration.prevalence_weight
    own = [float(share) for share in run.content["prior"]]
    wanted = [calibration.prevalence.get(label, share) for label, share in zip(LABELS, own, strict=True)]
    return (n * np.array(own) + weight * np.array(wanted)) / (n + weight)


def _common(studies: StudyStore) -> list[str]:
    """Return the remarks that are common in a store."""
    of_series = {(row.series_id, row.code) for row in studies.qc() if row.series_id}
    counts = Counter(code for _, code in of_series)
    return sorted(code for code, n in counts.items() if n >= COMMON * len(studies.series))
