"""The same call gives the same weights, bit for bit: results can be repeated, and a copy can be told from a change."""

import hashlib
import subprocess
import sys
from pathlib import Path

from synthetic_features import make_store

from ich25d.sequence.train import train_rnn

_QUICK = (
    "sequence.epochs=2", "sequence.batch_size=4", "sequence.project=24", "sequence.hidden=24", "sequence.seeds=2",
)  # fmt: skip


def _weights(run: Path) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(run.glob("fold*/weights.safetensors"))]


def test_two_calls_and_two_processes_make_the_same_files(tmp_path: Path) -> None:
    """Neither memory, hash seeds, threads nor the order of entries in a file's header may show in it."""
    features = tmp_path / "features"
    make_store(features, n_series=12, n_folds=3)
    for name in ("one", "two"):
        train_rnn(None, None, tmp_path / name, features=features, overrides=_QUICK, device="cpu")
    settings = [part for setting in _QUICK for part in ("--set", setting)]
    for name in ("three", "four"):
        command = ["train-rnn", "--features", str(features), "--out", str(tmp_path / name), "--device", "cpu"]
        subprocess.run([sys.executable, "-m", "ich25d", *command, *settings], check=True, capture_output=True)

    first = _weights(tmp_path / "one")
    assert len(first) == 3
    assert [_weights(tmp_path / name) for name in ("two", "three", "four")] == [first] * 3
