"""Series by series from files to probabilities: the next ones are read while the network works on this one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

from ich25d.predict.finished_series import Part
from ich25d.predict.jobs import Job, Read, StoredSeries, read_job
from ich25d.predict.network import Network
from ich25d.studies.pool import map_series, n_workers
from ich25d.studies.qc import QcRow
from ich25d.studies.volumes.rescue import limit_s, lost_rows, rescue
from ich25d.studies.volumes.volume import Crop
from ich25d.training.prefetch import ahead

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
        for job, result in map_series(read, jobs, n_processes, timeout_s=limit_s, in_process=in_process):
            if not isinstance(result, Exception):
                yield job, result
            elif isinstance(job, StoredSeries) or len(job) == 1:
                yield job, tuple(lost_rows(job, range(len(job)), result))
            else:
                rest, rows = rescue(job, read, n_processes)
                yield job, replace(rest, qc=(*rows, *rest.qc)) if isinstance(rest, Read) else tuple(rows)

    return ahead(found(), AHEAD)
