"""Command on the public test set CQ500."""

from pathlib import Path
from typing import Annotated

import typer

from ich25d.cli.options import Device, Figures, Json, Quiet, Workers, begin, end, examples

CQ500_EXAMPLES = examples(
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
    workers: Workers = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Judge a model on CQ500, study by study: AUC with intervals and operating points."""
    begin(quiet)
    from ich25d.cohorts.cq500 import evaluate_cq500

    end(
        evaluate_cq500(
            reads,
            out,
            sources=tuple(sources or ()),
            model=model,
            predictions=predictions,
            against=against,
            figures=figures,
            device=device,
            workers=workers,
        ),
        as_json,
    )
