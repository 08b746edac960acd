"""The load of `scripts/endurance_node.py`, in small: a full disk and a PACS that restarts, and nothing is lost."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from orthanc_server import PROGRAM

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of what the script writes oddly
def test_nothing_acknowledged_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five senders of three interleaved studies with odd images; the figures are what they must be."""
    if not PROGRAM.is_file():
        absent = f"no Orthanc at {PROGRAM}: apt-get install orthanc"
        if os.environ.get("ICH25D_REQUIRE_ORTHANC"):
            pytest.fail(absent)
        pytest.skip(absent)
    spec = importlib.util.spec_from_file_location("endurance_node", ROOT / "scripts" / "endurance_node.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setattr("sys.path", sys.path[:])
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "CLOSE_AFTER_S", 3)
    monkeypatch.setattr(script._config, "STORE_SEND_CHUNKED_DATASET", False)
    figures = script.endure(tmp_path, n_studies=3, n_images=6, n_senders=5, odd=0.2, full_s=1.0, kill=False)

    assert {name: figures[name] for name in script.MUST} == script.MUST
    assert figures["images"] == 18
    assert figures["odd_images"] == 4
    assert figures["put_off"] >= 1
