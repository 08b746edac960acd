"""Measure how work scales: series a second by workers, overhead a task, memory of the driver, and what limits archives.

    python scripts/benchmark_scale.py SOURCE [--workers 1 2] [--repeat 3] [--tasks 2000] [--planned 100000] [--json]

SOURCE is a folder or archive of DICOM series. Pools of all sizes take turns on the same series, and the best of each
counts: only ratios within one run mean anything. `local` is this machine's processes, `ray` a cluster that is started
here. The last part measures the driver alone, by synthetic plans.
"""

import argparse
import dataclasses
import json
import pickle
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from ich25d.progress import set_quiet
from ich25d.studies.plan import make_plan
from ich25d.studies.pool.pool import Pool, opened_pool
from ich25d.studies.series.series_plan import SeriesPlan
from ich25d.studies.volumes.read_many import build_all

ARCHIVES = {"all of RSNA": (21_744, 752_803), "10 million studies": (10_000_000, 350_000_000)}
"""Series and slices."""

COPIES = 10
"""Times that each series is read, so that the start of processes weighs little."""

BYTES_A_SLICE = 61_000
"""Of a store with the head box, as `build-studies` prints it."""


def resident_kib() -> int:
    """Return the memory of this process in KiB."""
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


def series_a_second(pool: Pool, plans: list[SeriesPlan]) -> float:
    """Build a store's volumes once; the pool's start counts, its cluster's doesn't."""
    with tempfile.TemporaryDirectory(prefix="ich25d-scale-") as out:
        begun = time.monotonic()
        n = sum(1 for _ in build_all(plans, Path(out), crop="head", size=256, pool=pool))
        return n / (time.monotonic() - begun)


def overhead_s(pool: Pool, n: int) -> float:
    """Return the seconds that a task costs which does nothing, once the workers are there."""
    results = pool.map(abs, range(n + 100))
    for _ in range(100):
        next(results)
    begun = time.monotonic()
    done = sum(1 for _ in results)
    return (time.monotonic() - begun) / done


def synthetic(n: int, like: SeriesPlan) -> Iterator[SeriesPlan]:
    """Make plans of so many series."""
    for number in range(n):
        ids = tuple(f"ID_{number:06x}{index:03x}" for index in range(len(like)))
        yield dataclasses.replace(like, series_id=f"ID_{number:010x}", image_ids=ids)


def growth(pool: Pool, like: SeriesPlan, n: int) -> tuple[int, int]:
    """Return the driver's memory in KiB after a tenth of the tasks, and after all."""
    early = 0
    for number, _ in enumerate(pool.map(len, synthetic(n, like)), start=1):
        if number == n // 10:
            early = resident_kib()
    return early, resident_kib()


def index_bytes(source: Path) -> float:
    """Return the bytes that the driver holds a slice: all plans of a source, in Python's own memory."""
    make_plan([source])  # imports what it needs
    tracemalloc.start()
    plan = make_plan([source])
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held / sum(map(len, plan.series))


def limits(rate: float, overhead: float, held: float) -> list[dict[str, object]]:
    """Do the arithmetic for whole archives.

    Args:
        rate: Series a second and worker.
        overhead: Seconds of the driver a task.
        held: Bytes of the driver a slice.
    """
    rows: list[dict[str, object]] = []
    for name, (n_series, n_slices) in ARCHIVES.items():
        driver_h, most = n_series * overhead / 3600, 1 / (rate * overhead)
        rows.append({
            "archive": name, "core_hours": n_series / rate / 3600, "hours_on_64_cores": n_series / rate / 3600 / 64,
            "store_tb": n_slices * BYTES_A_SLICE / 1e12, "driver_hours": driver_h, "most_cores_a_driver": int(most),
            "index_gb": n_slices * held / 1e9, "mb_a_second_read_on_64_cores": 64 * rate * n_slices / n_series * 0.525,
        })  # fmt: skip
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--planned", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    set_quiet(True)
    held = index_bytes(options.source)
    found = make_plan([options.source]).series
    like = max(found, key=len)
    plans = [dataclasses.replace(one, series_id=f"{one.series_id}-{n}") for n in range(COPIES) for one in found]
    best: dict[str, float] = {}
    cost: dict[str, float] = {}
    memory: dict[str, tuple[int, int]] = {}
    with opened_pool(0, "local"):  # started once; those below join it
        for _ in range(options.repeat):
            for n in options.workers:
                for name, cluster in (("local", None), ("ray", "auto")):
                    with opened_pool(n, cluster) as pool:
                        key = f"{name} {n}"
                        best[key] = max(best.get(key, 0.0), series_a_second(pool, plans))
        for name, cluster in (("local", None), ("ray", "auto")):
            with opened_pool(max(options.workers), cluster) as pool:
                cost[name] = overhead_s(pool, options.tasks)
                memory[name] = growth(pool, like, options.planned)
    least = min(options.workers)
    result = {
        "series_a_second": best, "overhead_ms_a_task": {name: 1000 * one for name, one in cost.items()},
        "driver_kib_after_a_tenth_and_all": memory, "planned": options.planned,
        "plan_pickled_bytes_a_slice": len(pickle.dumps(like)) / len(like), "index_bytes_a_slice": held,
        "archives": limits(best[f"ray {least}"] / least, cost["ray"], held),
    }  # fmt: skip
    if options.json:
        json.dump(result, sys.stdout, indent=2)
        return
    for name, value in result.items():
        for line in value if isinstance(value, list) else [value]:
            print(f"{name}: {line}")


if __name__ == "__main__":
    main()
