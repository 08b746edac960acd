"""Commands on models: train-cnn, train-rnn, predict, evaluate, check-submission."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ich25d.cli.options import (
    Board,
    Device,
    Figures,
    Images,
    Json,
    Model,
    Only,
    Predicted,
    Quiet,
    Set,
    Workers,
    begin,
    end,
    examples,
)

TRAIN_CNN_EXAMPLES = examples(
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
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the slice encoder, a network a fold."""
    begin(quiet)
    from ich25d.encoder.train import train_cnn as run
    from ich25d.recipes import find_recipe, read_recipe

    recipe = read_recipe(find_recipe(config), tuple(overrides or ()))
    number = fold_number(fold)
    summary = run(studies, recipe, out, fold=number, device=device, resume=resume, tensorboard=tensorboard)
    if not summary.is_first:  # one of torchrun's processes speaks for all
        raise typer.Exit(summary.exit_code)
    end(summary, as_json)


TRAIN_RNN_EXAMPLES = examples(
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
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train the sequence model on out-of-fold embeddings; fit blend and calibration."""
    begin(quiet)
    from ich25d.sequence.train import train_rnn as run

    end(
        run(
            studies,
            cnn,
            out,
            features=features,
            config=config,
            overrides=tuple(overrides or ()),
            device=device,
            tensorboard=tensorboard,
        ),
        as_json,
    )


PREDICT_EXAMPLES = examples(
    "ich25d predict study/ --model runs/rnn --out predictions/submission.csv",
    "ich25d predict rsna.zip --only '*stage_2_test/*' --model runs/rnn --out submission.csv "
    "--sample stage_2_sample_submission.csv",
    "ich25d predict studies --model runs/rnn --out submission.csv --report report",
)


def predict(
    model: Model,
    out: Annotated[Path, typer.Option(help="The CSV to write; tables of slices, studies and remarks stand beside it.")],
    sources: Predicted = None,
    only: Only = None,
    sample: Annotated[Path | None, typer.Option(help="Answer this sample submission, id for id.")] = None,
    images: Images = None,
    report: Annotated[Path | None, typer.Option(help="A folder for a page a study and a worklist.")] = None,
    device: Device = "auto",
    workers: Workers = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Predict every slice and every series, straight from DICOM, into a Kaggle CSV."""
    begin(quiet)
    from ich25d.predict.run import predict as run
    from ich25d.progress import many, remark

    watcher = None
    if report is not None:
        from ich25d.errors import UsageError
        from ich25d.view.report.writer import ReportWriter

        if report.resolve() == out.parent.resolve():  # both write a qc.csv
            raise UsageError(f"--report must be another folder than the CSV's (got {report} for both); name one in it")
        watcher = ReportWriter(report, model)
    summary = run(
        tuple(sources or ()),
        model,
        out,
        only=tuple(only or ()),
        sample=sample,
        images=tuple(images or ()),
        device=device,
        workers=workers,
        watcher=watcher,
    )
    if watcher is not None:
        remark(f"{watcher.index}: {many(watcher.n_pages, 'study', 'studies')}, {watcher.n_flagged} flagged")
    end(summary, as_json)


EVALUATE_EXAMPLES = examples(
    "ich25d evaluate submission.csv --labels stage_2_train.csv --out eval",
    "ich25d evaluate predictions.parquet --labels labels.csv --model runs/rnn --studies studies --out eval",
    "ich25d evaluate a/predictions.parquet --against b/predictions.parquet --labels labels.csv --out eval --json",
)


def evaluate(
    predictions: Annotated[Path, typer.Argument(help="A submission CSV, or predictions.parquet.")],
    labels: Annotated[Path, typer.Option(help="The truth: Kaggle's long CSV or one column a label.")],
    out: Annotated[Path, typer.Option(help="The folder for page, tables and figures.")],
    model: Annotated[Path | None, typer.Option(help="The model directory that holds the thresholds.")] = None,
    studies: Annotated[
        Path | None, typer.Option(help="A study store: for subgroups, and pictures of the worst mistakes.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Another file of predictions to compare with.")] = None,
    prevalence: Annotated[
        list[float] | None, typer.Option(help="A share of positives to state predictive values at; may be repeated.")
    ] = None,
    figures: Figures = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score predictions: the competition's score and everything a paper asks for, with intervals."""
    begin(quiet)
    from ich25d.evaluate.decisions import PREVALENCES
    from ich25d.evaluate.run import evaluate as run

    shares = tuple(prevalence or PREVALENCES)
    end(
        run(
            predictions,
            labels,
            out,
            model=model,
            studies=studies,
            against=against,
            prevalences=shares,
            figures=figures,
        ),
        as_json,
    )


CHECK_SUBMISSION_EXAMPLES = examples(
    "ich25d check-submission submission.csv",
    "ich25d check-submission submission.csv --sample stage_2_sample_submission.csv",
)


def check_submission(
    file: Annotated[Path, typer.Argument(help="The CSV.")],
    sample: Annotated[Path | None, typer.Option(help="The sample submission whose ids must be there.")] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check that a CSV is what the competition takes, and name all that is wrong with it."""
    begin(quiet)
    from ich25d.predict.submission import check_submission as run

    end(run(file, sample), as_json)


def fold_number(text: str) -> int | Literal["all"]:
    """Read --fold: a number, or all."""
    if text == "all":
        return "all"
    if not text.isdigit():
        raise typer.BadParameter(f"--fold takes a fold's number or all (got {text!r})")
    return int(text)
