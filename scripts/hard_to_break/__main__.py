"""The command line of `scripts/endurance`: a part, how often, and the seed that makes it repeatable."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from hard_to_break import parts
from hard_to_break.report import Finding
from hard_to_break.scenes import SCENES

PARTS: dict[str, tuple[Callable[[argparse.Namespace], Finding], int, str]] = {
    "headers": (parts.headers, 1_000_000, "mutants of uncompressed files through build-studies, each in one row"),
    "frames": (
        parts.frames,
        100_000,
        "mutants of RLE, JPEG lossless, JPEG-LS and JPEG 2000, likewise",
    ),
    "bombs": (parts.bombs, 1, "files that claim or inflate to much: at most 512 MB and 30 s each"),
    "writes": (
        parts.writes,
        1_000_000,
        "every write of commands fails once: full disk, bad disk, read-only, too many files",
    ),
    "kills": (parts.kills, 1000, "commands killed at random moments, and called again"),
    "flips": (parts.flips, 10_000, "bits flipped in a study store"),
    "races": (parts.races, 100, "two builders of one store at once"),
    "changes": (parts.changes, 200, "files that change, and a clock that jumps, while a store is built"),
    "fuzz": (parts.fuzz, 100_000, "readers of zip, tables, recipes, models and features, given changed files"),
    "stranger": (parts.strangers, 1, "names, dates and hostile text in a scan, looked for in all that comes out"),
    "coverage": (parts.coverage, 1, "lines and branches of dicom/ and studies/ that their tests reach"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run a part and print its figure; return 0, or 1 with a failure."""
    parser = argparse.ArgumentParser(prog="scripts/endurance", description=__doc__)
    commands = parser.add_subparsers(dest="part", required=True)
    for name, (_, n, help_) in PARTS.items():
        part = commands.add_parser(name, help=help_)
        part.add_argument("--n", type=int, default=n, help=f"how many (the full run: {n:,})")
        part.add_argument("--seed", type=int, default=0)
        part.add_argument("--first", type=int, default=0, help="number of the first: repeats one failure with --n 1")
        part.add_argument("--processes", type=int, default=0, help="0 is one a core")
        part.add_argument("--scenes", nargs="+", choices=list(SCENES), default=list(SCENES), help="which commands")
        part.add_argument("--keep", type=Path, help="a new folder for the files that were made")
    given = parser.parse_args(arguments)
    return PARTS[given.part][0](given).show()


if __name__ == "__main__":
    sys.exit(main())
