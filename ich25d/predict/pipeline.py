"""Series by series from files to probabilities: the next ones are read while the network works on this one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from ich25d.errors import StoreError
from ich25d.predict.jobs import Job, Read, StoredSeries, read_job, try_slice
from ich25d.predict.network import Network
from ich25d.predict.parts import Part
from ich25d.slabs.dataset import ahead
from ich25d.studies.pool import TaskTimeoutError, WorkerLostError, map_series, n_workers
from ich25d.studies.qc import QcRow
from ich25d.studies.reading import SERIES_SECONDS, SLICE_SECONDS
from ich25d.studies.series_plan import SeriesPlan, without
from ich25d.studies.volume import Crop

AHEAD = 2
"""Series that wait, read, for the network."""

See = Callable[[Network, Job, Read, Part], None]
"""Takes a series that was just predicted, while its pixels are in memory."""


def predict_jobs(
    jobs: Sequence[Job], network: Network, *, workers: int = 0, see: See | None = None
) -> Iterator[tuple[Job, Part | tuple[QcRow, ...]]]:
    """Predict series as they come off the disk.

    Args:
        jobs: The series.
        network: A loaded model.
        workers: Processes that read; 0 chooses: one a core beside a GPU, and on a CPU, whose cores the network
            needs, a thread of this process.
        see: Called with every predicted series before it is yielded.

    Yields:
        Each series with its part, or with the rows that say why there is none; in the order of completion.
    """
    for job, result in _reads(jobs, network, workers):
        if isinstance(result, tuple):
            yield job, result
        elif not len(result.hu):
            yield job, result.qc
        else:
            part = predict_read(network, result)
            if see is not None:
                see(network, job, result, part)
            yield job, part


def predict_read(network: Network, read: Read) -> Part:
    """Predict a series that was read and has slices."""
    found = network.predict(read.hu, read.slice_position_mm, read.window)
    return Part(
        image_ids=read.image_ids,
        slice_position_mm=read.slice_position_mm,
        encoder_probability=found.encoder_probability,
        probability=found.probability,
        series_probability=found.series_probability,
        qc=read.qc,
    )


def _reads(jobs: Sequence[Job], network: Network, workers: int) -> Iterator[tuple[Job, Read | tuple[QcRow, ...]]]:
    """Read series ahead of the network; in processes where a codec might take its process down."""
    read = partial(read_job, crop=cast(Crop, network.crop), size=network.size)
    native = all(isinstance(job, StoredSeries) or job.images.is_native for job in jobs)
    on_cpu = network.device.type == "cpu"
    in_process = native and (workers == 1 or (workers == 0 and (on_cpu or len(jobs) == 1)))
    n_processes = 1 if workers == 0 and on_cpu else min(n_workers(workers), max(1, len(jobs)))

    def found() -> Iterator[tuple[Job, Read | tuple[QcRow, ...]]]:
        for job, result in map_series(read, jobs, n_processes, timeout_s=_limit, in_process=in_process):
            if not isinstance(result, Exception):
                yield job, result
            elif isinstance(job, StoredSeries) or len(job) == 1:
                yield job, _lost(job, range(len(job)), result)
            else:
                yield job, _rescue(job, read, n_processes)

    return ahead(found(), AHEAD)


def _rescue(job: SeriesPlan, read: "partial[Read]", n_processes: int) -> Read | tuple[QcRow, ...]:
    """Try the files of a series that failed as a whole one by one, and read it without those that fail."""
    tasks = ((job, index) for index in range(len(job)))
    rows: tuple[QcRow, ...] = ()
    failed = set()
    for (_, index), result in map_series(try_slice, tasks, min(n_processes, len(job)), timeout_s=_FILE_SECONDS):
        if isinstance(result, Exception):
            failed.add(index)
            rows += _lost(job, [index], result)
    if len(failed) == len(job):
        return rows
    ((_, rest),) = map_series(read, [without(job, failed)], 1, timeout_s=_limit)
    if isinstance(rest, Exception):
        return rows + _lost(job, [index for index in range(len(job)) if index not in failed], rest)
    return replace(rest, qc=(*rows, *rest.qc))


_FILE_SECONDS = 30.0


def _limit(job: Job) -> float:
    return SERIES_SECONDS + SLICE_SECONDS * len(job)


def _lost(job: Job, indices: Iterable[int], error: Exception) -> tuple[QcRow, ...]:
    """Account for slices whose reading didn't come back."""
    if isinstance(error, WorkerLostError):
        code, detail = "DECODER_CRASH", f"reading ended its process ({error.exit_code})"
    elif isinstance(error, TaskTimeoutError):
        code, detail = "TIMEOUT", f"reading took more than {error.timeout_s:.0f} s"
    elif isinstance(error, StoreError):
        code, detail = "READ_FAILED", f"the store's volume can't be read: {error}"
    else:
        code, detail = "READ_FAILED", f"reading raised {type(error).__name__}"
    return tuple(
        QcRow(
            "" if isinstance(job, StoredSeries) else job.images.source(index),
            job.image_ids[index], job.series_id, "slice", code, detail,
        )
        for index in indices
    )  # fmt: skip
