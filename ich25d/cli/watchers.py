"""What `predict` writes besides its tables, while it runs: pages and DICOM objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ich25d.dicom_out.writer import DicomWriter
    from ich25d.view.report.writer import ReportWriter


def watchers_of(
    model: Path, out: Path, sources: Sequence[Path], *, report: Path | None, dicom: Path | None
) -> list["ReportWriter | DicomWriter"]:
    """Return the writers that options ask for.

    Args:
        model: The model directory.
        out: The CSV.
        sources: What is predicted.
        report: The folder of the pages.
        dicom: The folder of the DICOM objects.

    Raises:
        UsageError: Folders that don't go together.
    """
    from ich25d.errors import UsageError

    writers: list[Any] = []
    if dicom is not None:  # first, as it refuses sources that aren't DICOM
        from ich25d.dicom_out.extra import check_extra

        check_extra()
        from ich25d.dicom_out.writer import DicomWriter

        if report is not None and dicom.resolve() == report.resolve():
            raise UsageError(f"--dicom must be another folder than --report (got {dicom} for both); name another")
        writers.append(DicomWriter(dicom, model, sources))
    if report is not None:
        from ich25d.view.report.writer import ReportWriter

        if report.resolve() == out.parent.resolve():  # both write a qc.csv
            raise UsageError(f"--report must be another folder than the CSV's (got {report} for both); name one in it")
        writers.append(ReportWriter(report, model))
    return writers
