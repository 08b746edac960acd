"""AdamW over parameter groups, and the learning rate as a function of the step."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    layer_decay: float,
    depth: Mapping[str, int],
    max_depth: int,
    rate: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Group parameters by weight decay and by learning rate.

    Biases, norms and other vectors aren't decayed, which would move the calibration and regularise nothing.
    The rate of a parameter is the peak times `layer_decay` ** (max_depth - its depth), and times a factor of its own.

    Args:
        model: Its parameters are grouped.
        weight_decay: Decoupled decay of matrices and kernels.
        layer_decay: Factor from one layer group to the one below it; 1 treats all alike.
        depth: Group of each parameter by name, 0 at the input; absent names are new layers.
        max_depth: Group of the new layers.
        rate: Factors of parts of the model, by the name of the part.
    """
    groups: dict[tuple[bool, int, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        layer = depth.get(name, max_depth) if layer_decay < 1 else max_depth
        decayed = parameter.ndim > 1
        factor = (rate or {}).get(name.partition(".")[0], 1.0)
        group = groups.setdefault(
            (decayed, layer, factor),
            {
                "params": [],
                "weight_decay": weight_decay if decayed else 0.0,
                "lr_scale": factor * layer_decay ** (max_depth - layer),
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def make_optimizer(groups: list[dict[str, Any]], device: torch.device) -> torch.optim.AdamW:
    """Build AdamW, fused into one kernel where the device has it."""
    return torch.optim.AdamW(groups, lr=0.0, fused=device.type in ("cuda", "cpu") or None)


def learning_rate(step: int, *, peak: float, low: float, warmup_steps: int, total_steps: int) -> float:
    """Return the learning rate of a step: a linear rise from 0, then a cosine down to `low`.

    Args:
        step: Steps done before this one, from 0.
        peak: Highest rate.
        low: Rate that the cosine ends at.
        warmup_steps: Length of the rise.
        total_steps: Length of the training.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return low + (peak - low) * 0.5 * (1 + math.cos(math.pi * done))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
