"""The ten lines of the README that write a feature store, run as they stand."""

import re
from pathlib import Path

import pytest

from ich25d.features.store import FeatureStore
from ich25d.sequence.division import divide

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_readme_writes_a_feature_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a reader copies out of the README opens and reads."""
    blocks = (
        re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL) if README.exists() else []
    )
    code = [block for block in blocks if "features.json" in block]
    if not code:
        pytest.skip("the README shows no feature store")
    monkeypatch.chdir(tmp_path)
    exec(compile(code[0], "README.md", "exec"), {})  # our own README
    store = FeatureStore.open(tmp_path / "features")
    found = store.read(store.series.index[0])

    assert len(store.series) > 1
    assert found.embedding.shape[::2] == (len(store.views), store.dim)
    assert divide(store, seed=0).judged == tuple(store.series.index)
