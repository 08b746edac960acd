"""Series predicted on the nodes of a cluster: each is read, predicted and finished there; its result alone returns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ich25d.errors import ModelError
from ich25d.predict.network import Network, load_network
from ich25d.predict.one_series import Finish, Result, predict_pixels
from ich25d.predict.series import StoredSeries, UnreadSeries, read_pixels
from ich25d.studies.pool.local_pool import travelling
from ich25d.studies.pool.pool import Pool, TaskTimeoutError, WorkerLostError
from ich25d.studies.qc import QcRow
from ich25d.studies.volumes.rescue import limit_s, lost_rows, rescue

_LOAD_S, _SLICE_S = 600.0, 20.0
"""Beyond the time to read a series: seconds to load a model, and to predict and explain a slice on one core."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One task."""

    series: UnreadSeries
    remarks: tuple[QcRow, ...]
    """What its headers gave rise to."""

    def __len__(self) -> int:
        return len(self.series)


@dataclass(frozen=True, slots=True)
class _Model:
    """Which network a node must have."""

    folder: Path
    stamp: str
    device: str


@dataclass(frozen=True, slots=True)
class _Unread:
    """A series that couldn't be read; whatever else goes wrong in a task ends the command, as on one machine."""

    error: Exception


_loaded: dict[_Model, Network] = {}
"""The network of this process, kept for its next tasks."""


def finished_on_nodes(
    series: Sequence[UnreadSeries],
    network: Network,
    finish: Finish[Result],
    pool: Pool,
    remarks: Mapping[str, Sequence[QcRow]],
) -> Iterator[tuple[UnreadSeries, Result | list[QcRow]]]:
    """Predict and finish series on other machines.

    Args:
        series: The series.
        network: The model, as this process has it; nodes load it from the same folder, once a process.
        finish: Makes the result of a series there.
        pool: The nodes; where they have GPUs that are wanted, the networks compute on those, else on a core each.
        remarks: What the headers gave rise to, by series.

    Yields:
        Each series with its result, or with the rows that say why there is none; in the order of completion.

    Raises:
        ModelError: A node sees another model.
    """
    model = _Model(network.folder.absolute(), network.stamp, "cuda" if pool.has_gpus else "cpu")
    jobs = (_Job(one, tuple(remarks.get(one.series_id, ()))) for one in series)
    work = partial(_do, model=model, finish=finish)
    for job, result in pool.map(work, jobs, timeout_s=_job_limit_s, gpu=pool.has_gpus):
        one = job.series
        if not isinstance(result, _Unread | WorkerLostError | TaskTimeoutError):
            if isinstance(result, Exception):
                raise result
            yield one, result
            continue
        error = result.error if isinstance(result, _Unread) else result
        if isinstance(one, StoredSeries) or len(one) == 1:
            yield one, lost_rows(one, range(len(one)), error)
        else:
            yield one, _rescued(job, model, finish, pool)


def _rescued(job: _Job, model: _Model, finish: Finish[Result], pool: Pool) -> Result | list[QcRow]:
    assert not isinstance(job.series, StoredSeries)
    rest, rows = rescue(
        job.series,
        lambda lost: partial(_do_part, job=job, lost=tuple(lost), model=model, finish=finish),
        pool,
        limit=_job_limit_s,
        gpu=pool.has_gpus,
    )
    if isinstance(rest, _Unread):
        named = {row.image_id for row in rows}
        kept = [index for index, image_id in enumerate(job.series.image_ids) if image_id not in named]
        return rows + lost_rows(job.series, kept, rest.error)
    return rows if rest is None or isinstance(rest, Exception) else rest


def _job_limit_s(job: _Job | UnreadSeries) -> float:
    series = job.series if isinstance(job, _Job) else job
    return limit_s(series) + _LOAD_S + _SLICE_S * len(series)


def _do(job: _Job, *, model: _Model, finish: Finish[Result]) -> Result | list[QcRow] | _Unread:
    return _do_part(job.series, job=job, lost=(), model=model, finish=finish)


def _do_part(
    part: UnreadSeries, *, job: _Job, lost: tuple[QcRow, ...], model: _Model, finish: Finish[Result]
) -> Result | list[QcRow] | _Unread:
    """Read a series, or what is left of it without the slices that are lost, predict and finish it; on a node."""
    network = _network(model)
    try:
        pixels = read_pixels(part, crop=network.crop, size=network.size)
    except Exception as error:  # noqa: BLE001  # the border around reading one series, as in `Pool.map`
        return _Unread(travelling(error))
    pixels = replace(pixels, qc=(*lost, *pixels.qc))
    if not len(pixels.hu):
        return list(pixels.qc)
    return finish(network, job.series, pixels, predict_pixels(network, pixels), job.remarks)


def _network(model: _Model) -> Network:
    if model not in _loaded:
        _loaded.clear()
        network = load_network(model.folder, model.device, "torch")
        if network.stamp != model.stamp:
            raise ModelError(f"a model mustn't change while it predicts (got another one in {model.folder}); run again")
        _loaded[model] = network
    return _loaded[model]
