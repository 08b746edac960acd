"""Numbers on their way to a GPU and back, without anybody waiting for the work in front of them."""

import torch


def sent(values: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Copy to a device. A GPU takes the copy in its turn; meanwhile this process goes on giving it work.

    That is safe towards CUDA from any memory: what isn't pinned is staged before the call returns.
    """
    place = torch.device(device)
    return values.to(place, non_blocking=place.type == "cuda")


class Expected:
    """Numbers that a device is still computing, fetched behind its work.

    Args:
        values: Shape (n,), on any device.
    """

    def __init__(self, values: torch.Tensor) -> None:
        self._copied: torch.cuda.Event | None = None
        self._values = values
        if values.is_cuda:
            self._values = values.to("cpu", non_blocking=True)  # to pinned memory of its own
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(values.device))

    def read(self) -> list[float]:
        """Wait for these numbers, and for nothing that was asked of the device after them."""
        if self._copied is not None:
            self._copied.synchronize()
        found: list[float] = self._values.tolist()
        return found
