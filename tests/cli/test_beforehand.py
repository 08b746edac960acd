"""Simple mistakes are refused before torch is loaded: in a process where importing torch fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import contextlib, importlib.abc, io, json, sys

class NoTorch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "timm", "torchvision"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, NoTorch())
from ich25d.cli.app import main
found = []
for words in json.loads(sys.stdin.read()):
    said = io.StringIO()
    sys.argv = ["ich25d", *words]
    with contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as end:
            found.append([end.code, said.getvalue()])
        except AssertionError as error:
            found.append([-1, str(error)])
print("\\n" + json.dumps(found))
"""

HERE = Path(__file__)
SOURCE = str(HERE.parent)
MISTAKES = [
    ("build-studies absent --out new", "a source must exist (got absent)"),
    ("build-studies {source} --labels absent.csv --out new", "(--labels) must exist (got absent.csv)"),
    ("build-studies {source} --accept CONTRSAT --out new", "CONTRSAT"),
    ("build-studies {source} --crop face --out new", "--crop must be one of head, none (got 'face')"),
    ("eda absent --out new", "there must be a study store (got none) in absent"),
    ("eda --labels absent.csv --out new", "(--labels) must exist (got absent.csv)"),
    ("recipe basline", "nearest known: baseline"),
    ("train-cnn absent --config baseline --out new", "there must be a study store (got none) in absent"),
    ("train-cnn absent --config basline --out new", "nearest known: baseline"),
    ("train-cnn absent --config baseline --out new --set train.epoch=3", "nearest known: epochs"),
    ("train-cnn absent --config baseline --out new --device gpu", "--device must be auto, cpu, cuda"),
    ("train-cnn {store} --config baseline --out {box}", "--resume goes on with them"),
    ("train-cnn {store} --config baseline --out {source}", "other files in it"),
    ("train-cnn {store} --out new", "train-cnn needs --config, a recipe, or --from"),
    ("train-cnn {store} --from absent --out new", "a model directory must hold a readable model.json"),
    ("train-cnn {store} --from {box} --old absent --out new", "there must be a study store (got none) in absent"),
    ("train-rnn absent --out new", "takes a study store and --cnn"),
    ("train-rnn {store} --cnn absent --out new", "model.json (got No such file or directory) in absent"),
    ("train-rnn --features absent --out new", "a feature store must hold a readable features.json"),
    ("train-rnn {store} --cnn {box} --out {box}", "with a CNN's run in it"),
    ("train-rnn {store} --cnn {box} --from absent --out new", "a model directory must hold a readable model.json"),
    ("train-rnn {store} --cnn {box} --from {box} --out new", "must say kind 'sequence', format 1 (got 'encoder'"),
    ("train-rnn {store} --cnn {box} --old absent --out new", "(got no --from)"),
    ("train-joint absent --from {box} --out new", "there must be a study store (got none) in absent"),
    ("train-joint {store} --from {box} --out new", "must say kind 'sequence', format 1 (got 'encoder'"),
    ("train-joint {store} --from absent --out new", "a model directory must hold a readable model.json"),
    ("predict absent --out new.csv", "a source must exist (got absent)"),
    ("predict {source} --model absent --out new.csv", "a model directory must hold a readable model.json"),
    ("predict {source} --out new", "--out must name a CSV file"),
    ("predict {source} --out {taken}/new.csv", "the tables beside a prediction must be its own"),
    ("predict {source} --sample absent.csv --out new.csv", "(--sample) must exist (got absent.csv)"),
    ("predict {source} --out pages/new.csv --report pages", "--report must be another folder than the CSV's"),
    ("predict {source} --out new.csv --device cuda:x", "--device must be auto, cpu, cuda"),
    ("predict {source} --out new.csv --dry-run", "there must be a head CT series (got 1 file or image: 1 NOT_DICOM)"),
    ("build-studies {source} --out new --dry-run", "there must be a head CT series (got 1 file or image"),
    ("report absent --out new", "a source must exist (got absent)"),
    ("report {source} --out {taken}", "--out must hold nothing that report would replace"),
    ("explain absent --out new", "a source must exist (got absent)"),
    ("explain {source} --out new --label bleed", "--label must be one of epidural"),
    ("explain {source} --out new --point f3", "f3"),
    ("explain {source} --model absent --out new", "a model directory must hold a readable model.json"),
    ("evaluate absent.csv --labels absent.csv --out new", "absent.csv"),
    ("cq500 {source} --reads absent.csv --out new", "--reads must name a CSV file that is there (got absent.csv)"),
    ("cq500 --reads {reads} --out new", "cq500 takes SOURCE..., or --predictions CSV"),
    ("cq500 absent --reads {reads} --out new", "a source must exist (got absent)"),
    ("check-submission absent.csv", "absent.csv"),
    ("synth --studies 1 --out {reads}", "{reads}"),
    ("demo --out {reads}", "--out must be a folder (got the file"),
    ("info absent", "info takes a study store or a model directory"),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, list[str]]]:
    """Exit code, stderr and the words of every mistake, of one process."""
    root = tmp_path_factory.mktemp("beforehand")
    places = {name: root / name for name in ("source", "store", "taken", "reads")}
    for name in ("source", "store", "taken"):
        places[name].mkdir()
    (places["source"] / "notes.txt").write_text("no scan")
    (places["taken"] / "qc.csv").write_text("mine")
    (places["store"] / "store.json").write_text(
        json.dumps({"format": "ich25d-studies", "version": 1, "size": 256, "crop": "head"})
    )
    places["reads"].write_text("name\n")
    box = root / "box"
    (box / "fold0").mkdir(parents=True)
    shipped = Path(__file__).parents[2]
    for name in ("model.json", "config.toml"):
        (box / name).write_bytes((shipped / "ich25d" / "open_model" / name).read_bytes())
    (box / "config.toml").write_bytes((shipped / "configs" / "baseline.toml").read_bytes())
    (box / "fold0" / "metrics.jsonl").write_text('{"event": "begin"}\n')
    named = {**places, "box": box}
    calls = [words.format(**named).split() for words, _ in MISTAKES]
    done = subprocess.run(
        [sys.executable, "-c", CODE], input=json.dumps(calls), capture_output=True, text=True, check=False, cwd=root
    )
    assert done.returncode == 0, done.stderr
    left = sorted(path.name for path in root.iterdir())
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        words: (code, text.replace(str(root) + "/", ""), left)
        for (words, _), (code, text) in zip(MISTAKES, found, strict=True)
    }


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=[words for words, _ in MISTAKES])
def test_simple_mistakes_need_no_torch(said: dict[str, tuple[int, str, list[str]]], words: str, sentence: str) -> None:
    """A path, a name, a key, a folder that is another's: exit code 2 and its sentence, and nothing is written."""
    code, text, left = said[words]

    assert code == 2, text
    assert sentence.replace("{reads}", "reads") in text
    assert "Traceback" not in text
    assert left == ["box", "reads", "source", "store", "taken"]
