"""Batches of slabs, read while the device works on the last ones: in a thread, or in processes that last.

What travels to a starting process has to fit into a pipe (64 kB on Linux): whoever starts it writes all of it while
still holding the reading end, so that for a process that dies meanwhile it would wait for ever.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ich25d.errors import Ich25dError, TrainingError
from ich25d.slabs.dataset import SlabBatch, SlabReader
from ich25d.training.device import leave_cores_to_torch
from ich25d.training.prefetch import prefetch

_PREFETCH = 4
"""Batches read ahead, by each process."""

_STOPPING = (signal.SIGINT, signal.SIGTERM)
"""They reach a whole group of processes; what they mean is decided in the one that trains."""

_CPU = torch.device("cpu")

_Request = tuple[npt.NDArray[np.int64], int | None]
"""Rows of one batch, and the pass that painting is drawn from."""


class LostReaderError(TrainingError):
    """A process that reads slabs has died; the step that waited for its batch hasn't begun."""

    def __init__(self, error: RuntimeError) -> None:
        super().__init__(
            f"processes that read slabs must live (got: {error}); go on with --resume, with a smaller "
            "train.loader_workers where memory is short"
        )


class SlabLoader:
    """Reads batches in the order asked for; its processes start with the first pass and serve all that follow.

    Args:
        reader: Reads the slabs.
        workers: Processes that read; 0 is a thread of this one.
        device: Where the batches will go. A GPU fetches them by itself, from pinned memory.
    """

    def __init__(self, reader: SlabReader, *, workers: int = 0, device: torch.device = _CPU) -> None:
        self._reader, self._is_pinned = reader, device.type == "cuda"
        self._pass = _Pass()
        self._loader: Any = None
        self._iterator: Any = None
        if workers > 0:
            self._loader = torch.utils.data.DataLoader(
                _Served(reader),
                sampler=self._pass,
                batch_size=None,
                num_workers=workers,
                prefetch_factor=_PREFETCH,
                pin_memory=self._is_pinned,
                multiprocessing_context="spawn",
                collate_fn=_as_it_is,
                worker_init_fn=_begin,
                persistent_workers=True,
            )

    def __enter__(self) -> "SlabLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        if self._iterator is not None:
            # torch does it when the last reference goes, which a traceback may hold; calling it twice does nothing.
            self._iterator._shutdown_workers()
        self._loader = self._iterator = None

    def batches(self, rows: npt.NDArray[np.int64], batch_size: int, *, epoch: int | None = None) -> Iterator[SlabBatch]:
        """Read the rows in the order given, some batches ahead of the one that is asked for.

        One pass at a time: the next one ends what is left of this one.

        Args:
            rows: Rows of the slice table, shape (N,).
            batch_size: Slabs a batch; the last may hold fewer.
            epoch: Number of the pass, from which painting is drawn; None paints nothing.

        Raises:
            LostReaderError: A process died.
        """
        requests: list[_Request] = [
            (rows[start : start + batch_size], epoch) for start in range(0, len(rows), batch_size)
        ]
        if self._loader is not None:
            return self._of_processes(requests)
        read = (self._reader.read(part, epoch=number) for part, number in requests)
        return prefetch((batch.pin_memory() for batch in read) if self._is_pinned else read, _PREFETCH)

    def _of_processes(self, requests: list[_Request]) -> Iterator[SlabBatch]:
        self._pass.requests = requests
        try:
            if self._iterator is None:
                with _blocked_signals():
                    self._iterator = iter(self._loader)
            else:
                self._iterator = iter(self._loader)
            for item in self._iterator:
                if isinstance(item, Ich25dError):
                    raise item
                yield item
        except RuntimeError as error:
            if is_lost_worker(error):
                raise LostReaderError(error) from error
            raise


def is_lost_worker(error: RuntimeError) -> bool:
    """Say whether torch means by this error that a loader's process has died.

    It raises it where the next batch is waited for, and out of its handler of SIGCHLD anywhere at all.
    """
    return str(error).startswith("DataLoader worker (pid")


def batches(
    reader: SlabReader, rows: npt.NDArray[np.int64], batch_size: int, *, epoch: int | None = None
) -> Iterator[SlabBatch]:
    """Read one pass in a thread; arguments as those of `SlabLoader.batches`."""
    return SlabLoader(reader).batches(rows, batch_size, epoch=epoch)


class _Pass:
    """What the next pass reads: torch asks for it anew whenever a pass begins."""

    def __init__(self) -> None:
        self.requests: list[_Request] = []

    def __iter__(self) -> Iterator[_Request]:
        return iter(self.requests)

    def __len__(self) -> int:
        return len(self.requests)


class _Served(torch.utils.data.Dataset[SlabBatch | Ich25dError]):
    """One item a batch, so that a process hands over whole batches."""

    def __init__(self, reader: SlabReader) -> None:
        self._reader = reader

    def __getitem__(self, request: _Request) -> SlabBatch | Ich25dError:
        rows, epoch = request
        try:
            return self._reader.read(rows, epoch=epoch)
        except Ich25dError as error:
            return error  # raised where it's asked for, as it is: torch would make its sentence a traceback


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401  # torch types this as a list of samples
    return batch


def _begin(_: int) -> None:
    """Let a reading process outlive the signals that ask for a stop: the last step still waits for its batches.

    It reads on one core: torch sees to that for itself alone.
    """
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    leave_cores_to_torch()


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """Start processes in which stopping signals wait until they are ignored; here they only come a little later."""
    resource_tracker.ensure_running()  # starting it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
