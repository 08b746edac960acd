"""The command that says where: explain."""

from pathlib import Path
from typing import Annotated

import typer

from ich25d.cli.options import Device, Images, Json, Model, Only, Predicted, Quiet, Workers, begin, end, examples

EXPLAIN_EXAMPLES = examples(
    "ich25d explain study/ --model runs/rnn --out explained",
    "ich25d explain studies --model runs/rnn --out explained --label any",
)


def explain(
    model: Model,
    out: Annotated[Path, typer.Option(help="The folder for heat maps, findings.csv and the page.")],
    sources: Predicted = None,
    only: Only = None,
    images: Images = None,
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
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say where a bleed is: heat maps, side, reach in mm, volume in ml with its uncertainty; all estimates."""
    begin(quiet)
    from ich25d.explain.run import explain as run

    end(
        run(
            tuple(sources or ()),
            model,
            out,
            only=tuple(only or ()),
            images=tuple(images or ()),
            labels=tuple(labels) if labels else None,
            point=point,
            device=device,
            workers=workers,
        ),
        as_json,
    )
