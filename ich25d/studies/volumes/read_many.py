"""Many series read by many processes: plans in, volumes on disk and their rows out, also where processes die."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ich25d.errors import StoreError
from ich25d.studies.headers.notebook import Done
from ich25d.studies.pool.pool import Pool
from ich25d.studies.qc import QcRow
from ich25d.studies.series.series_plan import SeriesPlan
from ich25d.studies.store_dir.volume_file import Packing, write_volume
from ich25d.studies.volumes.rescue import limit_s, lost_rows, rescue
from ich25d.studies.volumes.volume import Crop, read_series

PACKING: dict[Crop, Packing] = {"head": "quick", "none": "small"}
"""A cropped head is read at every pass over the data: 46 GB for RSNA, written and read in half the time. The full field
is mostly air: 34 GB."""

BYTES_PER_PX: dict[Crop, float] = {"head": 1.0, "none": 0.75}
"""Compressed bytes a px of real scans, rounded up: for the check of free space."""


class Outcome(NamedTuple):
    """The result of one series."""

    plan: SeriesPlan
    done: Done
    is_final: bool
    """False where reading failed in a way that may not occur again; the next call tries again."""


def build_all(plans: Sequence[SeriesPlan], out: Path, *, crop: Crop, size: int, pool: Pool) -> Iterator[Outcome]:
    """Read series, write their volumes and yield their rows, in the order of completion.

    Where reading a series fails as a whole, its files are tried one by one (`rescue`).

    Args:
        plans: The series.
        out: The store.
        crop: `head` or `none`.
        size: Side of the stored slices in px.
        pool: Reads them; where it is one process, series that need no codec are read in this one.

    Raises:
        StoreError: A volume can't be written.
    """
    work = partial(build_one, out=out, crop=crop, size=size)
    in_process = pool.is_single and all(plan.images.is_native for plan in plans)
    for plan, result in pool.map(work, plans, timeout_s=limit_s, in_process=in_process):
        rows: list[QcRow] = []
        done: Done | Exception | None = result
        if isinstance(result, Exception) and not isinstance(result, OSError):
            if len(plan) > 1:
                done, rows = rescue(plan, lambda _: work, pool)
            else:
                rows = lost_rows(plan, [0], result)
        if isinstance(done, OSError):
            raise StoreError(f"the store must be writable (got {done.strerror}) in {out}") from done
        if isinstance(done, Done):
            yield Outcome(plan, Done(done.series, done.slices, [*rows, *done.qc]), True)
        else:
            yield Outcome(plan, Done(None, {}, rows), False)


def build_one(plan: SeriesPlan, *, out: Path, crop: Crop, size: int) -> Done:
    """Read one series, write its volume, where anything of it can be used, and return its rows.

    Args:
        plan: The series.
        out: The store.
        crop: `head` or `none`.
        size: Side of the stored slices in px.
    """
    read = read_series(plan, crop=crop, size=size)
    if not read.series:
        return Done(None, {}, read.qc)
    volume = write_volume(out, plan.series_id, read.hu, PACKING[crop])
    return Done({**read.series, **volume._asdict()}, read.slices, read.qc)
