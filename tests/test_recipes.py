"""Recipes: complete, checked once, all mistakes at a time."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ich25d.cli.app import app
from ich25d.config import Recipe, WindowConfig
from ich25d.errors import ConfigError
from ich25d.recipes import check_recipe, find_recipe, read_recipe, shipped_recipes, write_recipe

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = sorted((ROOT / "configs").rglob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_and_complete(path: Path) -> None:
    """Every key that a recipe can hold is written out in every shipped recipe."""
    recipe = read_recipe(path)
    written = {line.split("=")[0].strip() for line in path.read_text().splitlines() if "=" in line}
    known = {line.split("=")[0].strip() for line in write_recipe(recipe).splitlines() if " = " in line}

    assert known - written == set()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_neighbours_are_5_mm_away(path: Path) -> None:
    """So that thin and thick scans look alike to the network; counted slices would be 0.6 mm away in a thin one."""
    slab = read_recipe(path).slab

    assert slab.neighbours == (0,) or slab.neighbour_mm == 5.0


def test_a_written_recipe_reads_back(tmp_path: Path) -> None:
    """What a run keeps is what it was given, windows in numbers and quotes included."""
    recipe = check_recipe(
        {
            "slab": {"windows": ["brain", {"level": 35, "width": 100}], "neighbour_mm": 5.0},
            "encoder": {"weights": 'a "strange" \\ path'},
            "calibration": {"prevalence": {"any": 0.143}, "prevalence_weight": 50.0},
        },
        "here",
    )
    file = tmp_path / "recipe.toml"
    file.write_text(write_recipe(recipe))

    assert read_recipe(file) == recipe
    assert recipe.slab.windows[1] == WindowConfig(level=35, width=100)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    """A misspelt key, a value out of range, an unknown section and a wrong type, with the nearest known key."""
    file = tmp_path / "recipe.toml"
    file.write_text("[train]\nbatchsize = 8\nepochs = 0\n[sequenz]\nhidden = 3\n[slab]\nsize = 'big'\n")

    with pytest.raises(ConfigError) as caught:
        read_recipe(file)
    message = str(caught.value)
    assert message.startswith("4 mistakes")
    assert "train.batchsize: unknown key; nearest known: batch_size" in message
    assert "train.epochs: Input should be greater than or equal to 1 (got 0)" in message
    assert "sequenz: unknown key; nearest known: sequence" in message
    assert "slab.size" in message


@pytest.mark.parametrize(
    ("windows", "sentence"),
    [
        (["brian"], "slab: a window must be brain, subdural, soft, bone, dicom or {level, width} (got brian)"),
        ([{"levell": 40, "width": 80}], "slab.windows.0.WindowConfig.levell: unknown key; nearest known: level"),
    ],
)
def test_misspelt_windows_are_named_with_what_is_known(windows: list[object], sentence: str) -> None:
    """By name or by numbers; the value stands there once."""
    with pytest.raises(ConfigError) as caught:
        check_recipe({"slab": {"windows": windows}}, "here")
    assert f"  {sentence}" in str(caught.value).splitlines()


def test_infinities_and_nan_are_named_like_every_mistake(tmp_path: Path) -> None:
    """TOML has words for them; a rate or a window can't be one."""
    file = tmp_path / "recipe.toml"
    file.write_text(
        "[slab]\nneighbour_mm = inf\nwindows = [{level = nan, width = 80}]\n[train]\nlr = inf\nweight_decay = nan\n"
        "[augment]\nnoise_hu = inf\n[calibration]\nprevalence = {any = nan}\nprevalence_weight = inf\n"
    )

    with pytest.raises(ConfigError) as caught:
        read_recipe(file)
    message = str(caught.value)
    for key in (
        "slab.neighbour_mm", "slab.windows.0.WindowConfig.level", "train.lr", "train.weight_decay", "augment.noise_hu",
        "calibration.prevalence.any", "calibration.prevalence_weight",
    ):  # fmt: skip
        assert f"{key}: Input should be a finite number" in message


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_are_what_generators_take(seed: int) -> None:
    """NumPy and torch refuse others with errors of their own, in the middle of a run."""
    with pytest.raises(ConfigError) as caught:
        check_recipe({"train": {"seed": seed}, "sequence": {"seed": seed}}, "here")
    assert str(caught.value).startswith("2 mistakes")
    assert "train.seed: Input should be " in str(caught.value)
    assert "sequence.seed: Input should be " in str(caught.value)


def test_misspelt_labels_are_named_with_the_nearest_known(tmp_path: Path) -> None:
    """Beside every other mistake; a label that nobody reads would change nothing and say nothing."""
    file = tmp_path / "recipe.toml"
    file.write_text(
        "[train]\nepochs = 0\n[calibration]\nprevalence = {epidurall = 0.01, any = 2.0}\nprevalence_weight = 9\n"
    )

    with pytest.raises(ConfigError) as caught:
        read_recipe(file)
    message = str(caught.value)
    assert message.startswith("3 mistakes")
    assert "  calibration.prevalence.epidurall: unknown key; nearest known: epidural" in message
    assert "calibration.prevalence.any: Input should be less than 1" in message
    assert "train.epochs" in message


def test_refuses_a_prevalence_without_weight() -> None:
    """It would change nothing; without a prevalence no weight is asked for."""
    with pytest.raises(ConfigError, match="prevalence must come with a prevalence_weight above 0"):
        check_recipe({"calibration": {"prevalence": {"any": 0.1}}}, "here")
    assert check_recipe({"calibration": {"prevalence_weight": 9}}, "here").calibration.prevalence == {}


@pytest.mark.parametrize("neighbours", ["[0, 1]", "[-1, 1, 2]", "[1, 0, -1]", "[0, 0, 1]"])
def test_refuses_odd_neighbours(tmp_path: Path, neighbours: str) -> None:
    """Neighbours are odd in number, rise, and hold the slice itself."""
    file = tmp_path / "recipe.toml"
    file.write_text("")

    with pytest.raises(ConfigError, match="neighbours must"):
        read_recipe(file, (f"slab.neighbours={neighbours}",))


def test_overrides_speak_toml_or_plain_words(tmp_path: Path) -> None:
    """Numbers, lists and bare words."""
    file = tmp_path / "recipe.toml"
    file.write_text("[encoder]\nname = 'resnet50'\n")
    recipe = read_recipe(file, ("encoder.name=resnet18", "train.lr=1e-3", "slab.neighbours=[-2, 0, 2]"))

    assert recipe.encoder.name == "resnet18"
    assert recipe.train.lr == 1e-3
    assert recipe.slab.neighbours == (-2, 0, 2)


def test_an_override_of_what_is_no_section_names_the_file_s_mistake(tmp_path: Path) -> None:
    """`slab = 3` stays a mistake of the file, whatever --set says."""
    file = tmp_path / "recipe.toml"
    file.write_text("slab = 3\n")

    with pytest.raises(ConfigError, match=r"slab: Input should be a dictionary .*\(got 3\)"):
        read_recipe(file, ("slab.size=64",))


@pytest.mark.parametrize("override", ["encoder", "name=x", ".x=1"])
def test_refuses_an_override_without_a_section(tmp_path: Path, override: str) -> None:
    """--set needs section.key=value."""
    file = tmp_path / "recipe.toml"
    file.write_text("")

    with pytest.raises(ConfigError, match=r"--set takes section\.key=value"):
        read_recipe(file, (override,))


def test_names_what_it_can_not_read(tmp_path: Path) -> None:
    """A missing file, and one that is no TOML."""
    with pytest.raises(ConfigError, match="a TOML file or the name of a shipped one"):
        find_recipe(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[train\n")
    with pytest.raises(ConfigError, match="valid TOML"):
        read_recipe(broken)


def test_defaults_are_valid() -> None:
    """A recipe without a line is a recipe."""
    assert check_recipe({}, "nowhere") == Recipe()


def test_recipe_lists_and_prints_what_is_shipped() -> None:
    """A line each, with the first line of its head; a name prints the file itself, ready to be one's own."""
    runner = CliRunner()
    listed = runner.invoke(app, ["recipe"]).stdout.splitlines()
    whole = runner.invoke(app, ["recipe", "classic/resnet50"])

    assert [line.split()[0] for line in listed] == list(shipped_recipes())
    assert {path.relative_to(ROOT / "configs").with_suffix("").as_posix() for path in SHIPPED} == set(shipped_recipes())
    assert all(len(line.split(maxsplit=1)[1]) > 5 for line in listed)
    assert whole.stdout == (ROOT / "configs" / "classic" / "resnet50.toml").read_text()
    assert whole.exit_code == 0


def test_a_shipped_recipe_is_found_by_name_or_by_its_path_in_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--config configs/baseline.toml` of the documents holds after `pip install` too, where no such folder is."""
    monkeypatch.chdir(tmp_path)
    for name in ("baseline", "baseline.toml", "configs/baseline.toml"):
        assert find_recipe(Path(name)).read_text() == (ROOT / "configs" / "baseline.toml").read_text()
    with pytest.raises(ConfigError, match="nearest known: baseline"):
        find_recipe(Path("basline"))


def test_a_mistake_of_two_sections_stands_without_a_key() -> None:
    """It names both itself."""
    with pytest.raises(ConfigError) as caught:
        check_recipe({"pixels": {"weight": 1.0}, "augment": {"painted": 0.0}}, "here")
    assert str(caught.value).splitlines()[1].startswith("  pixels.weight needs augment.painted above 0")
