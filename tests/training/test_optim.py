"""Groups of parameters and the learning rate."""

import pytest
import torch
from torch import nn

from ich25d.training.optim import learning_rate, make_optimizer, parameter_groups, set_learning_rate


def test_decays_matrices_alone() -> None:
    """Biases and norms aren't pulled to zero."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 6))

    groups = parameter_groups(model, weight_decay=0.1, layer_decay=1.0, depth={}, max_depth=0)

    decayed = {id(p) for group in groups if group["weight_decay"] == 0.1 for p in group["params"]}
    assert decayed == {id(model[0].weight), id(model[2].weight)}
    assert sum(len(group["params"]) for group in groups) == 6


def test_lower_layers_learn_slower() -> None:
    """The rate falls by the factor from each group to the one below."""
    model = nn.ModuleDict({"stem": nn.Linear(2, 2), "middle": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    depth = {"stem.weight": 0, "stem.bias": 0, "middle.weight": 1, "middle.bias": 1}

    optimizer = make_optimizer(
        parameter_groups(model, weight_decay=0.0, layer_decay=0.5, depth=depth, max_depth=2), torch.device("cpu")
    )
    set_learning_rate(optimizer, 1.0)

    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rate[id(model[name].weight)] for name in ("stem", "middle", "head")] == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(("step", "rate"), [(0, 0.25), (3, 1.0), (4, 1.0), (7, 0.55), (10, 0.1), (99, 0.1)])
def test_rises_then_follows_a_cosine(step: int, rate: float) -> None:
    """Four steps up, six down to a tenth; halfway down it is halfway between."""
    found = learning_rate(step, peak=1.0, low=0.1, warmup_steps=4, total_steps=10)

    assert found == pytest.approx(rate)
