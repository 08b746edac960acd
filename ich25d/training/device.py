"""The device to compute on: chosen, set up, given tensors, and the number format to train in on it."""

import dataclasses
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import nn

from ich25d.errors import UsageError
from ich25d.training.device_name import check_device_name
from ich25d.training.machine import keep_freed_memory, leave_cores_to_network


@dataclasses.dataclass(frozen=True, slots=True)
class Precision:
    """A number format for the forward pass; weights and optimiser stay float32."""

    name: Literal["fp32", "bf16", "fp16"]
    reason: str
    """Half a sentence for people."""

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context for the forward pass."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16 if self.name == "bf16" else torch.float16)


def choose_device(name: str) -> torch.device:
    """Return the device of a --device option, and set the process up for it.

    `auto` is CUDA or the CPU; `mps`, on which this package isn't tested, must be named.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        UsageError: There is no such device.
    """
    check_device_name(name)
    if name == "auto":
        return _prepared(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    device = torch.device(name)
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise UsageError(f"--device must be there (got {name!r}, which this machine or this torch lacks); try auto")
    return _prepared(device)


def _prepared(device: torch.device) -> torch.device:
    leave_cores_to_network()
    if device.type == "cpu":
        keep_freed_memory()
    elif device.type == "cuda" and device.index is not None:
        # Number formats, pinned memory and streams are those of the current device.
        torch.cuda.set_device(device)
    return device


def to_device(values: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Copy a tensor to a device; the copy to a GPU is queued, and this process goes on at once.

    That is safe from any memory: CUDA stages what isn't pinned before the call returns.
    """
    target = torch.device(device)
    return values.to(target, non_blocking=target.type == "cuda")


def choose_precision(wanted: str, device: torch.device, model: nn.Module) -> Precision:
    """Choose the number format of training.

    The choice depends on the device, never on a timing: a resumed run makes the same one.

    Args:
        wanted: `auto`, `fp32`, `bf16` or `fp16`.
        device: Where the model will be.
        model: On a CPU, depthwise convolutions decide.

    Raises:
        UsageError: fp16 was asked for on a CPU.
    """
    if wanted == "fp16" and device.type == "cpu":
        raise UsageError("train.precision must be auto, fp32 or bf16 on a CPU (got 'fp16')")
    if wanted in ("fp32", "bf16", "fp16"):
        return Precision(wanted, "as the recipe asks")  # type: ignore[arg-type]  # narrowed by the line above
    if device.type == "cuda":
        return _of_gpu(device)
    return _of_cpu(model) if device.type == "cpu" else Precision("fp32", f"half isn't tested on {device.type}")


def resumed_precision(begun: str | None, chosen: Precision, device: torch.device) -> Precision:
    """Choose the number format of a resumed training: its own, where this device computes in it.

    Args:
        begun: Name of the format in the checkpoint; None where it names none.
        chosen: The choice for a new training on this device.
        device: Where the model is.

    Returns:
        The format and the reason for it.
    """
    there = {
        "fp32": True,
        "bf16": device.type == "cpu" or (device.type == "cuda" and _gpu_has_bf16()),
        "fp16": device.type == "cuda" and _gpu_has_fp16(device),
    }
    if begun is None or begun == chosen.name:
        return chosen
    if not there.get(begun, False):
        return Precision(chosen.name, f"it was begun in {begun}, which this device lacks; {chosen.reason}")
    return Precision(begun, "as it was begun")  # type: ignore[arg-type]  # one of the three names above


def quick_inference(device: torch.device) -> Precision:
    """Choose the number format of prediction: the fastest of the device that leaves results as good."""
    if device.type == "cuda":
        return _of_gpu(device)
    return Precision("fp32", "reference precision of a CPU")


def _of_cpu(model: nn.Module) -> Precision:
    if not _cpu_has_bf16():
        return Precision("fp32", "this CPU has no bf16 arithmetic")
    if _has_depthwise(model):
        # Measured on EfficientNet-Lite0: 40 slices/s in fp32 and 32 in bf16; ResNet-18: 23 and 40.
        return Precision("fp32", "depthwise convolutions train slower in bf16 on a CPU")
    return Precision("bf16", "this CPU computes in it")


def _of_gpu(device: torch.device) -> Precision:
    if _gpu_has_bf16():
        return Precision("bf16", "this GPU computes in it, and it needs no loss scaling")
    if _gpu_has_fp16(device):
        return Precision("fp16", "this GPU has fp16 tensor cores, but no bf16")
    return Precision("fp32", "this GPU has no fast half precision")


def _gpu_has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _gpu_has_fp16(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (7, 0)


def _cpu_has_bf16() -> bool:
    return any(
        bool(getattr(torch.cpu, probe, lambda: False)())
        for probe in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def _has_depthwise(model: nn.Module) -> bool:
    return any(isinstance(part, nn.Conv2d) and part.groups == part.in_channels > 1 for part in model.modules())
