"""What `explain` refuses before torch is loaded."""

from collections.abc import Collection, Sequence
from pathlib import Path

from ich25d.errors import UsageError
from ich25d.files import check_folder
from ich25d.labels import LABELS
from ich25d.predict.beforehand import check_request
from ich25d.training.operating_point import choose_point, read_points

HEAT_FOLDER, FINDINGS_FILE, PAGE_FILE, QC_FILE = "heat", "findings.csv", "index.html", "qc.csv"


def check_explain(
    sources: Sequence[Path],
    model: Path,
    out: Path,
    *,
    images: Sequence[Path] = (),
    accept: Collection[str] = (),
    labels: Collection[str] | None = None,
    point: str | None = None,
    device: str = "auto",
) -> None:
    """Check what `explain` is asked for, as far as neither headers nor weights are needed; its arguments.

    Raises:
        UsageError: As `check_request`; or the folder is another's, or a label or an operating point is unknown.
        ModelError: The model directory is absent, unfinished, damaged or foreign.
    """
    check_place(out)
    if unknown := sorted(set(labels or ()) - set(LABELS)):
        raise UsageError(f"--label must be one of {', '.join(LABELS)} (got {', '.join(unknown)})")
    check_request(sources, model, images=images, accept=accept, device=device)
    choose_point(read_points(model), point)


def check_place(out: Path) -> None:
    """Check that a folder may be filled.

    Raises:
        UsageError: It is another's.
    """
    check_folder(out, "explain", (FINDINGS_FILE, QC_FILE, PAGE_FILE))
