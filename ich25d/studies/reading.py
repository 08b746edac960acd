"""Many series read by many processes: plans in, volumes on disk and their rows out, whatever dies on the way."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ich25d.errors import StoreError
from ich25d.studies.notebook import Done
from ich25d.studies.pool import TaskTimeoutError, WorkerLostError, map_series
from ich25d.studies.qc import QcRow
from ich25d.studies.series_plan import SeriesPlan, without
from ich25d.studies.volume import SLICE_COLUMNS, Crop, read_series
from ich25d.studies.volume_file import volume_path, write_volume

SLICE_SECONDS, SERIES_SECONDS = 2.0, 60.0
"""Time limit of a series: so much a slice and so much more; the slowest codec takes 0.03 s a slice."""

_FILE_S = 30.0
"""Time limit of a single file."""


class Outcome(NamedTuple):
    """What came of one series."""

    plan: SeriesPlan
    """As it was given."""
    done: Done
    is_final: bool
    """False when its reading failed in a way that the next call may not meet again."""


def build_all(plans: Sequence[SeriesPlan], out: Path, *, crop: Crop, size: int, workers: int) -> Iterator[Outcome]:
    """Read series, write their volumes and yield their rows, in the order of completion.

    When reading a series fails as a whole (it kills its process twice, takes too long, or meets what nobody
    foresaw), its files are tried one by one: those that fail are refused, and the series is made of the rest.

    Args:
        plans: The series.
        out: The store.
        crop: `head` or `none`.
        size: Side of the stored slices in px.
        workers: Processes; one and no codec means none but this one.

    Raises:
        StoreError: A volume can't be written.
    """
    work = partial(build_one, out=out, crop=crop, size=size)
    in_process = workers == 1 and all(plan.images.is_native for plan in plans)
    workers = min(workers, max(1, len(plans)))
    for plan, result in map_series(work, plans, workers, timeout_s=_limit, in_process=in_process):
        if isinstance(result, Done):
            yield Outcome(plan, result, True)
        elif isinstance(result, OSError):
            raise StoreError(f"the store must be writable (got {result.strerror}) in {out}") from result
        elif len(plan) > 1:
            yield _rescue(plan, work, workers)
        else:
            yield Outcome(plan, _nothing(plan, range(len(plan)), result), False)


def build_one(plan: SeriesPlan, *, out: Path, crop: Crop, size: int) -> Done:
    """Read one series and write its volume; what goes back to the caller is rows alone."""
    read = read_series(plan, crop=crop, size=size)
    if not read.slices:
        volume_path(out, plan.series_id).unlink(missing_ok=True)
        return Done(None, {}, read.qc)
    volume = write_volume(out, plan.series_id, read.hu)
    columns = {name: [row[name] for row in read.slices] for name in SLICE_COLUMNS if name not in read.series}
    return Done({**read.series, **volume._asdict()}, columns, read.qc)


def try_file(task: tuple[SeriesPlan, int]) -> bool:
    """Read one slice of a plan for nothing but to see whether that kills; refusals are another matter."""
    plan, index = task
    read_series(without(plan, set(range(len(plan))) - {index}), crop="none", size=8)
    return True


def _rescue(plan: SeriesPlan, work: "partial[Done]", workers: int) -> Outcome:
    """Find the files that fail and make the series of the others."""
    failed: dict[int, Exception] = {}
    tasks = ((plan, index) for index in range(len(plan)))
    for (_, index), result in map_series(try_file, tasks, min(workers, len(plan)), timeout_s=_FILE_S):
        if isinstance(result, Exception):
            failed[index] = result
    rows = [row for index, error in sorted(failed.items()) for row in _nothing(plan, [index], error).qc]
    if len(failed) == len(plan):
        return Outcome(plan, Done(None, {}, rows), False)
    rest = without(plan, set(failed))
    ((_, done),) = map_series(work, [rest], 1, timeout_s=_limit)
    if isinstance(done, Done):
        return Outcome(plan, Done(done.series, done.slices, [*rows, *done.qc]), True)
    rows += _nothing(plan, [index for index in range(len(plan)) if index not in failed], done).qc
    return Outcome(plan, Done(None, {}, rows), False)


def _limit(plan: SeriesPlan) -> float:
    return SERIES_SECONDS + SLICE_SECONDS * len(plan)


def _nothing(plan: SeriesPlan, indices: Sequence[int], error: object) -> Done:
    """Account for slices whose reading didn't come back."""
    if isinstance(error, WorkerLostError):
        code, detail = "DECODER_CRASH", f"reading ended its process ({error.exit_code})"
    elif isinstance(error, TaskTimeoutError):
        code, detail = "TIMEOUT", f"reading took more than {error.timeout_s:.0f} s"
    else:
        code, detail = "READ_FAILED", f"reading raised {type(error).__name__}"
    rows = [
        QcRow(plan.images.source(index), plan.image_ids[index], plan.series_id, "slice", code, detail)
        for index in indices
    ]
    return Done(None, {}, rows)
