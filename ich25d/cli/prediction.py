"""Commands that predict and explain: predict, report, explain, check-submission."""

from pathlib import Path
from typing import Annotated

import typer

from ich25d.cli.options import Accept, Cluster, Device, Images, Model, Only, Predicted, Summary, Workers, command


@command(
    "ich25d predict study/ --model runs/rnn --out predictions/submission.csv",
    "ich25d predict rsna.zip --only '*stage_2_test/*' --model runs/rnn --out submission.csv "
    "--sample stage_2_sample_submission.csv",
    "ich25d predict studies --model runs/rnn --out submission.csv --report report",
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
    device: Device = "auto",
    workers: Workers = 0,
    cluster: Cluster = None,
) -> Summary:
    """Predict every slice and every series, straight from DICOM, into a Kaggle CSV."""
    from ich25d.predict.open_model import model_folder
    from ich25d.predict.run import predict as run
    from ich25d.progress import many, remark

    folder, watcher = model_folder(model), None
    if report is not None:
        from ich25d.errors import UsageError
        from ich25d.view.report.writer import ReportWriter

        if report.resolve() == out.parent.resolve():  # both write a qc.csv
            raise UsageError(f"--report must be another folder than the CSV's (got {report} for both); name one in it")
        watcher = ReportWriter(report, folder)
    summary = run(
        tuple(sources or ()), folder, out, only=tuple(only or ()), sample=sample, images=tuple(images or ()),
        accept=tuple(accept or ()), device=device, workers=workers, cluster=cluster, watcher=watcher,
    )  # fmt: skip
    if watcher is not None:
        remark(f"{watcher.index}: {many(watcher.n_pages, 'study', 'studies')}, {watcher.n_flagged} flagged")
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
    workers: Workers = 0,
    cluster: Cluster = None,
    heat: Annotated[bool, typer.Option(help="Heat maps, places and sizes for the series that are flagged.")] = True,
) -> Summary:
    """Write a page a study with its slices and probabilities, and a worklist of all."""
    from ich25d.predict.open_model import model_folder
    from ich25d.view.report.run import report as run

    return run(
        tuple(sources or ()), model_folder(model), out, only=tuple(only or ()), images=tuple(images or ()),
        accept=tuple(accept or ()), device=device, workers=workers, cluster=cluster, heat=heat,
    )  # fmt: skip


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
    workers: Workers = 0,
    cluster: Cluster = None,
) -> Summary:
    """Say where a bleed is: heat maps, side, reach in mm, volume in ml with its uncertainty; all estimates."""
    from ich25d.explain.run import explain as run
    from ich25d.predict.open_model import model_folder

    return run(
        tuple(sources or ()), model_folder(model), out, only=tuple(only or ()), images=tuple(images or ()),
        accept=tuple(accept or ()), labels=tuple(labels) if labels else None, point=point, device=device,
        workers=workers, cluster=cluster,
    )  # fmt: skip


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
