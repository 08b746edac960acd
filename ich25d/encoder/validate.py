"""Logits of held-out slices, their score, and the table that keeps them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy.special import expit
from torch import nn

from ich25d.config import SlabConfig
from ich25d.encoder.loaded import encode
from ich25d.errors import TrainingError
from ich25d.files import replacing
from ich25d.labels import LABELS, N_LABELS
from ich25d.slabs.loading import SlabLoader
from ich25d.training.device import quick_inference
from ich25d.training.loss import score_loss
from ich25d.training.metrics import auc, average_precision, case_losses
from ich25d.training.processes import Processes

WORST = 12
"""Slices that a validation's line of the log names."""


def predict_rows(
    model: nn.Module,
    loader: SlabLoader,
    rows: npt.NDArray[np.int64],
    slab: SlabConfig,
    device: torch.device,
    *,
    batch_size: int,
    processes: Processes | None = None,
    advance: Callable[[int], None] = lambda units: None,
) -> npt.NDArray[np.float64]:
    """Return the logits of slices, each process doing its share of them.

    Args:
        model: A `SlabEncoder`; in evaluation mode afterwards.
        loader: Reads the slabs, unpainted.
        rows: Rows of the slice table, shape (N,).
        slab: [slab].
        device: Where the model is.
        batch_size: Slabs at a time.
        processes: This process among several.
        advance: Called with the number of slices done.

    Returns:
        Shape (N, 6), in the order of `LABELS`.

    Raises:
        TrainingError: The model gives logits that aren't finite.
    """
    processes = processes or Processes()
    model.eval()
    precision = quick_inference(device)
    mine = np.arange(len(rows))[processes.rank :: processes.count]
    logit_NL = torch.zeros(len(rows), N_LABELS, dtype=torch.float64)  # noqa: N806
    done = 0
    for batch in loader.batches(rows[mine], batch_size):
        logit = encode(model, batch, slab, device, precision)[1].cpu().double()  # some devices have no float64
        if n_bad := int((~logit.isfinite().all(dim=1)).sum()):
            raise TrainingError(
                f"logits must be finite (got NaN or infinity for {n_bad} of {len(batch)} slices in {precision.name}); "
                "the weights are useless: train this fold anew with a lower train.lr"
            )
        logit_NL[torch.from_numpy(mine[done : done + len(batch)])] = logit
        done += len(batch)
        advance(len(batch))
    # A row is zero in all processes but the one that predicted it.
    return processes.sum_of_all(logit_NL, device).numpy()


def score(
    logit: npt.NDArray[np.float64], target: npt.NDArray[np.float32], prior_logit: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """Score logits against labels, and beside a constant answer, the training data's shares of positives.

    Args:
        logit: Shape (N, 6).
        target: Shape (N, 6), NaN where unknown.
        prior_logit: Log odds of the labels in the training data, shape (6,), or (N, 6) where that differs by slice.

    Returns:
        `log_loss` (the competition's), `of_prior` (as a share of the constant answer's log loss), and `auc` and
        `average_precision` by label, NaN where a label has one class alone.
    """
    truth = torch.from_numpy(target)
    log_loss = float(score_loss(torch.from_numpy(logit), truth))
    constant = float(score_loss(torch.from_numpy(np.broadcast_to(prior_logit, logit.shape).copy()), truth))
    found: dict[str, Any] = {"log_loss": log_loss, "of_prior": log_loss / constant if constant else float("nan")}
    found |= {"auc": {}, "average_precision": {}}
    for column, label in enumerate(LABELS):
        known = ~np.isnan(target[:, column])
        truth_l, logit_l = target[known, column], logit[known, column]
        both = 0 < truth_l.sum() < len(truth_l)
        found["auc"][label] = float(auc(truth_l, logit_l)) if both else float("nan")
        found["average_precision"][label] = float(average_precision(truth_l, logit_l)) if both else float("nan")
    return found


def worst_cases(
    slices: pd.DataFrame,
    rows: npt.NDArray[np.int64],
    logit: npt.NDArray[np.float64],
    target: npt.NDArray[np.float32],
    n: int = WORST,
) -> list[dict[str, Any]]:
    """Name the slices with the largest weighted log loss, the worst of each series.

    Args:
        slices: The store's table.
        rows: Which of them were validated, shape (N,).
        logit: Shape (N, 6).
        target: Of the whole table, shape (M, 6), NaN where unknown.
        n: How many.

    Returns:
        `image_id`, `series_id`, `loss`, and `probability` and `truth` by label; worst first.
    """
    probability, truth = expit(logit), target[rows].astype(np.float64)
    loss, weight = case_losses(truth, probability)
    loss /= np.maximum(weight, 1)
    cases: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number in np.argsort(-loss, kind="stable").tolist():
        series_id = str(slices["series_id"].iloc[rows[number]])
        if series_id in seen or not weight[number]:
            continue
        seen.add(series_id)
        cases.append({
            "image_id": str(slices["image_id"].iloc[rows[number]]),
            "series_id": series_id,
            "loss": float(loss[number]),
            "probability": dict(zip(LABELS, probability[number].tolist(), strict=True)),
            "truth": dict(zip(LABELS, truth[number].tolist(), strict=True)),
        })  # fmt: skip
        if len(cases) == n:
            break
    return cases


def score_text(scores: dict[str, Any]) -> str:
    """Return a score in half a line."""
    if not scores:
        return "no labelled held-out slice to validate on"
    return (
        f"validation {scores['log_loss']:.4f} ({scores['of_prior']:.2f} of the prior's), "
        f"AUC any {scores['auc']['any']:.3f}, AP any {scores['average_precision']['any']:.3f}"
    )


def without_nan(scores: dict[str, Any]) -> dict[str, Any]:
    """Replace measures that aren't defined by None, for JSON."""
    return {
        name: without_nan(value) if isinstance(value, dict) else value if np.isfinite(value) else None
        for name, value in scores.items()
    }


def write_logits(
    path: Path,
    slices: pd.DataFrame,
    rows: npt.NDArray[np.int64],
    logit: npt.NDArray[np.float64],
    seen: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Write `oof.parquet`: image_id, series_id, the six logits by label and, of a child, `seen`.

    Args:
        path: The file.
        slices: The store's table.
        rows: Its rows, shape (N,).
        logit: Shape (N, 6).
        seen: Which of the table's rows the network knew from the run that it started from; None without one.
    """
    table = slices[["image_id", "series_id"]].iloc[rows].reset_index(drop=True)
    if seen is not None:
        table["seen"] = seen[rows]
    for column, label in enumerate(LABELS):
        table[label] = logit[:, column].astype(np.float32)
    with replacing(path) as part:
        table.to_parquet(part, index=False)
