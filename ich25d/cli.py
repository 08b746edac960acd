"""The commands: options and help in, one call of one room, one summary out.

Exit codes: 0 done; 1 done, but something was refused; 2 wrong use or input, nothing written;
130 interrupted, resumable. Results go to stdout, progress and remarks to stderr.
"""

import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn, Protocol

import typer

from ich25d.errors import Ich25dError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find intracranial haemorrhage on head CT: 2.5D, sequence-aware, study-level. Research software, not a "
    "medical device.",
)


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
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0, mps.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that read; 0 is one a core.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change one key of the recipe, as encoder.name=resnet18.")]


def _examples(*lines: str) -> str:
    return "Examples:\n\n\b\n" + "\n".join(f"  {line}" for line in lines)


@app.command(
    epilog=_examples(
        "ich25d build-studies rsna.zip --only '*stage_2_train/*' --labels stage_2_train.csv --out studies",
        "ich25d build-studies /data/hospital/ --out studies --crop none",
        "ich25d build-studies --images metadata.csv --out studies --size 192",
    )
)
def build_studies(
    out: Annotated[Path, typer.Option(help="The study store to make or to go on with.")],
    sources: Annotated[
        list[Path] | None, typer.Argument(metavar="SOURCE...", help="Folders, DICOM files and zip archives.")
    ] = None,
    only: Only = None,
    labels: Annotated[Path | None, typer.Option(help="Labels: Kaggle's long CSV or one column a label.")] = None,
    images: Images = None,
    crop: Annotated[str, typer.Option(help="head: the box of the head; none: the full field.")] = "head",
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of the stored slices in px.")] = 256,
    folds: Annotated[int, typer.Option(min=2, max=100, help="Folds, by patient.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    workers: Workers = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Order DICOM into series of HU and keep them in a study store."""
    _begin(quiet)
    from ich25d.studies.build import build_studies as run

    _end(
        run(
            tuple(sources or ()),
            out,
            only=tuple(only or ()),
            labels=labels,
            images=tuple(images or ()),
            crop=crop,
            size=size,
            folds=folds,
            seed=seed,
            workers=workers,
        ),
        as_json,
    )


@app.command(
    epilog=_examples(
        "ich25d train-cnn studies --config configs/baseline.toml --out runs/cnn",
        "ich25d train-cnn studies --config configs/small-data.toml --out runs/cnn --fold 0 --set train.epochs=2",
        "torchrun --nproc-per-node 4 -m ich25d train-cnn studies --config configs/strong.toml --out runs/cnn",
    )
)
def train_cnn(
    studies: Annotated[Path, typer.Argument(help="A study store with labels.")],
    config: Annotated[Path, typer.Option(help="The recipe.")],
    out: Annotated[Path, typer.Option(help="The model directory to make.")],
    fold: Annotated[str, typer.Option(help="One fold's number, or all.")] = "all",
    device: Device = "auto",
    resume: Annotated[bool, typer.Option(help="Go on where a stopped run was.")] = False,
    overrides: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the slice encoder, a network a fold."""
    _begin(quiet)
    from ich25d.config import find_recipe, read_recipe
    from ich25d.encoder.train import train_cnn as run

    recipe = read_recipe(find_recipe(config), tuple(overrides or ()))
    _end(run(studies, recipe, out, fold=_fold(fold), device=device, resume=resume), as_json)


@app.command(
    epilog=_examples(
        "ich25d train-rnn studies --cnn runs/cnn --out runs/rnn",
        "ich25d train-rnn --features features --out runs/rnn",
        "ich25d train-rnn studies --cnn runs/cnn --out runs/rnn --set sequence.epochs=40",
    )
)
def train_rnn(
    out: Annotated[Path, typer.Option(help="The model directory to make; predict needs nothing else.")],
    studies: Annotated[Path | None, typer.Argument(help="The study store the CNN was trained on.")] = None,
    cnn: Annotated[Path | None, typer.Option(help="The run of train-cnn.")] = None,
    features: Annotated[Path | None, typer.Option(help="A feature store, instead of studies and CNN.")] = None,
    config: Annotated[Path | None, typer.Option(help="Another recipe than the CNN's.")] = None,
    device: Device = "auto",
    overrides: Set = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the sequence model on out-of-fold embeddings; fit blend and calibration."""
    _begin(quiet)
    from ich25d.sequence.train import train_rnn as run

    _end(
        run(
            studies,
            cnn,
            out,
            features=features,
            config=config,
            overrides=tuple(overrides or ()),
            device=device,
        ),
        as_json,
    )


@app.command(
    epilog=_examples(
        "ich25d predict study/ --model runs/rnn --out predictions/submission.csv",
        "ich25d predict rsna.zip --only '*stage_2_test/*' --model runs/rnn --out submission.csv "
        "--sample stage_2_sample_submission.csv",
        "ich25d predict studies --model runs/rnn --out submission.csv",
    )
)
def predict(
    model: Annotated[Path, typer.Option(help="A model directory of train-rnn (or of train-cnn).")],
    out: Annotated[Path, typer.Option(help="The CSV to write; tables of slices, studies and remarks stand beside it.")],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SOURCE...", help="Folders, DICOM files, zip archives, or a study store."),
    ] = None,
    only: Only = None,
    sample: Annotated[Path | None, typer.Option(help="Answer this sample submission, id for id.")] = None,
    images: Images = None,
    device: Device = "auto",
    workers: Workers = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Predict every slice and every series, straight from DICOM, into a Kaggle CSV."""
    _begin(quiet)
    from ich25d.predict.run import predict as run

    _end(
        run(
            tuple(sources or ()),
            model,
            out,
            only=tuple(only or ()),
            sample=sample,
            images=tuple(images or ()),
            device=device,
            workers=workers,
        ),
        as_json,
    )


@app.command(
    epilog=_examples(
        "ich25d evaluate submission.csv --labels stage_2_train.csv --out eval",
        "ich25d evaluate predictions.parquet --labels labels.csv --out eval --json",
    )
)
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="A submission CSV, or predictions.parquet.")],
    labels: Annotated[Path, typer.Option(help="The truth: Kaggle's long CSV or one column a label.")],
    out: Annotated[Path, typer.Option(help="The folder for the tables.")],
    model: Annotated[Path | None, typer.Option(help="The model directory that holds the thresholds.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score predictions: the competition's score and everything a paper asks for, with intervals."""
    _begin(quiet)
    from ich25d.evaluate.run import evaluate as run

    _end(run(predictions, labels, out, model=model), as_json)


@app.command(
    epilog=_examples(
        "ich25d check-submission submission.csv",
        "ich25d check-submission submission.csv --sample stage_2_sample_submission.csv",
    )
)
def check_submission(
    file: Annotated[Path, typer.Argument(help="The CSV.")],
    sample: Annotated[Path | None, typer.Option(help="The sample submission whose ids must be there.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check that a CSV is what the competition takes, and name all that is wrong with it."""
    _begin(quiet)
    from ich25d.predict.submission import check_submission as run

    _end(run(file, sample), as_json)


@app.command(epilog=_examples("ich25d synth --studies 24 --out synth", "ich25d synth --studies 4 --out synth --seed 7"))
def synth(
    out: Annotated[Path, typer.Option(help="The folder to make, in the competition's layout.")],
    studies: Annotated[int, typer.Option(min=1, help="Heads to make.")] = 24,
    seed: Annotated[int, typer.Option(help="Seed; the same seed makes the same heads.")] = 0,
    workers: Workers = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make phantom heads as RSNA-shaped DICOM, with labels."""
    _begin(quiet)
    from ich25d.phantom.synth import synthesise

    _end(synthesise(out, studies, seed=seed, workers=workers), as_json)


@app.command(epilog=_examples("ich25d demo --out demo", "ich25d demo --out demo --seed 3"))
def demo(
    out: Annotated[Path, typer.Option(help="The folder for all that the walk makes.")],
    studies: Annotated[int, typer.Option(min=8, help="Phantom heads.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the heads.")] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Walk from phantom DICOM to a CSV and a picture, on a CPU, in minutes."""
    _begin(quiet)
    from ich25d.demo.walk import walk

    _end(walk(out, n_studies=studies, seed=seed), as_json)


@app.command(epilog=_examples("ich25d info", "ich25d info studies --verify", "ich25d info runs/rnn --json"))
def info(
    path: Annotated[Path | None, typer.Argument(help="A study store or a model directory.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read everything and check it against its hashes.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say what is installed, and what a store or a model directory holds."""
    _begin(quiet)
    from ich25d.view.info import describe

    _end(describe(path, verify=verify), as_json)


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from ich25d import __version__

        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def _fold(text: str) -> int | str:
    if text == "all":
        return "all"
    if not text.isdigit():
        raise typer.BadParameter(f"--fold takes a fold's number or all (got {text!r})")
    return int(text)


def _begin(quiet: bool) -> None:
    from ich25d.progress import set_quiet

    set_quiet(quiet)
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Let a SIGTERM end a command the way Ctrl-C does: what is finished is kept."""
    raise KeyboardInterrupt


def _end(summary: Summary, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary.to_dict(), indent=2, allow_nan=False))
    else:
        print("\n".join(summary.lines()))
    raise typer.Exit(summary.exit_code)


def main() -> None:
    """Run a command; what it refuses becomes one red line and exit code 2."""
    try:
        app(standalone_mode=True)
    except Ich25dError as error:
        colour = ("\033[31m", "\033[0m") if sys.stderr.isatty() else ("", "")
        print(f"{colour[0]}{error}{colour[1]}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on (train-cnn: with --resume)", file=sys.stderr)
        sys.exit(130)
