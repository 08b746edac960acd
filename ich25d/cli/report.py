"""The command that shows predicted studies: report."""

from pathlib import Path
from typing import Annotated

import typer

from ich25d.cli.options import Device, Images, Json, Model, Only, Predicted, Quiet, Workers, begin, end, examples

REPORT_EXAMPLES = examples(
    "ich25d report study/ --model runs/rnn --out report",
    "ich25d report rsna.zip --only '*stage_2_test/*' --model runs/rnn --out report",
    "ich25d predict study/ --model runs/rnn --out submission.csv --report report",
)


def report(
    model: Model,
    out: Annotated[Path, typer.Option(help="The folder for the pages.")],
    sources: Predicted = None,
    only: Only = None,
    images: Images = None,
    device: Device = "auto",
    workers: Workers = 0,
    heat: Annotated[bool, typer.Option(help="Heat maps, places and sizes for the series that are flagged.")] = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a page a study with its slices and probabilities, and a worklist of all."""
    begin(quiet)
    from ich25d.view.report.run import report as run

    end(
        run(
            tuple(sources or ()),
            model,
            out,
            only=tuple(only or ()),
            images=tuple(images or ()),
            device=device,
            workers=workers,
            heat=heat,
        ),
        as_json,
    )
