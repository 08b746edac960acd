"""The device and the number format, what a process is set to, and what a resumed run goes on in."""

import sys

import cv2
import pytest
import torch
from threadpoolctl import threadpool_info
from torch import nn

from ich25d.errors import UsageError
from ich25d.training import device as device_module
from ich25d.training.device import Precision, choose_device, choose_precision, resumed_precision
from ich25d.training.machine import keep_freed_memory, leave_cores_to_network

CPU = torch.device("cpu")
PLAIN, DEPTHWISE = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3, groups=4)


@pytest.mark.parametrize(
    ("model", "has_bf16", "name"), [(PLAIN, True, "bf16"), (DEPTHWISE, True, "fp32"), (PLAIN, False, "fp32")]
)
def test_chooses_by_what_a_cpu_is(monkeypatch: pytest.MonkeyPatch, model: nn.Module, has_bf16: bool, name: str) -> None:
    """bf16 where the CPU computes in it, but not for depthwise convolutions; with a reason."""
    monkeypatch.setattr(device_module, "_cpu_has_bf16", lambda: has_bf16)

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


def test_auto_is_no_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has tried this package there: it's used when it is asked for by name, and never chosen."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)

    assert choose_device("auto") == CPU
    assert choose_device("mps") == torch.device("mps")


def test_a_numbered_gpu_becomes_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it can compute in, and where memory is pinned for, is asked of the current one."""
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)

    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cuda") == torch.device("cuda")
    assert current == [torch.device("cuda:1")]


@pytest.mark.parametrize(
    ("begun", "chosen", "device", "has_bf16", "name"),
    [
        (None, "bf16", "cpu", True, "bf16"),  # a checkpoint that names none
        ("bf16", "fp32", "cpu", False, "bf16"),  # slower here, but the run stays one run
        ("fp16", "fp32", "cpu", False, "fp32"),
        ("fp32", "fp16", "cuda", False, "fp32"),
        ("bf16", "fp16", "cuda", False, "fp16"),
        ("bf16", "fp32", "mps", False, "fp32"),
        ("fp16", "bf16", "cuda", True, "fp16"),
    ],
)
def test_goes_on_as_it_was_begun_where_the_device_can(
    monkeypatch: pytest.MonkeyPatch, begun: str | None, chosen: str, device: str, has_bf16: bool, name: str
) -> None:
    """On another generation of GPU too; where it can't, the reason names what the device lacks."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))

    found = resumed_precision(begun, Precision(chosen, "of this device"), torch.device(device))

    assert found.name == name
    assert ("lacks" in found.reason) == (begun not in (None, name))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_glibc_takes_the_setting() -> None:
    """All three numbers are known to mallopt."""
    assert keep_freed_memory() is True


def test_other_platforms_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere nothing is called."""
    monkeypatch.setattr(sys, "platform", "darwin")

    assert keep_freed_memory() is False


def test_numpy_and_opencv_keep_to_one_thread() -> None:
    """Every OpenBLAS of the process is limited, and OpenCV too."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        leave_cores_to_network()
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)

    assert all(library["num_threads"] == 1 for library in threadpool_info() if library["prefix"] == "libscipy_openblas")
