"""Model, optimiser, moving average and learning-rate schedule of a recipe."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from ich25d.config import Recipe, TrainConfig
from ich25d.encoder.fold_rows import Rows
from ich25d.encoder.model import SlabEncoder
from ich25d.encoder.pixel_head import RATE
from ich25d.encoder.weights import build_encoder
from ich25d.training.device import choose_precision
from ich25d.training.learner import Learner
from ich25d.training.loop import Schedule
from ich25d.training.optim import make_optimizer, parameter_groups
from ich25d.training.processes import Processes


def make_learner(
    recipe: Recipe,
    odds: torch.Tensor,
    *,
    device: torch.device,
    processes: Processes,
    seed: int,
    begin: Callable[[SlabEncoder], None] | None = None,
) -> tuple[Learner, SlabEncoder]:
    """Build the encoder, its optimiser and its moving average.

    Args:
        recipe: [slab], [encoder] and [train] are used.
        odds: Log odds of the labels in the training data, shape (6,), the last layer's first bias.
        device: Where to train.
        processes: This process among several.
        seed: Seed of the new layers and of dropout.
        begin: Gives the encoder the weights of another run, heads included; None starts from the recipe's weights.

    Raises:
        ConfigError: The model can't be built as the recipe asks.
        WeightsError: Its pretrained weights can't be had.
    """
    train = recipe.train
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # all batches have one shape
    torch.manual_seed(seed)
    if begin is None:
        encoder = build_encoder(recipe.encoder, recipe.slab, recipe.pixels)
        encoder.set_odds(odds)
    else:
        encoder = build_encoder(dataclasses.replace(recipe.encoder, weights="none"), recipe.slab, recipe.pixels)
        begin(encoder)
    encoder.to(device)
    depth, top = encoder.layer_depth()
    groups = parameter_groups(
        encoder, weight_decay=train.weight_decay, layer_decay=train.layer_decay, depth=depth, max_depth=top,
        rate={"pixels": RATE} if begin is None else None,
    )  # fmt: skip
    learner = Learner(
        model=encoder,
        optimizer=make_optimizer(groups, device),
        device=device,
        precision=choose_precision(train.precision, device, encoder),
        ema_decay=train.ema,
        seed=seed,
        processes=processes,
    )
    return learner, encoder


def make_schedule(train: TrainConfig, total_steps: int) -> Schedule:
    """Return the learning-rate schedule of a recipe over the steps of a training."""
    return Schedule(
        total_steps=total_steps,
        warmup_steps=round(train.warmup * total_steps),
        lr=train.lr,
        min_lr=train.min_lr,
        accumulate=train.accumulate,
        clip_norm=train.clip_norm,
    )


def outline(recipe: Recipe, learner: Learner, schedule: Schedule, per_step: int, rows: Rows) -> dict[str, Any]:
    """Return the first line of the log: the size of the training and what it runs on.

    Args:
        recipe: The recipe.
        learner: The model and its optimiser.
        schedule: Its learning-rate schedule.
        per_step: Slices a step, over all processes.
        rows: The fold's slices.
    """
    return {
        "epochs": recipe.train.epochs,
        "total_steps": schedule.total_steps,
        "slices_per_step": per_step,
        "n_train": len(rows.train),
        "n_held_out": len(rows.held_out),
        "encoder": recipe.encoder.name,
        "device": learner.device.type,
        "precision": learner.precision.name,
    }
