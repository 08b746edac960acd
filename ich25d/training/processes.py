"""One process, or several that `torchrun` started: sums, waiting, and the device of each."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ich25d.errors import UsageError


@dataclasses.dataclass(frozen=True, slots=True)
class Processes:
    """This process and the number of those that train with it."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    """Processes on this machine."""

    @property
    def is_first(self) -> bool:
        """Return whether this is the process that prints and writes."""
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over all processes, in place."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def sum_of_all(self, values: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Sum a tensor on the CPU over all processes, through the device of their backend."""
        return self.sum(values.to(device)).cpu() if self.count > 1 else values

    def wait(self) -> None:
        """Wait for all processes."""
        if self.count > 1:
            distributed.barrier()

    def share_buffers(self, model: nn.Module) -> None:
        """Copy the first process's buffers to all: each has its own running statistics."""
        if self.count > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the model with gradients averaged over the processes; with one process, the model itself.

        Wrap anew when parameters are frozen or freed.
        """
        if self.count == 1:
            return model
        return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


@contextmanager
def joined(device: torch.device) -> Iterator[tuple[Processes, torch.device]]:
    """Join the process group of `torchrun`, where there is one; yield this process and its device.

    Args:
        device: As chosen by --device; of several GPUs each process takes the one of its local rank.

    Raises:
        UsageError: Several processes can't train on this device.
    """
    count = world_size()
    if count == 1:
        yield Processes(), device
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = _own_device(device, local)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        distributed.init_process_group("nccl", device_id=device)
    else:
        distributed.init_process_group("gloo")
    try:
        yield Processes(distributed.get_rank(), count, local, int(os.environ.get("LOCAL_WORLD_SIZE", count))), device
    finally:
        distributed.destroy_process_group()


def world_size() -> int:
    """Return the number of processes that `torchrun` started, 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def refuse_torchrun(command: str) -> None:
    """Refuse to run under `torchrun`: every process would write the same files.

    Raises:
        UsageError: There are several processes.
    """
    if world_size() > 1:
        raise UsageError(
            f"{command} runs in one process (got WORLD_SIZE={world_size()} in the environment); call it without "
            "torchrun"
        )


def _own_device(device: torch.device, local_rank: int) -> torch.device:
    """Return this process's device.

    Raises:
        UsageError: A numbered or missing GPU, or a device that gradients can't be averaged over.
    """
    if device.type == "cpu":
        return device
    if str(device) != "cuda":
        raise UsageError(
            f"--device must be auto, cpu or cuda for several processes (got {device}); each takes the GPU of its own "
            "number, and CUDA_VISIBLE_DEVICES chooses among them"
        )
    if local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"torchrun's --nproc-per-node must be at most the number of GPUs (got process {local_rank + 1} of this "
            f"machine for {torch.cuda.device_count()})"
        )
    return torch.device("cuda", local_rank)
