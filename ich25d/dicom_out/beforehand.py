"""What DICOM output refuses before torch is loaded."""

from collections.abc import Sequence
from pathlib import Path

from ich25d.dicom_out.extra import check_extra
from ich25d.errors import UsageError
from ich25d.files import check_folder

TABLE_FILE = "objects.csv"


def check_place(folder: Path, sources: Sequence[Path]) -> None:
    """Check that DICOM objects can be made, and may be written into a folder.

    Args:
        folder: Of the objects.
        sources: What is predicted.

    Raises:
        UsageError: highdicom isn't installed; or the folder is another's, or doesn't lie apart from the sources.
    """
    check_extra()
    check_folder(folder, "predict --dicom", (TABLE_FILE,), option="--dicom")
    check_apart(folder, sources)


def check_apart(folder: Path, sources: Sequence[Path]) -> None:
    """Check that objects aren't written into what is read: the next run would read them.

    Raises:
        UsageError: The folder is a source, lies in one, or holds one.
    """
    there = folder.resolve()
    for source in sources:
        read = source.resolve()
        if there == read or read in there.parents or there in read.parents:
            raise UsageError(f"--dicom must lie apart from what is read (got {folder} for {source}); name another")
