"""A series whose reading failed as a whole: its files are tried one by one, and it is made of those that don't fail.

Reading fails as a whole where it kills its process twice, takes too long, or raises an unforeseen error.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from ich25d.studies.pool.pool import Pool, reason_of
from ich25d.studies.qc import QcRow
from ich25d.studies.series.series_plan import SeriesPlan, without
from ich25d.studies.volumes.volume import read_series

Result = TypeVar("Result")

_SLICE_S, _SERIES_S = 2.0, 60.0
"""Time limit of a series: seconds a slice and a constant; the slowest codec takes 0.03 s a slice."""
_FILE_S = 30.0
"""Time limit of a single file."""


class Series(Protocol):
    """A plan, or a series of a store."""

    @property
    def series_id(self) -> str:
        """Its id."""

    @property
    def image_ids(self) -> tuple[str, ...]:
        """In scan order."""

    def __len__(self) -> int:
        """Return the number of slices."""


def limit_s(series: Series) -> float:
    """Return the time limit of reading a series, in seconds."""
    return _SERIES_S + _SLICE_S * len(series)


def rescue(
    plan: SeriesPlan,
    work: Callable[[list[QcRow]], Callable[[SeriesPlan], Result]],
    pool: Pool,
    *,
    limit: Callable[[SeriesPlan], float] | None = None,
    gpu: bool = False,
) -> tuple[Result | Exception | None, list[QcRow]]:
    """Find the files that fail, and read the series of the others.

    Args:
        plan: A series whose reading failed; it has several files.
        work: Makes what reads a plan, and pickles, from the rows of the slices that are lost.
        pool: Tries the files, and reads the rest.
        limit: Seconds that `work` may take; by default those to read the series.
        gpu: `work` needs a GPU of the pool.

    Returns:
        The result of `work` for the rest: None without a rest, an exception where that fails as well; and a row for
        every slice that is lost.
    """
    failed: dict[int, Exception] = {}
    tasks = ((plan, index) for index in range(len(plan)))
    for (_, index), result in pool.map(try_file, tasks, timeout_s=_FILE_S):
        if isinstance(result, Exception):
            failed[index] = result
    rows = [row for index, error in sorted(failed.items()) for row in lost_rows(plan, [index], error)]
    if len(failed) == len(plan):
        return None, rows
    ((_, rest),) = pool.map(work(rows), [without(plan, set(failed))], timeout_s=limit or limit_s, gpu=gpu)
    if isinstance(rest, Exception):
        rows += lost_rows(plan, [index for index in range(len(plan)) if index not in failed], rest)
    return rest, rows


def try_file(task: tuple[SeriesPlan, int]) -> bool:
    """Read one slice of a plan, to see whether that fails; a refusal is no failure."""
    plan, index = task
    read_series(without(plan, set(range(len(plan))) - {index}), crop="none", size=8)
    return True


def lost_rows(series: Series, indices: Iterable[int], error: Exception) -> list[QcRow]:
    """Return a row for each slice whose reading failed.

    Args:
        series: A plan, whose files are named, or a series of a store.
        indices: Which slices.
        error: How it failed.
    """
    code, detail = reason_of(error)
    source = series.images.source if isinstance(series, SeriesPlan) else lambda _: ""
    return [QcRow(source(index), series.image_ids[index], series.series_id, "slice", code, detail) for index in indices]
