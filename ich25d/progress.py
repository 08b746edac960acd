"""What is said to people: progress on stderr, a bar with rate and time left on a terminal; remarks; counts."""

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


def is_quiet() -> bool:
    """Say whether `--quiet` was given."""
    return _quiet


def remark(text: str) -> None:
    """Print one line for people on stderr, unless `--quiet` was given."""
    if not _quiet:
        print(text, file=sys.stderr, flush=True)


def many(n: int, one: str, more: str = "") -> str:
    """Count things: `1 image`, `2,917 images`; `more` where an s isn't enough."""
    return f"{n:,} {one if n == 1 else more or one + 's'}"


class Advance(Protocol):
    """What a running bar takes: so many units more, and perhaps a word on the state."""

    def __call__(self, units: int = 1, *, note: str = "") -> None:
        """Move the bar."""


@contextmanager
def bar(title: str, total: int | None, unit: str = "it") -> Iterator[Advance]:
    """Show a bar while the block runs; the block calls what it is given to move it.

    Off without a title, with `--quiet`, and when stderr is no terminal, so that logs hold no control characters.
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
    """Yield the items, moving a bar by one for each."""
    with bar(title, total, unit) as advance:
        for item in items:
            yield item
            advance()
