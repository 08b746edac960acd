"""`scripts/ablate.py` on two tiny stores of phantoms: variants are trained, predicted and compared."""

import importlib.util
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from ich25d.encoder import train as train_module
from ich25d.encoder.fold_training import FoldTraining
from ich25d.encoder.model_directory import read_run
from ich25d.evaluate import paired
from ich25d.phantom.synth import synthesise
from ich25d.studies.build import build_studies
from ich25d.studies.store_dir.store import StudyStore

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "ablate.py"

RECIPE = """
[slab]
windows = ["brain"]
neighbours = [0]
size = 32
[encoder]
name = "test_resnet"
weights = "none"
[train]
epochs = 1
batch_size = 32
keep = "last"
precision = "fp32"
[features]
views = ["plain"]
[sequence]
project = 8
hidden = 8
epochs = 1
seeds = 1
[calibration]
prevalence = {any = 0.2}
prevalence_weight = 100.0
"""

VARIANTS = """
[[variant]]
name = "base"

[[variant]]
name = "wider"
set = ["slab.neighbours=[-1, 0, 1]", "augment.flip=0"]
note = "three slices, no flip"
"""


@pytest.fixture(scope="module")
def ablate() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("ablate", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two stores, `studies` and `judge`, a recipe and variants of it."""
    root = tmp_path_factory.mktemp("ablate")
    for name, seed in (("studies", 0), ("judge", 1)):
        heads = synthesise(root / f"{name}-dicom", 4, seed=seed, size=64, test_share=0, workers=1)
        build_studies((heads.train,), root / name, labels=heads.train_labels, size=64, folds=2, workers=1)
    (root / "recipe.toml").write_text(RECIPE)
    (root / "variants.toml").write_text(VARIANTS)
    return root


@pytest.fixture
def bench(ablate: ModuleType, place: Path) -> Callable[..., int]:
    """Call the script; options replace the usual ones."""

    def call(out: Path, *more: str, vary: Path = place / "variants.toml", judge: Path = place / "judge") -> int:
        return ablate.main([
            str(place / "recipe.toml"), "--vary", str(vary), "--studies", str(place / "studies"),
            "--judge", f"other={judge}", "--out", str(out), "--device", "cpu", *more,
        ])  # fmt: skip

    return call


def _stop_training(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Press Ctrl-C in the second step of the training of a variant, counted from 0."""
    trainings = itertools.count()

    @contextmanager
    def asked() -> Iterator[Callable[[], bool]]:
        is_it, steps = next(trainings) == number, itertools.count()
        yield lambda: is_it and next(steps) >= 1

    monkeypatch.setattr(train_module, "asked_to_stop", asked)


def _results(out: Path) -> str:
    """Return all numbers but the times."""
    return re.sub(r'"\w*seconds\w*": .*', "", (out / "results.json").read_text())


@pytest.mark.slow
def test_a_bench_stopped_in_between_ends_as_the_unbroken_one(
    bench: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped within the second variant, it shows the first one, and goes on to the same numbers."""
    monkeypatch.setattr(paired, "REPLICATES", 60)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert bench(whole, "--sequence") == 0
    n_lines = len(re.findall(r"^\w+: \d+ s of training$", capsys.readouterr().out, re.MULTILINE))

    with monkeypatch.context() as patch:
        _stop_training(patch, 1)
        stopped = bench(parts, "--sequence")
    shown = list(json.loads((parts / "results.json").read_text())["variants"])
    weights = parts / "base" / "seed0" / "fold0" / "weights.safetensors"
    written = weights.stat().st_mtime_ns
    assert bench(parts, "--sequence") == 0

    assert (n_lines, stopped, shown) == (2, 130, ["base"])
    assert weights.stat().st_mtime_ns == written
    assert _results(parts) == _results(whole)
    results = json.loads((whole / "results.json").read_text())
    assert set(results["variants"]["wider"]["differs"]) == {"slab.neighbours", "augment.flip"}
    assert set(results["sets"]) == {"held out", "other"}
    for content in results["sets"].values():
        base, wider = (content["networks"][name] for name in ("base", "wider"))
        assert set(base) == {"CNN", "CNN + GRU"}
        assert base["CNN"]["difference"]["AUC any"] == {"value": 0, "low": 0, "high": 0}
        for kind, own in wider.items():
            score, difference = own["scores"]["log loss at prevalence"], own["difference"]["log loss at prevalence"]
            before = base[kind]["scores"]["log loss at prevalence"]
            assert difference["value"] == pytest.approx(score["value"] - before["value"])
            assert difference["low"] < difference["high"]
            assert difference["value"] != 0
    table = (whole / "table.md").read_text()
    rows = re.findall(r"^\| ([^|]+), (CNN[^|]*) \|", table, re.MULTILINE)
    # In either set both as scores, and the second one also as difference to the first.
    assert [name for name, _ in rows] == ["base", "base", "wider", "wider", "wider", "wider"] * 2
    widths = {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines() if line.startswith("| wider, ")}
    assert len(widths) == 2


@pytest.mark.parametrize(("column", "what"), [("image_id", "pixels"), ("", "image ids")])
def test_refuses_a_judge_of_patients_that_are_trained_on(
    bench: Callable[..., int], place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, what: str
) -> None:
    """By the ids of images, and where these are others, by what the images show; before anything is trained."""
    judge = tmp_path / "judge"
    shutil.copytree(place / "studies", judge)
    if column:
        slices = pd.read_parquet(judge / "slices.parquet")
        slices.assign(**{column: "other_" + slices[column]}).to_parquet(judge / "slices.parquet")
    code = bench(tmp_path / "out", judge=judge)

    assert code == 2
    assert re.search(
        rf"nothing that is trained on \(got \d+ of the same {what} as in .*studies, as image \w+\)",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (VARIANTS.replace("augment.flip", "augment.flop"), r"variant 'wider'.*\n  augment.flop: unknown key; .*flip"),
        (VARIANTS.replace('"wider"', '"Base"'), r"name must be of its own.*'Base'"),
        (VARIANTS.replace("note", "nota"), r"a name, a list `set` and a `note`.*nota"),
        (VARIANTS.replace("augment.flip=0", "train.seed=3"), r"train.seed is what --seeds gives.*wider"),
        (VARIANTS.replace("note =", "train.canvass ="), r"table `train` must hold paths of studies.*canvass"),
        ("[recipe]", r"\[\[variant\]\] tables alone.*recipe"),
    ],
)  # fmt: skip
def test_refuses_variants_with_mistakes(
    bench: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    """All recipes are read before anything is trained."""
    (tmp_path / "vary.toml").write_text(text)

    assert bench(tmp_path / "out", vary=tmp_path / "vary.toml") == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_refuses_another_recipe_under_a_name_and_fewer_folds(
    bench: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What OUT holds of a variant stays comparable."""
    (tmp_path / "vary.toml").write_text(VARIANTS)
    assert bench(tmp_path / "out", "--folds", "0", vary=tmp_path / "vary.toml") == 0
    fewer = bench(tmp_path / "out", "--folds", "1", vary=tmp_path / "vary.toml")
    (tmp_path / "vary.toml").write_text(VARIANTS.replace("flip=0", "flip=0.1"))
    other = bench(tmp_path / "out", "--folds", "0", vary=tmp_path / "vary.toml")
    messages = capsys.readouterr().err

    assert (fewer, other) == (2, 2)
    assert re.search(r"--folds must name all that are trained there \(got \[1\] without \[0\]\)", messages)
    assert re.search(r"holds one recipe \(got other values of augment.flip\) in .*wider", messages)


def test_trains_a_cnn_once_for_variants_that_share_it(
    bench: Callable[..., int], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variant of the calibration has the same weights, and its own calibration; one of other labels is trained."""
    (tmp_path / "vary.toml").write_text(
        '[[variant]]\nname = "base"\n[[variant]]\nname = "rare"\nset = ["calibration.prevalence_weight=9000"]\n'
        f'[[variant]]\nname = "reports"\ntrain.series_labels = "{tmp_path / "reports.csv"}"\n'
    )
    series = StudyStore.open(place / "studies").slices.groupby("series_id")["any"].max()
    (tmp_path / "reports.csv").write_text(series.to_csv())
    n_trained = itertools.count()
    train = FoldTraining.run

    def counted(self: FoldTraining, *words: object, **options: object) -> object:
        next(n_trained)
        return train(self, *words, **options)

    monkeypatch.setattr(FoldTraining, "run", counted)
    for _ in range(2):
        assert bench(tmp_path / "out", "--folds", "0", vary=tmp_path / "vary.toml") == 0

    runs = [read_run(tmp_path / "out" / name / "seed0") for name in ("base", "rare")]
    content = json.loads((tmp_path / "out" / "results.json").read_text())["sets"]["other"]["networks"]["rare"]["CNN"]
    assert next(n_trained) == 2
    assert read_run(tmp_path / "out" / "reports" / "seed0").content["data"]["series_labels"]["n_series"] == 4
    assert runs[0].folds[0]["sha256"] == runs[1].folds[0]["sha256"]
    assert runs[0].content["calibration"] != runs[1].content["calibration"]
    assert content["difference"]["log loss"]["value"] != 0
    assert content["difference"]["series AUC any"]["value"] == pytest.approx(0)
