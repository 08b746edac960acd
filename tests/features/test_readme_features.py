"""The ten lines of the README that write a feature store, run as they stand."""

import re
from pathlib import Path

import numpy as np
import pytest

from ich25d.features.store import FeatureStore

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_readme_writes_a_feature_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader copies out of the README opens and reads."""
    blocks = (
        re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL) if README.exists() else []
    )
    code = [block for block in blocks if "features.json" in block]
    if not code:
        pytest.skip("the README shows no feature store")
    rng = np.random.default_rng(0)
    series = [
        (f"S{n}", f"P{n}", rng.normal(size=(4, 1280)), np.arange(4) * 5.0, rng.integers(0, 2, (4, 6))) for n in range(3)
    ]
    monkeypatch.chdir(tmp_path)
    exec(compile(code[0], "README.md", "exec"), {"my_series": series})  # our own README
    store = FeatureStore.open(tmp_path / "features")

    assert list(store.series.index) == ["S0", "S1", "S2"]
    assert store.read("S2").embedding.shape == (1, 4, 1280)
    assert store.slices["any"].tolist() == np.concatenate([labels[:, 5] for *_, labels in series]).tolist()
