"""Series by series from files to probabilities: the next ones are read while the network works on this one."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

from ich25d.errors import StoreError
from ich25d.predict.jobs import Job, Read, StoredSeries, read_job
from ich25d.predict.network import Network
from ich25d.predict.parts import Part
from ich25d.slabs.dataset import ahead
from ich25d.studies.build import SERIES_SECONDS, SLICE_SECONDS
from ich25d.studies.pool import TaskTimeoutError, WorkerLostError, map_series, n_workers
from ich25d.studies.qc import QcRow
from ich25d.studies.volume import Crop

AHEAD = 2
"""Series that wait, read, for the network."""


def predict_jobs(
    jobs: Sequence[Job], network: Network, *, workers: int = 0
) -> Iterator[tuple[Job, Part | tuple[QcRow, ...]]]:
    """Predict series as they come off the disk.

    Args:
        jobs: The series.
        network: A loaded model.
        workers: Processes that read; 0 chooses: one a core beside a GPU, and on a CPU, whose cores the network
            needs, a thread of this process.

    Yields:
        Each series with its part, or with the rows that say why there is none; in the order of completion.
    """
    for job, result in _reads(jobs, network, workers):
        if isinstance(result, Exception):
            yield job, _lost(job, result)
        elif not len(result.hu):
            yield job, result.qc
        else:
            yield job, predict_read(network, result)


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


def _reads(jobs: Sequence[Job], network: Network, workers: int) -> Iterator[tuple[Job, Read | Exception]]:
    """Read series ahead of the network; in processes where a codec might take its process down."""
    read = partial(read_job, crop=cast(Crop, network.crop), size=network.size)
    native = all(isinstance(job, StoredSeries) or job.images.is_native for job in jobs)
    on_cpu = network.device.type == "cpu"
    in_process = native and (workers == 1 or (workers == 0 and (on_cpu or len(jobs) == 1)))
    n_processes = 1 if workers == 0 and on_cpu else min(n_workers(workers), max(1, len(jobs)))
    results = map_series(read, jobs, n_processes, timeout_s=_limit, in_process=in_process)
    return ahead(results, AHEAD)


def _limit(job: Job) -> float:
    return SERIES_SECONDS + SLICE_SECONDS * len(job)


def _lost(job: Job, error: Exception) -> tuple[QcRow, ...]:
    """Account for every slice of a series whose reading didn't come back."""
    if isinstance(error, WorkerLostError):
        code, detail = "DECODER_CRASH", f"reading the series ended its process {error.exit_code}"
    elif isinstance(error, TaskTimeoutError):
        code, detail = "TIMEOUT", f"reading the series took more than {error.timeout_s:.0f} s"
    elif isinstance(error, StoreError):
        code, detail = "READ_FAILED", f"the store's volume can't be read: {error}"
    else:
        code, detail = "READ_FAILED", f"reading the series raised {type(error).__name__}"
    sources = [""] * len(job) if isinstance(job, StoredSeries) else [job.images.source(k) for k in range(len(job))]
    return tuple(
        QcRow(source, image_id, job.series_id, "slice", code, detail)
        for source, image_id in zip(sources, job.image_ids, strict=True)
    )
