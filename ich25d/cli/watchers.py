"""What `predict` writes besides its tables, while it runs: pages and DICOM objects."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ich25d.dicom_out.writer import DicomWriter
    from ich25d.view.report.writer import ReportWriter


def check_places(
    out: Path, sources: Sequence[Path], *, report: Path | None, dicom: Path | None, pictures: bool = False
) -> None:
    """Check the folders that options ask for; torch isn't needed for that.

    Args:
        out: The CSV.
        sources: What is predicted.
        report: The folder of the pages.
        dicom: The folder of the DICOM objects.
        pictures: Captures or heat are to be among them.

    Raises:
        UsageError: A folder is another's, or they don't go together.
    """
    from ich25d.dicom_out.beforehand import check_place as check_objects
    from ich25d.errors import UsageError
    from ich25d.view.report.beforehand import check_place as check_pages

    if pictures and dicom is None:
        raise UsageError("--dicom-captures and --dicom-heat add to --dicom (got none); name its folder")
    if dicom is not None:  # first, as it refuses sources that aren't DICOM
        if report is not None and dicom.resolve() == report.resolve():
            raise UsageError(f"--dicom must be another folder than --report (got {dicom} for both); name another")
        check_objects(dicom, sources)
    if report is not None:
        check_pages(report, out)


def watchers_of(
    model: Path, sources: Sequence[Path], *, report: Path | None, dicom: Path | None, captures: bool, heat: bool
) -> list["ReportWriter | DicomWriter"]:
    """Return the writers that options ask for.

    Args:
        model: The model directory.
        sources: What is predicted.
        report: The folder of the pages.
        dicom: The folder of the DICOM objects.
        captures: Pictures are among them.
        heat: Parametric maps are.

    Raises:
        UsageError: A folder is another's.
    """
    writers: list[Any] = []
    if dicom is not None:
        from ich25d.dicom_out.writer import DicomWriter

        writers.append(DicomWriter(dicom, model, sources, captures=captures, heat=heat))
    if report is not None:
        from ich25d.view.report.writer import ReportWriter

        writers.append(ReportWriter(report, model))
    return writers
