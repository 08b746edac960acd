"""What a part says at its end: the figure, its target, how long it took, and how one failure is repeated."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

SHOWN = 10
"""Failures that are shown."""


@dataclass
class Finding:
    """The figure of a part."""

    part: str
    figure: str
    """What was found, as `20,000 mutants, each in one row`."""
    target: str
    faults: list[str] = field(default_factory=list)
    """A line a failure, with the command that repeats it."""
    lines: list[str] = field(default_factory=list)
    """Tables below the figure."""
    started: float = field(default_factory=time.monotonic)

    def show(self) -> int:
        """Print it; return the exit code, 1 with a failure."""
        for line in self.lines:
            print(line)
        print(f"{self.part}: {self.figure}")
        print(f"target: {self.target}")
        print(f"took {time.monotonic() - self.started:.0f} s")
        for fault in self.faults[:SHOWN]:
            print(f"FAULT {fault}")
        print(f"{len(self.faults)} faults" if self.faults else "no fault")
        sys.stdout.flush()
        return int(bool(self.faults))


def table(rows: Iterable[tuple[str, int]]) -> list[str]:
    """Return lines of names and counts, the largest first."""
    return [f"  {n:>9,}  {name}" for name, n in sorted(rows, key=lambda row: (-row[1], row[0]))]
