"""The command eda."""

from pathlib import Path
from typing import Annotated

import typer

from ich25d.cli.options import Json, Only, Quiet, Workers, begin, end, examples

EDA_EXAMPLES = examples(
    "ich25d eda studies --out eda",
    "ich25d eda --labels stage_2_train.csv --out eda",
    "ich25d eda studies --source rsna-intracranial-hemorrhage-detection.zip --out eda",
)


def eda(
    out: Annotated[Path, typer.Option(help="The folder for index.html, figures/ and tables/.")],
    studies: Annotated[Path | None, typer.Argument(help="A study store.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Labels: alone, or in place of the store's where they know an image.")
    ] = None,
    sources: Annotated[
        list[Path] | None,
        typer.Option("--source", help="What the store was built from, for what it doesn't keep; may be repeated."),
    ] = None,
    only: Only = None,
    workers: Workers = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Look at the data: labels, technical attributes, pictures, and what gives the label away."""
    begin(quiet)
    from ich25d.view.eda.run import explore

    end(
        explore(studies, out, labels=labels, sources=tuple(sources or ()), only=tuple(only or ()), workers=workers),
        as_json,
    )
