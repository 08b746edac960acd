"""Mutants through `build-studies`, in batches: every file must end in exactly one row, and no process may die."""

import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from hard_to_break.mutants import mutant
from ich25d.dicom.codes import CODES, is_refusal
from ich25d.progress import set_quiet
from ich25d.studies.build import build_studies
from ich25d.studies.no_usable_input import NoUsableInputError
from ich25d.studies.qc import QcRow, read_qc

BATCH = 5000
"""Files a store."""
UNFORESEEN = {"headers": ("READ_FAILED", "TIMEOUT", "DECODER_CRASH"), "frames": ("READ_FAILED", "TIMEOUT")}
"""Codes that no mutant may end with. A codec of others may end its own process; its file's row is DECODER_CRASH."""


@dataclass
class Account:
    """What became of mutants."""

    n: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    """`used`, or the code of the refusal; a mutant a count."""
    remarks: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)
    """Mutants that broke the law, by number, and how."""
    peak_mb: float = 0.0
    """Largest resident memory of a process that read them."""
    seconds: float = 0.0
    """Of all processes together."""

    def add(self, other: "Account") -> None:
        """Take another account in."""
        self.n += other.n
        self.ends += other.ends
        self.remarks += other.remarks
        self.faults += other.faults
        self.peak_mb = max(self.peak_mb, other.peak_mb)
        self.seconds += other.seconds


def run(kind: str, seed: int, first: int, n: int, processes: int, batch: int = BATCH) -> Iterator[Account]:
    """Send mutants through `build-studies`; yield the account of each batch.

    Args:
        kind: `headers` or `frames`.
        seed: Of the run.
        first: Number of the first mutant.
        n: How many.
        processes: Batches at a time, each in a process of its own.
        batch: Mutants a store.
    """
    starts = range(first, first + n, batch)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[Account], int] = {}
        for start in [*starts, None]:
            while waiting and (start is None or len(waiting) >= 2 * processes):
                for done in wait(waiting, return_when="FIRST_COMPLETED").done:
                    at = waiting.pop(done)
                    try:
                        yield done.result()
                    except BrokenProcessPool:
                        yield Account(faults=[(at, f"a process died; among the {batch} mutants from here on")])
                        return
            if start is not None:
                size = min(batch, first + n - start)
                waiting[pool.submit(account_of, kind, seed, start, size)] = start


def account_of(kind: str, seed: int, first: int, n: int, keep: Path | None = None) -> Account:
    """Build a store of mutants and hold its rows against the law.

    Args:
        kind: `headers` or `frames`.
        seed: Of the run.
        first: Number of the first mutant.
        n: How many.
        keep: Folder that keeps the mutants and the store; None keeps nothing.
    """
    set_quiet(True)
    started = time.perf_counter()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        root = Path(folder) if keep is None else keep
        source = root / "in"
        source.mkdir(parents=True)
        for index in range(first, first + n):
            (source / f"{index}.dcm").write_bytes(mutant(kind, seed, index))
        rows, used = build(source, root / "out")
    account = judged(rows, used, first, n, UNFORESEEN[kind])
    usage = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    account.peak_mb = usage / 1024
    account.seconds = time.perf_counter() - started
    return account


def build(source: Path, out: Path) -> tuple[list[QcRow], list[str]]:
    """Build a store as the command does; return its rows of refusals and remarks, and the sources it uses."""
    try:
        build_studies((source,), out, size=32, folds=2, workers=1)
    except NoUsableInputError as error:
        return list(error.qc), []
    return read(out)


def read(out: Path) -> tuple[list[QcRow], list[str]]:
    """Return a store's rows of refusals and remarks, and the sources that it uses."""
    return read_qc(out / "qc.csv"), pd.read_parquet(out / "slices.parquet")["source"].tolist()


def judged(rows: list[QcRow], used: list[str], first: int, n: int, unforeseen: Sequence[str]) -> Account:
    """Hold rows against the law: of every file, or of every frame of it, one row that says how it ended."""
    ends: dict[str, list[str]] = {f"{index}.dcm": [] for index in range(first, first + n)}
    account = Account(n)
    strangers = []
    for source, end in [(source, "used") for source in used] + [(row.source, row.code) for row in rows]:
        if end != "used" and not is_refusal(end):
            account.remarks[end] += 1
        elif source.partition("#")[0] in ends:
            ends.setdefault(source, []).append(end)
        elif source or end not in CODES:
            strangers.append(source)
    framed = {name.partition("#")[0] for name in ends if "#" in name}
    for name, found in ends.items():
        index = int(name.partition(".")[0])
        if name in framed:
            if found:
                account.faults.append((index, f"a row of the whole beside those of its frames ({found})"))
        elif len(found) != 1:
            account.faults.append((index, f"{len(found)} rows instead of one ({', '.join(found)})"))
        else:
            if "#" not in name or name.endswith("#1"):
                account.ends[found[0]] += 1
            if found[0] in unforeseen:
                account.faults.append((index, found[0]))
    account.faults += [(first, f"a row of a file that isn't there: {name!r}") for name in strangers[:5]]
    return account
