"""What the commands share: their common options, and how each begins and ends."""

import functools
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn, ParamSpec, Protocol

import typer

P = ParamSpec("P")


class Summary(Protocol):
    """What every room's main function returns."""

    @property
    def exit_code(self) -> int:
        """0, or 1 when something was refused."""

    def lines(self) -> list[str]:
        """Say it for people."""

    def to_dict(self) -> dict[str, Any]:
        """Say it for machines."""


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Only = Annotated[
    list[str] | None, typer.Option(help="Use only the files or archive members that match; may be repeated.")
]
Images = Annotated[
    list[Path] | None,
    typer.Option(help="A table of images (csv, parquet, feather) as a further source; may be repeated."),
]
Predicted = Annotated[
    list[Path] | None,
    typer.Argument(metavar="SOURCE...", help="Folders, DICOM files, zip archives, or a study store."),
]
Model = Annotated[Path, typer.Option(help="A model directory of train-rnn (or of train-cnn).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, mps.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that read; 0 is one a core.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change one key of the recipe, as encoder.name=resnet18.")]
Figures = Annotated[bool, typer.Option("--figures/--no-figures", help="Draw figures as PNG and PDF (matplotlib).")]
Board = Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard's event files (an extra).")]


def examples(*lines: str) -> str:
    """Lay out runnable examples under a command's help."""
    return "Examples:\n\n\b\n" + "\n".join(f"  {line}" for line in lines)


def interruptible(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command that is interrupted say how to go on, and leave with exit code 130.

    It is caught here because typer ends on a KeyboardInterrupt by itself, without a word.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            how = "with --resume" if command.__name__ == "train_cnn" else "again"
            print(f"interrupted; run the same command {how} to go on", file=sys.stderr)
            raise typer.Exit(130) from None

    return run


def begin(quiet: bool) -> None:
    """Take up the options that hold for the whole process."""
    from ich25d.progress import set_quiet

    set_quiet(quiet)
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Let a SIGTERM end a command the way Ctrl-C does: what is finished is kept."""
    raise KeyboardInterrupt


def end(summary: Summary, as_json: bool) -> None:
    """Print a summary and leave with its exit code."""
    if as_json:
        print(json.dumps(summary.to_dict(), indent=2, allow_nan=False))
    else:
        print("\n".join(summary.lines()))
    raise typer.Exit(summary.exit_code)
