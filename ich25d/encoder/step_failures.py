"""Failures of memory and of reading processes during training, as errors that say what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ich25d.errors import TrainingError
from ich25d.slabs.loading import LostReaderError, is_lost_worker
from ich25d.training.interrupt import Interrupted
from ich25d.training.processes import Processes


@contextmanager
def explained_failures(
    too_large: str, stop: Callable[[], bool], save: Callable[[], None], processes: Processes
) -> Iterator[None]:
    """Turn failures of memory or of reading processes in the block into errors that say what to do.

    A signal to a whole group of processes may kill those that read before the step is done: that is an interruption,
    not a failure.

    Args:
        too_large: What to say of a step that doesn't fit into the device's memory.
        stop: Returns whether a signal asked to stop.
        save: Writes `last.pt`.
        processes: This process among several; saving is done by all of them together or not at all.

    Raises:
        Interrupted: A reading process died after a signal had asked to stop; `last.pt` is written where the step that
            waited for it hadn't begun.
        TrainingError: A reading process died by itself, or a step doesn't fit into the device's memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(too_large) from error
    except LostReaderError as error:
        if not stop() or processes.count > 1:
            raise
        save()
        raise Interrupted from error
    except RuntimeError as error:
        if not is_lost_worker(error):
            raise
        if stop():
            raise Interrupted from error
        raise LostReaderError(error) from error
