"""What README, docs/ and CONTRIBUTING show, works: Python runs, commands parse and are run by tests, names exist."""

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from toy_model import N_SLICES, head_hu, positions, write_model
from typer.main import get_command

from ich25d.cli.app import app
from ich25d.features.store import FeatureStore
from ich25d.phantom.dicom import dicom_bytes
from ich25d.predict.submission import check_submission
from ich25d.recipes import find_recipe, read_recipe
from ich25d.sequence.division import divide
from ich25d.studies.build import build_studies

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = get_command(app)

RUN_BY = {
    "build-studies": ("tests/test_journey.py", '"build-studies"'),
    "eda": ("tests/view/test_eda_studies.py", "explore("),
    "recipe": ("tests/test_recipes.py", '"recipe"'),
    "train-cnn": ("tests/test_journey.py", '"train-cnn"'),
    "pseudo-labels": ("tests/encoder/test_pseudo_labels.py", '"pseudo-labels"'),
    "train-rnn": ("tests/test_journey.py", '"train-rnn"'),
    "train-joint": ("tests/predict/test_joint_model.py", '"train-joint"'),
    "predict": ("tests/test_journey.py", '"predict"'),
    "report": ("tests/predict/test_predict_report.py", "report("),
    "export": ("tests/predict/test_exported.py", '"export"'),
    "explain": ("tests/explain/test_explain.py", '"explain"'),
    "evaluate": ("tests/test_journey.py", '"evaluate"'),
    "cq500": ("tests/cohorts/test_cq500_cohort.py", '"cq500"'),
    "check-submission": ("tests/test_journey.py", '"check-submission"'),
    "synth": ("tests/test_journey.py", "synthesise("),
    "node": ("tests/node/node_walk.py", '"node"'),
    "demo": ("tests/demo/test_walk.py", "walk("),
    "info": ("tests/test_journey.py", '"info"'),
}
"""Which test runs a command, and by which words."""

SCRIPTS = {"demo", "test", "docs", "benchmark", "train_open_model", "gpu_check", "endurance"}
"""Shell scripts that documents may name. `test` and `docs` are what checks run; `demo` walks as tests/demo does;
`benchmark` needs the real data and a quiet machine; tests/predict/test_open_model.py does what `train_open_model` does
after its training, tests/test_gpu_check.py what `gpu_check` does, on a CPU; tests/hard_to_break is the short form of
`endurance`."""


class Block(NamedTuple):
    """A fenced block of a document."""

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        """Name the block's place, for the test's id."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in re.finditer(r"^```(.*)\n((?:.*\n)*?)^```$", text, re.MULTILINE)
    ]


def prose_of(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*\n(?:.*\n)*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
LINES = [
    pytest.param(line, id=f"{block}-{number}")
    for block in BLOCKS
    if block.kind == "bash"
    for number, line in enumerate(block.text.replace("\\\n", " ").splitlines())
    if line.strip()
]
PYTHON = [pytest.param(block, id=str(block)) for block in BLOCKS if block.kind == "python"]


def parse(words: list[str]) -> None:
    """Parse a command as the command line does, and read the recipe that it names."""
    assert words[0] in RUN_BY, f"no test runs {words[0]}"
    values = COMMANDS.commands[words[0]].make_context(words[0], words[1:]).params
    if values.get("config") is not None:
        recipe = values["config"]
        read_recipe(find_recipe(ROOT / recipe if len(recipe.parts) > 1 else recipe), tuple(values["overrides"] or ()))


@pytest.mark.parametrize("line", LINES)
def test_commands_are_ones_that_run(line: str) -> None:
    """Each line of a bash block is a command whose options the program takes, and which a test or a check runs."""
    words = shlex.split(line, comments=True)
    match words[0]:
        case "ich25d":
            parse(words[1 : words.index(">") if ">" in words else None])
        case "torchrun":
            assert words[words.index("-m") + 1] == "ich25d"
            parse(words[words.index("-m") + 2 :])
        case "bash":
            assert words[1].removeprefix("scripts/") in SCRIPTS
            assert (ROOT / words[1]).is_file()
        case "python":
            source = (ROOT / words[1]).read_text()
            assert all(f'"{word}"' in source for word in words if word.startswith("--"))
        case "pip":
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
            assert set(re.findall(r"\w+", words[2])) <= set(extras)
        case _:
            pytest.fail(f"nobody runs {line!r}")


@pytest.mark.parametrize("recipe", sorted((ROOT / "configs").rglob("*.toml")), ids=lambda path: path.stem)
def test_commands_in_recipes_are_ones_that_run(recipe: Path) -> None:
    """A recipe's head says how it is used."""
    head = re.sub(r" \\\n#", "", recipe.read_text())
    for line in re.findall(r"^#   (.*)$", head, re.MULTILINE):
        test_commands_are_ones_that_run(line)


@pytest.mark.parametrize("verb", COMMANDS.commands)
def test_examples_of_help_parse(verb: str) -> None:
    """What `--help` shows under "Examples"."""
    examples = re.findall(r"^  (.*)$", COMMANDS.commands[verb].epilog, re.MULTILINE)

    assert examples
    for line in examples:
        test_commands_are_ones_that_run(line)


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    """A block without a kind, or an indented one, would be read by no test."""
    assert {block.kind for block in BLOCKS} == {"bash", "python", "text", "csv"}
    for page in PAGES:
        assert re.findall(r"^ {4,}(?:ich25d|bash|python|pip|torchrun) .*$", prose_of(page), re.MULTILINE) == [], page


def test_commands_and_options_in_sentences_exist() -> None:
    """What stands between backticks in a sentence is a command, an option, or a file of the package."""
    parameters = [one for command in COMMANDS.commands.values() for one in command.params]
    parameters += COMMANDS.params  # of the program itself
    options = {"--help", *(name for one in parameters for name in (*one.opts, *one.secondary_opts))}
    for page in PAGES:
        for quoted in re.findall(r"`([^`\n]+)`", prose_of(page)):
            words = quoted.split()
            if words[0] == "ich25d" and len(words) > 1 and not words[1].startswith("-"):
                assert words[1] in COMMANDS.commands, (page, quoted)
            if words[0] == "ich25d" or words[0].startswith("-"):
                assert {word for word in words if re.match(r"--?[a-z]", word)} <= options, (page, quoted)
            if re.fullmatch(r"[a-z][\w/-]*\.(py|ipynb)|configs/[\w-]+\.toml", quoted):
                assert (ROOT / quoted).is_file() or (ROOT / "ich25d" / quoted).is_file(), (page, quoted)


def test_every_command_is_documented_and_run() -> None:
    """The table of commands, the program and the list of tests name the same ones."""
    table = re.findall(r"^\| `ich25d ([\w-]+)", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE)

    assert set(table) == set(COMMANDS.commands) == set(RUN_BY)
    for verb, (test, words) in RUN_BY.items():
        assert words in (ROOT / test).read_text(), f"{test} doesn't run {verb}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the documents' Python takes: a model, a study, a store of it, and an empty folder."""
    root = tmp_path_factory.mktemp("documents")
    for name in ("study", "empty"):
        (root / name).mkdir()
    for index, (hu, position) in enumerate(zip(head_hu(), positions(), strict=True)):
        content = dicom_bytes(
            hu, image_id=f"ID_{index:09x}", series_id="ID_5", study_id="ID_6", patient_id="ID_7",
            origin_mm=(-96.0, -96.0, position), pixel_spacing_mm=(2.0, 2.0),
        )  # fmt: skip
        (root / "study" / f"{index}.dcm").write_bytes(content)
    build_studies((root / "study",), root / "studies", size=64, folds=2, workers=1)
    write_model(root / "runs" / "rnn")
    return root


@pytest.mark.parametrize("block", PYTHON)
def test_python_runs(
    block: Block, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands there, on a study and a model of one's own; whatever it writes is sound."""
    for name in ("runs", "study", "studies", "empty"):
        (tmp_path / name).symlink_to(place / name)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, str(block), "exec"), {})  # our own text

    assert "print(" not in block.text or capsys.readouterr().out.strip()
    if "submission.csv" in block.text:
        assert check_submission(tmp_path / "submission.csv").n_images == N_SLICES


@pytest.mark.slow
def test_a_feature_store_by_hand_trains_a_sequence_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of NumPy write a feature store that opens, reads, and that `train-rnn --features` takes."""
    (block,) = [block for block in BLOCKS if block.kind == "python" and "features.json" in block.text]
    monkeypatch.chdir(tmp_path)
    exec(compile(block.text, str(block), "exec"), {})  # our own text
    store = FeatureStore.open(tmp_path / "features")
    series = store.read(store.series.index[0])
    done = subprocess.run(
        [sys.executable, "-m", "ich25d", "train-rnn", "--features", "features", "--out", "runs/own", "--device", "cpu",
         "--set", "sequence.epochs=1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert len(store.series) > 1
    assert series.embedding.shape[::2] == (len(store.views), store.dim)
    assert divide(store, seed=0).judged == tuple(store.series.index)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "own" / "model.json").is_file()


def test_rooms_of_the_map_are_there_in_the_contract_s_order() -> None:
    """The map names every room and file that the import contract names, the upper ones first, and no other."""
    (block,) = [block for block in BLOCKS if block.text.startswith("ich25d/\n")]
    named = re.findall(r"^  (\w+)(?:/ |  )", block.text, re.MULTILINE)
    files = re.findall(r"^  (\w+(?: \w+)+)$", block.text, re.MULTILINE)[0].split()
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    layer = {room: number for number, rooms in enumerate(contract) for room in re.findall(r"\w+", rooms)}
    wings = set(re.findall(r"^    (\w+)/ ", block.text, re.MULTILINE))

    assert {*named, *files} == set(layer)
    assert sorted(named, key=lambda room: layer[room]) == named
    assert wings == {path.parent.name for path in (ROOT / "ich25d" / "studies").glob("*/__init__.py")}


def test_readme_is_a_page_whose_links_lead_somewhere() -> None:
    """A stranger reads one page; the site's own links are checked by `scripts/docs`."""
    readme = ROOT / "README.md"
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", prose_of(readme)) if "://" not in link]

    assert len(readme.read_text().splitlines()) <= 150
    assert len(links) > 5
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_names_of_the_reference_exist() -> None:
    """What `scripts/docs` finds too, where a test run is at hand."""
    names = [name for page in PAGES for name in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE)]

    assert len(names) > 20
    for name in names:
        room, _, attribute = name.rpartition(".")
        parent = importlib.import_module(room)
        assert hasattr(parent, attribute) or importlib.import_module(name), name
