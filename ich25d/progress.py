"""Progress and remarks on stderr, and counts in words."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")

_quiet = False


def set_quiet(quiet: bool) -> None:
    """Switch bars and remarks off for this process (`--quiet`)."""
    global _quiet  # noqa: PLW0603  # one switch a process, set once by the command line
    _quiet = quiet


def remark(text: str) -> None:
    """Print one line for people on stderr, unless `--quiet` was given."""
    if not _quiet:
        print(text, file=sys.stderr, flush=True)


def many(n: int, one: str, more: str = "") -> str:
    """Write a count: `1 image`, `2,917 images`.

    Args:
        n: How many.
        one: The noun's singular.
        more: Its plural, where that isn't the singular and an s.
    """
    return f"{n:,} {one if n == 1 else more or one + 's'}"


class Advance(Protocol):
    """What moves a running bar."""

    def __call__(self, units: int = 1, *, note: str = "") -> None:
        """Add units that are done, and show a note on the state."""


@contextmanager
def bar(title: str, total: int | None, unit: str = "it") -> Iterator[Advance]:
    """Show a bar with rate and time left while the block runs, which calls the value given to move it.

    Off without a title, with `--quiet`, and where stderr is no terminal, so that logs hold no control characters.

    Args:
        title: What stands before the bar.
        total: Units in all; None where unknown.
        unit: Name of what is counted, for the rate.
    """
    if _quiet or not title or not sys.stderr.isatty():
        yield lambda units=1, *, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Task as BarTask
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: BarTask) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.1f} {unit}/s" if speed else "")

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, note="")

        def advance(units: int = 1, *, note: str = "") -> None:
            progress.advance(task, units)
            if note:
                progress.update(task, note=note)

        yield advance


def track(items: Iterable[T], title: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yield the items, moving a bar by one for each.

    Args:
        items: What to go through.
        title: Name of the bar.
        total: Number of items, where known.
        unit: What an item is, in the plural.
    """
    with bar(title, total, unit) as advance:
        for item in items:
            yield item
            advance()
