"""Commands that judge predictions: evaluate, cq500."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ich25d.cli.options import Cluster, Device, Engine, Figures, Summary, Workers, command


@command(
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
) -> Summary:
    """Score predictions: the competition's score and everything a paper asks for, with intervals."""
    from ich25d.evaluate.decisions import PREVALENCES
    from ich25d.evaluate.run import evaluate as run

    shares = tuple(prevalence or PREVALENCES)
    return run(
        predictions, labels, out, model=model, studies=studies, against=against, prevalences=shares,
        figures=figures,
    )  # fmt: skip


@command(
    "ich25d cq500 --reads reads.csv --predictions prediction_probabilities.csv --out qer",
    "ich25d cq500 CQ500/ --reads reads.csv --model runs/rnn --out cq500",
    "ich25d cq500 CQ500CT0.zip CQ500CT1.zip --reads reads.csv --model runs/rnn "
    "--against prediction_probabilities.csv --out cq500",
)
def cq500(
    reads: Annotated[Path, typer.Option(help="CQ500's reads.csv: three readers, the majority is the label.")],
    out: Annotated[Path, typer.Option(help="The folder for page, tables and figures.")],
    sources: Annotated[
        list[Path] | None, typer.Argument(metavar="SOURCE...", help="Folders and zip archives of CQ500's DICOM.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="The model directory that predicts, or the one whose thresholds are used.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Probabilities by study instead: CQ500's form, or an earlier predictions.csv.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="Another such CSV to compare with.")] = None,
    figures: Figures = True,
    device: Device = "auto",
    engine: Engine = "auto",
    workers: Workers = 0,
    cluster: Cluster = None,
) -> Summary:
    """Judge a model on CQ500, study by study: AUC with intervals and operating points."""
    from ich25d.cohorts.beforehand import check_cq500

    options: dict[str, Any] = {
        "sources": tuple(sources or ()), "model": model, "predictions": predictions, "against": against,
        "device": device,
    }  # fmt: skip
    check_cq500(reads, out, **options)
    from ich25d.cohorts.cq500 import evaluate_cq500  # may load torch

    return evaluate_cq500(reads, out, figures=figures, engine=engine, workers=workers, cluster=cluster, **options)
