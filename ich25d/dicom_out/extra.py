"""Whether the packages are there that DICOM output needs."""

from importlib.util import find_spec

from ich25d.errors import UsageError


def check_extra() -> None:
    """Check that DICOM objects can be made; imports nothing.

    Raises:
        UsageError: highdicom isn't installed.
    """
    if find_spec("highdicom") is None:
        raise UsageError("DICOM output needs highdicom (got none); pip install 'ich25d[dicom]'")
