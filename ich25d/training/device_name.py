"""The names that --device takes, known without torch."""

import re

from ich25d.errors import UsageError


def check_device_name(name: str) -> None:
    """Check that a device is one of `auto`, `cpu`, `cuda`, `cuda:N` and `mps`, there or not.

    Raises:
        UsageError: It is none of these.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,2})?", name, re.ASCII):
        raise UsageError(f"--device must be auto, cpu, cuda, cuda:N or mps (got {name!r})")
