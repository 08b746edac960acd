"""Commands that predict and explain: predict, report, explain, export, check-submission."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ich25d.cli.options import (
    Accept,
    Cluster,
    Device,
    Dry,
    Engine,
    Images,
    Model,
    Only,
    Predicted,
    Summary,
    Workers,
    command,
)


@command(
    "ich25d predict study/ --model runs/rnn --out predictions/submission.csv",
    "ich25d predict rsna.zip --only '*stage_2_test/*' --model runs/rnn --out submission.csv "
    "--sample stage_2_sample_submission.csv",
    "ich25d predict studies --model runs/rnn --out submission.csv --report report",
    "ich25d predict studies --out submission.csv --report report --prevalence any=0.05",
    "ich25d predict studies --out submission.csv --prevalence em",
    "ich25d predict study/ --out predictions/submission.csv --dry-run",
    "ich25d predict study/ --out submission.csv --dicom dicom --dicom-captures --dicom-heat",
)
def predict(
    out: Annotated[Path, typer.Option(help="The CSV to write; tables of slices, studies and remarks stand beside it.")],
    sources: Predicted = None,
    model: Model = None,
    only: Only = None,
    sample: Annotated[Path | None, typer.Option(help="Answer this sample submission, id for id.")] = None,
    images: Images = None,
    accept: Accept = None,
    report: Annotated[Path | None, typer.Option(help="A folder for a page a study and a worklist.")] = None,
    dicom: Annotated[
        Path | None,
        typer.Option(help="A folder for DICOM objects: a structured report a series, and its key slices (an extra)."),
    ] = None,
    dicom_captures: Annotated[
        bool, typer.Option("--dicom-captures", help="With --dicom: pictures of the key slices, with heat, too.")
    ] = False,
    dicom_heat: Annotated[
        bool, typer.Option("--dicom-heat", help="With --dicom: parametric maps of the heat too.")
    ] = False,
    prevalence: Annotated[
        list[str] | None,
        typer.Option(help="How common bleeds are here, as any=0.05: a share of series; may be repeated. Or em."),
    ] = None,
    device: Device = "auto",
    engine: Engine = "auto",
    workers: Workers = 0,
    cluster: Cluster = None,
    dry: Dry = False,
) -> Summary:
    """Predict every slice and every series, straight from DICOM, into a Kaggle CSV."""
    from ich25d.cli.watchers import check_places, watchers_of
    from ich25d.predict.beforehand import check_predict
    from ich25d.predict.open_model import model_folder
    from ich25d.training.prevalence import read_words

    words = tuple(prevalence or ())
    if words:
        read_words(words)  # a word that is wrong is named before torch is loaded
    what = (tuple(sources or ()), model_folder(model), out)
    options: dict[str, Any] = {
        "sample": sample, "images": tuple(images or ()), "accept": tuple(accept or ()), "device": device,
    }  # fmt: skip
    check_places(out, what[0], report=report, dicom=dicom, pictures=dicom_captures or dicom_heat)
    if dry:
        from ich25d.predict.dry_run import dry_predict

        return dry_predict(*what, only=tuple(only or ()), workers=workers, **options)
    check_predict(*what, **options)
    from ich25d.predict.run import predict as run  # loads torch
    from ich25d.progress import remark

    watchers = watchers_of(what[1], what[0], report=report, dicom=dicom, captures=dicom_captures, heat=dicom_heat)
    summary = run(
        *what,
        only=tuple(only or ()),
        engine=engine,
        workers=workers,
        cluster=cluster,
        prevalence=words,
        watchers=watchers,
        **options,
    )
    for watcher in watchers:
        remark(watcher.line)
    return summary


@command(
    "ich25d report study/ --model runs/rnn --out report",
    "ich25d report rsna.zip --only '*stage_2_test/*' --model runs/rnn --out report",
    "ich25d predict study/ --model runs/rnn --out submission.csv --report report",
)
def report(
    out: Annotated[Path, typer.Option(help="The folder for the pages.")],
    sources: Predicted = None,
    model: Model = None,
    only: Only = None,
    images: Images = None,
    accept: Accept = None,
    device: Device = "auto",
    engine: Engine = "auto",
    workers: Workers = 0,
    cluster: Cluster = None,
    heat: Annotated[bool, typer.Option(help="Heat maps, places and sizes for the series that are flagged.")] = True,
) -> Summary:
    """Write a page a study with its slices and probabilities, and a worklist of all."""
    from ich25d.predict.open_model import model_folder
    from ich25d.view.report.beforehand import check_report

    what = (tuple(sources or ()), model_folder(model), out)
    options: dict[str, Any] = {"images": tuple(images or ()), "accept": tuple(accept or ()), "device": device}
    check_report(*what, **options)
    from ich25d.view.report.run import report as run  # may load torch

    return run(*what, only=tuple(only or ()), engine=engine, workers=workers, cluster=cluster, heat=heat, **options)


@command(
    "ich25d explain study/ --model runs/rnn --out explained",
    "ich25d explain studies --model runs/rnn --out explained --label any",
)
def explain(
    out: Annotated[Path, typer.Option(help="The folder for heat maps, findings.csv and the page.")],
    sources: Predicted = None,
    model: Model = None,
    only: Only = None,
    images: Images = None,
    accept: Accept = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="Explain this label, found or not; may be repeated. Default: those at or over their threshold.",
        ),
    ] = None,
    point: Annotated[
        str | None,
        typer.Option(
            help="Operating point by its rule, as f1 or sensitivity_95; a rule that the model doesn't have is answered "
            "with those it has. Default: its most sensitive one, as in a report."
        ),
    ] = None,
    device: Device = "auto",
    engine: Engine = "auto",
    workers: Workers = 0,
    cluster: Cluster = None,
) -> Summary:
    """Say where a bleed is: heat maps, side, reach in mm, volume in ml with its uncertainty; all estimates."""
    from ich25d.explain.beforehand import check_explain
    from ich25d.predict.open_model import model_folder

    what = (tuple(sources or ()), model_folder(model), out)
    options: dict[str, Any] = {
        "images": tuple(images or ()), "accept": tuple(accept or ()), "device": device,
        "labels": tuple(labels) if labels else None, "point": point,
    }  # fmt: skip
    check_explain(*what, **options)
    from ich25d.explain.run import explain as run  # may load torch

    return run(*what, only=tuple(only or ()), engine=engine, workers=workers, cluster=cluster, **options)


@command(
    "ich25d export --model runs/rnn --out exported",
    "ich25d predict study/ --model exported --out predictions/submission.csv",
)
def export(
    out: Annotated[Path, typer.Option(help="The folder to make; predict, report and load_model take it as a model.")],
    model: Model = None,
) -> Summary:
    """Write a model as ONNX and JSON, to predict without torch, and check that it gives torch's numbers."""
    from ich25d.engine.export import export as run
    from ich25d.predict.open_model import model_folder

    return run(model_folder(model), out)


@command(
    "ich25d check-submission submission.csv",
    "ich25d check-submission submission.csv --sample stage_2_sample_submission.csv",
)
def check_submission(
    file: Annotated[Path, typer.Argument(help="The CSV.")],
    sample: Annotated[Path | None, typer.Option(help="The sample submission whose ids must be there.")] = None,
) -> Summary:
    """Check that a CSV is what the competition takes, and name all that is wrong with it."""
    from ich25d.predict.submission import check_submission as run

    return run(file, sample)
