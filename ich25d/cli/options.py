"""What the commands share: common options, and how each begins and ends."""

import functools
import inspect
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn, Protocol

import typer


class Summary(Protocol):
    """What every room's main function returns."""

    @property
    def exit_code(self) -> int:
        """0, or 1 when something was refused."""

    def lines(self) -> list[str]:
        """What is printed."""

    def to_dict(self) -> dict[str, Any]:
        """What `--json` prints."""


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Only = Annotated[
    list[str] | None, typer.Option(help="Use only the files or archive members that match; may be repeated.")
]
Accept = Annotated[
    list[str] | None,
    typer.Option(help="Use series that this code would refuse: CONTRAST, LOCALIZER, NOT_AXIAL or PERFUSION."),
]
Images = Annotated[
    list[Path] | None,
    typer.Option(help="A table of images (csv, parquet, feather) as a further source; may be repeated."),
]
Predicted = Annotated[
    list[Path] | None,
    typer.Argument(metavar="SOURCE...", help="Folders, DICOM or NIfTI files, zip archives, or a study store."),
]
Model = Annotated[
    Path | None,
    typer.Option(
        help="A model directory of train-rnn (or of train-cnn); by default the model in the box.", show_default=False
    ),
]
From = Annotated[
    Path | None,
    typer.Option("--from", help="A run whose weights to start from; `open` is the model in the box.", metavar="RUN"),
]
Old = Annotated[Path | None, typer.Option(help="With --from: a store of its scans, to measure what is forgotten.")]
Dry = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be read, grouped and refused, and why; write nothing.")
]
Engine = Annotated[str, typer.Option(help="auto (on a CPU the fastest with torch's numbers), torch, openvino, onnx.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, mps.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that read; 0 is one a core.")]
Cluster = Annotated[
    str | None,
    typer.Option(
        help="Work on a Ray cluster (an extra): auto joins the one of this machine, local starts one, or HOST:PORT; "
        "every node must see the files."
    ),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change one key of the recipe, as encoder.name=resnet18.")]
Figures = Annotated[bool, typer.Option("--figures/--no-figures", help="Draw figures as PNG and PDF (matplotlib).")]
Board = Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard's event files (an extra).")]


def command(*examples: str) -> Callable[[Callable[..., Summary]], Callable[..., None]]:
    """Make a command of a function that returns a summary.

    It takes --quiet and --json besides, prints the summary and leaves with its exit code; interrupted, it says how to
    go on and leaves with 130 (typer by itself would end without a word).

    Args:
        examples: Command lines to show under its help; `app` gives them to typer.
    """

    def decorated(function: Callable[..., Summary]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*args: object, quiet: bool = False, as_json: bool = False, **kwargs: object) -> None:
            from ich25d.progress import set_quiet

            set_quiet(quiet)
            signal.signal(signal.SIGTERM, _terminate)
            try:
                summary = function(*args, **kwargs)
            except KeyboardInterrupt:
                how = "with --resume" if function.__name__ == "train_cnn" else "again"
                print(f"interrupted; run the same command {how} to go on", file=sys.stderr)
                raise typer.Exit(130) from None
            text = json.dumps(summary.to_dict(), indent=2, allow_nan=False) if as_json else "\n".join(summary.lines())
            print(text)
            raise typer.Exit(summary.exit_code)

        options = {"quiet": Quiet, "as_json": Json}
        signature = inspect.signature(function)
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
            for name, kind in options.items()
        ]
        run.__dict__["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), *more])
        run.__annotations__ = {**function.__annotations__, **options}
        run.__dict__["epilog"] = "Examples:\n\n\b\n" + "\n".join(f"  {line}" for line in examples)
        return run

    return decorated


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Let a SIGTERM end a command as Ctrl-C does: what is finished is kept."""
    raise KeyboardInterrupt
