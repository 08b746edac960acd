"""Commands that train: recipe, train-cnn, train-rnn."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ich25d.cli.options import Board, Device, From, Old, Set, Summary, command


def _recipes_like(incomplete: str) -> list[str]:
    """Offer the shell the recipes whose names begin so."""
    from ich25d.recipes import shipped_recipes

    return [name for name in shipped_recipes() if name.startswith(incomplete)]


@command("ich25d recipe", "ich25d recipe baseline > my.toml", "ich25d recipe classic/resnet50")
def recipe(
    name: Annotated[
        str | None,
        typer.Argument(help="A shipped recipe, as baseline; without it all are listed.", autocompletion=_recipes_like),
    ] = None,
) -> Summary:
    """List the shipped recipes, or print one whole: the start of one of your own."""
    from ich25d.recipes import show_recipes

    return show_recipes(name)


@command(
    "ich25d train-cnn studies --config configs/baseline.toml --out runs/cnn",
    "ich25d train-cnn studies --config configs/small-data.toml --out runs/cnn --fold 0 --set train.epochs=2",
    "ich25d train-cnn new_studies --from open --out runs/ours",
    "ich25d train-cnn new_studies --from runs/cnn --old studies --out runs/next",
    "ich25d train-cnn studies --from open --series-labels reports.csv --out runs/ours",
    "ich25d train-cnn studies --from open --canvas our_studies --out runs/ours",
    "torchrun --nproc-per-node 4 -m ich25d train-cnn studies --config configs/strong.toml --out runs/cnn",
)
def train_cnn(
    studies: Annotated[Path, typer.Argument(help="A study store with labels.")],
    out: Annotated[Path, typer.Option(help="The model directory to make.")],
    config: Annotated[
        Path | None,
        typer.Option(
            help="The recipe: a TOML file, or a shipped one's name. With --from by default the run's own, slower."
        ),
    ] = None,
    parent: From = None,
    old: Old = None,
    series_labels: Annotated[
        Path | None,
        typer.Option(
            help="A table of labels of whole series or studies, for those without labels of slices.", metavar="TABLE"
        ),
    ] = None,
    canvas: Annotated[
        Path | None,
        typer.Option(
            help="A store of further scans to paint bleeds into; without labels nothing else is taken from them.",
            metavar="STUDIES",
        ),
    ] = None,
    pseudo_labels: Annotated[
        Path | None,
        typer.Option(help="A folder of pseudo-labels, to learn what another run is sure of.", metavar="DIR"),
    ] = None,
    fold: Annotated[str, typer.Option(help="One fold's number, or all.")] = "all",
    device: Device = "auto",
    resume: Annotated[bool, typer.Option(help="Go on where a stopped run was.")] = False,
    overrides: Set = None,
    tensorboard: Board = False,
) -> Summary:
    """Train the slice encoder, a network a fold; from ImageNet's weights, or on from a run of before."""
    from ich25d.encoder.beforehand import check_train_cnn
    from ich25d.errors import UsageError
    from ich25d.predict.open_model import named_model
    from ich25d.recipes import find_recipe, read_recipe

    if config is None and parent is None:
        raise UsageError("train-cnn needs --config, a recipe, or --from, a run to go on from (got neither)")
    file = None if config is None else find_recipe(config)
    changed = tuple(overrides or ())
    chosen = read_recipe(file, changed)
    folder = None if parent is None else named_model(parent)
    options: dict[str, Any] = {"fold": fold_number(fold), "device": device, "resume": resume}
    beside: dict[str, Any] = {
        "old": old,
        "series_labels": series_labels,
        "canvas": canvas,
        "pseudo_labels": pseudo_labels,
    }
    check_train_cnn(studies, chosen if folder is None else None, out, parent=folder, **beside, **options)
    from ich25d.encoder.parent import child_recipe, read_parent
    from ich25d.encoder.train import train_cnn as run  # loads torch

    if folder is not None:
        chosen = child_recipe(read_parent(folder), file, changed)
    summary = run(studies, chosen, out, tensorboard=tensorboard, parent=folder, **beside, **options)
    if not summary.is_first:  # one of torchrun's processes speaks for all
        raise typer.Exit(summary.exit_code)
    if not summary.interrupted:
        _fit_confidence(out, studies, device)
    return summary


@command(
    "ich25d pseudo-labels our_studies --model runs/cnn --out pseudo",
    "ich25d pseudo-labels our_studies --model open --out pseudo",
)
def pseudo_labels(
    studies: Annotated[Path, typer.Argument(help="A study store with slices that have no labels.")],
    model: Annotated[Path, typer.Option(help="The teacher: a run, or `open`, the model in the box.")],
    out: Annotated[Path, typer.Option(help="The folder to make, for train-cnn --pseudo-labels.")],
    device: Device = "auto",
) -> Summary:
    """Write what a run is sure of on slices without labels, for another run to learn."""
    from ich25d.predict.open_model import named_model
    from ich25d.studies.store_dir.store import finished_marker
    from ich25d.training.device_name import check_device_name

    check_device_name(device)
    finished_marker(studies)
    teacher = named_model(model)
    from ich25d.encoder.pseudo_labels import make_pseudo_labels  # loads torch

    return make_pseudo_labels(studies, teacher, out, device=device)


@command(
    "ich25d train-rnn studies --cnn runs/cnn --out runs/rnn",
    "ich25d train-rnn --features features --out runs/rnn",
    "ich25d train-rnn studies --cnn runs/cnn --out runs/rnn --set sequence.epochs=40",
    "ich25d train-rnn new_studies --cnn runs/next --from runs/rnn --old studies --out runs/next_rnn",
)
def train_rnn(
    out: Annotated[Path, typer.Option(help="The model directory to make; predict needs nothing else.")],
    studies: Annotated[Path | None, typer.Argument(help="The study store the CNN was trained on.")] = None,
    cnn: Annotated[Path | None, typer.Option(help="The run of train-cnn.")] = None,
    features: Annotated[Path | None, typer.Option(help="A feature store, instead of studies and CNN.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Another recipe than the CNN's; with --from than that run's, slower.")
    ] = None,
    parent: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="A run of train-rnn or train-joint to go on from; --cnn holds its encoders, or went on from them.",
        ),
    ] = None,
    old: Old = None,
    device: Device = "auto",
    overrides: Set = None,
    tensorboard: Board = False,
) -> Summary:
    """Train the sequence model on out-of-fold embeddings, or on from a run of before; fit blend and calibration."""
    from ich25d.sequence.beforehand import check_train_rnn

    options: dict[str, Any] = {
        "features": features,
        "config": config,
        "overrides": tuple(overrides or ()),
        "device": device,
        "parent": parent,
        "old": old,
    }
    check_train_rnn(studies, cnn, out, **options)
    from ich25d.sequence.train import train_rnn as run  # loads torch

    summary = run(studies, cnn, out, tensorboard=tensorboard, **options)
    if studies is not None:
        _fit_confidence(out, studies, device)
    return summary


def _fit_confidence(out: Path, studies: Path, device: str) -> None:
    """Choose what the model judges scans by, on what its networks held out."""
    from ich25d.predict.confidence_fit import fit_model_confidence
    from ich25d.training.device import choose_device

    fit_model_confidence(out, studies, choose_device(device))


@command(
    "ich25d train-joint studies --from runs/rnn --out runs/joint",
    "ich25d train-joint studies --from runs/rnn --config configs/joint.toml --out runs/joint",
    "ich25d train-joint studies --from runs/rnn --out runs/joint --set joint.micro_batch=8",
)
def train_joint(
    studies: Annotated[Path, typer.Argument(help="A study store with labels.")],
    parent: Annotated[Path, typer.Option("--from", help="The run of train-rnn to start from.", metavar="RUN")],
    out: Annotated[Path, typer.Option(help="The model directory to make; predict needs nothing else.")],
    config: Annotated[
        Path | None, typer.Option(help="The recipe: a TOML file, or a shipped one's name. By default the run's own.")
    ] = None,
    device: Device = "auto",
    overrides: Set = None,
) -> Summary:
    """Train encoder and sequence model together on whole series, from the two stages."""
    from ich25d.joint.beforehand import check_train_joint

    options: dict[str, Any] = {"config": config, "overrides": tuple(overrides or ()), "device": device}
    check_train_joint(studies, parent, out, **options)
    from ich25d.joint.train import train_joint as run  # loads torch

    summary = run(studies, parent, out, **options)
    if summary.exit_code == 0:
        _fit_confidence(out, studies, device)
    return summary


def fold_number(text: str) -> int | Literal["all"]:
    """Read --fold: a number, or all."""
    if text == "all":
        return "all"
    if not text.isdigit():
        raise typer.BadParameter(f"--fold takes a fold's number or all (got {text!r})")
    return int(text)
