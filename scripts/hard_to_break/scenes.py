"""What is broken off: commands on a small scan or store, what they write, and how a repetition is called."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hard_to_break.runner import Runner
from hard_to_break.scan import SLICES, sound_file
from ich25d.labels import LABELS, row_ids
from ich25d.studies.build import build_studies

SIDE, SERIES = 64, 6
RECIPE = """
[slab]
windows = ["brain"]
neighbours = [0]
size = 32
[encoder]
name = "test_resnet"
weights = "none"
[train]
epochs = 2
keep = "last"
batch_size = 16
precision = "fp32"
loader_workers = 0
[features]
views = ["plain"]
[sequence]
project = 8
hidden = 4
epochs = 2
seeds = 1
"""
"""The smallest training that has all steps."""


class Scene(NamedTuple):
    """A command that is broken off and called again."""

    arguments: Callable[[Path, Path], list[str]]
    """Words of the command, by the folder of what there is beforehand and the folder that it fills."""
    again: Sequence[str] = ()
    """Words that the repetition has besides."""
    compared: Callable[[str], bool] = lambda _: True
    """Whether a file, by its path in the folder, must come out the same byte for byte."""
    codes: tuple[int, ...] = (0, 1)
    """Exit codes of a command that is done."""


def _build(place: Path, out: Path) -> list[str]:
    labels = ["--labels", str(place / "labels.csv")]
    return ["build-studies", str(place / "in"), "--out", str(out), "--size", "32", "--workers", "1", "-q", *labels]


def _train(place: Path, out: Path) -> list[str]:
    return ["train-cnn", str(place / "store"), "--config", str(place / "recipe.toml"), "--out", str(out), "--fold", "0",
            "--device", "cpu", "-q"]  # fmt: skip


def _sequence(place: Path, out: Path) -> list[str]:
    return ["train-rnn", str(place / "store"), "--cnn", str(place / "cnn"), "--out", str(out), "--device", "cpu", "-q"]


def _predict(place: Path, out: Path) -> list[str]:
    return ["predict", str(place / "in"), "--model", str(place / "cnn"), "--out", str(out / "s.csv"), "--report",
            str(out / "pages"), "--device", "cpu", "--workers", "1", "-q"]  # fmt: skip


def _of_store(name: str) -> bool:
    return name.startswith("hu/") or name in {"slices.parquet", "series.parquet", "qc.csv", "store.json"}


def _of_run(name: str) -> bool:
    return name.endswith((".safetensors", ".parquet", ".csv"))


def _of_prediction(name: str) -> bool:
    return name.endswith((".csv", ".parquet", ".html"))


SCENES = {
    "build": Scene(_build, compared=_of_store),
    "train-cnn": Scene(_train, ("--resume",), _of_run),
    "train-rnn": Scene(_sequence, (), _of_run),
    "predict": Scene(_predict, (), _of_prediction),
}


def prepare(place: Path, runner: Runner, scenes: Sequence[str]) -> None:
    """Write what the scenes need: a source, and a store and a CNN where something is trained or predicted.

    Raises:
        RuntimeError: A command that only prepares fails.
    """
    source = place / "in"
    source.mkdir(parents=True)
    rows = []
    for index in range(SERIES * SLICES):
        (source / f"{index}.dcm").write_bytes(sound_file(index, (index // SLICES) % 3, side=SIDE))
        label = int(index % SLICES in {3, 4, 5} and (index // SLICES) % 2)
        rows += zip(row_ids([f"ID_{index:09x}"]), [label] * len(LABELS), strict=True)
    (place / "labels.csv").write_text("ID,Label\n" + "".join(f"{row},{value}\n" for row, value in rows))
    (place / "recipe.toml").write_text(RECIPE)
    if set(scenes) == {"build"}:
        return
    build_studies((source,), place / "store", labels=place / "labels.csv", size=32, folds=2, workers=1)
    words = [word for word in _train(place, place / "cnn") if word not in {"--fold", "0"}]
    done = runner.run(words, folder=place / "cnn")
    if done.code:
        raise RuntimeError(f"train-cnn must end well before it is broken off (got {done.code}): {done.output[-500:]}")


def content(out: Path, scene: Scene) -> dict[str, bytes]:
    """Return the files that must come out the same."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and not path.is_symlink())
    named = ((path.relative_to(out).as_posix(), path) for path in files)
    return {name: path.read_bytes() for name, path in named if scene.compared(name)}


def leftovers(out: Path) -> list[str]:
    """Return half-written files that a command left behind."""
    return [path.relative_to(out).as_posix() for path in out.rglob("*.part")]


def removed(out: Path) -> Path:
    """Remove what an earlier trial wrote."""
    shutil.rmtree(out, ignore_errors=True)
    return out


def moments(n: int, count: int, seed: int, first: int) -> list[int]:
    """Return the calls that are to fail: all of them, or n drawn at random."""
    if n >= count:
        return list(range(1, count + 1))[first:]
    drawn = np.random.default_rng(seed).choice(count, size=n, replace=False) + 1
    return sorted(drawn.tolist())[first:]
