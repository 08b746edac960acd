"""Commands that train: train-cnn, train-rnn."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ich25d.cli.options import Board, Device, Set, Summary, command


@command(
    "ich25d train-cnn studies --config configs/baseline.toml --out runs/cnn",
    "ich25d train-cnn studies --config configs/small-data.toml --out runs/cnn --fold 0 --set train.epochs=2",
    "torchrun --nproc-per-node 4 -m ich25d train-cnn studies --config configs/strong.toml --out runs/cnn",
)
def train_cnn(
    studies: Annotated[Path, typer.Argument(help="A study store with labels.")],
    config: Annotated[Path, typer.Option(help="The recipe.")],
    out: Annotated[Path, typer.Option(help="The model directory to make.")],
    fold: Annotated[str, typer.Option(help="One fold's number, or all.")] = "all",
    device: Device = "auto",
    resume: Annotated[bool, typer.Option(help="Go on where a stopped run was.")] = False,
    overrides: Set = None,
    tensorboard: Board = False,
) -> Summary:
    """Train the slice encoder, a network a fold."""
    from ich25d.encoder.train import train_cnn as run
    from ich25d.recipes import find_recipe, read_recipe

    recipe = read_recipe(find_recipe(config), tuple(overrides or ()))
    summary = run(studies, recipe, out, fold=fold_number(fold), device=device, resume=resume, tensorboard=tensorboard)
    if not summary.is_first:  # one of torchrun's processes speaks for all
        raise typer.Exit(summary.exit_code)
    return summary


@command(
    "ich25d train-rnn studies --cnn runs/cnn --out runs/rnn",
    "ich25d train-rnn --features features --out runs/rnn",
    "ich25d train-rnn studies --cnn runs/cnn --out runs/rnn --set sequence.epochs=40",
)
def train_rnn(
    out: Annotated[Path, typer.Option(help="The model directory to make; predict needs nothing else.")],
    studies: Annotated[Path | None, typer.Argument(help="The study store the CNN was trained on.")] = None,
    cnn: Annotated[Path | None, typer.Option(help="The run of train-cnn.")] = None,
    features: Annotated[Path | None, typer.Option(help="A feature store, instead of studies and CNN.")] = None,
    config: Annotated[Path | None, typer.Option(help="Another recipe than the CNN's.")] = None,
    device: Device = "auto",
    overrides: Set = None,
    tensorboard: Board = False,
) -> Summary:
    """Train the sequence model on out-of-fold embeddings; fit blend and calibration."""
    from ich25d.sequence.train import train_rnn as run

    return run(
        studies, cnn, out, features=features, config=config, overrides=tuple(overrides or ()), device=device,
        tensorboard=tensorboard,
    )  # fmt: skip


def fold_number(text: str) -> int | Literal["all"]:
    """Read --fold: a number, or all."""
    if text == "all":
        return "all"
    if not text.isdigit():
        raise typer.BadParameter(f"--fold takes a fold's number or all (got {text!r})")
    return int(text)
