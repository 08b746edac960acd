"""Devices and number formats."""

import pytest
import torch
from torch import nn

from ich25d.errors import UsageError
from ich25d.training import precision
from ich25d.training.precision import choose_device, choose_precision

CPU = torch.device("cpu")
PLAIN, DEPTHWISE = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)


@pytest.mark.parametrize(
    ("model", "has_bf16", "name"), [(PLAIN, True, "bf16"), (DEPTHWISE, True, "fp32"), (PLAIN, False, "fp32")]
)
def test_chooses_by_what_a_cpu_is(monkeypatch: pytest.MonkeyPatch, model: nn.Module, has_bf16: bool, name: str) -> None:
    """bf16 where the CPU computes in it, but not for depthwise convolutions; with a reason."""
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: has_bf16)

    chosen = choose_precision("auto", CPU, model)

    assert chosen.name == name
    assert chosen.reason


def test_does_as_the_recipe_asks() -> None:
    """bf16 can be forced anywhere."""
    assert choose_precision("bf16", CPU, DEPTHWISE).name == "bf16"


def test_a_cpu_has_no_fp16() -> None:
    """It would be slower than any other and overflow."""
    with pytest.raises(UsageError, match="fp32 or bf16"):
        choose_precision("fp16", CPU, PLAIN)


@pytest.mark.parametrize("name", ["cuda:99", "toaster", "xpu"])
def test_refuses_a_device_that_is_not_there(name: str) -> None:
    """Named at once, not at the first step."""
    with pytest.raises(UsageError, match=r"--device must be"):
        choose_device(name)
