"""Where tests find real data, and what every test may use."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before torch is imported, here and in every process that a test starts: sums depend on how many threads share them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The reference computes; an engine would have to be prepared for every toy model.
os.environ["ICH25D_ENGINE"] = "torch"

import pytest
from filelock import FileLock
from orthanc_server import PROGRAM as ORTHANC
from orthanc_server import Orthanc, running_orthanc

import ich25d.dicom.foreign  # noqa: F401 (pydicom then reads RSNA's UIDs without a warning, in any order of tests)
from ich25d import progress
from ich25d.training import device

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _not_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin every test as a process begins: a test of `--quiet` leaves its switch to nobody."""
    monkeypatch.setattr(progress, "_quiet", False)


@pytest.fixture(autouse=True)
def _not_by_this_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse `precision = "auto"` in tests: it is bf16 on some CPUs and fp32 on others, and so are the weights."""

    def asked() -> bool:
        pytest.fail("a test's recipe must name its number format, as precision='fp32': auto differs between CPUs")

    monkeypatch.setattr(device, "_cpu_has_bf16", asked)


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
    target.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(shared_data / "unpack"), str(target), "--zip"]
    with FileLock(target / ".unpack.lock"):  # each of pytest's processes asks for the data, and unpacking isn't shared
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{' '.join(command)} exited with {done.returncode}:\n{done.stderr}")
    return target


@pytest.fixture(scope="session")
def dcm2niix() -> Callable[[Path, Path], Path]:
    """Convert a folder of DICOM to `scan.nii.gz` by Debian's dcm2niix; skips where it is absent."""
    program = shutil.which("dcm2niix")
    if program is None:
        absent = "dcm2niix is absent: apt-get install dcm2niix"
        if os.environ.get("ICH25D_REQUIRE_DCM2NIIX"):
            pytest.fail(absent)
        pytest.skip(absent)

    def convert(dicom: Path, out: Path) -> Path:
        out.mkdir(parents=True)
        command = [program, "-z", "y", "-b", "n", "-f", "scan", "-o", str(out), str(dicom)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert (out / "scan.nii.gz").is_file(), done.stdout + done.stderr
        return out / "scan.nii.gz"

    return convert


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A running Orthanc, empty at first; skips where it is absent."""
    if not ORTHANC.is_file():
        absent = f"no Orthanc at {ORTHANC}: apt-get install orthanc"
        if os.environ.get("ICH25D_REQUIRE_ORTHANC"):
            pytest.fail(absent)
        pytest.skip(absent)
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_ARGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
)  # fmt: skip
SLOWEST_MS = 120_000  # a busy machine isn't a broken page


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, headless, driven by playwright; skips where one of them is absent."""
    absent = ""
    if not CHROMIUM.is_file():
        absent = f"no browser at {CHROMIUM}: apt-get install chromium"
    elif importlib.util.find_spec("playwright") is None:
        absent = "playwright isn't installed: pip install -e '.[dev]'"
    if absent:
        if os.environ.get("ICH25D_REQUIRE_CHROMIUM"):
            pytest.fail(absent)
        pytest.skip(absent)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=list(CHROMIUM_ARGS), timeout=SLOWEST_MS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a file in a browser window; when the test ends, none of its pages may have erred or asked for anything.

    Requests for other files of the same folder (a link that the test clicks) and `data:` are a page's own.
    """
    contexts, errors, requests = [], [], []

    def opened(path: Path, *, width: int = 1440, height: int = 900, scheme: str = "light") -> Any:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(SLOWEST_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
