"""Where tests find real data, and what every test may use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data as it is handed round; skips where it is absent."""
    folder = Path(os.environ.get("ICH25D_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "unpack").is_file():
        absent = "real data is absent: set ICH25D_DATA to a folder that holds it"
        if os.environ.get("ICH25D_REQUIRE_DATA"):
            pytest.fail(absent)
        pytest.skip(absent)
    return folder


@pytest.fixture(scope="session")
def real_data(shared_data: Path) -> Path:
    """The real data unpacked once beside the checkout: RSNA's folders and zip, and dicom/."""
    target = Path(os.environ.get("ICH25D_UNPACKED", ROOT.parent / "data"))
    subprocess.run([sys.executable, str(shared_data / "unpack"), str(target), "--zip"], check=True, capture_output=True)
    return target
