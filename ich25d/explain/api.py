"""A model that explains as well as it predicts; `from ich25d import load_model` gives one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ich25d.errors import UsageError
from ich25d.explain.explanation import Explanation, explain_read
from ich25d.predict.api import Model, paths_of
from ich25d.predict.finished_series import Part
from ich25d.predict.gather import without_doubles
from ich25d.predict.jobs import Job, Read, array_job, find_jobs, read_job
from ich25d.predict.network import Network, load_network
from ich25d.predict.pipeline import predict_jobs
from ich25d.progress import remark
from ich25d.studies.no_usable_input import nothing_used
from ich25d.studies.qc import QcRow, is_refused
from ich25d.studies.volumes.volume import Crop
from ich25d.training.operating_point import OperatingPoint, choose_point, read_points
from ich25d.training.precision import choose_device


class ExplainingModel(Model):
    """A loaded model; `load_model` makes it."""

    def explain(
        self,
        source: str | Path | Sequence[str | Path] | npt.NDArray[np.integer[Any]],
        *,
        labels: Sequence[str] | None = None,
        point: str | None = None,
        slice_position_mm: npt.ArrayLike | None = None,
        pixel_spacing_mm: tuple[float, float] | None = None,
        only: Sequence[str] = (),
        workers: int = 0,
    ) -> Iterator[Explanation]:
        """Explain every series of a source, or one series that is an array, one after the other.

        An explanation holds heat maps of about 0.8 MB a slice: they come one by one as they are asked for, and aren't
        kept. What can't be explained is said on stderr.

        Args:
            source: A folder, DICOM file, zip archive or study store, or several of them; or HU of one series, whole
                numbers of shape (n, rows, columns), the full field, in the usual display: the patient's right on the
                left.
            labels: Whose heat and finding is wanted; None is those that reach the operating point.
            point: The operating point by its rule, as `f1`; None is the one that a report uses too. The explanation
                names it.
            slice_position_mm: With an array: where its slices are, shape (n,), mm from caudal to cranial.
            pixel_spacing_mm: With an array: distance of rows and of columns; without it the px is estimated.
            only: With files: globs, any of which they must match.
            workers: Processes that read; 0 chooses.

        Raises:
            UsageError: There is nothing to explain, an array without positions, or unknown labels or point.
        """
        network = self._network
        chosen = choose_point(read_points(network.folder), point)
        if isinstance(source, np.ndarray):
            if slice_position_mm is None:
                raise UsageError("an array needs slice_position_mm, shape (n,), mm from caudal to cranial (got None)")
            job = array_job(source, slice_position_mm, pixel_spacing_mm=pixel_spacing_mm)
            read = read_job(job, crop=cast(Crop, network.crop), size=network.size)
            return iter([replace(explain_read(network, read, labels=labels, point=chosen), series_id=job.series_id)])
        if slice_position_mm is not None or pixel_spacing_mm is not None:
            raise UsageError("positions and spacing are for arrays; files bring their own")
        paths = paths_of(source)
        found = find_jobs(paths, only=only, size=network.size, crop=network.crop, workers=workers or 1)
        jobs, qc = without_doubles(found)
        if not jobs:
            raise nothing_used(found.n_seen, qc)
        return _explanations(explain_jobs(network, jobs, labels=labels, point=chosen, workers=workers), qc)


def _explanations(
    results: Iterable[tuple[Job, Read | None, Explanation | tuple[QcRow, ...]]], qc: Sequence[QcRow]
) -> Iterator[Explanation]:
    """Yield what is explained, and say what isn't."""
    for row in filter(is_refused, qc):
        remark(f"{row.source or row.series_id} isn't explained: {row.code}, {row.detail}")
    for job, _, result in results:
        if isinstance(result, Explanation):
            yield result
        else:
            why = next((f"{row.code}, {row.detail}" for row in result if is_refused(row)), "no slice could be read")
            remark(f"series {job.series_id} isn't explained: {why}")


def load_model(run: str | Path, *, device: str = "auto") -> ExplainingModel:
    """Load a model directory of `train-rnn` or `train-cnn`, once for many predictions and explanations.

    Args:
        run: The model directory.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        ModelError: It is damaged, unfinished or foreign.
        UsageError: There is no such device.
    """
    return ExplainingModel(load_network(Path(run), choose_device(device)))


def explain_jobs(
    network: Network,
    jobs: Sequence[Job],
    *,
    labels: Sequence[str] | None = None,
    point: OperatingPoint | None = None,
    workers: int = 0,
) -> Iterator[tuple[Job, Read | None, Explanation | tuple[QcRow, ...]]]:
    """Predict and explain series as they come off the disk.

    Args:
        network: The model.
        jobs: The series.
        labels: As in `explain_series`.
        point: Likewise.
        workers: Processes that read; 0 chooses.

    Yields:
        Each series with its pixels and its explanation, or with nothing and the rows that say why; in the order of
        completion.
    """
    seen: list[Read] = []

    def keep(_network: Network, _job: Job, read: Read, _part: Part) -> None:
        seen[:] = [read]

    for job, result in predict_jobs(jobs, network, workers=workers, see=keep):
        if isinstance(result, Part):
            read = seen.pop()
            explanation = explain_read(network, read, result, labels=labels, point=point)
            yield job, read, replace(explanation, series_id=job.series_id, image_ids=result.image_ids)
        else:
            yield job, None, result
