"""Branch coverage of the rooms that read what strangers wrote: `dicom/` and `studies/`, by their own tests."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from hard_to_break.report import Finding

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("dicom", "studies")
TESTS = ("tests/dicom", "tests/studies", "tests/hard_to_break", "tests/test_files.py", "tests/predict/test_dry_run.py",
         "tests/predict/test_cluster.py", "tests/dicom_out", "tests/encoder/test_series_labels.py")  # fmt: skip
LEAST = 95.0
"""Per cent of lines and branches."""


def coverage() -> Finding:
    """Run the tests of both rooms and say what they don't reach.

    Processes that a test starts aren't counted: what runs in them alone counts as not reached.
    """
    finding = Finding("coverage", "", f"at least {LEAST:.0f} % of lines and branches of dicom/ and studies/")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        options = [f"--cov=ich25d.{room}" for room in ROOMS]
        options += ["--cov-branch", f"--cov-report=json:{report}", "-q", "-p", "no:cacheprovider"]
        environment = {**os.environ, "COVERAGE_FILE": str(Path(folder) / "data")}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *TESTS, *options],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            finding.faults.append(f"the tests must pass (got exit code {done.returncode}): {done.stdout[-600:]}")
        nothing = {"files": {}, "totals": {"percent_covered": 0.0}}
        found = json.loads(report.read_text()) if report.is_file() else nothing
    for name, file in sorted(found["files"].items()):
        lines = [*map(str, file["missing_lines"]), *(f"{start}->{end}" for start, end in file["missing_branches"])]
        if lines:
            finding.lines.append(f"  {file['summary']['percent_covered']:5.1f} %  {name}: {', '.join(lines)}")
    share = found["totals"]["percent_covered"]
    finding.figure = f"{share:.1f} % of lines and branches; what isn't reached stands above, by line"
    if share < LEAST:
        finding.faults.append(f"{share:.1f} % is less than {LEAST:.0f} %; scripts/endurance coverage")
    return finding
