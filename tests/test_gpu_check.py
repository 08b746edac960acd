"""`scripts/gpu_check`: where there is no GPU it says so; its short form does on a CPU all that it does on one."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """`scripts/gpu_check.py` as a module."""
    spec = importlib.util.spec_from_file_location("gpu_check_script", ROOT / "scripts" / "gpu_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_it_says_so(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, exit code 2, nothing written."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert script.main(["--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("there is no GPU here")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_short_form_measures_all(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three trainings and a prediction, each with speeds, what limits it, and a profile; hours follow from them."""
    assert script.main(["--device", "cpu", "--short", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    for name in ("baseline", "strong", "joint"):
        one = found[name]
        assert all(value > 0 for key, value in one.items() if key.startswith("slices/s"))
        assert one["limited by"] in ("the device", "the loader", "the transfer")
        assert 0 < sum(row["share"] for row in one["profile"]) <= 1 + 1e-9
    one = found["joint"]
    trained = one["epochs"] * 752_803 * 4 / one["slices/s"]
    encoded = (1 + one["views"]) * 752_803 / one["slices/s, prediction"]
    assert found["hours on RSNA"]["joint"] == pytest.approx((trained + encoded) / 3600)
    assert "hours on RSNA" in capsys.readouterr().out
