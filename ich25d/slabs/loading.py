"""Batches of slabs, read while the device computes: in a thread, or in processes that serve all epochs.

The pickled reader must fit into a pipe (64 kB on Linux). Python writes it to a starting process while it holds the
reading end of the pipe itself, so that with more it would wait for ever for a process that died.
"""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from ich25d.errors import Ich25dError, TrainingError
from ich25d.slabs.dataset import SlabBatch
from ich25d.training.machine import leave_cores_to_network
from ich25d.training.prefetch import prefetch

_PREFETCH = 4
"""Batches that each process reads ahead."""

_STOPPING = (signal.SIGINT, signal.SIGTERM)
"""A terminal sends them to the whole process group; only the training process handles them."""

_CPU = torch.device("cpu")

_Request = tuple[npt.NDArray[np.int64], int | None]
"""Rows of one batch, and the epoch that painting is drawn from."""


class ReadsSlabs(Protocol):
    """What reads batches by row; it pickles."""

    def read(self, rows: npt.NDArray[np.int64], *, epoch: int | None = None) -> SlabBatch:
        """Read slabs, as `SlabReader.read`."""


class LostReaderError(TrainingError):
    """A process that reads slabs has died; the step that waited for its batch hasn't begun."""

    def __init__(self, error: RuntimeError) -> None:
        super().__init__(
            f"processes that read slabs must live (got: {error}); go on with --resume, with a smaller "
            "train.loader_workers where memory is short"
        )


class SlabLoader:
    """Reads batches in the order of their rows; its processes start with the first pass and serve all that follow.

    Args:
        reader: Reads the slabs.
        workers: Processes that read; 0 reads in a thread of this one.
        device: Where the batches will go; those for a GPU are in pinned memory.
    """

    def __init__(self, reader: ReadsSlabs, *, workers: int = 0, device: torch.device = _CPU) -> None:
        self._reader, self._is_pinned = reader, device.type == "cuda"
        self._pass = _Pass()
        self._loader: Any = None
        self._iterator: Any = None
        if workers > 0:
            self._loader = torch.utils.data.DataLoader(
                _Batches(reader),
                sampler=self._pass,
                batch_size=None,
                num_workers=workers,
                prefetch_factor=_PREFETCH,
                pin_memory=self._is_pinned,
                multiprocessing_context="spawn",
                collate_fn=_unchanged,
                worker_init_fn=_set_up,
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
            # torch does it with the last reference, which a traceback may hold; a second call does nothing.
            self._iterator._shutdown_workers()
        self._loader = self._iterator = None

    def batches(self, rows: npt.NDArray[np.int64], batch_size: int, *, epoch: int | None = None) -> Iterator[SlabBatch]:
        """Read the rows in the order given, some batches ahead.

        A further call, of this or of `batches_of`, ends the pass before it.

        Args:
            rows: Rows of the slice table, shape (N,).
            batch_size: Slabs a batch; the last may hold fewer.
            epoch: Number of the epoch, from which painting is drawn; None paints nothing.

        Raises:
            LostReaderError: A process died.
        """
        return self.batches_of([rows[start : start + batch_size] for start in range(0, len(rows), batch_size)], epoch)

    def batches_of(self, parts: Sequence[npt.NDArray[np.int64]], epoch: int | None = None) -> Iterator[SlabBatch]:
        """Read batches of any sizes, as whole series, in the order given.

        Args:
            parts: The rows of each batch.
            epoch: Number of the epoch, from which painting is drawn; None paints nothing.

        Raises:
            LostReaderError: A process died.
        """
        requests: list[_Request] = [(part, epoch) for part in parts]
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
    """Return whether torch raised this error because a DataLoader's process died.

    It is raised where the next batch is waited for, or anywhere, from torch's handler of SIGCHLD.
    """
    return str(error).startswith("DataLoader worker (pid")


class _Pass:
    """The batches of the next pass: the DataLoader's sampler, asked anew by each pass."""

    def __init__(self) -> None:
        self.requests: list[_Request] = []

    def __iter__(self) -> Iterator[_Request]:
        return iter(self.requests)

    def __len__(self) -> int:
        return len(self.requests)


class _Batches(torch.utils.data.Dataset[SlabBatch | Ich25dError]):
    """A data set whose items are whole batches."""

    def __init__(self, reader: ReadsSlabs) -> None:
        self._reader = reader

    def __getitem__(self, request: _Request) -> SlabBatch | Ich25dError:
        rows, epoch = request
        try:
            return self._reader.read(rows, epoch=epoch)
        except Ich25dError as error:
            return error  # raised by the reader of the batch: torch would wrap it in a traceback


def _unchanged(batch: Any) -> Any:  # noqa: ANN401  # torch types this as a list of samples
    return batch


def _set_up(_: int) -> None:
    """Set up a reading process: signals to stop are ignored, as the last step needs its batches; one core is used."""
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    leave_cores_to_network()


@contextmanager
def _blocked_signals() -> Iterator[None]:
    """Block signals to stop while processes start, until these ignore them; here they arrive a little later."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows: Ctrl-C may end such a process before the last step
        yield
        return
    resource_tracker.ensure_running()  # starting it would unblock them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
