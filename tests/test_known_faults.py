"""Versions that close known holes: what is installed, and what the package asks for, is at least these."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]

CLOSED_IN = {
    "aiohttp": ("3.12.14", "CVE-2025-53643"),
    "certifi": ("2024.7.4", "CVE-2024-39689"),
    "filelock": ("3.20.1", "CVE-2025-68146: a link in the place of the lock"),
    "h11": ("0.16.0", "CVE-2025-43859"),
    "idna": ("3.7", "CVE-2024-3651"),
    "jinja2": ("3.1.6", "CVE-2025-27516: out of the sandbox"),
    "pillow": ("11.3.0", "CVE-2025-48379: write beyond a buffer"),
    "protobuf": ("5.29.5", "CVE-2025-4565"),
    "pyarrow": ("14.0.1", "CVE-2023-47248: code run from a file"),
    "pydicom": ("3.0.2", "CVE-2026-32711: DICOMDIR leaves its folder"),
    "python-gdcm": ("3.0.24", "CVE-2024-22373, -22391, -25569"),
    "requests": ("2.32.4", "CVE-2024-47081"),
    "scikit-learn": ("1.5.0", "CVE-2024-5206"),
    "torch": ("2.6.0", "CVE-2025-32434: code run from weights"),
    "tornado": ("6.5", "CVE-2025-47287"),
    "tqdm": ("4.66.3", "CVE-2024-34062"),
    "urllib3": ("2.5.0", "CVE-2025-50181, -50182"),
}
"""Distribution -> the first version without the hole, and which. `pip-audit` knows more where there is a network."""

OUR_FLOORS = ("filelock", "jinja2", "pydicom", "python-gdcm", "torch")
"""Direct dependencies whose floor in pyproject.toml must close the hole: a user's pip may keep what is there."""


@pytest.mark.parametrize("name", CLOSED_IN)
def test_what_is_installed_has_no_known_hole(name: str) -> None:
    """Of these; a package that isn't installed has none."""
    version, hole = CLOSED_IN[name]
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{name} isn't installed")
    assert Version(installed) >= Version(version), hole


@pytest.mark.parametrize("name", OUR_FLOORS)
def test_our_floors_close_known_holes(name: str) -> None:
    """No version that the package accepts is one with the hole."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    wanted = [found for found in map(Requirement, lines) if re.sub("[-_.]+", "-", found.name).lower() == name]
    lowest = Version(CLOSED_IN[name][0])

    assert wanted
    for requirement in wanted:
        floors = [Version(one.version) for one in requirement.specifier if one.operator in {">=", "==", "~="}]
        assert floors, requirement
        assert max(floors) >= lowest, requirement
