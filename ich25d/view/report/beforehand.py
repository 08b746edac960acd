"""What `report` refuses before torch is loaded."""

from collections.abc import Collection, Sequence
from pathlib import Path

from ich25d.errors import UsageError
from ich25d.files import check_folder
from ich25d.predict.beforehand import check_request

INDEX_FILE, TABLE_FILE, QC_FILE, PAGES = "index.html", "worklist.csv", "qc.csv", "studies"


def check_report(
    sources: Sequence[Path],
    model: Path,
    out: Path,
    *,
    images: Sequence[Path] = (),
    accept: Collection[str] = (),
    device: str = "auto",
) -> None:
    """Check what `report` is asked for, as far as neither headers nor weights are needed; its arguments.

    Raises:
        UsageError: As `check_request`; or the folder is another's.
        ModelError: The model directory is absent, unfinished, damaged or foreign.
    """
    check_place(out)
    check_request(sources, model, images=images, accept=accept, device=device)


def check_place(out: Path, csv: Path | None = None) -> None:
    """Check that a folder may be filled.

    Args:
        out: The folder.
        csv: Where `predict` writes in the same call.

    Raises:
        UsageError: It is another's, or the CSV's.
    """
    if csv is not None and out.resolve() == csv.parent.resolve():  # both write a qc.csv
        raise UsageError(f"--report must be another folder than the CSV's (got {out} for both); name one in it")
    check_folder(out, "report", (INDEX_FILE, TABLE_FILE, QC_FILE))
