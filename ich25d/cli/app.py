"""The command line as a whole.

Exit codes: 0 done; 1 done, but something was refused; 2 wrong use or input, or a disk that fails;
130 interrupted, resumable. Results go to stdout, progress and remarks to stderr.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ich25d.cli import data, evaluation, node, prediction, training
from ich25d.cli.failures import sentence_for
from ich25d.errors import Ich25dError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find intracranial haemorrhage on head CT: 2.5D, sequence-aware, study-level. Research software, not a "
    "medical device.",
)

for _command in (
    data.build_studies, data.eda, training.recipe, training.train_cnn, training.pseudo_labels,
    training.train_rnn, training.train_joint,
    prediction.predict, prediction.report, prediction.explain, evaluation.evaluate, evaluation.cq500,
    prediction.check_submission, prediction.export, node.node, data.synth, data.demo, data.info,
):  # fmt: skip
    app.command(epilog=_command.__dict__["epilog"])(_command)


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from ich25d import __version__

        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Run a command; what it or the disk refuses becomes a red sentence and exit code 2."""
    try:
        app(standalone_mode=True)
    except Ich25dError as error:
        _refuse(f"{error}{_all_rows(error)}")
    except OSError as error:
        sentence = sentence_for(error, sys.argv[1] if len(sys.argv) > 1 else "")
        if sentence is None:
            raise
        _refuse(sentence)


def _all_rows(error: Ich25dError) -> str:
    """Write the rows that an error's text doesn't show to a temporary file, and return the line that names it."""
    rows = getattr(error, "qc", ())
    if not rows:
        return ""
    from ich25d.dicom.codes import is_refusal
    from ich25d.studies.qc import write_qc

    if sum(is_refusal(row.code) for row in rows) <= str(error).count("\n"):  # each line after the first shows one
        return ""
    try:
        path = Path(tempfile.mkdtemp(prefix="ich25d-")) / "qc.csv"  # paths may hold names: for this user alone
        write_qc(path, rows)
    except OSError:  # no folder is writable, or the disk is full: the error itself is shown all the same
        return ""
    return f"\nall {len(rows)} rows: {path}"


def _refuse(sentence: str) -> NoReturn:
    colour = ("\033[31m", "\033[0m") if sys.stderr.isatty() else ("", "")
    print(f"{colour[0]}{sentence}{colour[1]}", file=sys.stderr)
    sys.exit(2)
