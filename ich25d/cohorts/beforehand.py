"""What `cq500` refuses before torch is loaded."""

from collections.abc import Sequence
from pathlib import Path

from ich25d.errors import UsageError
from ich25d.evaluate.output import FILES
from ich25d.files import check_folder
from ich25d.predict.beforehand import check_request
from ich25d.predict.open_model import model_folder

STUDIES_FILE, CHOICE_FILE, QC_FILE = "predictions.csv", "series.csv", "qc.csv"


def check_cq500(
    reads: Path,
    out: Path,
    *,
    sources: Sequence[Path],
    model: Path | None,
    predictions: Path | None,
    against: Path | None,
    device: str,
) -> None:
    """Check what `cq500` is asked for, as far as neither headers nor weights are needed; its arguments.

    Raises:
        UsageError: Arguments that don't fit together, a path that isn't there, or a folder that is another's.
        ModelError: The model directory is absent, unfinished, damaged or foreign.
    """
    if (predictions is None) == (not sources):
        raise UsageError("cq500 takes SOURCE..., or --predictions CSV")
    for option, path in (("--reads", reads), ("--predictions", predictions), ("--against", against)):
        if path is not None and not path.is_file():
            raise UsageError(f"{option} must name a CSV file that is there (got {path})")
    check_folder(out, "cq500", (*FILES, STUDIES_FILE, CHOICE_FILE, QC_FILE))
    if sources:
        check_request(sources, model_folder(model), device=device)
